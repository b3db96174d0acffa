"""Judged numbers corrected for the judge's errors: by hand, against planted truths, coverage simulated."""

from __future__ import annotations

import numpy as np
import pytest

from polinb.errors import DataError
from polinb.resampling import SHIFT, bootstrap_mean
from polinb.stance.calibration import error_corrected, prediction_powered


def judged(rng: np.random.Generator, truth: np.ndarray, left_recall: float, right_recall: float) -> np.ndarray:
    """Labels of a judge with these recalls."""
    recall = np.where(truth > 0, right_recall, left_recall)
    return np.where(rng.random(truth.shape) < recall, truth, -truth)


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


def test_a_corrected_shift_by_hand() -> None:
    left, right = np.array([-1.0] * 9 + [1.0]), np.array([1.0] * 7 + [-1.0] * 3)
    value, low, high = error_corrected((0.6, 0.4, 0.8), left, right)
    assert value == pytest.approx(0.6 / ((0.4 + 0.8) / 2)) and low < 0.4 / 0.6 and high > 0.8 / 0.6
    mirrored = error_corrected((-0.6, -0.8, -0.4), left, right)
    assert mirrored == pytest.approx((-value, -high, -low))
    assert np.isnan(error_corrected((0.6, 0.4, 0.8), left, left)).all(), "a judge that cannot tell corrects nothing"


@pytest.mark.parametrize("recalls", [(0.95, 0.9), (0.85, 0.9), (0.75, 0.75)])
@pytest.mark.parametrize("shift", [0.2, 1.2])
def test_a_corrected_shift_holds_the_truth(shift: float, recalls: tuple[float, float]) -> None:
    """Of 40 answers, a known share turns right; a changed answer is a new text for the judge."""
    rng = np.random.default_rng(2)
    held, middle = [], []
    for _ in range(1000):
        first = np.where(rng.random(40) < 0.2, 1.0, -1.0)
        turned = np.where(rng.random(40) < shift / 2 / 0.8, 1.0, first)
        old = judged(rng, first, *recalls)
        new = np.where(first == turned, old, judged(rng, turned, *recalls))
        known = (judged(rng, np.full(40, side), *recalls) for side in (-1.0, 1.0))
        value, low, high = error_corrected(bootstrap_mean(new - old, span=SHIFT), *known)
        if not np.isnan(value):
            held.append(low <= shift <= high)
            middle.append(value)
    assert np.mean(held) >= 0.93 and np.median(middle) == pytest.approx(shift, abs=0.06)
    assert len(held) > 900, "a judge of this kind is rarely refused"
