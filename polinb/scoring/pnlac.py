"""Political Neuron Localization through Activation Contrasting: scores → neuron sets. Pure arrays, no model.

Every set is a boolean array of shape (L, F).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from polinb.errors import ParameterError

FLOOR = 0.01
"""Quantile of the model's standard deviations above 0 that none is taken to be below in :func:`normalised`."""


def top_share(score: np.ndarray, gamma: float, pool: str = "model") -> np.ndarray:
    """The top ``gamma`` per cent of neurons by score; ties go to the lower layer and index.

    Args:
        score: (L, F), any finite numbers.
        gamma: per cent of all neurons (``pool="model"``) or of each layer's (``pool="layer"``).

    Raises:
        ParameterError: ``gamma`` outside (0, 100) or ``pool`` unknown.
        ValueError: a score that is not finite.
    """
    if not 0 < gamma < 100:
        raise ParameterError("gamma", gamma, "per cents above 0 and below 100")
    if pool not in ("model", "layer"):
        raise ParameterError("pool", pool, "model, layer")
    if not np.isfinite(score).all():
        raise ValueError("a neuron score is not finite: the models' activations overflowed or hold NaN")
    rows = score.reshape(1, -1) if pool == "model" else score
    keep = round(gamma / 100 * rows.shape[1])
    chosen = np.zeros(rows.shape, dtype=bool)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :keep]
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen.reshape(score.shape)


def normalised(score: np.ndarray, vanilla_std: np.ndarray) -> np.ndarray:
    """Score in units of the vanilla activation's standard deviation, taken to be at least ``FLOOR``'s; (L, F).

    Without the floor a nearly constant neuron would have any score. All 0 where no neuron varies.
    """
    known = vanilla_std[vanilla_std > 0]
    return score / np.maximum(vanilla_std, np.quantile(known, FLOOR)) if known.size else np.zeros_like(score)


def pnlac_score(squared_difference: np.ndarray, tokens: int) -> np.ndarray:
    """eq-score. sqrt(Σ (a_right − a_left)² / Σ |w_1|), root mean square over response tokens (paper 3.2, eq. 1).

    ``squared_difference`` (L, F) is summed over ``tokens`` response tokens, as in
    :class:`polinb.scoring.tracing.Contrast`; the score (L, F) is in units of activation.
    """
    return np.sqrt(squared_difference / tokens)


@dataclass(frozen=True)
class NeuronSets:
    """Political neurons at one γ (paper 3.2)."""

    political: dict[str, np.ndarray]  #: topic → N_t, the top γ % by score
    general: np.ndarray  #: G, the intersection of all N_t

    @property
    def specific(self) -> dict[str, np.ndarray]:
        """S_t = N_t without G."""
        return {topic: chosen & ~self.general for topic, chosen in self.political.items()}

    @property
    def strict(self) -> dict[str, np.ndarray]:
        """Strictly topic-specific neurons: N_t without every other topic's N."""
        return {
            topic: chosen & ~np.any([other for t, other in self.political.items() if t != topic], axis=0)
            for topic, chosen in self.political.items()
        }

    def general_without(self, topic: str) -> np.ndarray:
        """General neurons found without looking at ``topic`` (no leakage of the evaluated topic)."""
        return np.all([chosen for t, chosen in self.political.items() if t != topic], axis=0)


def neuron_sets(scores: Mapping[str, np.ndarray], gamma: float, pool: str = "model") -> NeuronSets:
    """eq-sets. Sets N_t, G and S_t from one score array a topic.

    Raises:
        ParameterError: fewer than two topics (G would be N_t itself).
        ValueError: arrays of different shapes.
    """
    if len(scores) < 2:
        raise ParameterError("topics", list(scores), "at least two topics")
    if len({s.shape for s in scores.values()}) != 1:
        raise ValueError(f"scores differ in shape: { {t: s.shape for t, s in scores.items()} }")
    political = {topic: top_share(score, gamma, pool) for topic, score in scores.items()}
    return NeuronSets(political, np.all(list(political.values()), axis=0))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Share of ``first`` that is also in ``second``; NaN if ``first`` is empty."""
    size = int(first.sum())
    return float((first & second).sum() / size) if size else float("nan")
