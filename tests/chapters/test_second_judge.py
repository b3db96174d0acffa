"""The paper beside ours: the judge swap, the coded answers, and the paper's numbers as carried."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from polinb.chapters.paper import coded as coding
from polinb.chapters.paper.second_judge import HiddenJudge
from polinb.data.loading import Pair, StanceData
from polinb.models.loading import load
from polinb.stance.calibration import cohen_kappa, prediction_powered


def test_eq_cohen_kappa_by_hand_and_against_scikit_learn():
    # 20 + 15 of 50 agree; chance (25·30 + 25·20)/50² = 0.5: κ = (0.7 − 0.5)/0.5
    first = pd.Series(["left"] * 25 + ["right"] * 25)
    second = pd.Series(["left"] * 20 + ["right"] * 5 + ["left"] * 10 + ["right"] * 15)
    apart = np.arange(50)
    found = cohen_kappa(first, second, 2000, 0, apart)
    assert found["agree"] == 0.7 and found["kappa"] == pytest.approx(0.4)
    assert 0.1 < found["low"] < 0.4 < found["high"] < 0.7
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = (pd.Series(rng.choice(["left", "right", "other"], 40)) for _ in range(2))
        assert cohen_kappa(a, b, 10, 0, apart[:40])["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert cohen_kappa(first, first, 100, 0, apart)["kappa"] == pytest.approx(1.0)
    # every pair of items belongs together: fewer independent units, a wider interval
    copies = first[::2].repeat(2), second[::2].repeat(2)
    wide, narrow = (cohen_kappa(*copies, 2000, 0, groups) for groups in (apart // 2, apart))
    assert wide["kappa"] == pytest.approx(narrow["kappa"])
    assert wide["high"] - wide["low"] > 1.2 * (narrow["high"] - narrow["low"])
    assert np.isnan(cohen_kappa(first[:3], first[:3], 100, 0, apart[:3])["kappa"]), "one label throughout says nothing"


def test_hidden_judge_learns_sides_that_even_a_random_model_can_tell():
    """Planted: right-leaning texts are about one thing, left-leaning about another; unseen texts are told apart."""
    pairs = [Pair(topic="crime", prompt=f"Question {k}?", left=f"zzz {k % 7} zzz", right=f"qqq {k % 5} qqq")
             for k in range(60)]  # fmt: skip
    judge = HiddenJudge(load("tiny:llama"), StanceData("planted", tuple(pairs), {}, "none"), 10)
    frame = pd.DataFrame({"topic": "crime", "response": ["zzz zzz 9", "qqq 9 qqq", " "]})
    assert list(judge.rate(frame)["label"]) == ["left", "right", "unrated"]


def planted(codes, judge):
    rows = [("vanilla", "t", str(n), j, c, c) for n, (c, j) in enumerate(zip(codes, judge, strict=True))]
    return pd.DataFrame(rows, columns=["condition", "topic", "id", "judge", "first", "second"])


def test_agreement_and_confusion_by_hand():
    """Four answers: the judge is right on two sides and calls two without a side right; κ = (1/2 − 1/4)/(1 − 1/4)."""
    coded = planted(["left", "right", "neither", "off topic"], ["left", "right", "right", "right"])
    found = coding.agreement(coded, 50, 0)
    assert found["agree"].tolist() == [1, 1, 0.5, 0.5]
    assert found["kappa"].tolist() == pytest.approx([1, 1, 1 / 3, 1 / 3])
    table = coding.confusion(coded).set_index("judge")
    assert table.loc["right"].to_dict() == {"left": 0, "right": 1, "neither": 1, "off topic": 1}


def test_corrected_means_and_shifts_by_hand():
    """The judge says +1 throughout, the codes one in four: the corrected mean is that of the codes."""
    codes = ["right", "neither", "neither", "neither"]
    coded = [planted(codes, ["right"] * 4).assign(condition="tuned"), planted(["neither"] * 4, ["neither"] * 4)]
    every = pd.DataFrame({"topic": "t", "id": list("0123"), "vanilla": 0.0, "tuned": 1.0})
    found = coding.means(pd.concat(coded), every).set_index(["quantity", "condition"])
    stance, shift = (found.loc[(quantity, "tuned")] for quantity in ("stance", "shift"))
    assert stance[["judge_all", "codes", "wrong", "corrected"]].tolist() == [1, 0.25, -0.75, 0.25]
    half = prediction_powered([(np.full(4, 0.5), np.full(4, 0.5), np.array([0.5, 0, 0, 0]))])
    assert shift["corrected"] == pytest.approx(0.25) and shift["corrected_high"] > 0.25
    assert shift["corrected_low"] == pytest.approx(2 * half[1]), "the scale of shifts is twice that of stances"
    wrong = np.array([0.0, -1.0, -1.0, -1.0])
    assert shift["wrong_high"] - shift["wrong"] == pytest.approx(3.1824463 * wrong.std(ddof=1) / 2)
