"""Linear probes of hidden states: a direction that tells right from left (or toxic from civil), and how well it does.

States are mean residual-stream states over the response tokens of a text (:func:`polinb.scoring.residual.mean_states`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.errors import ParameterError
from polinb.resampling import cluster_draws, small_sample, stretched, wilson
from polinb.scoring.residual import block_index

KINDS = ("logistic", "mean_difference")


def unit_direction(states: np.ndarray, labels: np.ndarray, kind: str = "logistic") -> np.ndarray:
    """eq-probe. The probe's direction w.

    ``logistic``: the gradient of the log-odds of an L2-regularised logistic regression (C = 1, on standardised
    features) with respect to the state. ``mean_difference``: mean of the positive minus mean of the negative states.

    Args:
        states: (n, d_model).
        labels: (n,), True for the positive side (right, toxic).

    Returns:
        (d_model,) float64 of length 1; positive states lie further along it.

    Raises:
        ParameterError: unknown ``kind``, fewer than two texts of a class, a state that is not finite, or classes
            whose mean states are equal.
    """
    return _fit(states, labels, kind)[0]


def layer_direction(states: np.ndarray, labels: np.ndarray, layer: int = -1, kind: str = "logistic") -> np.ndarray:
    """:func:`unit_direction` after one block of states (n, L, d_model); negative numbers count from the last."""
    return unit_direction(states[:, block_index("probe_layer", layer, states.shape[1])], labels, kind)


def held_out_scores(
    states: np.ndarray, labels: np.ndarray, groups: Sequence[Any] | np.ndarray, kind: str = "logistic"
) -> np.ndarray:
    """Score of each text by a probe that never saw its group (topic): (n,), positive means predicted positive.

    ``logistic``: log-odds. ``mean_difference``: projection on the direction from the middle between the two means.

    Raises:
        ParameterError: fewer than two groups, or the others hold fewer than two texts of a class.
    """
    labels, names = np.asarray(labels, dtype=bool), np.asarray(groups)
    distinct = list(dict.fromkeys(names.tolist()))
    if len(distinct) < 2:
        raise ParameterError("groups", distinct, "at least two groups (topics or folds), to leave one out")
    scores = np.full(len(states), np.nan)
    for name in distinct:
        out = names == name
        w, bias, length = _fit(states[~out], labels[~out], kind, f"without group {name!r}: ")
        scores[out] = length * (np.asarray(states[out], dtype=float) @ w) + bias
    return scores


def probe_table(
    states: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[Any] | np.ndarray,
    units: Sequence[Any] | np.ndarray,
    n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Held-out accuracy and AUC of both kinds of probe after every block.

    Args:
        states: (n, L, d_model).
        labels: (n,) bool.
        groups: what is left out together (topics); AUC is taken within each and averaged, so that no group's own
            level can help or hurt.
        units: what is resampled together (prompts, of which both responses are texts). The AUC compares texts of
            different units only: a resample would otherwise count the easier comparison within a prompt twice.

    Returns:
        layer, probe, accuracy, accuracy_low, accuracy_high, auc, auc_low, auc_high (bootstrap 95 %), cosine
        (of the two kinds of direction, fitted on all texts).
    """
    truth, rows = np.asarray(labels, dtype=bool), []
    for layer in range(states.shape[1]):
        own = states[:, layer]
        first, second = (unit_direction(own, truth, kind) for kind in KINDS)
        for kind in KINDS:
            scores = held_out_scores(own, truth, groups, kind)
            rows.append([layer, kind, *_quality(scores, truth, groups, units, n_boot, seed), float(first @ second)])
    ends = [f"{name}{end}" for name in ("accuracy", "auc") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["layer", "probe", *ends, "cosine"])


