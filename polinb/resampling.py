"""Pairing of questions, 95 % intervals of means and shares, and tests: each defined once. Arrays in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.errors import DataError, ParameterError

LEVEL = 0.95
Z = 1.959963984540054  # normal quantile of LEVEL
Span = tuple[float, float]
STANCE: Span = (-1.0, 1.0)
"""Smallest and largest score of a judge's label (−1, 0, +1)."""
SHIFT: Span = (-2.0, 2.0)
"""… of a difference of two scores."""
SHARE: Span = (0.0, 1.0)
"""… of a yes or no."""
CHANGE: Span = (-1.0, 1.0)
"""… of a difference of two of these."""

Floats = np.ndarray
_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)  # where labels and their differences lie in their span


# --- pairing


def pairs(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, tuple[Floats, Floats]]:
    """Topic, in the order of ``before`` → its scores before and its scores after, of questions ordered by id.

    Args:
        before, after: columns topic, id, score; one row a question, the same questions in both.

    Raises:
        DataError: a missing column, a repeated question, one that only one side has, a score that is not finite.
    """
    first, second = _scores(before, "before"), _scores(after, "after")
    if single := first.keys() ^ second.keys():
        topic, name = min(single)
        side = "before" if (topic, name) in first else "after"
        raise DataError(
            f"{len(single)} questions have one score of two; first: topic {topic!r}, id {name!r} "
            f"(only {side}). Both tables must hold the same questions"
        )
    both: dict[str, list[tuple[float, float]]] = {topic: [] for topic, _ in first}
    for question in sorted(first):
        both[question[0]].append((first[question], second[question]))
    return {topic: tuple(np.array(scores).T) for topic, scores in both.items()}


def differences(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Floats]:
    """Score after minus score before of every question, by topic (topics and questions sorted); see :func:`pairs`."""
    found = pairs(before, after)
    return {str(topic): found[topic][1] - found[topic][0] for topic in sorted(found)}


def changes(before: pd.Series, after: pd.Series) -> pd.Series:
    """After minus before, both indexed by question, where some may have no value (NaN stays NaN).

    Raises:
        DataError: a question that only one of them has.
    """
    single = before.index.symmetric_difference(after.index)
    if len(single):
        raise DataError(f"{len(single)} questions stand in one of two tables; first: {single[0]}")
    return after - before


