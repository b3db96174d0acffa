"""The judge swap: κ against scikit-learn and by hand, and a second judge that learns a planted difference."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from polinb.chapters.paper.second_judge import HiddenJudge
from polinb.stance.calibration import cohen_kappa


def test_eq_cohen_kappa_by_hand_and_against_scikit_learn():
    # 20 + 15 of 50 agree; chance (25·30 + 25·20)/50² = 0.5: κ = (0.7 − 0.5)/0.5
    first = np.array(["left"] * 25 + ["right"] * 25)
    second = np.array(["left"] * 20 + ["right"] * 5 + ["left"] * 10 + ["right"] * 15)
    kappa, low, high = cohen_kappa(first, second, 2000, 0)
    assert kappa == pytest.approx(0.4) and 0.1 < low < 0.4 < high < 0.7
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = (rng.choice(["left", "right", "other"], 40) for _ in range(2))
        assert cohen_kappa(a, b, 10, 0)[0] == pytest.approx(cohen_kappa_score(a, b))
    assert cohen_kappa(first, first, 100, 0)[0] == pytest.approx(1.0)
    twice = np.arange(50) // 2  # every pair of items belongs together: fewer independent units, a wider interval
    copies = np.repeat(first[::2], 2), np.repeat(second[::2], 2)
    wide, narrow = cohen_kappa(*copies, 2000, 0, twice), cohen_kappa(*copies, 2000, 0)
    assert wide[0] == pytest.approx(narrow[0]) and wide[2] - wide[1] > 1.2 * (narrow[2] - narrow[1])
    assert np.isnan(cohen_kappa(first[:3], first[:3], 100, 0)[0]), "one label throughout says nothing"


def test_hidden_judge_learns_sides_that_even_a_random_model_can_tell():
    """Planted: right-leaning texts are about one thing, left-leaning about another; unseen texts are told apart."""
    from polinb.data.pairs import Pair, StanceData
    from polinb.models.loading import load

    pairs = tuple(
        Pair(topic="crime", prompt=f"Question {k}?", left=f"zzz zzz zzz {k % 7} zzz", right=f"qqq qqq {k % 5} qqq qqq")
        for k in range(60)
    )
    judge = HiddenJudge(load("tiny:llama"), StanceData("planted", pairs, {}, "none"), 10)
    frame = pd.DataFrame(
        {"topic": "crime", "id": ["a", "b", "c"], "prompt": "?", "response": ["zzz zzz 9", "qqq 9 qqq", " "]}
    )
    assert list(judge.rate(frame)["label"]) == ["left", "right", "unrated"]