def _fit(states: np.ndarray, labels: np.ndarray, kind: str, where: str = "") -> tuple[np.ndarray, float, float]:
    """Unit direction, intercept and slope of the score slope·(h·w) + intercept."""
    if kind not in KINDS:
        raise ParameterError("probe", kind, ", ".join(KINDS))
    x, y = np.asarray(states, dtype=float), np.asarray(labels, dtype=bool)
    if x.ndim != 2 or 0 in x.shape:
        raise ParameterError("states", f"shape {x.shape}", "(texts, d_model)")
    if y.shape != (len(x),):
        raise ParameterError("labels", y.shape, f"one a text: ({len(x)},)")
    counts = int((~y).sum()), int(y.sum())
    if min(counts) < 2:
        raise ParameterError(
            "labels", f"{where}{counts[0]} negative and {counts[1]} positive texts", "at least two of each class"
        )
    if not np.isfinite(x).all():
        raise ParameterError("states", f"{where}a value that is not finite", "finite hidden states")
    if kind == "mean_difference":
        high, low = x[y].mean(0), x[~y].mean(0)
        slope, middle = high - low, (high + low) / 2
    else:
        from sklearn.linear_model import LogisticRegression

        # Standardised, because a few coordinates of the residual stream are hundreds of times larger than the rest.
        scale = x.std(0)
        scale[scale == 0] = 1.0
        middle = x.mean(0)
        model = LogisticRegression(C=1.0, max_iter=2000).fit((x - middle) / scale, y)
        slope = model.coef_[0] / scale
    length = float(np.linalg.norm(slope))
    if length == 0:
        raise ParameterError("labels", f"{where}two classes with the same mean state", "classes that differ")
    intercept = -float(middle @ slope) + (float(model.intercept_[0]) if kind == "logistic" else 0.0)
    return slope / length, intercept, length


def _quality(scores: np.ndarray, labels: np.ndarray, groups: Any, units: Any, n_boot: int, seed: int) -> list[float]:
    """Accuracy and AUC, each with its 95 % interval from resampling units within groups."""
    rng = np.random.default_rng(seed)
    names, units = np.asarray(groups), np.asarray(units)
    right = ((scores > 0) == labels).astype(float)
    hits, weights = np.zeros(n_boot), np.zeros(n_boot)
    drawn_areas, areas, sizes = [], [], []
    for name in dict.fromkeys(names.tolist()):
        own = np.flatnonzero(names == name)
        names_of, code = np.unique(units[own], return_inverse=True)
        count = len(names_of)
        drawn = cluster_draws(code, n_boot, rng).astype(float)  # (draws, texts)
        hits, weights = hits + drawn @ right[own], weights + drawn.sum(1)
        truth = labels[own]
        high, low = scores[own][truth][:, None], scores[own][~truth][None]
        wins = (high > low) + 0.5 * (high == low)  # (positives, negatives)
        apart = (code[truth][:, None] != code[~truth][None]).astype(float)
        if apart.any():  # a group with one class or one unit has no AUC
            areas.append(_auc(wins, apart, *(np.ones((1, n)) for n in wins.shape))[0])
            drawn_areas.append(_auc(wins, apart, drawn[:, truth], drawn[:, ~truth]))
        sizes.append(count)
    freedom = sum(sizes) - len(sizes)
    stretch = small_sample(freedom, max(2, round(np.mean(sizes)))) if freedom else float("nan")
    area, drawn_area = float("nan"), np.full(n_boot, np.nan)
    if areas:
        area, drawn_area = float(np.mean(areas)), np.mean(drawn_areas, axis=0)
    count, level = sum(sizes), float(right.mean())
    # all right: a resample would have no spread, so it is units that count
    alike = level in (0.0, 1.0) and freedom > 0
    ends = wilson(level * count, count) if alike else stretched(level, hits / weights, stretch)
    return [level, *np.clip(ends, 0, 1), area, *np.clip(stretched(area, drawn_area, stretch), 0, 1)]


def _auc(wins: np.ndarray, apart: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """AUC of each draw over the pairs that are ``apart``, (positives, negatives); ``high``, ``low``: weights a draw."""
    won, pairs = (np.einsum("dp,pn,dn->d", high, each, low, optimize=True) for each in (wins * apart, apart))
    return np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
