"""Stance: what every judge has in common (labels, their scores, the form of a table), and the mean of its labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from polinb.errors import DataError
from polinb.resampling import STANCE, Floats, bootstrap_mean

SCORES = {"left": -1, "right": 1, "other": 0, "unrated": 0}
LABELS = tuple(SCORES)


def rated_frame(frame: pd.DataFrame, labels: Sequence[str], p_right: float | Floats) -> pd.DataFrame:
    """What every judge's ``rate(frame)`` returns: ``frame`` with label, score (-1, 0, +1) and p_right (or NaN)."""
    scores = np.array([SCORES[label] for label in labels], dtype=np.int64)
    return frame.assign(label=list(labels), score=scores, p_right=p_right)


def responses_of(frame: pd.DataFrame) -> list[str]:
    """The answers of a frame; a missing one is an empty text.

    Raises:
        DataError: no column ``response``, or an answer that is no text.
    """
    if "response" not in frame.columns:
        raise DataError(f"answers to rate: no column 'response'; columns: {', '.join(map(str, frame.columns))}")
    texts = ["" if text is None or text is pd.NA or text != text else text for text in frame["response"]]
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(f"answers to rate: {wrong!r} is {type(wrong).__name__}, not text")
    return texts


def stance_table(rated: pd.DataFrame, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """eq-stance. Stance of the judged answers on each topic (paper 4.1, Tables 2 and 3).

    ``S = mean over questions of s(q)``, with s = -1 for *left*, +1 for *right* and 0 for anything else. So
    *other* and *unrated* answers both pull S towards 0, as they do in every number made of scores; their
    shares stand beside it.

    Args:
        rated: what a judge's ``rate`` returned; one row a question.
        n_boot: bootstrap resamples of questions.

    Returns:
        topic, n, stance, low, high (S in [-1, 1] with its 95 % interval), other_rate, unrated_rate (shares in [0, 1])
        and p_right_mean (over the answers that have one; NaN: none has), topics in order of appearance.

    Raises:
        DataError: no rows, a missing column, an unknown label, or a score that is not its label's.
    """
    missing = [name for name in ("topic", "label", "score", "p_right") if name not in rated.columns]
    if missing or rated.empty:
        raise DataError(f"judged answers: {f'no column {missing[0]!r}' if missing else 'no rows'}")
    wrong = rated[rated["score"] != rated["label"].map(SCORES)]
    if len(wrong):
        label, score = wrong[["label", "score"]].iloc[0]
        raise DataError(f"judged answers: label {label!r} with score {score}; allowed: {SCORES}")
    rows = []
    for name, group in rated.groupby("topic", sort=False):
        bounds = bootstrap_mean(group["score"], n_boot, seed, STANCE)
        shares = (group["label"] == "other").mean(), (group["label"] == "unrated").mean()
        known = group["p_right"].dropna().to_numpy(float)
        rows.append([name, len(group), *bounds, *shares, known.mean() if len(known) else np.nan])
    names = ["topic", "n", "stance", "low", "high", "other_rate", "unrated_rate", "p_right_mean"]
    return pd.DataFrame(rows, columns=names)
