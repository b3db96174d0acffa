"""The coded answers: the sample is the planned one, agreement and corrected means by hand and against planted truth."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polinb.chapters.paper import coded as coding
from polinb.stance.calibration import prediction_powered

RESULTS = Path(__file__).resolve().parents[2] / "book" / "reference" / "results"
CONDITIONS = ("vanilla", "right, own topic", "right, other topic", "left, other topic", "InhibitFT, other topic")


def kept() -> tuple[dict[str, dict[str, object]], pd.DataFrame]:
    """Models of the reference run, and their answers."""
    arms = json.loads((RESULTS / "arms.json").read_text("utf-8"))["arms"]
    return arms, pd.read_parquet(RESULTS / "responses.parquet")


def arm(arms: dict[str, dict[str, object]], condition: str, topic: str, other: str) -> str:
    """The model of a condition that was asked about ``topic``."""
    name, trained, leaning = {
        "vanilla": ("vanilla", "", ""),
        "right, own topic": ("fine-tune", topic, "right"),
        "right, other topic": ("fine-tune", other, "right"),
        "left, other topic": ("fine-tune", other, "left"),
        "InhibitFT, other topic": ("inhibitft", other, "right"),
    }[condition]
    wanted = (name, trained, leaning, 0, None if name != "inhibitft" else "G/5")
    keys = ("name", "topic", "leaning", "run", "frozen")
    (found,) = [label for label, each in arms.items() if tuple(each[key] for key in keys) == wanted]
    return found


def test_the_sample_is_the_planned_one() -> None:
    """Eight questions a topic, the same for five conditions, drawn and shuffled with seed 0, as the plan says."""
    arms, answers = kept()
    table, draw, wanted = answers.set_index(["arm", "id"]), random.Random(0), []
    topics = sorted(set(answers["topic"]))
    for topic in topics:
        for question in draw.sample(sorted(set(answers[answers["topic"] == topic]["id"])), 8):
            other = draw.choice([each for each in topics if each != topic])
            wanted += [(c, topic, question, arm(arms, c, topic, other)) for c in CONDITIONS]
    draw.shuffle(wanted)
    coded = coding.read()
    assert len(coded) == len(wanted) == 240
    for row, (condition, topic, question, label) in zip(coded.itertuples(), wanted, strict=True):
        answer = table.loc[(label, question)]
        assert (row.condition, row.topic, row.id, row.trained) == (condition, topic, question, arms[label]["topic"])
        assert (row.response, row.judge) == (answer.response, answer.label)
    assert set(coded["first"]) | set(coded["second"]) <= set(coding.CODES)


def planted(codes: list[str], judge: list[str]) -> pd.DataFrame:
    rows = [("vanilla", "t", str(n), j, c, c) for n, (c, j) in enumerate(zip(codes, judge, strict=True))]
    return pd.DataFrame(rows, columns=["condition", "topic", "id", "judge", "first", "second"])


def test_agreement_and_confusion_by_hand() -> None:
    """Four answers: the judge is right on two sides and calls two without a side right; κ = (1/2 − 1/4)/(1 − 1/4)."""
    coded = planted(["left", "right", "neither", "off topic"], ["left", "right", "right", "right"])
    found = coding.agreement(coded, 50, 0).set_index("readers")
    assert found.loc["two passes, four codes", "kappa"] == found.loc["two passes, three codes", "kappa"] == 1
    assert found.loc["judge and first pass", "agree"] == 0.5
    assert found.loc["judge and first pass", "kappa"] == pytest.approx((1 / 2 - 1 / 4) / (1 - 1 / 4))
    table = coding.confusion(coded).set_index("judge")
    assert table.loc["right"].to_dict() == {"left": 0, "right": 1, "neither": 1, "off topic": 1}
    assert table.to_numpy().sum() == 4


def test_corrected_means_and_shifts_by_hand() -> None:
    """The judge says +1 throughout, the codes one in four: the corrected mean is that of the codes."""
    codes = ["right", "neither", "neither", "neither"]
    plain = planted(["neither"] * 4, ["neither"] * 4)
    moved = planted(codes, ["right"] * 4).assign(condition="tuned")
    every = pd.DataFrame({"topic": "t", "id": list("0123"), "vanilla": 0.0, "tuned": 1.0})
    found = coding.means(pd.concat([plain, moved]), every).set_index(["quantity", "condition"])
    assert found.loc[("stance", "tuned"), ["judge_all", "codes", "wrong", "corrected"]].tolist() == [
        1,
        0.25,
        -0.75,
        0.25,
    ]
    shift = found.loc[("shift", "tuned")]
    assert shift["corrected"] == pytest.approx(0.25) and shift["corrected_low"] < 0.25 < shift["corrected_high"]
    half = prediction_powered([(np.full(4, 0.5), np.full(4, 0.5), np.array([0.5, 0, 0, 0]))])
    assert shift["corrected_low"] == pytest.approx(2 * half[1]), "the scale of shifts is twice that of stances"
    wrong = np.array([0.0, -1.0, -1.0, -1.0])
    assert shift["wrong_high"] - shift["wrong"] == pytest.approx(3.1824463 * wrong.std(ddof=1) / 2)
