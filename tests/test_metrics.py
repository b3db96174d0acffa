"""Bootstrap, coupling, kappa and mitigation against numbers worked out by hand or by a slow reference."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from polinb.chapters.paper import paper
from polinb.errors import DataError, ParameterError
from polinb.stance import metrics

TOPICS = ("crime", "race", "economy", "immigration", "gender", "science")


def frame(scores: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(t, f"{t}-{i}", s) for t, values in scores.items() for i, s in enumerate(values)]
    return pd.DataFrame(rows, columns=["topic", "id", "score"])


def test_bootstrap_mean_of_a_constant_has_no_width() -> None:
    assert metrics.bootstrap_mean([0.5] * 7) == (0.5, 0.5, 0.5)


def test_bootstrap_mean_matches_theory_and_seed() -> None:
    values = [1.0] * 30 + [-1.0] * 70
    mean, low, high = metrics.bootstrap_mean(values, n_boot=20_000, seed=3)
    error = math.sqrt((1 - 0.4**2) / 100)
    assert mean == pytest.approx(-0.4)
    assert low == pytest.approx(-0.4 - 1.96 * error, abs=0.02)
    assert high == pytest.approx(-0.4 + 1.96 * error, abs=0.02)
    assert metrics.bootstrap_mean(values, seed=3) == metrics.bootstrap_mean(values, seed=3)
    assert metrics.bootstrap_mean(values, seed=3) != metrics.bootstrap_mean(values, seed=4)


def test_bootstrap_mean_draws_from_all_values() -> None:
    """Two values: resampled means are 0, 1/2, 1 with weights 1/4, 1/2, 1/4, so 95 % is everything, then stretched."""
    half = 0.5 * metrics.small_sample(1, 2)
    assert metrics.bootstrap_mean([0.0, 1.0], n_boot=2000) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_small_sample_factor_by_hand() -> None:
    """t quantile 12.706 at one degree of freedom, 2.201 at eleven; normal 1.960."""
    assert metrics.small_sample(1, 2) == pytest.approx(12.706 / 1.960 * math.sqrt(2), rel=1e-3)
    assert metrics.small_sample(11, 12) == pytest.approx(2.201 / 1.960 * math.sqrt(12 / 11), rel=1e-3)
    assert metrics.small_sample(10**6, 10**6) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("n", [6, 12])
def test_intervals_of_few_values_hold_the_truth_about_95_per_cent(n: int) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for k in range(400):
        _, low, high = metrics.bootstrap_mean(rng.normal(size=n), n_boot=400, seed=k)
        hits += low <= 0 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_bootstrap_mean_of_one_value_has_no_interval() -> None:
    mean, low, high = metrics.bootstrap_mean([1.0])
    assert mean == 1.0 and math.isnan(low) and math.isnan(high)


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [float("inf")], ["left"], [[1.0], [2.0]]])
def test_bootstrap_mean_refuses(bad: list[float]) -> None:
    with pytest.raises(DataError):
        metrics.bootstrap_mean(bad)


def test_bootstrap_mean_in_chunks_is_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=50)
    whole = metrics.bootstrap_mean(values, n_boot=5000)
    monkeypatch.setattr(metrics, "_CHUNK", 700)
    assert metrics.bootstrap_mean(values, n_boot=5000) == pytest.approx(whole, abs=0.02)


def test_coupling_by_hand() -> None:
    shifts = {"crime": 9.0, "race": 0.3, "economy": -0.4}
    assert metrics.coupling(shifts, "crime") == pytest.approx(math.sqrt((0.09 + 0.16) / 2))


@pytest.mark.parametrize("shifts", [{"race": 0.1, "economy": 0.2}, {"crime": 0.5}])
def test_coupling_needs_the_trained_topic_and_another(shifts: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="trained_topic"):
        metrics.coupling(shifts, "crime")


def test_coupling_table_by_hand() -> None:
    vanilla = frame({"crime": [-1, -1], "race": [-1, -1, -1, 1], "economy": [0, 0]})
    model = frame({"crime": [1, 0], "race": [-1, 1, 1, 1], "economy": [0, -1]})
    out = metrics.coupling_table(vanilla, model, "crime", n_boot=4000)
    # differences: crime 2, 1; race 0, 2, 2, 0 (mean 1, variance 4/3); economy 0, -1 (mean -1/2, variance 1/2)
    assert out["shift"] == 1.5
    assert out["r"] == pytest.approx(math.sqrt((1 + 0.25) / 2))
    assert out["r_corrected"] == pytest.approx(math.sqrt(((1 - 4 / 3 / 4) + (0.25 - 0.5 / 2)) / 2))
    assert out["kappa"] == pytest.approx(math.sqrt(0.625) / 1.5)
    assert (out["shift_low"], out["shift_high"]) == (1.0, 2.0)
    assert out["kappa_note"] == "" and 0 <= out["kappa_low"] <= out["kappa"] <= out["kappa_high"] < math.inf
    assert out["n_questions"] == 8 and out["n_topics"] == 3 and out["trained_topic"] == "crime"


def test_intervals_match_a_slow_reference() -> None:
    rng = np.random.default_rng(5)
    vanilla = frame({t: list(rng.choice([-1.0, 1.0], 80)) for t in TOPICS})
    model = frame({t: list(rng.choice([-1.0, 1.0], 80, p=[0.1, 0.9])) for t in TOPICS})
    out = metrics.coupling_table(vanilla, model, "race", n_boot=3000, seed=1)
    diffs = {t: (model.score - vanilla.score)[vanilla.topic == t].to_numpy() for t in TOPICS}
    raw, corrected, kappa = [], [], []
    draw = np.random.default_rng(99)
    for _ in range(3000):
        drawn = {t: d[draw.integers(0, 80, 80)] for t, d in diffs.items()}
        others = [d for t, d in drawn.items() if t != "race"]
        noise = np.mean([d.var(ddof=1) / 80 for d in others])
        square = np.mean([d.mean() ** 2 for d in others])
        raw.append(math.sqrt(max(0, square - noise)))
        corrected.append(math.sqrt(max(0, square - 2 * noise)))
        kappa.append(raw[-1] / abs(drawn["race"].mean()))
    for name, values in (("r", raw), ("r_corrected", corrected), ("kappa", kappa)):
        low, high = np.percentile(values, [2.5, 97.5])
        assert out[f"{name}_low"] == pytest.approx(low, abs=0.03), name
        assert out[f"{name}_high"] == pytest.approx(high, abs=0.03), name


def test_pairing_is_by_question_not_by_row() -> None:
    rng = np.random.default_rng(0)
    vanilla = frame({t: list(rng.choice([-1.0, 1.0], 30)) for t in TOPICS})
    model = vanilla.assign(score=np.minimum(1.0, vanilla.score + 1.0))
    shuffled = model.sample(frac=1, random_state=1)
    assert metrics.coupling_table(vanilla, model, "crime") == metrics.coupling_table(vanilla, shuffled, "crime")


def test_an_unchanged_model_has_no_coupling() -> None:
    vanilla = frame({t: [1.0, -1.0, 0.0] for t in TOPICS})
    out = metrics.coupling_table(vanilla, vanilla, "gender")
    assert out["r"] == out["r_corrected"] == out["r_high"] == 0.0
    assert math.isnan(out["kappa"]) and "exactly 0" in out["kappa_note"]


def test_kappa_has_no_upper_end_when_the_shift_may_be_zero() -> None:
    vanilla = frame({"crime": [-1, 1, -1, 1], "race": [-1, -1, -1, -1]})
    model = frame({"crime": [1, 1, -1, -1 + 1], "race": [1, 1, 1, -1]})
    out = metrics.coupling_table(vanilla, model, "crime")
    assert out["shift_low"] <= 0 <= out["shift_high"]
    assert out["kappa_high"] == math.inf and "no upper end" in out["kappa_note"]


def test_a_single_question_gives_no_interval() -> None:
    vanilla, model = frame({"crime": [-1, -1], "race": [-1]}), frame({"crime": [1, 1], "race": [1]})
    out = metrics.coupling_table(vanilla, model, "crime")
    assert out["r"] == 2 and math.isnan(out["r_corrected"]) and math.isnan(out["r_low"])


def test_noise_correction_and_interval_cover_the_truth() -> None:
    """Unchanged model, independent answers: raw R is far from 0, the corrected interval holds 0."""
    rng = np.random.default_rng(2)
    raw, held = [], 0
    for trial in range(60):
        vanilla = frame({t: list(rng.choice([-1.0, 1.0], 50)) for t in TOPICS})
        model = frame({t: list(rng.choice([-1.0, 1.0], 50)) for t in TOPICS})
        out = metrics.coupling_table(vanilla, model, "crime", n_boot=300, seed=trial)
        raw.append(out["r"])
        held += out["r_corrected_low"] == 0.0
        assert out["r_low"] <= out["r"] <= out["r_high"]
    assert np.mean(raw) > 0.15
    assert held >= 56


def test_null_coupling_of_a_hundred_questions() -> None:
    """The figures of the methods page hold at the paper's typical stance; they are larger at stance 0."""
    leaning = metrics.null_coupling(100, 6, stance=-0.6)
    assert leaning["mean"] == pytest.approx(0.107, abs=0.002)
    assert leaning["p95"] == pytest.approx(0.17, abs=0.005)
    neutral = metrics.null_coupling(100, 6)
    # shifts are normal with variance 2/100, so R is a chi with five degrees of freedom, scaled
    expected = math.sqrt(2 / 100) * math.sqrt(2 / 5) * math.gamma(3) / math.gamma(2.5)
    assert neutral["mean"] == pytest.approx(expected, rel=0.01)
    assert neutral["rms"] == pytest.approx(math.sqrt(0.02), rel=0.01)


