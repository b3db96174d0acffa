"""Who carries the change: neuron groups and their shares of a decomposed shift (Yang et al. 2025). Pure arrays.

Oriented numbers are multiplied by ``direction``: +1 where training was meant to raise the projection on w (stance:
chosen = right), −1 where it was meant to lower it (toxicity). Positive is then always the trained way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from polinb.errors import ParameterError
from polinb.resampling import cluster_draws, small_sample, stretched
from polinb.scoring.decompose import Parts

TITLES = {"R": "right-aligned", "L": "left-aligned", "T": "toxic-aligned", "A": "anti-toxic"}
STUDY = {"four groups": 95.1, "top neurons": 4.9}
"""Per cent of the reduction in the abstract of Yang et al. 2025 (arXiv 2411.06424), on its own models and data."""


@dataclass(frozen=True)
class Group:
    """Neurons alike in what they wrote before training."""

    name: str  #: two letters: value vector aligned with w or against it, activation positive or negative on average
    title: str  #: the same in words
    rises: bool  #: whether its activations must grow in magnitude for the trained change (else they must shrink)
    chosen: np.ndarray  #: (L, F) bool


def groups(
    cosine: np.ndarray,
    mean_before: np.ndarray,
    delta: np.ndarray,
    direction: int = 1,
    names: Sequence[str] = ("R", "L"),
) -> dict[str, Group]:
    """Four groups by the signs of cos(v, w) and of the mean activation before training.

    Only neurons whose contribution moved the trained way are in them, as in the study: together they are *all* neurons
    with a positive oriented change.

    Args:
        cosine, mean_before: (L, F); a zero counts as positive.
        delta: change of each neuron's contribution, (L, F).
        direction: the trained way, +1 or −1 along w.
        names: letters of neurons aligned with w and against it; ("T", "A") gives TP, AN, TN, AP.

    Returns:
        Name → group; first the two that must shrink, then the two that must grow.

    Raises:
        ParameterError: ``direction`` is not +1 or −1, or no neuron moved the trained way.
    """
    _direction(direction)
    moved = direction * delta > 0
    if not moved.any():
        raise ParameterError("delta", "no neuron moved the trained way", "a change; are the models the same?")
    found = []
    for letter, along in ((names[0], cosine >= 0), (names[1], cosine < 0)):
        for sign, active in (("P", mean_before >= 0), ("N", mean_before < 0)):
            writes = 1 if (letter == names[0]) == (sign == "P") else -1  # which way its contribution points
            title = f"{TITLES.get(letter, letter)}, {'positive' if sign == 'P' else 'negative'}"
            found.append(Group(letter + sign, title, writes == direction, along & active & moved))
    return {group.name: group for group in sorted(found, key=lambda g: g.rises)}


def top_cosine(cosine: np.ndarray, k: int, side: int = 1) -> np.ndarray:
    """The ``k`` neurons whose value vectors align best with w (``side`` −1: with −w), by cosine alone: (L, F) bool."""
    _direction(side)
    if not 1 <= k <= cosine.size:
        raise ParameterError("probe_top", k, f"1 to {cosine.size}, the number of neurons")
    chosen = np.zeros(cosine.size, dtype=bool)
    chosen[np.argsort(-side * cosine, axis=None, kind="stable")[:k]] = True
    return chosen.reshape(cosine.shape)


def share(delta: np.ndarray, chosen: np.ndarray, direction: int = 1) -> float:
    """eq-share. Share of a set: Σ_{i in set} Δ_i / Σ_{Δ_i > 0} Δ_i with oriented Δ; NaN where nothing moved so."""
    own = direction * delta
    gross = float(own[own > 0].sum())
    return float(own[chosen].sum()) / gross if gross else float("nan")


def shares(
    parts: Parts, sets: Mapping[str, np.ndarray], direction: int = 1, n_boot: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Share of every set in the gross change of all neurons, with bootstrap 95 % intervals over texts.

    In the resamples the gross sum runs over the neurons that are positive on all texts together, so that it is a mean
    over texts like the numerator; choosing them anew would add noise to it alone.

    Returns:
        set, neurons, percent (of all neurons), net (Σ oriented Δ), share (net / gross of the model), low, high,
        gross_share (its positive Δ alone / gross), net_over_gross (within the set).
    """
    _direction(direction)
    own = direction * parts.neurons
    positive = own > 0
    gross = float(own[positive].sum())
    masks = np.stack([*(s.ravel() for s in sets.values()), positive.ravel()], axis=1)
    flat = parts.folds.reshape(len(parts.folds), -1)
    sums = direction * np.stack([flat[:, mask].sum(1, dtype=float) for mask in masks.T], axis=1)  # (folds, sets + 1)
    weights, stretch = _resample(parts.fold_sizes, n_boot, seed)
    drawn = weights @ sums
    rows = []
    for number, (name, chosen) in enumerate(sets.items()):
        inside, net = float(own[chosen & positive].sum()), float(own[chosen].sum())
        value = net / gross if gross else float("nan")
        ratios = np.divide(drawn[:, number], drawn[:, -1], out=np.full(n_boot, np.nan), where=drawn[:, -1] > 0)
        low, high = stretched(value, ratios, stretch)
        parts_of = inside / gross if gross else np.nan, net / inside if inside else np.nan
        rows.append([name, int(chosen.sum()), 100 * float(chosen.mean()), net, value, low, high, *parts_of])
    names = ["set", "neurons", "percent", "net", "share", "low", "high", "gross_share", "net_over_gross"]
    return pd.DataFrame(rows, columns=names)


