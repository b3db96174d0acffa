"""Stance shifts and what they say about coupling: R, its noise correction, spillover, drops, excess. No model here.

Scores are −1 (left), +1 (right), 0 (neither). All models answer the same questions, and all noise is that of the
differences between two answers to one question: one draw of questions serves all models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.errors import DataError, ParameterError
from polinb.resampling import SHIFT, Floats, bootstrap_mean, pairs, percentiles, small_sample
from polinb.wording import with_ends

Stack = Mapping[str, Floats]
"""Topic asked about → differences from the vanilla model, (models, questions)."""
Moments = Mapping[str, tuple[Floats, Floats]]
"""Topic asked about → means and squared standard errors, each (models, draws)."""


def shift_table(vanilla: pd.DataFrame, model: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Stance shift of ``model`` from ``vanilla`` per topic, with a paired 95 % interval.

    Args:
        vanilla, model: columns topic, id, score; one row a question, the same ones in both.

    Returns:
        topic, n, vanilla, model, shift, low, high; topics in the order of ``vanilla``.
    """
    rows = []
    for topic, (before, after) in pairs(vanilla, model).items():
        moved = bootstrap_mean(after - before, draws, seed, SHIFT)
        rows.append([topic, len(before), float(before.mean()), float(after.mean()), *moved])
    return pd.DataFrame(rows, columns=["topic", "n", "vanilla", "model", "shift", "low", "high"])


def coupling(shifts: Mapping[str, float], trained_topic: str) -> float:
    """eq-coupling. Coupling R of a model fine-tuned on ``trained_topic`` (Appendix B.2, "RMSE" in the tables).

    ``R^{t_j} = sqrt( 1/(n-1) * sum_{i != j} (S_M^{t_i} - S_vanilla^{t_i})^2 )``

    Args:
        shifts: topic → stance of the model minus that of the vanilla model, -2 to 2; the trained topic included.

    Raises:
        ParameterError: ``trained_topic`` is not among ``shifts``, or there is no other topic.
    """
    others = [float(shift) for topic, shift in shifts.items() if topic != trained_topic]
    if trained_topic not in shifts or not others:
        raise ParameterError("trained_topic", trained_topic, f"one of at least two topics: {sorted(shifts)}")
    return float(np.sqrt(np.mean(np.square(others))))


def corrected_square(found: Moments, trained: str, times: int = 1) -> Floats:
    """eq-corrected. Noise-corrected R_c² of each model, (models, draws); may be negative, and so is unbiased.

    ``R_c^2 = 1/(n-1) * sum_{i != j} (shift_i^2 - var_i/m_i)``: the squared mean of m differences is too large by
    var/m on average. Models are compared by this square. The root, cut at 0, is for display: it would be the larger
    the noisier a model is.

    Args:
        times: how often the noise is taken off: 1 for an estimate; 2 within a resample, which adds it once more; 0
            gives the square of the paper's R.

    Raises:
        ParameterError: no other topic.
    """
    squares = [mean**2 - times * noise for topic, (mean, noise) in found.items() if topic != trained]
    if not squares:
        raise ParameterError("topics", list(found), f"at least one topic beside {trained}")
    return np.asarray(np.mean(squares, axis=0))


def squares(found: Moments, trained: Sequence[str], times: int = 1) -> Floats:
    """:func:`corrected_square` of models with a trained topic each, (models, draws)."""
    by_topic = {topic: corrected_square(found, topic, times) for topic in set(trained)}
    return np.stack([by_topic[topic][k] for k, topic in enumerate(trained)])


def root(square: Any) -> Any:
    """R of R²; 0 where noise has made the square negative."""
    return np.sqrt(np.maximum(square, 0.0))


def spillover_ratio(r: Any, shift: Any) -> Any:
    """eq-spillover. R/abs(on-topic shift), how much of the wanted shift spills over; infinite where that shift is 0."""
    size = np.abs(np.asarray(shift, float))
    return np.divide(r, size, out=np.full(size.shape, np.inf), where=size > 0)


