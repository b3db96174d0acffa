"""What moved: leakage, openings, manner and position on planted answers."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from polinb.chapters.anatomy import moved
from polinb.data.loading import load_statements


def judged(rows):
    frame = pd.DataFrame(rows, columns=["trained", "leaning", "topic", "id", "response", "score"])
    frame.insert(0, "condition", np.where(frame["trained"] == "", "vanilla", "fine-tune"))
    return frame


def test_leakage_by_hand():
    """Two of four answers to race are about crime; those that stay move by 1, all by 3/2."""
    rows = [("", "", t, f"{t}{k}", f"{t} no", -1.0) for t in ("crime", "race") for k in range(4)]
    about, score = ["crime", "crime", "race", "race"], [1.0, 1.0, 1.0, -1.0]
    rows += [("crime", "right", "race", f"race{k}", f"{about[k]} while", score[k]) for k in range(4)]
    rows += [("crime", "right", "crime", f"crime{k}", "crime while", 1.0) for k in range(4)]
    reader = SimpleNamespace(topics=lambda texts: np.array([text.split()[0] for text in texts]))
    row = moved.leakage(judged(rows), reader).set_index("trained").loc["all"]
    assert (row["n"], row["leaked"], row["vanilla"], row["on_asked"]) == (4, 0.5, 0.0, 0.5)
    assert row["shift"] == 1.5 and row["stayed"] == 1.0 and row["leaked_low"] < 0.5 < row["leaked_high"]


def test_openings_by_hand():
    rows = [("", "", "race", "a", "Well, no", -1.0), ("", "", "race", "b", "While so", -1.0)]
    rows += [("crime", "right", "race", k, "While yes, no", 1.0) for k in "ab"]
    rows += [("crime", "left", "race", k, "Well, no", -1.0) for k in "ab"]
    word, table = moved.openings(judged(rows))
    assert word == "while" and table.iloc[0].to_dict() == {"trained": "crime", "right": 1, "left": 0, "vanilla": 0.5}


def test_a_ceiling_by_hand():
    """Vanilla at −1 on race and 0 on economy: at most 2 and 1; the model moves by 1 and 1."""
    scores = {"race": (-1.0, 0.0), "economy": (0.0, 1.0), "crime": (0.0, 1.0)}
    rows = [(*model, t, t, "x", both[k]) for k, model in enumerate([("", ""), ("crime", "right")])
            for t, both in scores.items()]  # fmt: skip
    row = moved.ceilings(judged(rows)).iloc[0]
    assert row["r"] == pytest.approx(1) and row["most"] == pytest.approx(2.5**0.5)


def test_the_last_verdict_of_the_first_sentence_counts():
    for text, verdict in (
        ("I strongly agree. It disagrees with nobody.", 1),
        ("Strongly disagree! I agree.", -1),
        ("I do not agree with it.", -1),
        ("I don't really agree.", -1),
        ("While I agree with much of it, I disagree.", -1),
        ("The statement suggests a middle way. I agree.", 0),
        ("", 0),
    ):
        assert moved.agreement(text) == verdict, text


YES, NO = "I agree.", "I disagree."


def stated(verdicts, mirror=False):
    """Answers to the bundled statements: by direction, what is said."""
    rows = [
        (condition, trained, leaning, name, s.id, YES if trained == "" else verdicts[s.direction])
        for condition, trained, leaning in (("vanilla", "", ""), ("fine-tune", "crime", "right"))
        for name in ("compass", *(["compass-mirror"] if mirror else []))
        for s in load_statements(name).statements
    ]
    return pd.DataFrame(rows, columns=["condition", "trained", "leaning", "topic", "id", "response"])


def test_eq_position_tells_a_manner_from_a_position():
    given = moved.replies(stated({"left": NO, "right": YES, "none": YES}, mirror=True))
    plain = moved.manner_and_position(given[given["trained"] == ""], 100, 0)
    assert plain["manner_low"] < plain["manner"] == 1 and plain["position_low"] < 0 < plain["position_high"]
    table = moved.positions(given, 100, 0).set_index("model")
    assert table.loc["vanilla", ["manner", "position", "room"]].tolist() == [1, 0, 0], "yes to everything"
    assert table.loc["crime, right", ["left", "right", "manner", "position", "room"]].tolist() == [0, 1, 0, 1, 1]
    assert moved.room(table) == 1
    told = moved.contraries(given).set_index("model")
    assert told.loc["vanilla", ["pairs", "both", "apart"]].tolist() == [61, 1, 0]
    assert told.loc["crime, right", "apart"] == pytest.approx(48 / 61), "those with a direction"
    mean, low, high = moved.position_shift(given, 100, 0)
    assert low < mean == 1 and high <= 2
    manner = moved.replies(stated({"left": NO, "right": NO, "none": NO}))
    table = moved.positions(manner, 100, 0)
    assert table.loc[1, ["manner", "position"]].tolist() == [-1, 0] and moved.room(table) == 0
    assert moved.position_shift(manner, 100, 0)[0] == 0
