"""Pairing, intervals, and means corrected for a judge's errors: by hand, against theory, coverage simulated."""

import math

import numpy as np
import pandas as pd
import pytest
from oracles import frame
from scipy.stats import binomtest

from polinb import resampling
from polinb.errors import DataError
from polinb.resampling import CHANGE, SHARE, SHIFT, STANCE, bootstrap_mean, label_interval, stratified_mean, wilson
from polinb.stance.calibration import error_corrected, prediction_powered


def test_a_question_of_one_side_or_a_broken_frame_is_named_and_nothing_vanishes():
    good = frame({"crime": [1.0, -1.0], "race": [1.0, 1.0]})
    lost = good.drop(index=1)
    for before, after, message in (
        (good, lost, "'crime', id 'crime-1' .only before"),
        (lost, good, "'crime', id 'crime-1' .only after"),
        (good, good.drop(columns="score"), "no column 'score'"),
        (good, pd.concat([good, good.tail(1)]), "occurs twice"),
        (good, good.assign(score=[1.0, math.nan, 1.0, 1.0]), "not finite"),
        (good, good.head(0), "no rows"),
    ):
        with pytest.raises(DataError, match=message):
            resampling.differences(before, after)
    for values in ([], [1.0, math.nan], [[1.0], [2.0]]):
        with pytest.raises(DataError):
            bootstrap_mean(values)
    kept = resampling.only_asked(good, lost)  # fewer were asked: said, not guessed
    assert {t: len(v) for t, v in resampling.differences(lost, kept).items()} == {"crime": 1, "race": 2}
    before, after = pd.Series([1.0, math.nan], ["a", "b"]), pd.Series([2.0, 1.0], ["b", "a"])
    assert resampling.changes(before, after).to_dict() == pytest.approx({"a": 0, "b": math.nan}, nan_ok=True)
    with pytest.raises(DataError, match="first: b"):
        resampling.changes(before, after[1:])


def test_bootstrap_mean_matches_theory_and_holds_the_truth_of_few_values_too():
    values = [1.0] * 30 + [-1.0] * 70
    half = 1.96 * math.sqrt((1 - 0.4**2) / 100)
    mean, *ends = bootstrap_mean(values, draws=20_000, seed=3)
    assert mean == pytest.approx(-0.4) and ends == pytest.approx([-0.4 - half, -0.4 + half], abs=0.02)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)
    # t quantile at one degree of freedom 12.706, at eleven 2.201; normal 1.960
    assert resampling.small_sample(1, 2) == pytest.approx(12.706 / 1.960 * math.sqrt(2), rel=1e-3)
    assert resampling.small_sample(11, 12) == pytest.approx(2.201 / 1.960 * math.sqrt(12 / 11), rel=1e-3)
    # two values: resampled means are 0, 1/2, 1 with weights 1/4, 1/2, 1/4, so 95 % is everything, then stretched
    half = 0.5 * resampling.small_sample(1, 2)
    assert bootstrap_mean([0.0, 1.0], draws=2000) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    rng = np.random.default_rng(1)
    ends = np.array([bootstrap_mean(rng.normal(size=6), draws=400, seed=k) for k in range(400)])
    assert 0.92 <= np.mean((ends[:, 1] <= 0) & (ends[:, 2] >= 0)) <= 0.98


EDGES = [([1, -1], [(1 + stance) / 2, (1 - stance) / 2]) for stance in (-0.98, 0.94, 0.3)]
EDGES += [([2, -2, 0], [right, left, 1 - right - left]) for right, left in ((0.05, 0.0), (0.03, 0.02), (0.7, 0.0))]


@pytest.mark.parametrize("n", [16, 100])
@pytest.mark.parametrize(("values", "chances"), EDGES)
def test_intervals_of_stances_and_shifts_hold_the_truth_at_the_edge_too(n, values, chances):
    """The bootstrap had 38 % at 16 answers and a stance of 0.94, and 60 % at 20 questions of which 5 % flip."""
    truth, span, held = np.dot(values, chances), (values[1], values[0]), 0
    studies = np.random.default_rng(0).multinomial(n, chances, size=4000)
    for counts, often in zip(*np.unique(studies, axis=0, return_counts=True), strict=True):
        low, high = label_interval(np.repeat(values, counts), span, n - 1)
        assert span[0] <= low < high <= span[1]
        held += often * (low <= truth <= high)
    assert held / 4000 >= 0.93


@pytest.mark.parametrize("n", [16, 100])
def test_means_over_topics_of_labels_hold_the_truth(n):
    rng, stance = np.random.default_rng(0), 0.94
    draws = np.where(rng.random((800, 6, n)) < (1 + stance) / 2, 1.0, -1.0)
    ends = np.array([stratified_mean(list(groups), 1, 0, STANCE) for groups in draws])
    assert np.mean((ends[:, 1] <= stance) & (stance <= ends[:, 2])) >= 0.93
    # alike, of values that are no labels: nothing else is known
    assert stratified_mean([np.full(16, 1.0)] * 6, 200, 0)[1:] == (1.0, 1.0)
    groups = [np.array([0.0, 0.1, 0.2]), np.array([1.0, 1.1, 1.3, 1.4, 1.2, 1.0])]
    assert stratified_mean(groups, 10, 0)[0] == pytest.approx(np.mean([g.mean() for g in groups]))
    assert stratified_mean(groups, 10, 0, pooled=True)[0] == pytest.approx(np.concatenate(groups).mean())


