"""How far a judge can be trusted: calibration, and agreement of two judges."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polinb.resampling import cluster_draws, percentiles

BINS = 10

Floats = NDArray[np.float64]


def reliability(p_right: Floats, truth: NDArray[np.bool_], bins: int = BINS) -> pd.DataFrame:
    """Predicted against observed share of right-leaning texts by equal bins of P(right)."""
    place = np.minimum((np.asarray(p_right) * bins).astype(int), bins - 1)
    rows = [
        (k / bins, (k + 1) / bins, int(own.sum()), float(p_right[own].mean()), float(truth[own].mean()))
        for k in range(bins)
        if (own := place == k).any()
    ]
    return pd.DataFrame(rows, columns=["low", "high", "n", "p_right", "right"])


def calibration_error(table: pd.DataFrame) -> float:
    """Expected calibration error: |predicted − observed| of the bins of :func:`reliability`, by their size."""
    return float(np.average(np.abs(table["right"] - table["p_right"]), weights=table["n"]))


def cohen_kappa(
    first: np.ndarray, second: np.ndarray, draws: int, seed: int, groups: np.ndarray | None = None
) -> tuple[float, float, float]:
    """eq-cohen. Cohen's κ = (p_o − p_e)/(1 − p_e) of two lists of labels, with a 95 % interval from resampled items.

    Items of one of ``groups`` (two answers to one prompt) are drawn together.

    NaN where both judges give one and the same label throughout: agreement by chance is then certain.
    """
    rng = np.random.default_rng(seed)
    names, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    a, b = codes[: len(first)], codes[len(first) :]
    drawn = cluster_draws(groups if groups is not None else np.arange(len(a)), draws, rng)
    weights = np.concatenate([np.ones((1, len(a))), drawn])
    weights = weights / weights.sum(1, keepdims=True)
    observed = weights @ (a == b)
    chance = np.sum([(weights @ (a == k)) * (weights @ (b == k)) for k in range(len(names))], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(chance < 1, (observed - chance) / (1 - chance), np.nan)
    return float(kappa[0]), *percentiles(kappa[1:])
