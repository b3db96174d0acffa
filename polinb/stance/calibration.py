"""How far a judge can be trusted: calibration, agreement of two judges, means corrected with coded answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from polinb.errors import DataError
from polinb.resampling import SHIFT, Floats, cluster_draws, newcombe, percentiles, t_quantile

BINS = 10


def reliability(p_right: Floats, truth: np.ndarray) -> pd.DataFrame:
    """Predicted against observed share of right-leaning texts by ten equal bins of P(right)."""
    place = np.minimum((np.asarray(p_right) * BINS).astype(int), BINS - 1)
    rows = [
        (k / BINS, (k + 1) / BINS, int(own.sum()), float(p_right[own].mean()), float(truth[own].mean()))
        for k in range(BINS)
        if (own := place == k).any()
    ]
    return pd.DataFrame(rows, columns=["low", "high", "n", "p_right", "right"])


def cohen_kappa(first: pd.Series, second: pd.Series, draws: int, seed: int, groups: np.ndarray) -> dict[str, float]:
    """eq-cohen. Agreement of two readers' labels of the same items, and Cohen's κ = (p_o − p_e)/(1 − p_e).

    Args:
        groups: items of one group (two answers to one prompt) are drawn together.

    Returns:
        n, agree (share), and kappa with low and high (95 %, groups resampled); NaN where both readers give one and the
        same label throughout: agreement by chance is then certain.
    """
    names, codes = np.unique(np.concatenate([first, second]).astype(str), return_inverse=True)
    a, b = codes[: len(first)], codes[len(first) :]
    drawn = cluster_draws(groups, draws, np.random.default_rng(seed))
    weights = np.concatenate([np.ones((1, len(a))), drawn])
    weights /= weights.sum(1, keepdims=True)
    observed = weights @ (a == b)
    chance = np.sum([(weights @ (a == k)) * (weights @ (b == k)) for k in range(len(names))], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(chance < 1, (observed - chance) / (1 - chance), np.nan)
    low, high = percentiles(kappa[1:])
    return {"n": len(a), "agree": float((a == b).mean()), "kappa": float(kappa[0]), "low": low, "high": high}


def error_corrected(shift: tuple[float, float, float], left: Floats, right: Floats) -> tuple[float, float, float]:
    """A shift of judged stance divided by how far the judge tells the sides apart (Rogan and Gladen 1978).

    A judge that gives right-leaning text the mean score m_R and left-leaning text m_L turns a true shift s into
    s·(m_R − m_L)/2. This holds where its errors on the answers are those on the known texts.

    Args:
        shift: judged shift with its 95 % interval.
        left, right: the judge's scores (−1, 0, 1) of texts of known side.

    Returns:
        corrected shift with its 95 % interval, from both intervals (Zou and Donner 2008, of shift − R·c); NaN where the
        judge may not tell the sides apart: its contrast c is not clearly above 0.
    """
    contrast, least, most = newcombe((np.asarray(right, float) + 1) / 2, (np.asarray(left, float) + 1) / 2)
    value, low, high = shift
    if not least > 0:
        return np.nan, np.nan, np.nan

    def end(of_shift: float, of_contrast: float, sign: int) -> float:
        product, square = value * contrast, of_contrast * (2 * contrast - of_contrast)
        inside = product**2 - square * of_shift * (2 * value - of_shift)
        return float((product + sign * np.sqrt(max(0.0, inside))) / square) if square > 0 else float("nan")

    # the end of the contrast that lies on the far side: a small contrast makes large shifts, of either sign
    lower = end(low, most if low > 0 else least, -1)
    upper = end(high, least if high > 0 else most, 1)
    found = np.clip([value / contrast, lower, upper], *SHIFT)  # no shift of stance is larger
    return float(found[0]), float(found[1]), float(found[2])


def prediction_powered(strata: Sequence[tuple[Floats, Floats, Floats]]) -> tuple[float, float, float]:
    """Mean of codes over all answers, of which only some were coded, with its 95 % interval (Angelopoulos et al. 2023).

    The judge's mean over all answers plus the mean of code − judge over the coded ones: unbiased whatever the judge
    is worth, and the narrower the better it agrees. The coded are among all, so both means share their draw.

    Args:
        strata: for each, such as a topic, the judge's scores of all its answers, its scores of the coded ones, a random
            sample, and their codes; all from −1 to 1. Strata weigh the same.

    Returns:
        mean, low, high. The spread of the corrections is pooled over strata, with one more correction at either end of
        what is possible: without, a judge that agrees on the few that were coded would pass for perfect.

    Raises:
        DataError: a stratum in which fewer than two answers were coded.
    """
    if min((len(codes) for _, _, codes in strata), default=0) < 2:
        raise DataError("prediction-powered mean: at least two coded answers in every stratum")
    wrong = [np.asarray(codes, float) - some for _, some, codes in strata]
    apart = np.concatenate([off - off.mean() for off in wrong])
    freedom = len(apart) - len(strata)
    spread = (np.square(apart).sum() + np.square(SHIFT).sum()) / (freedom + 2)
    means, variance = [], 0.0
    for (every, some, _), off in zip(strata, wrong, strict=True):
        means.append(every.mean() + off.mean())
        shared = 2 * np.cov(some, off)[0, 1] / len(every)
        variance += spread / len(off) + max(0.0, every.var(ddof=1) / len(every) + shared)
    mean, half = float(np.mean(means)), float(t_quantile(freedom) * np.sqrt(variance) / len(strata))
    return mean, mean - half, mean + half