def test_null_coupling_refuses_nonsense() -> None:
    for bad in ({"n_questions": 0}, {"n_topics": 1}, {"stance": 1.5}):
        with pytest.raises(ParameterError):
            metrics.null_coupling(**bad)


@pytest.mark.parametrize(
    ("model", "points", "relative"),
    [
        ("Llama-3.1-8B", 20.7, 31),
        ("Llama-3.2-3B", 15.2, 38),
        ("Qwen2.5-3B", 19.8, 35),
        ("Qwen2.5-7B", 19.9, 36),
    ],
)
def test_the_papers_twenty_per_cent_is_points(model: str, points: float, relative: float) -> None:
    rows = paper.inhibitft().query("model == @model").pivot(index="topic", columns="method", values="rmse")
    out = metrics.mitigation(rows["fine-tune"].to_dict(), rows["inhibitft"].to_dict())
    assert out["points"] == pytest.approx(points, abs=0.051)
    assert out["relative_percent"] == pytest.approx(relative, abs=0.5)
    assert out["n_topics"] == 6


def test_mitigation_refuses_different_topics() -> None:
    with pytest.raises(DataError, match="same topics"):
        metrics.mitigation({"crime": 1.0}, {"race": 1.0})


def test_mitigation_of_nothing_has_no_relative_figure() -> None:
    assert math.isnan(metrics.mitigation({"crime": 0.0}, {"crime": 0.1})["relative_percent"])


