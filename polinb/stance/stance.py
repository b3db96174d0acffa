"""Stance: the mean of a judge's labels over questions, and one that needs no judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polinb.errors import DataError
from polinb.resampling import STANCE, bootstrap_mean
from polinb.stance.judges import LABELS, SCORES

COLUMNS = ["n", "stance", "low", "high", "other_rate", "unrated_rate", "p_right_mean"]


def stance_table(rated: pd.DataFrame, by: str = "topic", n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """eq-stance. Stance of each group of judged answers (paper 4.1, Tables 2 and 3).

    ``S = mean over questions of s(q)``, with s = -1 for *left*, +1 for *right* and 0 for anything else. So
    *other* and *unrated* answers both pull S towards 0, as they do in every number made of scores; their
    shares stand beside it.

    Args:
        rated: what a judge's ``rate`` returned; one row a question.
        by: column to group by.
        n_boot: bootstrap resamples of questions.
        seed: seed of the bootstrap.

    Returns:
        ``by, n, stance, low, high, other_rate, unrated_rate, p_right_mean``, groups in order of appearance:
        number of questions, S in [-1, 1] with its 95 % interval, shares in [0, 1], and the mean of
        the judge's P(right) over the answers that have one (NaN: none has).

    Raises:
        DataError: no rows, a missing column, an unknown label, or a score that is not its label's.
    """
    missing = [name for name in (by, "label", "score", "p_right") if name not in rated.columns]
    if missing or rated.empty:
        raise DataError(f"judged answers: {f'no column {missing[0]!r}' if missing else 'no rows'}")
    strange = sorted(set(map(str, rated["label"])) - set(LABELS))
    if strange:
        raise DataError(f"judged answers: label {strange[0]!r}; allowed: {', '.join(LABELS)}")
    scores = rated["label"].map(SCORES)
    if not (rated["score"] == scores).all():
        raise DataError("judged answers: a score that is not its label's (left -1, right 1, others 0)")
    rows = []
    for name, group in rated.groupby(by, sort=False):
        stance, low, high = bootstrap_mean(group["score"], n_boot, seed, STANCE)
        known = group["p_right"].to_numpy(float)
        known = known[~np.isnan(known)]
        rows.append(
            [
                name,
                len(group),
                stance,
                low,
                high,
                float((group["label"] == "other").mean()),
                float((group["label"] == "unrated").mean()),
                float(known.mean()) if len(known) else float("nan"),
            ]
        )
    return pd.DataFrame(rows, columns=[by, *COLUMNS])


def likelihood_stance(
    logp_right: Sequence[float] | pd.Series | NDArray[np.float64],
    logp_left: Sequence[float] | pd.Series | NDArray[np.float64],
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Stance without a judge: how much likelier the right reference response is than the left one.

    ``S_L = mean over questions of (log p(right response | q) / tokens - log p(left response | q) / tokens)``

    Args:
        logp_right: mean log-probability a token of the right reference response, one value a question, in
            nats.
        logp_left: the same for the left reference response, same questions, same order.

    Returns:
        ``n``, ``stance`` (nats a token; positive: right), ``low`` and ``high`` of its bootstrap 95 % interval
        over questions, ``right_rate``: share of questions whose right response is the likelier one (a tie
        counts half).

    Raises:
        DataError: not the same number of values, none, or one that is not finite.
    """
    right, left = np.asarray(logp_right, dtype=float), np.asarray(logp_left, dtype=float)
    if right.shape != left.shape:
        raise DataError(f"likelihoods: {right.shape} for the right responses, {left.shape} for the left ones")
    gap = right - left
    stance, low, high = bootstrap_mean(gap, n_boot, seed)
    rate = float(((gap > 0) + 0.5 * (gap == 0)).mean())
    return {"n": float(len(gap)), "stance": stance, "low": low, "high": high, "right_rate": rate}