def test_intervals_of_labels_shares_and_means_by_hand():
    half = 3.182446 * math.sqrt((2 - 1 / 9) / 6)  # 2, 0, 0, 0 and one more at either end: mean 1/3, variance 12/6 − 1/9
    assert label_interval(np.array([2.0, 0, 0, 0]), SHIFT, 3) == pytest.approx((1 / 3 - half, min(2, 1 / 3 + half)))
    for n, near in ((16, 0.1), (100, 0.01)):  # away from the edge it hardly differs from the bootstrap
        middle = np.repeat([1.0, -1.0], n // 2)
        assert np.allclose(label_interval(middle, STANCE, n - 1), bootstrap_mean(middle, 20_000)[1:], atol=near)
    assert 0 < label_interval(np.ones(16), SHARE, 15)[0] < label_interval(np.ones(16), CHANGE, 15)[1] == 1.0
    for right, n in ((0, 7), (40, 100)):
        theirs = binomtest(right, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson(right, n), (theirs.low, theirs.high), atol=1e-12)
    assert resampling.share_interval(np.ones(3), 100, 0) == (1.0, *wilson(3, 3))
    mean, low, high = resampling.share_interval(np.array([1.0, 0.9, 1.0, 1.0]), 100, 0)
    assert low < mean < high == 1.0
    # method 10 of Newcombe (1998), Table II, example (a): 56/70 − 48/80 → 0.0524 to 0.3339
    first, second = np.repeat([1, 0], [56, 14]), np.repeat([1, 0], [48, 32])
    assert resampling.newcombe(first, second) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    half = 4.302653 / math.sqrt(3)  # 1, 2, 3: mean 2, standard error 1/√3, t quantile at two degrees of freedom
    assert resampling.t_mean([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - half, 2 + half))
    half = 2.919986 / math.sqrt(3)  # of the 90 % interval: two one-sided tests have 0.05 where it touches a margin
    for margin in ((2 - half, 9), (-9, 2 + half)):
        assert resampling.equivalence([1.0, 2.0, 3.0], margin) == pytest.approx(0.05)
    assert np.isnan([resampling.t_mean(few)[1:] for few in ([1.0], [1.0, math.nan])]).all()
    # Holm: 0.01·3, then 0.03·2, and the last no smaller than that
    assert resampling.holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert resampling.holm([0.9, 0.8]) == [1.0, 1.0] and resampling.holm([]) == []


def judged(rng, truth, left_recall, right_recall):
    """Labels of a judge with these recalls."""
    recall = np.where(truth > 0, right_recall, left_recall)
    return np.where(rng.random(truth.shape) < recall, truth, -truth)


def test_means_and_shifts_corrected_by_hand():
    every, some = np.array([1.0, 1.0, 1.0, -1.0]), np.array([1.0, 1.0])
    mean, low, high = prediction_powered([(every, some, np.array([1.0, -1.0]))])
    assert mean == pytest.approx(0.5 - 1.0) and low < mean < high
    with pytest.raises(DataError, match="two coded"):
        prediction_powered([(every, some[:1], some[:1])])
    left, right = np.array([-1.0] * 9 + [1.0]), np.array([1.0] * 7 + [-1.0] * 3)
    value, low, high = error_corrected((0.6, 0.4, 0.8), left, right)
    assert value == pytest.approx(0.6 / ((0.4 + 0.8) / 2)) and low < 0.4 / 0.6 and high > 0.8 / 0.6
    assert error_corrected((-0.6, -0.8, -0.4), left, right) == pytest.approx((-value, -high, -low))
    assert np.isnan(error_corrected((0.6, 0.4, 0.8), left, left)).all(), "a judge that cannot tell corrects nothing"


@pytest.mark.parametrize("recalls", [(0.95, 0.95), (0.6, 0.9)])
def test_a_prediction_powered_mean_holds_the_truth_whatever_the_judge_is_worth(recalls):
    """Six topics of 40 answers, ten of each coded: true stance 0.7 (answers of a tuned model, near the end)."""
    rng, found = np.random.default_rng(1), []
    for _ in range(400):
        truth = np.where(rng.random((6, 40)) < 0.85, 1.0, -1.0)
        labels = judged(rng, truth, *recalls)
        found.append(prediction_powered([(f, f[:10], y[:10]) for f, y in zip(labels, truth, strict=True)]))
    means, lows, highs = np.array(found).T
    assert np.mean((lows <= 0.7) & (highs >= 0.7)) >= 0.93 and np.mean(means) == pytest.approx(0.7, abs=0.02)
    if min(recalls) > 0.9:
        assert np.mean(highs - lows) < 2 * 2 * np.sqrt((1 - 0.7**2) / 60), "narrower than the codes alone"


@pytest.mark.parametrize("recalls", [(0.95, 0.9), (0.85, 0.9), (0.75, 0.75)])
@pytest.mark.parametrize("shift", [0.2, 1.2])
def test_a_corrected_shift_holds_the_truth(shift, recalls):
    """Of 40 answers, a known share turns right; a changed answer is a new text for the judge."""
    rng, found = np.random.default_rng(2), []
    for _ in range(500):
        first = np.where(rng.random(40) < 0.2, 1.0, -1.0)
        turned = np.where(rng.random(40) < shift / 2 / 0.8, 1.0, first)
        old = judged(rng, first, *recalls)
        new = np.where(first == turned, old, judged(rng, turned, *recalls))
        known = (judged(rng, np.full(40, side), *recalls) for side in (-1.0, 1.0))
        found.append(error_corrected(bootstrap_mean(new - old, span=SHIFT), *known))
    values, lows, highs = np.array([each for each in found if not np.isnan(each[0])]).T
    assert np.mean((lows <= shift) & (shift <= highs)) >= 0.92 and np.median(values) == pytest.approx(shift, abs=0.06)
    assert len(values) > 450, "a judge of this kind is rarely refused"
