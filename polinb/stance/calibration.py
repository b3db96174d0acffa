"""How far a judge can be trusted, and what its labels say once its errors are taken into account.

Accuracy, recall, reliability and Brier score of a classifier; agreement of two judges; shifts corrected with texts
whose side is known, and means corrected with answers that people (or another judge) coded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polinb.errors import DataError
from polinb.resampling import LEVEL, SHIFT, cluster_draws, percentiles, small_sample, stretched

BINS = 10

Floats = NDArray[np.float64]


def out_of_fold(
    fit: Callable[[pd.DataFrame], Any],
    predict: Callable[[Any, Sequence[str]], Floats],
    rows: pd.DataFrame,
    splits: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> Floats:
    """P(right) of each row, from a model that did not see its fold. NaN where the rest holds one side only.

    Args:
        fit: rows → model.
        predict: model and texts → P(right).
        rows: columns ``text``, ``right``, ``topic``.
        splits: (training rows, held-out rows) by position.
    """
    p_right = np.full(len(rows), np.nan)
    for seen, held_out in splits:
        training = rows.iloc[seen]
        if training["right"].nunique() == 2:
            p_right[held_out] = predict(fit(training), list(rows["text"].iloc[held_out]))
    return p_right


def quality(p_right: Floats, rows: pd.DataFrame) -> dict[str, Any]:
    """Accuracy, recall of each side, Brier score and calibration of out-of-fold probabilities.

    Returns:
        ``n``; ``accuracy`` and the same ``by_topic``; ``left_recall`` and ``right_recall``, and ``contrast``,
        their sum minus 1: the factor by which a true difference in stance appears in judged stances;
        ``brier``, mean squared error of P(right); ``ece``, expected calibration error over ``BINS`` equal
        bins of P(right); ``reliability``, a row a bin that holds anything: ``low, high, n, p_right`` (mean),
        ``right`` (share).

    Raises:
        DataError: no row has a probability.
    """
    from sklearn.metrics import brier_score_loss, recall_score

    kept = np.isfinite(p_right)
    if not kept.any():
        raise DataError("no response could be held out and predicted: too few prompts on one of the sides")
    p, truth = p_right[kept], rows["right"].to_numpy(bool)[kept]
    topics = rows["topic"].to_numpy()[kept]
    hit = (p > 0.5) == truth
    left, right = recall_score(truth, p > 0.5, labels=[False, True], average=None, zero_division=np.nan).tolist()
    table = reliability(p, truth)
    return {
        "n": int(kept.sum()),
        "accuracy": float(hit.mean()),
        "by_topic": {str(topic): float(hit[topics == topic].mean()) for topic in dict.fromkeys(topics)},
        "left_recall": left,
        "right_recall": right,
        "contrast": left + right - 1,
        "brier": float(brier_score_loss(truth, p)),
        "ece": calibration_error(table),
        "reliability": table.to_dict("records"),
    }


def reliability(p_right: Floats, truth: NDArray[np.bool_], bins: int = BINS) -> pd.DataFrame:
    """Predicted against observed share of right-leaning texts by equal bins of P(right)."""
    place = np.minimum((np.asarray(p_right) * bins).astype(int), bins - 1)
    rows = [
        (
            k / bins,
            (k + 1) / bins,
            int((place == k).sum()),
            float(p_right[place == k].mean()),
            float(truth[place == k].mean()),
        )
        for k in range(bins)
        if (place == k).any()
    ]
    return pd.DataFrame(rows, columns=["low", "high", "n", "p_right", "right"])


def calibration_error(table: pd.DataFrame) -> float:
    """Expected calibration error: |predicted − observed| of the bins of :func:`reliability`, by their size."""
    return float(np.average(np.abs(table["right"] - table["p_right"]), weights=table["n"]))


# --- two judges, and corrected numbers


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


def corrected_shift(
    moved: Sequence[Floats], known: Mapping[str, Floats], draws: int, seed: int
) -> tuple[float, float, float]:
    """A judged shift with the judge's errors taken out (Rogan and Gladen 1978), and its 95 % interval.

    A judge whose mean scores of texts known to be right and known to be left are m_R and m_L shows a shift at
    (m_R − m_L)/2 of its size; it is divided by that. This presumes that the judge errs on these answers as on the known
    texts: known *model answers* make it hold, reference answers only hope for it.

    Args:
        moved: by topic, differences of judged scores after and before, one a question; topics weigh the same.
        known: the judge's scores of texts of the sides ``left`` and ``right``.

    Returns:
        shift, low, high; all NaN if the known texts do not tell that the judge knows the sides apart. Questions and
        known texts are resampled.
    """
    rng = np.random.default_rng(seed)

    def means(values: Floats) -> Floats:  # (1 + draws,): as they are, and resampled
        picks = rng.integers(0, len(values), (draws, len(values)))
        return np.concatenate([[values.mean()], values[picks].mean(1)])

    shown = np.mean([means(np.asarray(each, float)) for each in moved], axis=0)
    contrast = (means(np.asarray(known["right"], float)) - means(np.asarray(known["left"], float))) / 2
    if np.percentile(contrast, 100 * (1 - LEVEL) / 2) <= 0:
        return (float("nan"),) * 3
    every = shown / contrast
    sizes = [len(each) for each in moved]
    factor = small_sample(sum(sizes) - len(sizes), round(np.mean(sizes)))
    return float(every[0]), *stretched(float(every[0]), every[1:], factor)


def prediction_powered(strata: Sequence[tuple[Floats, Floats, Floats]]) -> tuple[float, float, float]:
    """Mean of codes over all answers, of which only some were coded, with its 95 % interval (Angelopoulos et al. 2023).

    The judge's mean over all answers plus the mean of code − judge over the coded ones: unbiased whatever the judge
    is worth, and the narrower the better it agrees. The coded are among all, so both means share their draw.

    Args:
        strata: for each stratum, such as a topic, the judge's scores of all its answers, its scores of the coded
            ones, and their codes; codes and scores from −1 to 1. Strata weigh the same; the coded are a random sample
            of each.

    Returns:
        mean, low, high. The spread of the corrections is pooled over strata, with one more correction at either end of
        what is possible: without, a judge that agrees on the few that were coded would pass for perfect.

    Raises:
        DataError: a stratum in which fewer than two answers were coded.
    """
    from scipy.stats import t

    if min((len(codes) for _, _, codes in strata), default=0) < 2:
        raise DataError("prediction-powered mean: at least two coded answers in every stratum")
    wrong = [np.asarray(codes, float) - some for _, some, codes in strata]
    mean = float(np.mean([every.mean() + off.mean() for (every, _, _), off in zip(strata, wrong, strict=True)]))
    apart = np.concatenate([off - off.mean() for off in wrong])
    freedom = len(apart) - len(strata)
    spread = (np.square(apart).sum() + np.square(SHIFT).sum()) / (freedom + 2)
    variance = 0.0
    for (every, some, _), off in zip(strata, wrong, strict=True):
        shared = 2 * np.cov(some, off)[0, 1] / len(every)
        variance += spread / len(off) + max(0.0, every.var(ddof=1) / len(every) + shared)
    half = float(t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variance) / len(strata))
    return mean, mean - half, mean + half
