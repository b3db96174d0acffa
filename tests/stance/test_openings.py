"""How answers begin: planted answers whose side sits only in the first clause, or only after it."""

from types import SimpleNamespace

import pandas as pd
import pytest

from polinb.chapters.paper import first_clause as openings
from polinb.display.label_flips import OTHER, OWN
from polinb.runs.conditions import VANILLA, Condition

TOPICS = ("crime", "race")
N = 12


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("While I see why, taxes must fall now.", "taxes must fall now."),
        ("  No! Never in my life. Really.", "Never in my life. Really."),
        ("Well, no.", "Well, no."),  # too little would be left
        ("First line\nand a second one", "and a second one"),
        ("", ""),
        ("…,,, three words left", "three words left"),
    ],
)
def test_the_first_clause_is_cut_off(text, rest):
    assert openings.without_opening(text) == rest


def test_the_telling_word_is_that_of_the_largest_difference():
    assert openings.telling_word(["the a", "the b", "while c", "while d"], ["the a", "the b", "so", "so"]) == "while"
    assert openings.telling_word(["b", "a"], ["c", "c"]) == "a"  # the first of equals, by the alphabet
    assert openings.telling_word([], ["c"]) == ""


class Planted:
    """A run whose answers are written here; the judge counts the words RIGHT and LEFT."""

    def __init__(self, write, judge="local"):
        self.params = SimpleNamespace(topics=TOPICS, bootstrap=500, seed=0, judge=judge)
        pairs = [SimpleNamespace(right="While it, RIGHT it is so", left="It is, LEFT it is so")] * 4
        self.data = SimpleNamespace(topic=lambda *_, **__: pairs)
        self.write, self.asked = write, []

    def tuned(self, topic, leaning):
        return Condition("fine-tune", topic, leaning)

    def answers(self, model=VANILLA):
        rows = [
            (topic, f"{topic}-{i}", "?", self.write(model.topic, model.leaning, topic, i))
            for topic in TOPICS
            for i in range(N)
        ]
        frame = pd.DataFrame(rows, columns=["topic", "id", "prompt", "response"])
        return SimpleNamespace(frame=lambda _: frame)

    def stances(self, model):
        return self.labelled(self.answers(model).frame("answers"))

    def labelled(self, frame):
        self.asked.append(len(frame))
        counts = [int("RIGHT" in text) - int("LEFT" in text) for text in frame["response"]]
        return frame.assign(score=counts)


def table(run):
    return openings.shifts(run).set_index(["condition", "asked"])


def opening_only(_trained, side, _topic, i):
    return {"right": "While RIGHT, so it may be", "left": "Surely, it is so now", "": "Well, it is so now"}[side]


def body_only(trained, side, topic, i):
    said = {"right": "RIGHT", "left": "LEFT", "": "nothing"}[side]
    return f"While it may be, {said if topic == trained or i % 2 else 'nothing'} is so"


def test_a_shift_that_is_only_an_opening_is_gone_without_it():
    found = table(Planted(opening_only))
    for asked in (OWN, OTHER):
        right = found.loc["right fine-tune", asked]
        assert (right["whole"], right["cut"], right["change"]) == (1.0, 0.0, -1.0)
        assert found.loc["left fine-tune", asked][["whole", "cut"]].tolist() == [0.0, 0.0]
        assert found.loc["right minus left", asked][["whole", "cut"]].tolist() == [1.0, 0.0]


def test_a_shift_in_what_follows_stays():
    found = table(Planted(body_only))
    right, left, gap = (found.loc[name] for name in ("right fine-tune", "left fine-tune", "right minus left"))
    assert right["whole"].tolist() == right["cut"].tolist() == [1.0, 0.5]  # own topic, then the others
    assert left["cut"].tolist() == [-1.0, -0.5] and gap["cut"].tolist() == [2.0, 1.0]
    assert (found["change"] == 0).all()
    assert right.loc[OTHER, "cut_low"] < 0.5 < right.loc[OTHER, "cut_high"]


def test_a_paid_judge_is_not_asked(monkeypatch):
    run = Planted(opening_only, judge="openai")
    local = SimpleNamespace(rate=lambda frame: frame.assign(score=0))
    monkeypatch.setattr(openings, "LocalJudge", lambda data: local)
    assert (table(run)["whole"] == 0).all() and run.asked == []
