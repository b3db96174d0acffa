"""Intervals: what every room that reports a number shares."""

from __future__ import annotations

import numpy as np

LEVEL = 0.95


def small_sample(freedom: int, n: int) -> float:
    """Factor from a percentile bootstrap interval to one that holds at small samples; 1 as ``n`` grows.

    Student's t quantile at ``freedom`` degrees of freedom over the normal one, times sqrt(n/(n−1)) because resampling
    n values underestimates their spread.
    """
    from scipy.stats import norm, t

    tail = (1 + LEVEL) / 2
    return float(t.ppf(tail, freedom) / norm.ppf(tail) * np.sqrt(n / (n - 1)))


def wilson(right: float, n: float, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: it holds near 0 and 1 too, where a bootstrap would have no width."""
    if n < 1:
        return float("nan"), float("nan")
    share = right / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))
