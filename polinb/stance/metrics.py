"""Numbers about stances: bootstrap intervals, shifts, the coupling R, kappa, mitigation.

Everything here is plain arithmetic on per-question scores (-1 left, +1 right, 0 neither; any finite number
works). Two answers to the same question, one from the vanilla model and one from the model under test, form
a pair, and all noise is computed from the differences within pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polinb.errors import DataError, ParameterError
from polinb.resampling import LEVEL, small_sample

_CHUNK = 4_000_000  # resampled values held at once: about 32 MB whatever n_boot is

Floats = NDArray[np.float64]


def bootstrap_mean(
    values: Sequence[float] | pd.Series | Floats, n_boot: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``values`` with its bootstrap 95 % interval.

    The percentile interval is too narrow for few values (at 8 values it misses the truth 12 % of the time, not 5 %), so
    its distance from the mean is stretched by :func:`small_sample`.

    Returns:
        ``(mean, low, high)`` in the unit of ``values``. One value alone has no interval: low and high are
        NaN.

    Raises:
        DataError: no value, or one that is not finite.
    """
    numbers = _finite(values, "values")
    _check_n_boot(n_boot)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return mean, float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.concatenate([numbers[rows].mean(axis=1) for rows in _resamples(rng, len(numbers), n_boot)])
    low, high = _interval(means)
    stretch = small_sample(len(numbers) - 1, len(numbers))
    return mean, mean - stretch * (mean - low), mean + stretch * (high - mean)


def coupling(shifts: Mapping[str, float], trained_topic: str) -> float:
    """Coupling R of a model fine-tuned on ``trained_topic`` (Appendix B.2, "RMSE" in the tables).

    ``R^{t_j} = sqrt( 1/(n-1) * sum_{i != j} (S_M^{t_i} - S_vanilla^{t_i})^2 )``

    Args:
        shifts: stance of the model minus stance of the vanilla model, per topic, the trained one included;
            unit of the stance, so from -2 to 2.

    Raises:
        ParameterError: ``trained_topic`` is not among ``shifts``, or there is no other topic.
    """
    others = [float(shift) for topic, shift in shifts.items() if topic != trained_topic]
    if trained_topic not in shifts or not others:
        raise ParameterError("trained_topic", trained_topic, f"one of at least two topics: {sorted(shifts)}")
    return float(np.sqrt(np.mean(np.square(others))))


