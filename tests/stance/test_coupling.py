"""Shifts, coupling, spillover, drops and excess: worked out by hand, by a slow reference, and under known truths."""

import math

import numpy as np
import pytest
from oracles import frame

from polinb.chapters.paper import paper
from polinb.data.rows import TOPICS
from polinb.resampling import SHIFT, label_interval
from polinb.stance import coupling
from polinb.stance.coupling import corrected_square, excess, hierarchical_drop, less_training, moments


def test_eq_coupling_by_hand():
    shifts = {"crime": 9.0, "race": 0.3, "economy": -0.4}
    assert coupling.coupling(shifts, "crime") == pytest.approx(math.sqrt((0.09 + 0.16) / 2))
    vanilla = frame({"crime": [-1, -1], "race": [-1, -1, -1, 1], "economy": [0, 0]})
    model = frame({"economy": [0, -1], "crime": [1, 0], "race": [-1, 1, 1, 1]})
    out = coupling.coupling_table(vanilla, model, "crime", draws=4000)
    # differences: crime 2, 1; race 0, 2, 2, 0 (mean 1, variance 4/3); economy 0, -1 (mean -1/2, variance 1/2)
    assert out["shift"] == 1.5 and out["r"] == pytest.approx(math.sqrt((1 + 0.25) / 2))
    assert out["r_corrected"] == pytest.approx(math.sqrt(((1 - 4 / 3 / 4) + (0.25 - 0.5 / 2)) / 2))
    assert out["spillover"] == pytest.approx(math.sqrt(0.625) / 1.5)
    assert out["spillover_high"] == math.inf and 0 <= out["spillover_low"] <= out["spillover"]  # few questions
    table = coupling.shift_table(vanilla, model, 77, seed=5)
    assert list(table.topic) == ["crime", "race", "economy"] and list(table.n) == [2, 4, 2]
    assert list(table.vanilla) == [-1, -0.5, 0] and list(table.model) == [0.5, 0.5, -0.5]
    assert list(table["shift"]) == [1.5, 1, -0.5]
    ends = [label_interval(np.array(moved), SHIFT, len(moved) - 1) for moved in ([2.0, 1], [0.0, 2, 2, 0], [0.0, -1])]
    assert list(zip(table.low, table.high, strict=True)) == ends
    assert (out["shift_low"], out["shift_high"]) == ends[0], "one shift, one interval"


def test_intervals_match_a_slow_reference():
    rng, drawn = np.random.default_rng(5), []
    vanilla = frame({t: list(rng.choice([-1.0, 1.0], 80)) for t in TOPICS})
    model = frame({t: list(rng.choice([-1.0, 1.0], 80, p=[0.1, 0.9])) for t in TOPICS})
    out = coupling.coupling_table(vanilla, model, "race", draws=3000, seed=1)
    others = {t: (model.score - vanilla.score)[vanilla.topic == t].to_numpy() for t in TOPICS}
    own = others.pop("race")
    for _ in range(2000):
        picked = [d[rng.integers(0, 80, 80)] for d in others.values()]
        noise, square = np.mean([(d.var(ddof=1) / 80, d.mean() ** 2) for d in picked], axis=0)
        r = math.sqrt(max(0, square - noise))
        drawn.append((r, math.sqrt(max(0, square - 2 * noise)), r / abs(own[rng.integers(0, 80, 80)].mean())))
    for name, ends in zip(("r", "r_corrected", "spillover"), np.percentile(drawn, [2.5, 97.5], axis=0).T, strict=True):
        assert (out[f"{name}_low"], out[f"{name}_high"]) == pytest.approx(tuple(ends), abs=0.03), name


def test_eq_spillover_has_no_upper_end_when_the_shift_may_be_zero():
    vanilla = frame({"crime": [-1, 1, -1, 1], "race": [-1, -1, -1, -1]})
    model = frame({"crime": [1, 1, -1, 0], "race": [1, 1, 1, -1]})
    out = coupling.coupling_table(vanilla, model, "crime")
    assert out["shift_low"] <= 0 <= out["shift_high"]
    assert out["spillover_high"] == math.inf
    assert coupling.spillover_ratio([0.6, 0.6], [-0.3, 0.0]).tolist() == [2.0, math.inf]
    same = coupling.coupling_table(vanilla, vanilla, "crime")
    assert same["r"] == same["r_corrected"] == same["r_high"] == 0.0 and math.isnan(same["spillover"])


def test_noise_correction_and_interval_cover_the_truth():
    """Unchanged model, independent answers: raw R is far from 0, the corrected interval holds 0."""
    rng, found = np.random.default_rng(2), []
    for trial in range(60):
        vanilla, model = (frame({t: list(rng.choice([-1.0, 1.0], 50)) for t in TOPICS}) for _ in range(2))
        found.append(coupling.coupling_table(vanilla, model, "crime", draws=300, seed=trial))
    assert np.mean([out["r"] for out in found]) > 0.15
    assert sum(out["r_corrected_low"] == 0.0 for out in found) >= 56
    assert all(out["r_low"] <= out["r"] <= out["r_high"] for out in found)


