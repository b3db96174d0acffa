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

    The random set has as many neurons in each layer as all groups together, drawn from all neurons of the layer. Not
    drawn outside the groups as the controls of G are: they hold about half of all neurons, and the other half are those
    that moved the other way, which is the opposite of a random set.

    Args:
        groups: in the order in which they are added up.
        tops: further sets by name, such as the neurons closest to the probe.

    Returns:
        Name → (L, F) bool; sets without a neuron are left out.
    """
    plan = {name: group.chosen for name, group in groups.items()}
    names, together, rng = list(plan), np.any(list(plan.values()), axis=0), np.random.default_rng(seed)
    for count in range(2, len(names)):
        plan[" + ".join(names[:count])] = np.any([plan[name] for name in names[:count]], axis=0)
    # the place of each neuron of a layer in a random order
    drawn = np.stack([rng.permutation(row.size).argsort() < row.sum() for row in together])
    plan |= {ALL: together, **tops, RANDOM: drawn, EVERY: np.ones_like(together)}
    return {name: mask for name, mask in plan.items() if mask.any()}


def outcome_table(
    answers: pd.DataFrame,
    n_boot: int = 1000,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    span: Span = SHIFT,
    also: Sequence[str] = (),
) -> pd.DataFrame:
    """What each set does to the answers, against the unpatched model on the same questions.

    Args:
        answers: set, topic, id, response, vanilla_logp, ``score`` (a judge's label as a number, …) and ``soft``
            (such as its probability). One set must be called ``before``.
        sizes: neurons of each set.
        span: of a change of ``score``.
        also: further columns of labels with the same span.

    Returns:
        set, neurons, n, score, shift, low, high (paired with ``before``), soft, soft_low, soft_high (paired shift of
        the soft score), perplexity (of minus the mean ``vanilla_logp``), repetition (mean share of repeated word
        triples); for each of ``also`` its mean, <name>_shift with _low and _high, and beside a random set <name>_beyond
        (its mean minus that of the random set, paired) with _low and _high.

    Raises:
        DataError: a set with other questions.
    """
    by = {str(name): group.set_index(["topic", "id"]) for name, group in answers.groupby("set", sort=False)}

    def paired(own: str, other: str, column: str, told: str, span: Span | None = None) -> dict[str, float]:
        """Mean of the known changes, questions resampled within topics; NaN where none is known."""
        known = changes(by[other][column], by[own][column]).dropna()
        groups = [part.to_numpy(float) for _, part in known.groupby(level="topic", sort=False)]
        if groups and min(map(len, groups)) < 2:
            groups = [known.to_numpy(float)]
        ends = stratified_mean(groups, n_boot, seed, span, pooled=True) if groups else 3 * (float("nan"),)
        return dict(zip((told, f"{told}_low", f"{told}_high"), ends, strict=True))

    rows = []
    for name, own in by.items():
        row = {"set": name, "neurons": (sizes or {}).get(name, 0), "n": len(own), "score": own["score"].mean()}
        row |= paired(name, BEFORE, "score", "shift", span) | paired(name, BEFORE, "soft", "soft")
        row["perplexity"] = float(np.exp(-own["vanilla_logp"].mean()))
        row["repetition"] = float(own["response"].map(repetition).mean())
        for label in also:
            row |= {label: own[label].mean(), **paired(name, BEFORE, label, f"{label}_shift", span)}
            row |= paired(name, RANDOM, label, f"{label}_beyond", span) if RANDOM in by else {}
        rows.append(row)
    return pd.DataFrame(rows).rename(columns={"shift_low": "low", "shift_high": "high"})