def only_asked(frame: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``frame`` whose topic and id are in ``asked``: where fewer questions were put to the other side."""
    return frame.merge(asked[["topic", "id"]], on=["topic", "id"])


def per_question(parts: Sequence[dict[str, Floats]]) -> list[Floats]:
    """Mean over models of each question's difference, by topic: resampling these keeps shared questions together."""
    topics = dict.fromkeys(t for part in parts for t in part)
    return [np.mean([part[t] for part in parts if t in part], axis=0) for t in topics]


def _scores(frame: pd.DataFrame, side: str) -> dict[tuple[str, Any], float]:
    """(topic, id) → score; plain Python, which is faster than pandas with some hundred questions."""
    missing = [name for name in ("topic", "id", "score") if name not in frame.columns]
    if missing or frame.empty:
        raise DataError(f"scores {side}: {'no rows' if not missing else f'no column {missing[0]!r}'}")
    questions = list(zip(frame["topic"].tolist(), frame["id"].tolist(), strict=True))
    found = dict(zip(questions, finite(frame["score"], f"score {side}").tolist(), strict=True))
    if len(found) < len(questions):
        topic, name = next(question for question, times in Counter(questions).items() if times > 1)
        raise DataError(f"scores {side}: topic {topic!r}, id {name!r} occurs twice")
    return found


def finite(values: Sequence[float] | pd.Series | Floats, name: str) -> Floats:
    """``values`` as a flat array of numbers.

    Raises:
        DataError: none, not flat, or one that is no finite number.
    """
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


# --- intervals


def bootstrap_mean(
    values: Sequence[float] | pd.Series | Floats, draws: int = 1000, seed: int = 0, span: Span | None = None
) -> tuple[float, float, float]:
    """Mean of ``values`` and its interval: :func:`stratified_mean` of one group."""
    return stratified_mean([finite(values, "values")], draws, seed, span)


def known_mean(
    values: pd.Series | Floats, draws: int = 1000, seed: int = 0, span: Span | None = None, shares: bool = False
) -> tuple[float, float, float]:
    """:func:`bootstrap_mean` of the values that are known, or :func:`share_interval`; NaN where none is."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if not len(known):
        return float("nan"), float("nan"), float("nan")
    return share_interval(known, draws, seed) if shares else bootstrap_mean(known, draws, seed, span)


def stratified_mean(
    groups: Sequence[Floats], draws: int, seed: int, span: Span | None = None, pooled: bool = False
) -> tuple[float, float, float]:
    """Mean of group means with its 95 % interval, values resampled within each group (questions within topics).

    The percentile interval is too narrow for few values (at 8 it misses the truth 12 % of the time, not 5 %), so its
    distance from the mean is stretched by :func:`small_sample`. Labels have :func:`label_interval` instead, which has
    a width where all are alike; the distances of the groups' ends from their means add as squares (MOVER, Zou and
    Donner 2008).

    Args:
        span: where values are labels or differences of two labels, what they can be at least and at most. Means over
            several models are not labels, and are resampled unless all are.
        pooled: the mean of all values instead, so larger groups weigh more.

    Returns:
        mean, low, high in the unit of the values; a group of one value has no interval (NaN).

    Raises:
        ParameterError: no resample.
    """
    if draws < 1:
        raise ParameterError("bootstrap", draws, "at least 1 resample")
    sizes = np.array([len(g) for g in groups])
    weights = sizes / sizes.sum() if pooled else np.full(len(groups), 1 / len(groups))
    means = np.array([g.mean() for g in groups])
    mean = float(np.concatenate(groups).mean() if pooled else means.mean())
    if sizes.min() < 2:
        return mean, float("nan"), float("nan")
    freedom = int(sizes.sum()) - len(sizes)
    if span is not None and np.isin((np.concatenate(groups) - span[0]) / (span[1] - span[0]), _STEPS).all():
        ends = np.array([label_interval(g, span, freedom) for g in groups])
        down, up = (float(np.linalg.norm(weights * (means - ends[:, k]))) for k in (0, 1))
        return mean, mean - down, mean + up
    rng = np.random.default_rng(seed)
    each = np.array([g[rng.integers(0, len(g), (draws, len(g)))].mean(1) for g in groups])
    drawn = weights @ each if pooled else each.mean(0)
    return mean, *stretched(mean, drawn, small_sample(freedom, round(sizes.mean())))


def label_interval(values: Floats, span: Span, freedom: int) -> tuple[float, float]:
    """Interval of a mean of labels, or of paired differences of labels; never of width zero.

    Mean and spread of the values with one more at either end of their ``span`` (Bonett and Price 2012 for paired
    shares, where values are −1, 0, 1; after Agresti and Coull 1998), and Student's t quantile at ``freedom`` degrees of
    freedom. Coverage is simulated in ``tests/stance/test_resampling.py``.
    """
    more = np.append(values, span)
    half = t_quantile(freedom) * more.std() / np.sqrt(len(more))
    return max(span[0], float(more.mean() - half)), min(span[1], float(more.mean() + half))


def share_interval(values: pd.Series | Floats, draws: int, seed: int) -> tuple[float, float, float]:
    """Mean of shares with its interval: :func:`wilson` where all are 0 or 1, else resampled and cut at 0 and 1."""
    shares = finite(values, "shares")
    if len(shares) > 1 and np.isin(shares, (0.0, 1.0)).all():
        return float(shares.mean()), *wilson(float(shares.sum()), len(shares))
    mean, low, high = bootstrap_mean(shares, draws, seed)
    return mean, float(np.maximum(low, 0.0)), float(np.minimum(high, 1.0))


def wilson(right: float, n: float) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927): it holds near 0 and 1 too, where a bootstrap would have no width."""
    if n <= 0:
        return float("nan"), float("nan")
    share = right / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def newcombe(first: Floats, second: Floats) -> tuple[float, float, float]:
    """Share ``first`` minus share ``second`` of *other* items, with its interval (Newcombe 1998, method 10)."""
    one, two = float(np.mean(first)), float(np.mean(second))
    (low1, high1), (low2, high2) = (wilson(float(np.sum(each)), len(each)) for each in (first, second))
    gap = one - two
    down, up = np.hypot(one - low1, high2 - two), np.hypot(high1 - one, two - low2)
    return gap, max(-1.0, gap - float(down)), min(1.0, gap + float(up))


