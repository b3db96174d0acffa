"""Judged numbers corrected for the judge's errors: by hand, against planted truths, coverage simulated."""

from __future__ import annotations

import numpy as np
import pytest

from polinb.errors import DataError
from polinb.stance.calibration import corrected_shift, prediction_powered


def judged(rng: np.random.Generator, truth: np.ndarray, left_recall: float, right_recall: float) -> np.ndarray:
    """Labels of a judge with these recalls."""
    recall = np.where(truth > 0, right_recall, left_recall)
    return np.where(rng.random(truth.shape) < recall, truth, -truth)


def test_a_corrected_shift_by_hand() -> None:
    """Recalls 0.9 and 0.7: contrast 0.6, so a shift of 0.9 that is shown was one of 1.5."""
    known = {"right": np.repeat([1.0, -1.0], [90, 10]), "left": np.repeat([-1.0, 1.0], [70, 30])}
    shift, low, high = corrected_shift([np.tile([2.0, 0.0, 1.0, 0.6], 10)], known, 500, 0)
    assert shift == pytest.approx(1.5) and low < 1.5 < high
    assert np.isnan(corrected_shift([np.ones(4)], {"right": np.tile([1.0, -1.0], 9), "left": np.ones(9)}, 99, 0)).all()


def test_two_judges_of_different_worth_agree_once_corrected() -> None:
    """Planted: stance −0.6 before, +0.5 after. Judges with contrast 0.89 and 0.64 show different shifts."""
    rng = np.random.default_rng(11)
    held = {0.89: 0, 0.64: 0}
    for trial in range(500):
        before, after = (np.where(rng.random((6, 40)) < share, 1.0, -1.0) for share in (0.2, 0.75))
        sides = {"right": np.ones(190), "left": -np.ones(190)}
        for contrast in held:
            recalls = ((1 + contrast) / 2 - 0.03, (1 + contrast) / 2 + 0.03)
            known = {side: judged(rng, texts, *recalls) for side, texts in sides.items()}
            moved = judged(rng, after, *recalls) - judged(rng, before, *recalls)
            _, low, high = corrected_shift(list(moved), known, 300, trial)
            held[contrast] += low <= 1.1 <= high
    assert min(held.values()) / 500 >= 0.93


def test_a_prediction_powered_mean_by_hand() -> None:
    every, some = np.array([1.0, 1.0, 1.0, -1.0]), np.array([1.0, 1.0])
    mean, low, high = prediction_powered([(every, some, np.array([1.0, -1.0]))])
    assert mean == pytest.approx(0.5 - 1.0) and low < mean < high
    with pytest.raises(DataError, match="two coded"):
        prediction_powered([(every, some[:1], some[:1])])


@pytest.mark.parametrize("recalls", [(0.95, 0.95), (0.6, 0.9), (0.99, 0.99)])
def test_a_prediction_powered_mean_holds_the_truth_whatever_the_judge_is_worth(recalls: tuple[float, float]) -> None:
    """Six topics of 40 answers, ten of each coded: true stance 0.7 (answers of a tuned model, near the end)."""
    rng = np.random.default_rng(1)
    held, biased, widths = 0, [], []
    for _ in range(400):
        truth = np.where(rng.random((6, 40)) < 0.85, 1.0, -1.0)
        labels = judged(rng, truth, *recalls)
        mean, low, high = prediction_powered([(f, f[:10], y[:10]) for f, y in zip(labels, truth, strict=True)])
        held += low <= 0.7 <= high
        biased.append(mean)
        widths.append(high - low)
    assert held / 400 >= 0.93 and np.mean(biased) == pytest.approx(0.7, abs=0.02)
    if min(recalls) > 0.9:
        assert np.mean(widths) < 2 * 2 * np.sqrt((1 - 0.7**2) / 60), "narrower than the codes alone"
