"""Likelihood shifts: parts, coupling and its change, equal shift: by hand, with planted truths, coverage simulated."""

import math

import numpy as np
import pandas as pd
import pytest

from polinb.data.rows import TOPICS
from polinb.resampling import t_mean
from polinb.stance import likelihood
from polinb.stance.likelihood import change, equal_shift, part_table, parts, spill


def test_eq_side_and_coupling_by_hand():
    before = pd.DataFrame({"topic": "crime", "id": [0, 1], "logp_left": -1.0, "logp_right": [-0.9, -0.8]})
    after = before.assign(logp_right=[-0.6, -0.9])[::-1]
    assert likelihood.moved(before, after)["crime"] == pytest.approx([0.3, -0.1]), "paired by question"
    side, common = parts({"crime": np.array([0.5, 0.3])}, {"crime": np.array([-0.1, 0.1])})
    assert side["crime"] == pytest.approx([0.3, 0.1]) and common["crime"] == pytest.approx([0.2, 0.2])
    model = {"crime": np.array([0.5, 0.3]), "race": np.array([0.1, 0.5]), "economy": np.array([-0.4, -0.4])}
    row = spill({"crime": model}).iloc[0]
    assert row["own"] == pytest.approx(0.4) and row["others"] == pytest.approx(-0.05)
    assert row["r"] == pytest.approx(math.sqrt((0.09 + 0.16) / 2)) and row["ratio"] == pytest.approx(row["r"] / 0.4)
    less = {t: 0.9 * v for t, v in model.items()}
    table = change({"crime": model, "race": model}, {"crime": less, "race": less}, 50, 0).set_index("measure")
    assert table.loc["r", ["percent", "low", "high"]].to_numpy(float) == pytest.approx(-10)
    assert table.loc["ratio", "percent"] == pytest.approx(0)
    assert math.isnan(spill({"economy": model}).iloc[0]["ratio"]), "no share of a shift to the wrong side"


def test_a_planted_side_and_common_part_are_told_apart():
    """Right adds 0.1 ± 0.06, left 0.1 ∓ 0.06 on other topics; on the trained one ± 0.4."""
    rng = np.random.default_rng(0)
    truth = {("trained topic", "side"): 0.4, ("trained topic", "common"): 0.1, ("other topics", "side"): 0.06}
    held = 0
    for k in range(60):
        shared = {t: rng.normal(0, 0.05, 16) for t in TOPICS}

        def asked(trained, sign, shared=shared):
            own = {t: sign * (0.4 if t == trained else 0.06) for t in TOPICS}
            return {t: 0.1 + side + shared[t] + rng.normal(0, 0.05, 16) for t, side in own.items()}

        right, left = ({trained: asked(trained, sign) for trained in TOPICS} for sign in (1, -1))
        table = part_table(right, left, 300, k).set_index(["cell", "part"])
        held += sum(table.loc[cell, "low"] <= value <= table.loc[cell, "high"] for cell, value in truth.items())
    assert held >= 0.93 * 180


def planted(rng, factor, run, question, n=16):
    """A fine-tune, and a condition whose R is ``factor`` of it up to what training runs and questions do."""
    first, second = {}, {}
    for trained in TOPICS:
        first[trained] = {t: (0.55 if t == trained else 0.2) + rng.normal(0, 0.1, n) for t in TOPICS}
        mine = factor * math.exp(rng.normal(0, run))
        second[trained] = {t: mine * v + rng.normal(0, question, n) for t, v in first[trained].items()}
    return first, second


def test_the_interval_of_a_change_holds_the_truth_and_a_small_one_counts_as_none():
    """The spread between runs and within questions as in the reference run (0.024 nats), and more."""
    rng = np.random.default_rng(3)

    def found(*spread):
        return pd.DataFrame([change(*planted(rng, *spread), 2, k).set_index("measure").loc["r"] for k in range(200)])

    small, at_margin = found(0.964, 0.018, 0.024), found(math.exp(-0.10), 0.018, 0.0)
    assert np.mean((small["low"] <= -3.6) & (small["high"] >= -3.6)) >= 0.93
    assert np.mean(small["percent"]) == pytest.approx(-3.6, abs=0.3)
    assert np.mean(small["p_none"] <= 0.05) >= 0.9 and np.mean(at_margin["p_none"] <= 0.05) <= 0.08


def test_equal_shift_by_hand_and_nothing_outside_the_line():
    line = {"x": np.array([[0.4] * 4, [0.8] * 4]), "y": np.array([[0.3] * 4, [0.4] * 4])}

    def at(**shifts):
        model = {t: np.full(4, shift) for t, shift in shifts.items()}
        return equal_shift({"x": line}, {"x": model}).iloc[0].to_dict()

    found = at(x=0.6, y=0.28)
    assert found["r_line"] == pytest.approx(0.35) and found["log_ratio"] == pytest.approx(math.log(0.8))
    assert at(x=0.2, y=0.15)["log_ratio"] == pytest.approx(0), "from the vanilla model on"
    for own in (0.8001, -0.1, 0.0):
        outside = at(x=own, y=0.3)
        assert not outside["inside"] and math.isnan(outside["r_line"]) and outside["own"] == pytest.approx(own)


def test_equal_shift_is_unbiased_and_holds_the_truth():
    """The old estimator on judged labels was off by as much as its estimate and covered 78 %."""
    rng, true, found = np.random.default_rng(7), -0.1, []
    for _ in range(200):
        lines, models = {}, {}
        for trained in TOPICS:
            whole = {t: (0.55 if t == trained else 0.2) + rng.normal(0, 0.1, 16) for t in TOPICS}
            lines[trained] = {t: np.stack([share * v for share in (0.5, 0.9, 0.95, 1.0)]) for t, v in whole.items()}
            dose = 0.93 * math.exp(rng.normal(0, 0.01))
            models[trained] = {}
            for t, v in whole.items():
                less = 1 if t == trained else math.exp(true + rng.normal(0, 0.02))
                models[trained][t] = dose * v * less + rng.normal(0, 0.024, 16)
        table = equal_shift(lines, models)
        assert table["inside"].all()
        found.append(t_mean(table["log_ratio"]))
    means, lows, highs = np.array(found).T
    assert np.mean((lows <= true) & (true <= highs)) >= 0.92 and np.mean(means) == pytest.approx(true, abs=0.005)