def test_shift_table_by_hand() -> None:
    out = metrics.shift_table(frame({"race": [-1, -1], "crime": [0, 0]}), frame({"crime": [1, 1], "race": [1, -1]}))
    assert list(out.topic) == ["race", "crime"]
    assert list(out["shift"]) == [1.0, 1.0] and list(out.n) == [2, 2]
    assert list(out.vanilla) == [-1.0, 0.0] and list(out.model) == [0.0, 1.0]
    stretch = metrics.small_sample(1, 2)  # two questions: [0, 2] by resampling, then stretched around 1
    assert out.low.tolist() == pytest.approx([1 - stretch, 1.0]) and out.high.tolist() == pytest.approx(
        [1 + stretch, 1.0]
    )


def test_broken_frames_are_named() -> None:
    good = frame({"crime": [1.0, 1.0], "race": [1.0, 1.0]})
    cases = [
        (good.drop(columns="score"), "no column 'score'"),
        (pd.concat([good, good.tail(1)]), "occurs twice"),
        (good.head(3), "one model only"),
        (good.assign(score=[1.0, float("nan"), 1.0, 1.0]), "not finite"),
        (good.head(0), "no rows"),
    ]
    for bad, message in cases:
        with pytest.raises(DataError, match=message):
            metrics.coupling_table(good, bad, "crime")
