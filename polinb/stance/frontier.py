"""Comparisons that a weaker fine-tune cannot win by moving less: arrays in, numbers out, no model.

All differences are per-question scores of an arm minus those of the vanilla model; every arm answers the same
questions, so one draw of questions serves all arms (paired bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from polinb.errors import ParameterError
from polinb.resampling import small_sample

Floats = np.ndarray


def moments(
    stacks: Mapping[str, Floats], draws: int | None, rng: np.random.Generator
) -> dict[str, tuple[Floats, Floats]]:
    """Means and squared standard errors of each arm by topic, exact (``draws=None``) or of resampled questions.

    Args:
        stacks: topic → (arms, questions).

    Returns:
        topic → two arrays (arms, draws); with ``draws=None`` the last axis is 1.
    """
    sizes = {topic: values.shape[1] for topic, values in stacks.items()}
    picks = {t: np.arange(n)[None] if draws is None else rng.integers(0, n, (draws, n)) for t, n in sizes.items()}
    return _picked(stacks, picks)


def corrected(found: Mapping[str, tuple[Floats, Floats]], trained: str, times: int) -> Floats:
    """Noise-corrected R of each arm: the root of the mean of shift² − ``times`` · noise over the other topics.

    ``times`` is 1 for an estimate and 2 within a resample, which adds the sampling noise once more.

    Raises:
        ParameterError: no other topic.
    """
    squares = [mean**2 - times * noise for topic, (mean, noise) in found.items() if topic != trained]
    if not squares:
        raise ParameterError("topics", list(found), f"at least one topic beside {trained}")
    return np.sqrt(np.maximum(np.mean(squares, axis=0), 0.0))


def joint_drop(stacks: Mapping[str, Floats], trained: Sequence[str], draws: int, seed: int) -> dict[str, float]:
    """Mean drop of the noise-corrected R from the first to the second arm of each pair (``results.paired_drop``).

    Args:
        stacks: topic → (2 × pairs, questions) differences: first and second arm of each pair in turn.
        trained: the trained topic of each pair.

    Returns:
        drop, low, high, p_no_drop (share of resamples without a drop), raw_drop (of the R without correction).
    """
    rng = np.random.default_rng(seed)
    exact, drawn = moments(stacks, None, rng), moments(stacks, draws, rng)
    resampled = _mean_drop(drawn, trained, 2)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {
        "drop": float(_mean_drop(exact, trained, 1)[0]),
        "low": float(low),
        "high": float(high),
        "p_no_drop": float((resampled <= 0).mean()),
        "raw_drop": float(_mean_drop(exact, trained, 0)[0]),
    }


def _mean_drop(found: Mapping[str, tuple[Floats, Floats]], trained: Sequence[str], times: int) -> Floats:
    r = [corrected(found, topic, times)[2 * k : 2 * k + 2] for k, topic in enumerate(trained)]
    return np.asarray(np.mean([pair[0] - pair[1] for pair in r], axis=0))


def along(shift: Floats, r: Floats, at: float) -> float:
    """Coupling of "just train less" at the on-topic shift ``at``: linear between neighbouring points and the origin.

    Args:
        shift, r: points of the weaker fine-tunes; the vanilla model (0, 0) is added. Points of equal shift are
            averaged. Beyond the outermost point its coupling stands: no extrapolation.
    """
    x, y = np.append(shift, 0.0), np.append(r, 0.0)
    places, owner = np.unique(x, return_inverse=True)
    return float(np.interp(at, places, np.bincount(owner, y) / np.bincount(owner)))


def excess(
    stacks: Sequence[Mapping[str, Floats]], trained: Sequence[str], weak: int, draws: int, seed: int
) -> dict[str, float]:
    """Coupling of an arm minus that of a weaker fine-tune with the same on-topic shift, mean over seeds and topics.

    Questions are resampled jointly for all arms; where the arm has several seeds these are resampled too. The line of
    the weaker fine-tunes is built anew in each resample, but comes from one training run.

    Args:
        stacks: for each trained topic: tested topic → (arms, questions). The first ``weak`` arms are the fine-tune and
            its early-stopped, lower-rate and interpolated versions, the others the arm's seeds.
        trained: the trained topics.

    Returns:
        excess (below 0: less coupling than training less would have bought), low, high (95 %, questions and seeds),
        low_questions, high_questions (questions only), p_no_gain (share of resamples at or above 0), shift, r, r_weak
        (means), seeds.
    """
    rng = np.random.default_rng(seed)
    exact, drawn = [], []
    for stack, topic in zip(stacks, trained, strict=True):
        exact.append(_excess(moments(stack, None, rng), topic, weak, 1).mean(1))
        drawn.append(_excess(moments(stack, draws, rng), topic, weak, 2)[0])
    point = np.mean(exact, axis=0)[:, 0]
    seeds = min(len(each) for each in drawn)
    picked = rng.integers(0, seeds, (seeds, draws))
    sampled = np.mean([_resampled(each[:seeds], picked, seeds - 1) for each in drawn], axis=0)
    low, high = np.percentile(sampled, [2.5, 97.5])
    near = np.percentile(np.mean([each.mean(0) for each in drawn], axis=0), [2.5, 97.5])
    return {
        "excess": float(point[0]),
        "low": float(low),
        "high": float(high),
        "low_questions": float(near[0]),
        "high_questions": float(near[1]),
        "p_no_gain": float((sampled >= 0).mean()),
        "shift": float(point[1]),
        "r": float(point[2]),
        "r_weak": float(point[3]),
        "seeds": seeds,
    }


def _excess(found: Mapping[str, tuple[Floats, Floats]], trained: str, weak: int, times: int) -> Floats:
    """(4, seeds, draws): excess, shift and R of the arm, and R of the weaker fine-tune."""
    r, shift = corrected(found, trained, times), found[trained][0]
    lines = [
        [along(shift[:weak, k], r[:weak, k], at) for at in shift[weak:, k]] for k in range(r.shape[1])
    ]  # (draws, seeds)
    less = np.array(lines).T
    return np.stack([r[weak:] - less, shift[weak:], r[weak:], less])


def hierarchical_drop(
    first: Sequence[Mapping[str, Floats]],
    second: Sequence[Mapping[str, Floats]],
    trained: Sequence[str],
    draws: int,
    seed: int,
) -> dict[str, float]:
    """Mean R of the ``first`` arms minus that of the ``second``, with topics, seeds and questions resampled.

    Three levels: trained topics (where there are several), then seeds (training seeds or random sets, number k being
    the same seed or set on every topic) within each side, then questions within each tested topic, the same ones for
    all arms. The spread of few seeds and few topics is stretched as in :func:`polinb.stance.metrics.small_sample`.

    Args:
        first, second: for each trained topic: tested topic → (seeds, questions) differences.

    Returns:
        drop, low, high (all levels), low_questions, high_questions (questions only), seeds_first, seeds_second.
    """
    rng = np.random.default_rng(seed)
    topics = list(first[0])
    picks = {t: rng.integers(0, first[0][t].shape[1], (draws, first[0][t].shape[1])) for t in topics}
    point, sides = [], []
    for a, b, topic in zip(first, second, trained, strict=True):
        exact = [corrected(moments(side, None, rng), topic, 1)[:, 0] for side in (a, b)]
        point.append(exact[0].mean() - exact[1].mean())
        sides.append([corrected(_picked(side, picks), topic, 2) for side in (a, b)])
    questions = np.mean([x.mean(0) - y.mean(0) for x, y in sides], axis=0)
    counts = [min(side.shape[0] for side in each) for each in zip(*sides, strict=True)]
    freedom = sum(count - 1 for count in counts)
    seeds = [rng.integers(0, count, (count, draws)) for count in counts]
    every = [
        _resampled(x[: counts[0]], seeds[0], freedom) - _resampled(y[: counts[1]], seeds[1], freedom) for x, y in sides
    ]
    whole = _resampled(np.stack(every), rng.integers(0, len(trained), (len(trained), draws)), len(trained) - 1)
    low, high = np.percentile(whole, [2.5, 97.5])
    near = np.percentile(questions, [2.5, 97.5])
    return {
        "drop": float(np.mean(point)),
        "low": float(low),
        "high": float(high),
        "low_questions": float(near[0]),
        "high_questions": float(near[1]),
        "seeds_first": min(x.shape[0] for x, _ in sides),
        "seeds_second": min(y.shape[0] for _, y in sides),
    }


def _picked(stacks: Mapping[str, Floats], picks: Mapping[str, Floats]) -> dict[str, tuple[Floats, Floats]]:
    """:func:`moments` of given questions: topic → (draws, questions) numbers of the questions picked."""
    out = {}
    for topic, values in stacks.items():
        chosen, n = values[:, picks[topic]], values.shape[1]
        out[topic] = chosen.mean(-1), (chosen.var(-1, ddof=1) / n if n > 1 else np.zeros(chosen.shape[:-1]))
    return out


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