def test_the_papers_twenty_per_cent_is_points():
    for model, points, relative in (("Llama-3.1-8B", 20.7, 31), ("Llama-3.2-3B", 15.2, 38), ("Qwen2.5-3B", 19.8, 35)):
        rows = paper.inhibitft()
        rows = rows[rows["model"] == model].pivot(index="topic", columns="method", values="rmse")
        out = coupling.mitigation(rows["fine-tune"].to_dict(), rows["inhibitft"].to_dict())
        assert out["points"] == pytest.approx(points, abs=0.051)
        assert out["relative_percent"] == pytest.approx(relative, abs=0.5)


def flat(**means):
    """Topic → (conditions, 4 questions) without any noise."""
    return {t: np.repeat(np.array(m, float)[:, None], 4, axis=1) for t, m in means.items()}


def test_a_mixture_that_trains_less_by_hand():
    for shift, at, weights in (
        ([1.0, 0.5], 0.5, [0, 1]),
        ([1.0, 0.5], 0.75, [0.5, 0.5]),
        ([1.0, 0.5], 0.25, [0, 0.5]),  # the vanilla model is a point of the line
        ([1.0, 0.5], 2.0, [2, 0]),  # in a resample: on from the outermost point
        ([1.0, 0.5], -0.5, [0, 0]),
        ([0.5, 0.5], 0.5, [0.5, 0.5]),  # ties share
        ([0.0, 0.0], 0.3, [1 / 3, 1 / 3]),  # no shift at all
    ):
        assert less_training(np.array(shift), at).tolist() == pytest.approx(weights)


def test_eq_corrected_square_by_hand():
    stack = {"a": np.array([[9.0, 9.0]]), "b": np.array([[1.0, 0.0]]), "c": np.array([[2.0, 2.0]])}
    found = moments(stack, None, np.random.default_rng(0))
    # b: mean 0.5, variance 0.5, noise 0.25; c: mean 2, no noise
    assert corrected_square(found, "a")[0, 0] == pytest.approx((0.25 - 0.25 + 4) / 2)
    assert corrected_square(found, "a", 0)[0, 0] == pytest.approx((0.25 + 4) / 2)
    assert corrected_square({t: found[t] for t in "ab"}, "a", 2)[0, 0] == pytest.approx(-0.25), "not cut at 0"


def test_less_noise_is_no_drop_and_a_real_one_is_found():
    """60 % of answers change in one condition, 10 % in the other: roots cut at 0 found a drop in 13 % of studies."""
    rng, found = np.random.default_rng(0), []
    for study in range(150):
        changed = rng.random((6, 2, 16)) < np.array([0.6, 0.1])[:, None]
        values = np.where(changed, rng.choice([-2.0, 2.0], changed.shape), 0.0)
        one, other = ([{t: own[k : k + 1] for t, own in zip("abcdef", values, strict=True)}] for k in (0, 1))
        found.append(hierarchical_drop(one, other, ["a"], 300, study))
    drops = [each["drop"] for each in found]
    assert np.mean([each["low_questions"] > 0 for each in found]) <= 0.025
    assert abs(np.mean(drops)) < 3 * np.std(drops) / math.sqrt(150)
    one, other = ([{t: rng.normal(m, 1, (1, 40)) for t, m in (("a", 1), ("b", r), ("c", r))}] for r in (1, 0.2))
    real = hierarchical_drop(one, other, ["a"], 500, 0)
    assert 0 < real["low_questions"] < real["drop"] == pytest.approx(0.96, abs=0.4)


def test_eq_excess_without_noise():
    """Rows: fine-tune (shift 1, R .8), half of it (.5, .4), then two seeds with shift .5 and R .2 and .3."""
    stack = flat(t=[1.0, 0.5, 0.5, 0.5], u=[0.8, 0.4, 0.2, 0.3])
    found = excess([stack], ["t"], 2, 100, 0)
    # two seeds, .04 − .16 and .09 − .16, drawn with replacement and stretched: t over the normal at 1 degree of
    # freedom, times √2
    half = 0.025 * math.sqrt(2) * 12.706205 / 1.959964
    assert found["excess"] == pytest.approx(-0.095)
    assert (found["low"], found["high"]) == pytest.approx((-0.095 - half, -0.095 + half), rel=1e-5)
    assert found["low_questions"] == found["high_questions"] == pytest.approx(-0.095), "no noise between questions"
    one = excess([{t: v[:3] for t, v in stack.items()}], ["t"], 2, 100, 0)
    assert one["low"] == one["high"] == one["excess"] == pytest.approx(-0.12) and one["seeds"] == 1
    assert (found["shift"], found["r"], found["r_weak"]) == pytest.approx((0.5, math.sqrt(0.065), 0.4))
    assert one["p_no_gain"] == 0.0 and one["inside"]
    for shift in (1.2, -0.1):  # no end of the line, which would be another model than one that trained less
        outside = excess([flat(t=[1.0, 0.5, shift], u=[0.8, 0.4, 0.2])], ["t"], 2, 100, 0)
        assert not outside["inside"] and np.isnan([outside[x] for x in ("excess", "low", "high", "r_weak")]).all()
        assert (outside["shift"], outside["r"]) == pytest.approx((shift, 0.2))
    seeds = [1.35, 0.5, 1.35, 1.35, 1.35]  # at the end of the line: the mean of three 1.35 is above it by its last bit
    assert np.mean(seeds[2:]) > 1.35
    assert excess([flat(t=seeds, u=[0.8, 0.4, 0.2, 0.2, 0.2])], ["t"], 2, 100, 0)["inside"]


