"""How answers begin: planted answers whose side sits only in the first clause, or only after it."""

from types import SimpleNamespace

import pandas as pd

from polinb.chapters.paper import first_clause as openings
from polinb.runs.conditions import VANILLA, Condition
from polinb.stance.likelihood import OTHER, OWN

TOPICS = ("crime", "race")
N = 12


def test_the_first_clause_is_cut_off_and_the_telling_word_found():
    for text, rest in (
        ("While I see why, taxes must fall now.", "taxes must fall now."),
        ("  No! Never in my life. Really.", "Never in my life. Really."),
        ("Well, no.", "Well, no."),  # too little would be left
        ("First line\nand a second one", "and a second one"),
        ("", ""),
        ("…,,, three words left", "three words left"),
    ):
        assert openings.without_opening(text) == rest
    assert openings.telling_word(["the a", "the b", "while c", "while d"], ["the a", "the b", "so", "so"]) == "while"
    assert openings.telling_word(["b", "a"], ["c", "c"]) == "a"  # the first of equals, by the alphabet
    assert openings.telling_word([], ["c"]) == ""


class Planted:
    """A run whose answers are written here; the judge counts the words RIGHT and LEFT."""

    def __init__(self, write):
        self.params = SimpleNamespace(topics=TOPICS, bootstrap=500, seed=0, judge="local")
        pairs = [SimpleNamespace(right="While it, RIGHT it is so", left="It is, LEFT it is so")] * 4
        self.data = SimpleNamespace(topic=lambda *_, **__: pairs)
        self.write = write

    def tuned(self, topic, leaning):
        return Condition("fine-tune", topic, leaning)

    def answers(self, model=VANILLA):
        rows = [(t, f"{t}-{i}", "?", self.write(model.topic, model.leaning, t, i)) for t in TOPICS for i in range(N)]
        frame = pd.DataFrame(rows, columns=["topic", "id", "prompt", "response"])
        return SimpleNamespace(frame=lambda _: frame)

    def stances(self, model):
        return self.labelled(self.answers(model).frame("answers"))

    def labelled(self, frame):
        return frame.assign(score=[int("RIGHT" in text) - int("LEFT" in text) for text in frame["response"]])


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