def shift_table(vanilla: pd.DataFrame, model: pd.DataFrame, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Stance shift of ``model`` from ``vanilla`` per topic, with a paired bootstrap 95 % interval.

    Args:
        vanilla: columns ``topic``, ``id``, ``score``; one row a question.
        model: the same questions answered by the other model.

    Returns:
        ``topic, n, vanilla, model, shift, low, high``, topics in the order of ``vanilla``.
    """
    pairs = _pairs(vanilla, model)
    rows = []
    for index, (topic, group) in enumerate(pairs.items()):
        shift, low, high = bootstrap_mean(group["model"] - group["vanilla"], n_boot, seed + index)
        means = group[["vanilla", "model"]].mean()
        rows.append([topic, len(group), float(means["vanilla"]), float(means["model"]), shift, low, high])
    return pd.DataFrame(rows, columns=["topic", "n", "vanilla", "model", "shift", "low", "high"])


def coupling_table(
    vanilla: pd.DataFrame, model: pd.DataFrame, trained_topic: str, n_boot: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """R, noise-corrected R, on-topic shift and kappa of one fine-tuned model, each with a 95 % interval.

    *Noise-corrected R*: a mean of n differences d has the squared sampling noise var(d)/n, so the squared
    shift of an unchanged model is var(d)/n on average, not 0. The correction subtracts it topic by topic
    before averaging, ``R_c^2 = max(0, 1/(n-1) * sum_{i != j} (shift_i^2 - var_i/n_i))``: unbiased before it
    is clipped at 0. The variance is that of the paired differences, because both models answer the same
    questions.

    *Intervals*: questions are drawn with replacement within each topic, a question's two answers together.
    Drawing adds the same noise once more, which would push every resampled R upwards (for an unchanged
    model the plain percentile interval never holds the truth). So the noise is subtracted once from the
    resampled R and twice from the resampled noise-corrected R, which centres each interval on its own
    estimate.

    *kappa* = R/abs(on-topic shift): how much of the wanted shift spills over. It is NaN where the shift is
    exactly 0, and has no upper end (``inf``) where the interval of the shift holds 0; ``kappa_note`` then
    says so.

    Args:
        vanilla: columns ``topic``, ``id``, ``score``; one row a question.
        model: the same questions answered by the model under test.
        trained_topic: the topic it was fine-tuned on.

    Returns:
        ``trained_topic, r, r_low, r_high, r_corrected, r_corrected_low, r_corrected_high, shift, shift_low,
        shift_high, kappa, kappa_low, kappa_high, kappa_note, n_topics, n_questions``. With a single
        question on some topic its noise is unknown and everything that needs it is NaN.

    Raises:
        DataError: a missing column, a repeated or unmatched question, a score that is not finite.
        ParameterError: ``trained_topic`` has no questions, or no other topic has.
    """
    _check_n_boot(n_boot)
    pairs = _pairs(vanilla, model)
    differences = {topic: (group["model"] - group["vanilla"]).to_numpy(float) for topic, group in pairs.items()}
    shifts = {topic: float(values.mean()) for topic, values in differences.items()}
    r = coupling(shifts, trained_topic)  # also refuses a wrong trained_topic
    shift = shifts[trained_topic]
    drawn = _drawn_couplings(differences, trained_topic, n_boot, np.random.default_rng(seed))
    shift_low, shift_high = _interval(drawn["shift"])
    bounds = {name: _interval(drawn[name]) for name in ("r", "r_corrected")}
    kappa, kappa_low, kappa_high, note = _kappa(r, shift, drawn, (shift_low, shift_high))
    return {
        "trained_topic": trained_topic,
        "r": r,
        "r_low": bounds["r"][0],
        "r_high": bounds["r"][1],
        "r_corrected": _corrected(differences, trained_topic),
        "r_corrected_low": bounds["r_corrected"][0],
        "r_corrected_high": bounds["r_corrected"][1],
        "shift": shift,
        "shift_low": shift_low,
        "shift_high": shift_high,
        "kappa": kappa,
        "kappa_low": kappa_low,
        "kappa_high": kappa_high,
        "kappa_note": note,
        "n_topics": len(pairs),
        "n_questions": int(sum(map(len, pairs.values()))),
    }


def null_coupling(
    n_questions: int = 100,
    n_topics: int = 6,
    stance: float | Sequence[float] = 0.0,
    n_sim: int = 20_000,
    seed: int = 0,
) -> dict[str, float]:
    """R of a model that did not change at all, by simulation: both models draw independent +-1 answers.

    Args:
        n_questions: questions a topic.
        n_topics: topics, the trained one included.
        stance: true stance of both models, one number or one for each topic other than the trained one. The
            noise of a mean of +-1 answers is sqrt((1 - stance^2)/n), so it is largest at 0: there R is
            about 0.135 for 100 questions and six topics; at a stance of 0.6, which the paper's models
            resemble, it is about 0.107 (95th percentile about 0.17).

    Returns:
        ``mean``, ``median``, ``p95`` and ``rms`` of R under the null.
    """
    others = n_topics - 1
    stances = np.broadcast_to(np.asarray(stance, float), (others,)) if others > 0 else np.empty(0)
    if n_questions < 1 or others < 1 or n_sim < 1 or np.any(np.abs(stances) > 1):
        raise ParameterError(
            "null_coupling",
            (n_questions, n_topics, n_sim, stance),
            "n_questions, n_sim >= 1, n_topics >= 2, |stance| <= 1",
        )
    rng = np.random.default_rng(seed)
    right = rng.binomial(n_questions, (1 + stances) / 2, size=(2, n_sim, others))
    shift = 2 * (right[1] - right[0]) / n_questions
    r = np.sqrt(np.mean(shift**2, axis=1))
    return {
        "mean": float(r.mean()),
        "median": float(np.median(r)),
        "p95": float(np.percentile(r, 95)),
        "rms": float(np.sqrt(np.mean(r**2))),
    }


def mitigation(finetune: Mapping[str, float], arm: Mapping[str, float]) -> dict[str, float]:
    """How much lower R is in ``arm`` than after plain fine-tuning; both map a fine-tuning topic to R.

    Returns:
        ``points``: mean over topics of (R_finetune - R_arm) x 100, the paper's "20 %", which is a
        difference and not a share; ``relative_percent``: mean over topics of (R_finetune -
        R_arm)/R_finetune x 100, NaN if some R_finetune is 0; ``n_topics``.

    Raises:
        DataError: the two do not cover the same topics, or there is none.
    """
    before, after = dict(finetune), dict(arm)
    if not before or before.keys() != after.keys():
        raise DataError(f"mitigation needs R for the same topics: {sorted(before)} against {sorted(after)}")
    first = _finite(list(before.values()), "fine-tune R")
    drop = first - _finite([after[topic] for topic in before], "arm R")
    relative = float(np.mean(drop / first)) if np.all(first != 0) else float("nan")
    return {
        "points": float(drop.mean()) * 100,
        "relative_percent": relative * 100,
        "n_topics": float(len(before)),
    }


def _drawn_couplings(
    differences: Mapping[str, Floats], trained_topic: str, n_boot: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Resampled r, r_corrected (noise subtracted once, twice) and shift, each of shape (n_boot,)."""
    squares, noise = np.zeros(n_boot), np.zeros(n_boot)
    shift = np.empty(n_boot)
    for topic, values in differences.items():
        means, variances = _drawn_moments(values, n_boot, rng)
        if topic == trained_topic:
            shift = means
        else:
            squares += means**2
            noise += variances / len(values)
    others = len(differences) - 1
    once, twice = ((squares - times * noise) / others for times in (1, 2))
    return {"r": np.sqrt(np.maximum(once, 0)), "r_corrected": np.sqrt(np.maximum(twice, 0)), "shift": shift}


def _drawn_moments(values: Floats, n_boot: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Means and sample variances of ``n_boot`` resamples of ``values``; NaN for a single value."""
    if len(values) < 2:
        return np.full(n_boot, np.nan), np.full(n_boot, np.nan)
    means, variances = [], []
    for rows in _resamples(rng, len(values), n_boot):
        drawn = values[rows]
        means.append(drawn.mean(axis=1))
        variances.append(drawn.var(axis=1, ddof=1))
    return np.concatenate(means), np.concatenate(variances)


def _corrected(differences: Mapping[str, Floats], trained_topic: str) -> float:
    others = [values for topic, values in differences.items() if topic != trained_topic]
    if any(len(values) < 2 for values in others):
        return float("nan")
    squares = [values.mean() ** 2 - values.var(ddof=1) / len(values) for values in others]
    return float(np.sqrt(max(0.0, float(np.mean(squares)))))


def _kappa(
    r: float, shift: float, drawn: Mapping[str, Floats], bounds: tuple[float, float]
) -> tuple[float, float, float, str]:
    nan = float("nan")
    if shift == 0:
        return nan, nan, nan, "undefined: the on-topic shift is exactly 0"
    kappa = r / abs(shift)
    if np.isnan(bounds[0]):
        return kappa, nan, nan, "no interval: a topic has a single question"
    size = np.abs(drawn["shift"])
    ratios = np.divide(drawn["r"], size, out=np.full_like(size, np.inf), where=size > 0)
    low, high = _interval(ratios)
    if bounds[0] <= 0 <= bounds[1]:
        return kappa, low, float("inf"), "no upper end: the interval of the on-topic shift holds 0"
    return kappa, low, high, ""


def _pairs(vanilla: pd.DataFrame, model: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Per topic a frame with columns id, vanilla, model; one row a question, ordered by id."""
    first, second = _scores(vanilla, "vanilla"), _scores(model, "model")
    merged = first.merge(second, on=["topic", "id"], how="outer", indicator=True)
    single = merged[merged["_merge"] != "both"]
    if len(single):
        row = single.iloc[0]
        side = "vanilla" if row["_merge"] == "left_only" else "model"
        raise DataError(
            f"{len(single)} questions were answered by one model only; first: topic {row['topic']!r}, "
            f"id {row['id']!r} ({side} alone). Both frames must hold the same questions"
        )
    order = dict.fromkeys(first["topic"])
    by_id = merged.drop(columns="_merge").sort_values(["topic", "id"], kind="stable")
    return {topic: by_id[by_id["topic"] == topic].reset_index(drop=True) for topic in order}


def _scores(frame: pd.DataFrame, side: str) -> pd.DataFrame:
    missing = [name for name in ("topic", "id", "score") if name not in frame.columns]
    if missing or frame.empty:
        raise DataError(f"scores of {side}: {'no rows' if not missing else f'no column {missing[0]!r}'}")
    repeated = frame.duplicated(["topic", "id"])
    if repeated.any():
        row = frame[repeated].iloc[0]
        raise DataError(f"scores of {side}: topic {row['topic']!r}, id {row['id']!r} occurs twice")
    _finite(frame["score"], f"score of {side}")
    return frame[["topic", "id", "score"]].astype({"score": float}).rename(columns={"score": side})


def _finite(values: Sequence[float] | pd.Series | Floats, name: str) -> Floats:
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name}: not all are numbers") from None
    if numbers.ndim != 1 or numbers.size == 0:
        raise DataError(f"{name}: need a flat, non-empty list of numbers, got shape {numbers.shape}")
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise DataError(f"{name}: number {int(bad[0])} (from 0) is {numbers[bad[0]]}, not finite")
    return numbers


def _check_n_boot(n_boot: int) -> None:
    if n_boot < 1:
        raise ParameterError("n_boot", n_boot, "at least 1 resample")


def _resamples(rng: np.random.Generator, n: int, n_boot: int) -> Iterator[NDArray[np.int64]]:
    """Index blocks of shape (at most _CHUNK // n, n) that add up to ``n_boot`` rows."""
    step = max(1, _CHUNK // n)
    for start in range(0, n_boot, step):
        yield rng.integers(0, n, size=(min(step, n_boot - start), n))


def _interval(drawn: Floats) -> tuple[float, float]:
    if np.isnan(drawn).any():
        return float("nan"), float("nan")
    # an order statistic, not an interpolation: interpolating between inf and inf gives NaN
    tail = 100 * (1 - LEVEL) / 2
    method = "linear" if np.isfinite(drawn).all() else "nearest"
    low, high = np.percentile(drawn, [tail, 100 - tail], method=method)  # type: ignore[call-overload]
    return float(low), float(high)