def held_out_shares(parts: Parts, direction: int = 1, names: Sequence[str] = ("R", "L")) -> pd.DataFrame:
    """Shares of the four groups when they are chosen on one half of the texts and measured on the other.

    Chosen and measured on the same texts the four groups hold all positive changes, so their shares sum to 1 whatever
    happened, noise included. What is left on other texts is what such groups really carry.

    Returns:
        group, same_texts, other_texts (mean of both ways round; NaN for a single text); a last row ``all four``.
    """

    def measured(delta: np.ndarray, by: np.ndarray) -> dict[str, float]:
        found = groups(parts.cosine, parts.mean_before, by, direction, names)
        return {name: share(delta, group.chosen, direction) for name, group in found.items()}

    frame = pd.DataFrame({"same_texts": measured(parts.neurons, parts.neurons), "other_texts": np.nan})
    if len(parts.folds) > 1:
        halves = [np.s_[half::2] for half in (0, 1)]
        one, two = (np.average(parts.folds[half], axis=0, weights=parts.fold_sizes[half]) for half in halves)
        frame["other_texts"] = pd.DataFrame([measured(two, one), measured(one, two)]).mean()
    frame.loc["all four"] = frame.sum(skipna=False)
    return frame.rename_axis("group").reset_index()


def null_share(
    delta: np.ndarray, chosen: np.ndarray, direction: int = 1, scale: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Share of random sets of the same make-up: mean and central 95 % (exact mean and variance, ends as if normal).

    Args:
        delta, chosen: (L, F); a random set has as many neurons in each layer as ``chosen``.
        scale: activation scale of each neuron, (L, F); if given, also as many among the most active 1 % of its layer,
            the next 1 %, the next 2 %, 4 % and so on.

    Random sets may hold neurons of ``chosen``; where it has most of such a class they must, and come close to it.
    """
    own = direction * delta
    gross = float(own[own > 0].sum())
    if not gross:
        return float("nan"), float("nan"), float("nan")
    strata = np.broadcast_to(np.arange(len(delta))[:, None] * 8, delta.shape)
    if scale is not None:
        ranks = np.argsort(np.argsort(-scale, axis=1, kind="stable"), axis=1, kind="stable")
        percent = 100 * (ranks + 1) / delta.shape[1]
        strata = strata + np.maximum(0, np.ceil(np.log2(percent))).astype(int)
    mean = variance = 0.0
    for stratum in np.unique(strata[chosen]):
        here = strata == stratum
        size, drawn = int(here.sum()), int((here & chosen).sum())
        mean += drawn * float(own[here].mean())
        if size > 1:
            variance += drawn * float(own[here].var()) * (size - drawn) / (size - 1)
    half = 1.96 * float(np.sqrt(variance)) / gross
    return mean / gross, mean / gross - half, mean / gross + half


def carriers(delta: np.ndarray, direction: int = 1, part: float = 0.5) -> int:
    """Fewest neurons that together hold ``part`` of the gross change, the largest first; 0 where nothing moved so."""
    own = np.sort((direction * delta).ravel())[::-1]
    gross = np.cumsum(own[own > 0])
    return int(np.searchsorted(gross, part * gross[-1])) + 1 if len(gross) else 0


def totals(parts: Parts, direction: int = 1, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The whole change and what it is made of, oriented.

    Returns:
        part, change (in units of h·w), low, high (bootstrap 95 % over texts), percent (of the measured change).
    """
    _direction(direction)
    weights, stretch = _resample(parts.fold_sizes, n_boot, seed)
    five = parts.fold_parts
    neurons, rest = five[:, :3].sum(1), float(parts.bias.sum()) + parts.embedding
    found = {
        "neurons": (parts.neurons.sum(), neurons),
        "neurons: δm·v": (parts.activation.sum(), five[:, 0]),
        "neurons: m·δv": (parts.value.sum(), five[:, 1]),
        "neurons: δm·δv": (parts.cross.sum(), five[:, 2]),
        "attention": (parts.attention.sum(), five[:, 3]),
        "biases and embedding": (rest, five[:, 4]),
        "measured change": (parts.measured, five.sum(1)),
    }
    rows = []
    for name, (value, by_fold) in found.items():
        own = direction * float(value)
        rows.append([name, own, *stretched(own, weights @ (direction * by_fold), stretch)])
    frame = pd.DataFrame(rows, columns=["part", "change", "low", "high"])
    frame["percent"] = 100 * direction * frame["change"] / parts.measured if parts.measured else float("nan")
    return frame


def by_layer(parts: Parts, direction: int = 1) -> pd.DataFrame:
    """Oriented change written in each layer: layer, part (neurons, attention, biases), value."""
    _direction(direction)
    kinds = {"neurons": parts.neurons.sum(1), "attention": parts.attention}
    kinds |= {"biases": parts.bias} if np.any(parts.bias) else {}
    wide = direction * pd.DataFrame(kinds).iloc[: parts.layer + 1]
    return wide.rename_axis("layer").rename_axis("part", axis=1).stack().rename("value").reset_index()


def _resample(sizes: np.ndarray, n_boot: int, seed: int) -> tuple[np.ndarray, float]:
    """Weights of the folds in each resample (draws, B), summing to 1, and the factor that widens small samples."""
    count = len(sizes)
    drawn = cluster_draws(np.arange(count), n_boot, np.random.default_rng(seed)) * sizes
    stretch = small_sample(count - 1, count) if count > 1 else float("nan")
    return drawn / drawn.sum(1, keepdims=True), stretch


def _direction(direction: int) -> None:
    if direction not in (1, -1):
        raise ParameterError("direction", direction, "1 (training raises the projection) or -1 (it lowers it)")
