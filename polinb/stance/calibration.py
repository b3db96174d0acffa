"""How far a classifier can be trusted: accuracy, recall, reliability, Brier score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polinb.errors import DataError

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
