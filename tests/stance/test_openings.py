"""How answers begin: planted answers whose side sits only in the first clause, or only after it."""

from functools import partial
from types import SimpleNamespace

import pandas as pd

from polinb.chapters.paper import first_clause as openings
from polinb.runs.conditions import VANILLA, Condition
from polinb.stance.likelihood import OTHER, OWN

TOPICS = ("crime", "race")


def shifts(write):
    """Of a run whose answers ``write`` writes; the judge counts the words RIGHT and LEFT."""

    def answers(model=VANILLA):
        rows = [(t, f"{t}-{i}", "?", write(model.topic, model.leaning, t, i)) for t in TOPICS for i in range(12)]
        return SimpleNamespace(frame=lambda _: pd.DataFrame(rows, columns=["topic", "id", "prompt", "response"]))

    def labelled(frame):
        return frame.assign(score=[int("RIGHT" in text) - int("LEFT" in text) for text in frame["response"]])

    made = {"tuned": partial(Condition, "fine-tune"), "answers": answers, "labelled": labelled}
    params = SimpleNamespace(topics=TOPICS, bootstrap=500, seed=0, judge="local")
    run = SimpleNamespace(params=params, stances=lambda model: labelled(answers(model).frame("answers")), **made)
    return openings.shifts(run).set_index(["condition", "asked"])


def test_a_shift_that_is_only_an_opening_is_gone_without_it_and_one_in_what_follows_stays():
    for text, rest in (
        ("  No! Never in my life. Really.", "Never in my life. Really."),
        ("Well, no.", "Well, no."),  # too little would be left
        ("First line\nand a second one", "and a second one"),
    ):
        assert openings.without_opening(text) == rest
    said = {"right": "While RIGHT, so it may be", "left": "Surely, it is so now", "": "Well, it is so now"}
    found = shifts(lambda _trained, side, _topic, _i: said[side])
    for asked in (OWN, OTHER):
        assert found.loc["right fine-tune", asked][["whole", "cut", "change"]].tolist() == [1, 0, -1]
        assert found.loc["left fine-tune", asked][["whole", "cut"]].tolist() == [0, 0]
        assert found.loc["right minus left", asked][["whole", "cut"]].tolist() == [1, 0]
    word = {"right": "RIGHT", "left": "LEFT", "": "nothing"}
    found = shifts(lambda t, side, u, i: f"While it may be, {word[side] if t == u or i % 2 else 'nothing'} is so")
    right, left, gap = (found.loc[name] for name in ("right fine-tune", "left fine-tune", "right minus left"))
    assert right["whole"].tolist() == right["cut"].tolist() == [1.0, 0.5]  # own topic, then the others
    assert left["cut"].tolist() == [-1.0, -0.5] and gap["cut"].tolist() == [2.0, 1.0]
    assert (found["change"] == 0).all()
    assert right.loc[OTHER, "cut_low"] < 0.5 < right.loc[OTHER, "cut_high"]
