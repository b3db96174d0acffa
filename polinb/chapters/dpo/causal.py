"""Do the groups do what their shares say? What is patched, and what patching or editing changes. Pure tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from polinb.resampling import SHIFT, Span, changes, stratified_mean
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
        DataError: a set with other questions.
    """
    by = {str(name): group.set_index(["topic", "id"]) for name, group in answers.groupby("set", sort=False)}

    def paired(own: pd.DataFrame, other: str, column: str, span: Span | None = None) -> tuple[float, float, float]:
        return _within(changes(by[other][column], own[column]), n_boot, seed, span)

    def named(column: str, *values: float) -> dict[str, float]:
        return dict(zip((column, f"{column}_low", f"{column}_high"), values, strict=True))

    rows = []
    for name, own in by.items():
        shift, low, high = paired(own, BEFORE, "score", span)
        row = {"set": name, "neurons": (sizes or {}).get(name, 0), "n": len(own), "score": own["score"].mean()}
        row |= {"shift": shift, "low": low, "high": high, **named("soft", *paired(own, BEFORE, "soft"))}
        logp, again = own["vanilla_logp"].mean(), own["response"].map(repetition).mean()
        row |= {"perplexity": float(np.exp(-logp)), "repetition": float(again)}
        for label in also:
            row |= {label: own[label].mean(), **named(f"{label}_shift", *paired(own, BEFORE, label, span))}
            row |= named(f"{label}_beyond", *paired(own, chance, label, span)) if chance else {}
        rows.append(row)
    return pd.DataFrame(rows)


def _within(moved: pd.Series, n_boot: int, seed: int, span: Span | None) -> tuple[float, float, float]:
    """Mean of the known values with its 95 % interval, questions resampled within topics; NaN where none is known."""
    known = moved.dropna()
    groups = [part.to_numpy(float) for _, part in known.groupby(level="topic", sort=False)]
    if not groups:
        return float("nan"), float("nan"), float("nan")
    if min(map(len, groups)) < 2:
        groups = [known.to_numpy(float)]
    return stratified_mean(groups, n_boot, seed, span, pooled=True)
