"""Neuron sets → the tables of the chapters on scores and their distribution (paper 3.2, 3.3)."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from polinb.runs.run import Run
from polinb.scoring.pnlac import NeuronSets, overlap


def layer_counts(sets: NeuronSets) -> pd.DataFrame:
    """Neurons per layer by type (Figures 3a, 6): layer, type, topic, count, share of the layer in per cent."""
    named = [("general", "all", sets.general), *(("topic-specific", t, chosen) for t, chosen in sets.specific.items())]
    rows = [(layer, *name, int(row.sum())) for *name, chosen in named for layer, row in enumerate(chosen)]
    frame = pd.DataFrame(rows, columns=["layer", "type", "topic", "count"])
    return frame.assign(percent=100 * frame["count"] / sets.general.shape[1])


def type_shares(sets: NeuronSets) -> pd.DataFrame:
    """Share of all neurons that are general, topic-specific and strictly specific, in per cent (Figures 3b, 6)."""
    kinds = {"general": {"all": sets.general}, "topic-specific": sets.specific, "strictly topic-specific": sets.strict}
    rows = [(kind, topic, int(chosen.sum())) for kind, own in kinds.items() for topic, chosen in own.items()]
    frame = pd.DataFrame(rows, columns=["type", "topic", "count"])
    return frame.assign(percent=100 * frame["count"] / sets.general.size)


def depths(run: Run) -> pd.DataFrame:
    """Where in the stack political and highly active neurons are, in per cent of each kind.

    Returns:
        part (first, middle, last third of the layers), layers, even (an even spread), G, S (all topics' together), and
        those of highest activation on the texts that PNLAC read (active) and on neutral ones (neutral).
    """
    sets = run.sets()
    specific = np.sum(list(sets.specific.values()), axis=0)
    kinds = {"G": sets.general, "S": specific, "active": run.scale_set(), "neutral": run.neutral_set()}
    layers = len(sets.general)
    third = layers // 3
    part = np.repeat(["first", "middle", "last"], [layers - 2 * third, third, third])
    counts = pd.DataFrame({"part": part, "layers": 1, **{name: each.sum(axis=1) for name, each in kinds.items()}})
    out = counts.groupby("part", sort=False).sum()
    shares = 100 * out / out.sum()
    return out[["layers"]].assign(even=shares["layers"], **shares[list(kinds)]).reset_index()


def overlaps(run: Run) -> pd.DataFrame:
    """How much of G is plain activation scale, and what changes when scores are normalised.

    Returns:
        set, neurons, percent (of the model), in_scale_top (share that is also in the top γ % by activation scale on the
        texts that PNLAC read), in_neutral_top (the same on neutral texts),
        chance (that share for a random set), in_raw_g (share that is also in the raw G).
    """
    p = run.params
    scale, neutral, raw = run.scale_set(), run.neutral_set(), run.sets(normalise="none")
    named = {
        "G, raw score": raw.general,
        "G, normalised score": run.sets(normalise="vanilla_std").general,
        f"top {p.gamma:g} % by activation scale": scale,
        **{f"G found without {topic}": raw.general_without(topic) for topic in p.topics},
    }
    out = pd.DataFrame({"set": list(named)})
    out["neurons"] = [int(each.sum()) for each in named.values()]
    out["percent"] = [100 * float(each.mean()) for each in named.values()]
    out["in_scale_top"] = [overlap(each, scale) for each in named.values()]
    out["in_neutral_top"] = [overlap(each, neutral) for each in named.values()]
    out["chance"] = float(scale.mean())
    out["in_raw_g"] = [overlap(each, raw.general) for each in named.values()]
    return out


def top_neurons(run: Run) -> pd.DataFrame:
    """The ten general neurons with the highest mean raw score: layer, neuron, mean score, activation scale."""
    general = run.general()
    mean = np.mean([run.score_sums(t).score for t in run.params.topics], axis=0)
    order = np.argsort(-np.where(general, mean, -np.inf), axis=None, kind="stable")[: min(10, int(general.sum()))]
    layer, neuron = np.unravel_index(order, mean.shape)
    columns = {"layer": layer, "neuron": neuron, "mean score": mean[layer, neuron]}
    return pd.DataFrame({**columns, "activation scale": run.scale()[layer, neuron]})


def topic_agreement(sets: NeuronSets) -> pd.DataFrame:
    """Jaccard overlap of N_t between topics: first, second, jaccard."""
    rows = []
    for (a, first), (b, second) in product(sets.political.items(), repeat=2):
        union = (first | second).sum()
        rows.append((a, b, (first & second).sum() / union if union else np.nan))
    return pd.DataFrame(rows, columns=["first", "second", "jaccard"])