# --- a few runs: Student's t, equivalence, several tests at once


def t_quantile(freedom: int) -> float:
    """Half width, in standard errors, of a 95 % interval by Student's t."""
    from scipy.special import stdtrit  # scipy.stats takes seconds to load

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def t_mean(values: Sequence[float] | pd.Series | Floats) -> tuple[float, float, float]:
    """Mean of few independent values, such as one a trained topic, with Student's t interval; NaN where one is.

    One value has no interval.
    """
    found = np.asarray(values, dtype=float)
    mean = float(found.mean())
    if len(found) < 2 or np.isnan(found).any():
        return mean, float("nan"), float("nan")
    half = t_quantile(len(found) - 1) * float(found.std(ddof=1) / np.sqrt(len(found)))
    return mean, mean - half, mean + half


def t_test(values: Sequence[float] | Floats, at: float = 0.0, *, side: str) -> float:
    """p of "the mean is ``at``"; ``side`` names the alternative: less or greater."""
    from scipy.special import stdtr

    found = np.asarray(values, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):  # values that are all the same
        t = (found.mean() - at) / np.sqrt(found.var(ddof=1) / len(found))
    return float(stdtr(len(found) - 1, t if side == "less" else -t))


def equivalence(values: Sequence[float] | Floats, margin: Span) -> float:
    """p of "the mean lies outside ``margin``": two one-sided tests (TOST; Schuirmann 1987).

    At most 0.05 exactly where the 90 % t interval lies within the margin, which must have been fixed beforehand.

    Raises:
        ParameterError: a margin whose ends are not in order.
    """
    if not margin[0] < margin[1]:
        raise ParameterError("margin", margin, "a lower and a higher end")
    return max(t_test(values, margin[0], side="greater"), t_test(values, margin[1], side="less"))


def holm(p: Sequence[float]) -> list[float]:
    """p adjusted for their number (Holm 1979): each at most 0.05 is a finding, with at most 5 % to have a false one."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(np.asarray(p, float)[order] * np.arange(len(order), 0, -1))
    return [float(x) for x in np.minimum(adjusted, 1.0)]


# --- what the resampling of other statistics needs


def small_sample(freedom: int, n: int) -> float:
    """Factor from a percentile bootstrap interval to one that holds at small samples; 1 as ``n`` grows.

    Student's t quantile at ``freedom`` degrees of freedom over the normal one, times sqrt(n/(n−1)) because resampling
    n values underestimates their spread (Hesterberg 2015, The American Statistician 69, section 4.3).
    """
    return float(t_quantile(freedom) / Z * np.sqrt(n / (n - 1)))


def percentiles(drawn: Floats) -> tuple[float, float]:
    """Ends of the middle 95 % of resampled values, NaN ones left out; NaN where none is known."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    tail = 100 * (1 - LEVEL) / 2
    # an order statistic, not an interpolation: interpolating between inf and inf gives NaN
    method = "linear" if np.isfinite(known).all() else "nearest"
    low, high = np.percentile(known, [tail, 100 - tail], method=method)  # type: ignore[call-overload]
    return float(low), float(high)


def stretched(value: float, drawn: Floats, factor: float) -> tuple[float, float]:
    """:func:`percentiles` with their distances from the estimate ``value`` times ``factor`` (:func:`small_sample`)."""
    low, high = percentiles(drawn)
    return value - factor * (value - low), value + factor * (high - value)


def cluster_draws(owner: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """How often each item is drawn when whole clusters are, (draws, items); ``owner``: (items,) their clusters."""
    names, code = np.unique(owner, return_inverse=True)
    return np.asarray(rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)[:, code])
