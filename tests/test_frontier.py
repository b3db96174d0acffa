"""Equal-shift comparison and hierarchical bootstrap: hand-computed cases, known truths, and nulls."""

import math

import numpy as np
import pytest

from polinb.errors import ParameterError
from polinb.stance.frontier import along, corrected, excess, hierarchical_drop, moments


def flat(**means):
    """Topic → (arms, 4 questions) without any noise."""
    return {t: np.repeat(np.array(m, float)[:, None], 4, axis=1) for t, m in means.items()}


def noisy(rng, size, **means):
    return {t: np.array(m, float)[:, None] + rng.normal(0, 1, (len(m), size)) for t, m in means.items()}


def test_along_by_hand():
    shift, r = np.array([1.0, 0.5]), np.array([0.8, 0.2])
    assert along(shift, r, 0.5) == 0.2 and along(shift, r, 0.75) == pytest.approx(0.5)
    assert along(shift, r, 0.25) == pytest.approx(0.1), "the vanilla model is a point of the line"
    assert along(shift, r, 2.0) == 0.8, "no extrapolation"
    tied = np.array([0.5, 0.5]), np.array([0.3, 0.1])
    assert along(*tied, 0.5) == along(*(x[::-1] for x in tied), 0.5) == pytest.approx(0.2), "ties are averaged"


def test_corrected_by_hand():
    stack = {"a": np.array([[9.0, 9.0]]), "b": np.array([[1.0, 0.0]]), "c": np.array([[2.0, 2.0]])}
    found = moments(stack, None, np.random.default_rng(0))
    # b: mean 0.5, variance 0.5, noise 0.25; c: mean 2, no noise
    assert corrected(found, "a", 1)[0, 0] == pytest.approx(math.sqrt((0.25 - 0.25 + 4) / 2))
    with pytest.raises(ParameterError, match="beside a"):
        corrected({"a": found["a"]}, "a", 1)


def test_excess_without_noise():
    """Rows: fine-tune (shift 1, R .8), half of it (.5, .4), then two seeds of an arm with shift .5 and R .2 and .3."""
    stack = flat(t=[1.0, 0.5, 0.5, 0.5], u=[0.8, 0.4, 0.2, 0.3])
    found = excess([stack], ["t"], 2, 100, 0)
    # two seeds, −.2 and −.1, drawn with replacement and stretched: t over the normal at 1 degree of freedom, times √2
    half = 0.05 * math.sqrt(2) * 12.706205 / 1.959964
    assert found["excess"] == pytest.approx(-0.15)
    assert (found["low"], found["high"]) == pytest.approx((-0.15 - half, -0.15 + half), rel=1e-5)
    assert found["low_questions"] == found["high_questions"] == pytest.approx(-0.15), "no noise between questions"
    one = excess([{t: v[:3] for t, v in stack.items()}], ["t"], 2, 100, 0)
    assert one["low"] == one["high"] == one["excess"] == pytest.approx(-0.2) and one["seeds"] == 1
    assert (found["shift"], found["r"], found["r_weak"]) == pytest.approx((0.5, 0.25, 0.4))
    assert one["p_no_gain"] == 0.0


def test_an_arm_that_only_trains_less_gains_nothing():
    """Raw R is lower for it, the excess is not: its interval holds 0 in most of many simulated studies."""
    rng = np.random.default_rng(0)
    hits, raw = 0, []
    for study in range(60):
        stack = noisy(rng, 40, t=[1.0, 0.5, 0.5], u=[0.8, 0.4, 0.4], v=[0.8, 0.4, 0.4], w=[0.8, 0.4, 0.4])
        found = excess([stack], ["t"], 2, 300, study)
        hits += found["low"] <= 0 <= found["high"]
        raw.append(0.8 - found["r"])
    assert np.mean(raw) > 0.25 and hits >= 52


def test_a_real_gain_is_found():
    rng = np.random.default_rng(1)
    found = [
        excess([noisy(rng, 60, t=[1.0, 0.5, 1.0], u=[0.8, 0.4, 0.1], v=[0.8, 0.4, 0.1])], ["t"], 2, 300, seed)
        for seed in range(20)
    ]
    assert np.mean([f["high"] < 0 for f in found]) > 0.8


def test_hierarchical_drop_without_noise_by_hand():
    first = [flat(t=[1.0, 1.0], u=[0.6, 0.8])]
    second = [flat(t=[1.0, 1.0], u=[0.2, 0.2])]
    found = hierarchical_drop(first, second, ["t"], 2000, 0)
    assert found["drop"] == pytest.approx(0.5)
    assert found["low_questions"] == found["high_questions"] == pytest.approx(0.5), "no noise between questions"
    # two seeds .6 and .8, drawn with replacement: .7 ± .1, minus .2; stretched by √2 and by t over the normal at 2
    # degrees of freedom (one a side): 4.3027 / 1.9600
    half = 0.1 * math.sqrt(2) * 4.302653 / 1.959964
    assert (found["low"], found["high"]) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-5)
    assert (found["seeds_first"], found["seeds_second"]) == (2, 2)


def test_hierarchical_interval_covers_what_question_resampling_misses():
    """No true difference, but each seed has a lasting deviation of its own: only the wider interval holds 0."""
    rng = np.random.default_rng(2)
    wide = narrow = 0
    for study in range(60):
        sides = []
        for _ in range(2):
            own = 0.5 + rng.normal(0, 0.15, 3)
            values = {t: own[:, None] + rng.normal(0, 0.3, (3, 50)) for t in ("t", "u", "v")}
            sides.append([values])
        found = hierarchical_drop(*sides, ["t"], 300, study)
        wide += found["low"] <= 0 <= found["high"]
        narrow += found["low_questions"] <= 0 <= found["high_questions"]
    assert wide >= 54 and narrow <= 45


def test_several_trained_topics_are_resampled():
    one, two = flat(t=[1.0], u=[0.6]), flat(t=[0.2], u=[1.0])
    zero = flat(t=[0.0], u=[0.0])
    found = hierarchical_drop([one, two], [zero, zero], ["t", "u"], 1000, 0)
    assert found["drop"] == pytest.approx(0.4)  # .6 trained on t, .2 trained on u
    # two topics drawn with replacement: .4 ± .2, stretched at 1 degree of freedom
    half = 0.2 * math.sqrt(2) * 12.706205 / 1.959964
    assert (found["low"], found["high"]) == pytest.approx((0.4 - half, 0.4 + half), rel=1e-5)


def test_topics_and_shared_sets_are_counted_once():
    """No true drop, lasting deviations of topics and of sets that every topic shares: the interval holds 0."""
    rng = np.random.default_rng(3)
    held = 0
    for study in range(60):
        sets = rng.normal(0, 0.1, 3)
        first, second = [], []
        for _ in range(4):
            topic = rng.normal(0, 0.1)
            for side, own in ((first, 0.6 + topic + sets), (second, np.full(2, 0.6))):
                side.append({t: own[:, None] + rng.normal(0, 0.2, (len(own), 40)) for t in ("t", "u", "v", "w")})
        found = hierarchical_drop(first, second, ["t", "u", "v", "w"], 300, study)
        held += found["low"] <= 0 <= found["high"]
    assert held >= 54