def test_excess_of_training_less_covers_0_for_judged_labels():
    """Labels of ±1, and the condition near the line's end, where half of the resamples lie beyond it."""
    rng, found = np.random.default_rng(4), []
    shares, size = np.array([0.25, 0.5, 0.75, 1.0, 0.9]), 40
    for study in range(150):
        stack = {}
        for topic, most in (("t", 0.9), ("u", 0.6), ("v", 0.6), ("w", 0.6)):
            same, base = rng.random((5, size)) < 0.8, rng.random(size)
            draw = np.where(same, base, rng.random((5, size)))
            after = np.where(draw < (0.8 + shares[:, None] * most) / 2, 1, -1)
            stack[topic] = after - np.where(rng.random(size) < 0.4, 1, -1)
        found.append(excess([stack], ["t"], 4, 300, study))
    inside = [one for one in found if one["inside"]]
    assert len(inside) > 100 and np.mean([one["low"] <= 0 <= one["high"] for one in inside]) >= 0.93
    assert abs(np.mean([one["excess"] for one in inside])) < 0.05


def test_hierarchical_drop_without_noise_by_hand():
    first = [flat(t=[1.0, 1.0], u=[0.6, 0.8])]
    second = [flat(t=[1.0, 1.0], u=[0.2, 0.5])]
    # squares of two seeds, .36 and .64, minus .04 and .25. Drawn apart: .355 ± .14 ± .105. Paired, what the sides of a
    # seed share cancels: .32 or .39. Stretched by √2 and by t over the normal at 2 degrees of freedom (one a side) or 1
    for paired, spread, quantile in ((False, 0.245, 4.302653), (True, 0.035, 12.706205)):
        found = hierarchical_drop(first, second, ["t"], 2000, 0, paired)
        assert (found["drop"], found["raw_drop"]) == pytest.approx((0.355, 0.35))
        assert found["low_questions"] == found["high_questions"] == pytest.approx(0.355), "no noise between questions"
        half = spread * math.sqrt(2) * quantile / 1.959964
        assert (found["low"], found["high"]) == pytest.approx((0.355 - half, 0.355 + half), rel=1e-5)
        assert (found["seeds_first"], found["seeds_second"], found["bootstrap_share_no_drop"]) == (2, 2, 0)
    same = hierarchical_drop(first, first, ["t"], 100, 0)
    assert (same["drop"], same["bootstrap_share_no_drop"]) == (0, 1)
    models = [flat(t=[1.0], u=[0.6], v=[0.6]), flat(t=[0.2], u=[1.0], v=[0.2]), flat(t=[0.2], u=[0.2], v=[1.0])]
    zero = [flat(t=[0.0], u=[0.0], v=[0.0])] * 3
    found = hierarchical_drop(models, zero, ["t", "u", "v"], 4000, 0)
    assert found["drop"] == pytest.approx((0.36 + 0.04 + 0.04) / 3)
    # three topics drawn with replacement, stretched at 2 degrees of freedom; least: .04 throughout
    least = found["drop"] - (found["drop"] - 0.04) * math.sqrt(3 / 2) * 4.302653 / 1.959964
    assert found["low"] == pytest.approx(least, rel=1e-5)
    two = hierarchical_drop(models[:2], zero[:2], ["t", "u"], 100, 0)
    assert two["low"] == two["high"] == pytest.approx((0.36 + 0.04) / 2), "two topics: conditional on them"


def test_topics_and_shared_sets_are_counted_once():
    """No true drop, lasting deviations of topics and of sets shared by all topics: only the wider interval holds 0."""
    rng, found = np.random.default_rng(3), []
    for study in range(60):
        sets, first, second = rng.normal(0, 0.1, 3), [], []
        for _ in "tuvw":
            topic = rng.normal(0, 0.1)
            for side, own in ((first, 0.6 + topic + sets), (second, np.full(2, 0.6))):
                side.append({t: own[:, None] + rng.normal(0, 0.2, (len(own), 40)) for t in "tuvw"})
        found.append(hierarchical_drop(first, second, list("tuvw"), 300, study))
    assert sum(each["low"] <= 0 <= each["high"] for each in found) >= 54
    assert sum(each["low_questions"] <= 0 <= each["high_questions"] for each in found) <= 45
