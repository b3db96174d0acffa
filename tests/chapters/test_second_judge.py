"""The judge swap: κ against scikit-learn and by hand, and a second judge that learns a planted difference."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from polinb.chapters.paper.second_judge import HiddenJudge, agreement, second_labels, second_rated, swapped
from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run
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


def test_tables_on_a_tiny_run(tmp_path):
    settings = {
        "topics": ["crime", "race"], "baseline_topics": ["crime"], "ablation_topics": ["crime"], "eval_questions": 3,
        "likelihood_questions": 2, "patch_questions": 2, "bootstrap": 100,
    }  # fmt: skip
    run = Run(Params.from_profile("tiny", **settings), Store(tmp_path))
    conditions = [run.tuned("crime")]
    table = agreement(run, conditions)
    assert list(table["answers"]) == ["reference answers", "vanilla", "fine-tune crime"]
    assert table["accuracy"].notna().tolist() == [True, False, False]
    both = swapped(run, conditions)
    assert list(both["judge"]) == ["local", "hidden states"]
    sure = both[both["error_corrected"].notna()]
    assert (sure["error_corrected"].abs() >= sure["shift"].abs()).all(), "errors make shifts smaller, never larger"
    own = second_rated(run, run.answers())
    pd.testing.assert_frame_equal(own, second_rated(Run(run.params, run.store), run.answers()))


def test_its_key_is_known_before_there_are_answers(tmp_path):
    run = Run(Params.from_profile("tiny"), Store(tmp_path))
    asked = run.answers()
    found = second_labels(run, answers=asked, words=asked, judge="local")
    assert found.key and [str(need) for need in found.needs] == [str(asked)] and not any(tmp_path.iterdir())
