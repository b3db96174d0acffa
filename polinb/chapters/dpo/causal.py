"""Do the groups do what their shares say? What is patched, and what patching or editing changes. Pure tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from polinb.errors import DataError
from polinb.resampling import SHIFT, Span, stratified_mean
from polinb.scoring.shares import Group
from polinb.stance.utility import repetition

BEFORE, AFTER, EVERY, ALL, RANDOM = "before", "after", "every neuron", "all four", "random, as many as all four"


def group_plan(groups: Mapping[str, Group], tops: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """What is patched: each group, groups added up one by one, top neurons, a random set, every neuron.

    Args:
        groups: in the order in which they are added up.
        tops: further sets by name, such as the neurons closest to the probe.

    Returns:
        Name → (L, F) bool; sets without a neuron are left out.
    """
    plan = {name: group.chosen for name, group in groups.items()}
    names, together = list(plan), np.any(list(plan.values()), axis=0)
    for count in range(2, len(names)):
        plan[" + ".join(names[:count])] = np.any([plan[name] for name in names[:count]], axis=0)
    plan |= {ALL: together, **tops, RANDOM: random_like(together, seed), EVERY: np.ones_like(together)}
    return {name: mask for name, mask in plan.items() if mask.any()}


def random_like(chosen: np.ndarray, seed: int = 0) -> np.ndarray:
    """A random set with as many neurons in each layer as ``chosen``, drawn from all neurons of the layer.

    Not drawn outside ``chosen`` as the controls of G are: the groups hold about half of all neurons, and the other half
    are those that moved the other way, which is the opposite of a random set.
    """
    rng = np.random.default_rng(seed)
    out = np.zeros_like(chosen)
    for row, mask in enumerate(chosen):
        out[row, rng.permutation(mask.size)[: int(mask.sum())]] = True
    return out


def edit_name(mode: str, alpha: float) -> str:
    """How tables call an edit."""
    return f"{'mean × (1 ± α)' if mode == 'mean' else 'live × (1 ± α)'}, α = {alpha:g}"


def outcome_table(
    answers: pd.DataFrame,
    n_boot: int = 1000,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    span: Span = SHIFT,
    also: Sequence[str] = (),
    chance: str = "",
) -> pd.DataFrame:
    """What each set does to the answers, against the unpatched model on the same questions.

    Args:
        answers: set, topic, id, response, vanilla_logp, ``score`` (a judge's label as a number, …) and ``soft``
            (such as its probability). One set must be called ``before``.
        sizes: neurons of each set.
        span: of a change of ``score``.
        also: further columns of labels with the same span.
        chance: a set of random neurons, to compare the others with in these columns.

    Returns:
        set, neurons, n, score, shift, low, high (paired with ``before``), soft, soft_low, soft_high (paired shift of
        the soft score), perplexity (of minus the mean ``vanilla_logp``), repetition (mean share of repeated word
        triples); for each of ``also`` its mean, <name>_shift with _low and _high, and with ``chance`` <name>_beyond
        (its mean minus that of ``chance``, paired) with _low and _high.

    Raises:
        DataError: no answers of ``before``, or a set with other questions.
    """
    keys = ["topic", "id"]
    by = {str(name): group.set_index(keys) for name, group in answers.groupby("set", sort=False)}
    asked = by[BEFORE].index if BEFORE in by else pd.MultiIndex.from_arrays([[], []])
    if asked.empty or not asked.is_unique:
        raise DataError(f"answers: the set {BEFORE!r} must hold each question once; sets: {list(by)}")
    for name, own in by.items():
        if not own.index.is_unique or set(own.index) != set(asked):
            raise DataError(f"answers: the set {name!r} does not hold the same questions as {BEFORE!r}")
        by[name] = own.loc[asked]

    def paired(own: pd.DataFrame, other: str, column: str, span: Span | None, name: str = "") -> dict[str, float]:
        ends = [name or "shift", f"{name}_low" if name else "low", f"{name}_high" if name else "high"]
        return dict(zip(ends, _within(own[column] - by[other][column], n_boot, seed, span), strict=True))

    rows = []
    for name, own in by.items():
        row = {"set": name, "neurons": (sizes or {}).get(name, 0), "n": len(own), "score": own["score"].mean()}
        row |= paired(own, BEFORE, "score", span) | paired(own, BEFORE, "soft", None, "soft")
        logp, again = own["vanilla_logp"].dropna().mean(), own["response"].map(repetition).dropna().mean()
        row |= {"perplexity": float(np.exp(-logp)), "repetition": float(again)}
        for label in also:
            row |= {label: own[label].mean(), **paired(own, BEFORE, label, span, f"{label}_shift")}
            row |= paired(own, chance, label, span, f"{label}_beyond") if chance else {}
        rows.append(row)
    return pd.DataFrame(rows)


def _within(moved: pd.Series, n_boot: int, seed: int, span: Span | None) -> tuple[float, float, float]:
    """Mean of the known values with its 95 % interval, questions resampled within topics; NaN where none is known."""
    groups = [part.to_numpy(float) for _, part in moved.dropna().groupby(level="topic", sort=False)]
    if not groups:
        return float("nan"), float("nan"), float("nan")
    if min(map(len, groups)) < 2:
        groups = [moved.dropna().to_numpy(float)]
    return stratified_mean(groups, n_boot, seed, span, pooled=True)