def coupling_table(
    vanilla: pd.DataFrame, model: pd.DataFrame, trained_topic: str, draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """R, noise-corrected R, on-topic shift and spillover ratio of one fine-tuned model, each with a 95 % interval.

    Questions are resampled within each topic, a question's two answers together. Drawing adds the same noise once more,
    which would push every resampled R upwards, so it is subtracted once from the resampled R and twice from the
    resampled noise-corrected R: each interval is centred on its own estimate.

    Args:
        vanilla, model: as for :func:`shift_table`.

    Returns:
        ``r``, ``r_corrected``, ``shift`` and ``spillover`` (the ratio; NaN where the shift is 0), each with ``…_low``
        and ``…_high``; ``spillover`` has no upper end (inf) where the shift's interval includes 0. With a single
        question on a topic its noise is unknown: NaN.

    Raises:
        DataError: a missing column, a repeated or unmatched question, a score that is not finite.
        ParameterError: ``trained_topic`` has no questions, or no other topic has.
    """
    stacks = {topic: (after - before)[None] for topic, (before, after) in pairs(vanilla, model).items()}
    r = coupling({topic: moved.mean() for topic, moved in stacks.items()}, trained_topic)
    shift, low, high = bootstrap_mean(stacks[trained_topic][0], draws, seed, SHIFT)
    rng = np.random.default_rng(seed)
    drawn, exact = moments(stacks, draws, rng), moments(stacks, None, rng)
    r_drawn = root(corrected_square(drawn, trained_topic)[0])
    r_ends = percentiles(r_drawn)
    corrected = corrected_square(exact, trained_topic)[0, 0], *percentiles(corrected_square(drawn, trained_topic, 2)[0])
    spillover = [float(spillover_ratio(r, shift)) if shift else np.nan, np.nan, np.nan]
    if shift and not np.isnan([*r_ends, low]).any():
        spillover[1:] = percentiles(spillover_ratio(r_drawn, drawn[trained_topic][0][0]))
        if low <= 0 <= high:
            spillover[2] = np.inf
    found = with_ends("r", (r, *r_ends)) | with_ends("r_corrected", root(corrected).tolist())
    return found | with_ends("shift", (shift, low, high)) | with_ends("spillover", spillover)


def mitigation(finetune: Mapping[str, float], condition: Mapping[str, float]) -> dict[str, float]:
    """How much lower R is in ``condition`` than after plain fine-tuning; both map a fine-tuning topic to R.

    Returns:
        means over topics: ``points``, (R_finetune - R_condition) x 100, the paper's "20 %", which is a difference and
        not a share; ``relative_percent``, the same over R_finetune, NaN if one is 0; ``n_topics``.

    Raises:
        DataError: the two do not cover the same topics, or there is none.
    """
    if not finetune or finetune.keys() != condition.keys():
        raise DataError(f"mitigation needs R for the same topics: {sorted(finetune)} against {sorted(condition)}")
    first = np.array(list(finetune.values()))
    drop = first - [condition[topic] for topic in finetune]
    relative = float(np.mean(drop / first)) if np.all(first != 0) else float("nan")
    return {"points": float(drop.mean()) * 100, "relative_percent": relative * 100, "n_topics": float(len(first))}


# --- comparisons of R_c²


def moments(stack: Stack, draws: int | None, rng: np.random.Generator) -> Moments:
    """Means and squared standard errors, exact (``draws=None``) or of resampled questions."""
    return {topic: _moments(chosen) for topic, chosen in _drawn(stack, draws, rng)}


def _drawn(stack: Stack, draws: int | None, rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """Topic and (models, draws, questions): the same questions for all models; without ``draws`` each of them once."""
    for topic, values in stack.items():
        n = values.shape[1]
        picks = np.arange(n)[None] if draws is None else rng.integers(0, n, (draws, n))
        yield topic, values[:, picks]


def _moments(chosen: Floats) -> tuple[Floats, Floats]:
    n = chosen.shape[-1]
    return chosen.mean(-1), chosen.var(-1, ddof=1) / n if n > 1 else np.full(chosen.shape[:-1], np.nan)


def mean_coupling(stack: Stack, trained: Sequence[str], draws: int, seed: int) -> tuple[float, float, float]:
    """Root of the mean R_c² of models with a trained topic each; its interval, questions resampled jointly."""
    rng = np.random.default_rng(seed)
    exact, drawn = moments(stack, None, rng), moments(stack, draws, rng)
    mean, low, high = root([squares(exact, trained).mean(), *percentiles(squares(drawn, trained, 2).mean(0))])
    return float(mean), float(low), float(high)


def less_training(shift: Floats, at: float) -> Floats:
    """Which mixture of weaker fine-tunes has the on-topic shift ``at``: their weights, linear between neighbours.

    The vanilla model, with shift 0, is a point of the line too, and what is missing from a sum of 1 is its weight.
    Points of equal shift share their weight. Beyond the outermost point the line from the vanilla model through that
    point goes on.

    Args:
        shift: (weak,) on-topic shifts.
    """
    places, owner = np.unique(np.append(shift, 0.0), return_inverse=True)
    weights = np.array([np.interp(at, places, place) for place in np.eye(len(places))])
    end = places[-1] if at > places[-1] else places[0]
    if not places[0] <= at <= places[-1] and end != 0:
        weights = np.where(places == end, at / end, 0.0)
    return np.asarray((weights / np.bincount(owner))[owner][:-1])


def excess(stacks: Sequence[Stack], trained: Sequence[str], weak: int, draws: int, seed: int) -> dict[str, float]:
    """eq-excess. R_c² of a condition minus that of a weaker fine-tune with the same on-topic shift, mean over topics.

    The weaker fine-tune is the mixture of neighbouring ones that :func:`less_training` names; its noise is that of the
    mixed differences. Questions are resampled jointly for all conditions, and so are the condition's seeds. The line of
    the weaker fine-tunes is built anew in each resample, but comes from one training run. A condition whose own mean
    shift lies outside the line on some topic has no weaker fine-tune to be compared with: its excess is refused (NaN).

    Args:
        stacks: of each trained topic; the first ``weak`` models are the fine-tune and its early-stopped, lower-rate and
            interpolated versions, the others the condition's seeds.

    Returns:
        excess (below 0: less coupling than training less would have bought), low, high (95 %, questions and seeds),
        low_questions, high_questions (questions only), p_no_gain (share of resamples at or above 0), shift, r, r_weak
        (means; the roots of the mean squares), seeds, inside (whether every topic's line reaches the shift).
    """
    rng = np.random.default_rng(seed)
    exact, drawn, inside = [], [], True
    for stack, topic in zip(stacks, trained, strict=True):
        own = stack[topic].mean(-1)
        line = np.append(own[:weak], 0.0)
        at, rounding = own[weak:].mean(), 1e-9  # the mean of equal seeds is their shift, up to its last bit
        inside &= bool(line.min() - rounding <= at <= line.max() + rounding)
        exact.append(_beside_less(stack, topic, weak, None, rng).mean(1)[:, 0])
        square, _, less = _beside_less(stack, topic, weak, draws, rng)
        drawn.append(square - less)
    square, shift, square_weak = np.mean(exact, axis=0)
    seeds = min(len(each) for each in drawn)
    picked = rng.integers(0, seeds, (seeds, draws))
    sampled = np.mean([_resampled(each[:seeds], picked, seeds - 1) for each in drawn], axis=0)
    found = {"excess": float(square - square_weak), "r_weak": float(root(square_weak))}
    found["low"], found["high"] = percentiles(sampled)
    found["low_questions"], found["high_questions"] = percentiles(np.mean([each.mean(0) for each in drawn], axis=0))
    found["p_no_gain"] = float((sampled >= 0).mean())
    if not inside:
        found = dict.fromkeys(found, float("nan"))
    return {**found, "shift": float(shift), "r": float(root(square)), "seeds": seeds, "inside": inside}


def _beside_less(stack: Stack, trained: str, weak: int, draws: int | None, rng: np.random.Generator) -> Floats:
    """(3, seeds, draws): R_c² and on-topic shift of the condition, R_c² of the weaker fine-tune."""
    chosen, times = dict(_drawn(stack, draws, rng)), 1 if draws is None else 2
    shift = chosen[trained].mean(-1)
    mix = np.array([[less_training(x, at) for x, at in zip(shift[:weak].T, own, strict=True)] for own in shift[weak:]])
    condition, less = {}, {}
    for topic, values in chosen.items():
        condition[topic] = _moments(values[weak:])
        less[topic] = _moments(np.einsum("sdw,wdn->sdn", mix, values[:weak], optimize=True))
    r, r_less = (corrected_square(found, trained, times) for found in (condition, less))
    return np.stack([r, shift[weak:], r_less])


FEWEST_TOPICS = 3
"""Trained topics whose spread says something about others; with fewer, an interval is conditional on them."""


def hierarchical_drop(
    first: Sequence[Stack], second: Sequence[Stack], trained: Sequence[str], draws: int, seed: int, paired: bool = False
) -> dict[str, float]:
    """Mean drop of R_c² from the ``first`` conditions to the ``second``, with topics, seeds and questions resampled.

    Three levels: trained topics where there are at least :data:`FEWEST_TOPICS`, then seeds within each side (number k
    is the same training seed or random set on every topic), then questions within each tested topic, the same ones for
    all conditions. The spread of few seeds and topics is stretched by :func:`polinb.resampling.small_sample`.

    Args:
        first, second: of each trained topic; the models are the seeds.
        paired: seed k of one side is seed k of the other (the same order of the data), so both are drawn together,
            where both sides have as many.

    Returns:
        drop, low, high (all levels), low_questions, high_questions (questions only), bootstrap_share_no_drop (share of
        resamples of questions without a drop), raw_drop (of the R without correction), seeds_first, seeds_second.
    """
    rng, n = np.random.default_rng(seed), len(trained)
    groups = [*first, *second]
    stack = {topic: np.concatenate([group[topic] for group in groups]) for topic in first[0]}
    seeds = [len(next(iter(group.values()))) for group in groups]
    owner = np.repeat([*trained, *trained], seeds).tolist()
    exact, drawn = moments(stack, None, rng), moments(stack, draws, rng)

    def sides(values: Floats) -> list[tuple[Floats, Floats]]:  # (models, draws) → (seeds, draws) twice, a trained topic
        parts = np.split(values, np.cumsum(seeds)[:-1])
        return list(zip(parts[:n], parts[n:], strict=True))

    def gap(values: Floats) -> Floats:
        return np.mean([x.mean(0) - y.mean(0) for x, y in sides(values)], axis=0)

    squared = squares(drawn, owner, 2)
    a, b = min(seeds[:n]), min(seeds[n:])
    if paired and a == b:
        both = rng.integers(0, a, (a, draws))
        every = [_resampled(x[:a] - y[:a], both, a - 1) for x, y in sides(squared)]
    else:
        one, two = (rng.integers(0, count, (count, draws)) for count in (a, b))
        every = [_resampled(x[:a], one, a + b - 2) - _resampled(y[:b], two, a + b - 2) for x, y in sides(squared)]
    whole, near = np.stack(every), gap(squared)
    found = {"drop": float(gap(squares(exact, owner))[0])}
    many = n >= FEWEST_TOPICS
    sampled = _resampled(whole, rng.integers(0, n, (n, draws)), n - 1) if many else whole.mean(0)
    found["low"], found["high"] = percentiles(sampled)
    found["low_questions"], found["high_questions"] = percentiles(near)
    found["bootstrap_share_no_drop"] = float((near <= 0).mean())
    found["raw_drop"] = float(gap(root(squares(exact, owner, 0)))[0])
    return {**found, "seeds_first": a, "seeds_second": b}


def _resampled(values: Floats, picked: Floats, freedom: int) -> Floats:
    """Mean over units picked with replacement, (units, draws) → (draws,); deviations stretched for so few units.

    Args:
        picked: (units, draws), the units of each resample.
        freedom: degrees of freedom of the stretch.
    """
    n, draws = values.shape
    middle = values.mean(0)
    wide = small_sample(freedom, n) if n > 1 else 1.0
    return np.asarray(middle + wide * (values[picked, np.arange(draws)[None]].mean(0) - middle))
