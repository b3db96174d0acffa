"""Ranks of all neurons, one byte each: fine enough for a map and exact at every γ of the explorer's slider.

Level k of a neuron says between which two shares of its pool its rank lies. Every γ is one of the bounds, so "level at
least that of γ" is the same as "in N_t at γ".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polinb.errors import ParameterError
from polinb.scoring.pnlac import neuron_sets

GAMMAS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 50.0)
MOST = 250  # a level must fit into one byte, and the page keeps a few values for itself
FINEST = 0.001  # per cent: about five neurons of the largest model the explorer was made for
OCTAVE = 8  # levels from a share to half of it
UPPER = 3  # the same from 100 to 50 per cent: half of all neurons lie there, and nobody looks for them
NEAR = 0.04  # a bound this close to a γ, as a part of it, is left out


def slider(gamma: float, gammas: Sequence[float] = ()) -> list[float]:
    """Steps of the slider in per cent: a fixed grid and the run's own values, ascending and distinct."""
    return sorted({*GAMMAS, float(gamma), *(float(g) for g in gammas)})


def level_bounds(gammas: Sequence[float]) -> list[float]:
    """Upper bounds of the levels in per cent, strictly falling from 100; every γ is one of them exactly.

    Raises:
        ParameterError: more values of γ than levels.
    """
    finest = min(FINEST, *gammas)
    steps = [100 * 2 ** (-k / UPPER) for k in range(UPPER)]
    steps += [50 * 2 ** (-k / OCTAVE) for k in range(int(OCTAVE * np.log2(50 / finest)) + 1)]
    fixed = {100.0, *gammas}
    free = [float(f"{s:.5g}") for s in steps if all(abs(s - g) > NEAR * g for g in fixed)]
    if len(fixed) > MOST:
        raise ParameterError("gammas", f"{len(gammas)} values", f"at most {MOST - 1 - len(GAMMAS)} different ones")
    return sorted({*fixed, *free[: MOST - len(fixed)]}, reverse=True)


def ranks(score: np.ndarray, pool: str) -> np.ndarray:
    """Rank of each neuron in its pool, 1 the strongest, (L, F); ties as ``pnlac.top_share`` breaks them."""
    from scipy.stats import rankdata

    return rankdata(-_pools(score, pool), "ordinal", axis=1).astype(np.int64).reshape(score.shape)


def levels(score: np.ndarray, bounds: Sequence[float], pool: str) -> np.ndarray:
    """Level of each neuron, (L, F) uint8: the last of the falling ``bounds`` that still holds its rank.

    A bound of s per cent holds ``round(s / 100 * pool size)`` neurons, as in :func:`polinb.scoring.pnlac.top_share`.
    """
    rising = _kept(score, bounds, pool)[::-1]
    held = len(rising) - np.searchsorted(rising, ranks(score, pool), side="left")
    return (held - 1).astype(np.uint8)


def bound_scores(score: np.ndarray, bounds: Sequence[float], pool: str) -> list[float]:
    """For each bound the lowest score inside it (with ``pool="layer"`` over all layers).

    The highest score of all stands for a bound so narrow that it holds no neuron.
    """
    falling = -np.sort(-_pools(score, pool), axis=1)
    kept = _kept(score, bounds, pool)
    return [float(falling[:, n - 1].min() if n else falling.max()) for n in kept]


def set_counts(scores: Mapping[str, np.ndarray], gammas: Sequence[float], pool: str) -> dict[str, dict[str, Any]]:
    """Sizes of G, S_t and the strict sets at each γ, keyed by the γ's place: what the page's own count must equal."""
    out = {}
    for place, gamma in enumerate(gammas):
        sets = neuron_sets(scores, gamma, pool)
        by_topic = {"S": sets.specific, "strict": sets.strict}
        sizes = {name: {t: int(chosen.sum()) for t, chosen in each.items()} for name, each in by_topic.items()}
        out[str(place)] = {"G": int(sets.general.sum()), **sizes}
    return out


def _pools(score: np.ndarray, pool: str) -> np.ndarray:
    return score.reshape(1, -1) if pool == "model" else score


def _kept(score: np.ndarray, bounds: Sequence[float], pool: str) -> list[int]:
    size = _pools(score, pool).shape[1]
    return [round(bound / 100 * size) for bound in bounds]
