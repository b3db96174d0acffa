"""Cards → the tables and the figure of the explorer's chapter."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from polinb.chapters.browse.cards import ALL, Cards, card_ranks
from polinb.chapters.browse.cards_choice import Neuron
from polinb.chapters.browse.explorer_levels import ranks

UNITS = {
    "effect": "nats a token, likelihood stance with the neuron at zero minus before; positive: to the right",
    "score": "activation, root mean square difference of the right- and the left-tuned model",
    "activation": "activation, mean over answer tokens",
    "lens": "logits for one unit of activation, up to one positive factor; the mean over the vocabulary is 0",
}
GROUPS = {
    "G": "general (G)",
    "S": "topic-specific (S)",
    "near": "random, nearest in activation scale",
    "uniform": "random",
}


LONGEST = 24  # characters of a token in a table


def visible(token: str) -> str:
    """One token as text a reader can see: ⏎ for line breaks, ⇥ for tabs, ␣ for a leading space.

    Control characters are written by number; a long token, such as a run of tabs, ends in ``…``.
    """
    lead = "␣" if token.startswith(" ") else ""
    out = []
    for char in token[len(lead) :].replace("\r\n", "\n"):
        if char in "\n\r\t":
            out.append("⇥" if char == "\t" else "⏎")
        elif unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            out.append(f"⟨U+{ord(char):04X}⟩")
        else:
            out.append(char)
    more = "…" if len(out) > LONGEST else ""
    return lead + "".join(out[:LONGEST]) + more


def token_line(tokens: Sequence[str]) -> str:
    """Tokens on one line, so that spaces inside and between them are told apart."""
    return " · ".join(visible(token) for token in tokens)


def card_table(found: Cards, kind: str, pool: str, most: int = 12, tokens: int = 5) -> pd.DataFrame:
    """The strongest cards of G or of each S_t, one row each.

    Args:
        kind: ``G`` or ``S``.
        pool: over what neurons are ranked.
        most: at most so many rows, for S per topic.
        tokens: tokens shown on each side.

    Returns:
        topic, layer, neuron, score (mean over topics; for S on its own topic), scale_rank, promoted, suppressed, and
        the ablation effect with low, high (over all topics; for S on its own topic). Without any such card one row of
        missing values, so that a table has a row to say so.
    """
    scale_rank = ranks(found.scale, pool)
    rows = []
    for pick, lens in zip(found.picks, found.lens, strict=True):
        if pick.kind != kind:
            continue
        at = (pick.layer, pick.neuron)
        scores = [found.scores[pick.topic][at]] if pick.topic else [score[at] for score in found.scores.values()]
        effect = found.effect(at, pick.topic or ALL)
        rows.append(
            {
                "topic": pick.topic,
                "layer": pick.layer,
                "neuron": pick.neuron,
                "score": float(np.mean(scores)),
                "scale_rank": int(scale_rank[at]),
                "promoted": token_line([text for text, _ in lens["promoted"][:tokens]]),
                "suppressed": token_line([text for text, _ in lens["suppressed"][:tokens]]),
                **{name: float(effect[name]) for name in ("effect", "low", "high")},
            }
        )
    names = ["topic", "layer", "neuron", "score", "scale_rank", "promoted", "suppressed", "effect", "low", "high"]
    frame = pd.DataFrame(rows or [dict.fromkeys(names, np.nan)], columns=names)
    return frame.groupby("topic", sort=False, dropna=False).head(most)


def groups(found: Cards) -> dict[str, list[Neuron]]:
    """Neurons whose ablation is compared: cards of G and S, the two kinds of random ones; empty groups left out."""
    out = {kind: [(p.layer, p.neuron) for p in found.picks if p.kind == kind] for kind in ("G", "S")}
    out |= {kind: list(found.nulls[kind]) for kind in ("near", "uniform")}
    return {kind: each for kind, each in out.items() if each}


def effect_rows(found: Cards) -> pd.DataFrame:
    """Ablation effect over all topics of every neuron that was ablated: group, label, value, low, high."""
    rows = []
    for kind, neurons in groups(found).items():
        for at in neurons:
            effect = found.effect(at)
            ends = (float(effect[name]) for name in ("effect", "low", "high"))
            rows.append((GROUPS[kind], f"layer {at[0]}, neuron {at[1]}", *ends))
    return pd.DataFrame(rows, columns=["group", "label", "value", "low", "high"])


def effect_summary(found: Cards) -> pd.DataFrame:
    """How much ablation does in each group, over all topics.

    Returns:
        group, kind, n, scale (median activation scale), median and largest (absolute effect), clear (intervals that
        exclude zero), chance (how many of n would if no neuron did anything: 5 % of them).
    """
    rows = []
    for kind, neurons in groups(found).items():
        effects = pd.DataFrame([found.effect(at) for at in neurons]).astype(float)
        size = effects["effect"].abs()
        rows.append(
            {
                "group": GROUPS[kind],
                "kind": kind,
                "n": len(neurons),
                "scale": float(np.median([found.scale[at] for at in neurons])),
                "median": float(size.median()),
                "largest": float(size.max()),
                "clear": int(((effects["low"] > 0) | (effects["high"] < 0)).sum()),
                "chance": 0.05 * len(neurons),
            }
        )
    return pd.DataFrame(rows)


def places(found: Cards, pool: str) -> pd.DataFrame:
    """Where the neurons with a card are, and how large their activations, by group.

    Returns:
        kind, group, n, first and last (layer), late (share in the last third of the layers), rank (median by activation
        scale, 1 the largest), top (share among the top 1 %), normalised (median rank with scores in units of the
        neuron's own spread), pool (how many neurons are ranked).
    """
    rank, rows = card_ranks(found, pool), []
    size = found.scale.size if pool == "model" else found.scale.shape[1]
    for kind, neurons in groups(found).items():
        if kind in ("G", "S"):
            at = tuple(np.array(neurons).T)
            own, normal = rank["scale"][at], np.median([each[at] for each in rank["normalised"].values()])
            late = float(np.mean(at[0] >= found.scale.shape[0] * 2 / 3))
            ends = int(at[0].min()), int(at[0].max())
            top = float(np.mean(own <= 0.01 * size))
            rows.append([kind, GROUPS[kind], len(neurons), *ends, late, np.median(own), top, normal, size])
    names = ["kind", "group", "n", "first", "last", "late", "rank", "top", "normalised", "pool"]
    return pd.DataFrame(rows, columns=names)


def against_chance(summary: pd.DataFrame) -> tuple[float, float, float]:
    """Share of intervals clear of zero, of all cards and of random neurons (the nearest ones if any), and Fisher's p.

    Args:
        summary: of :func:`effect_summary`, with cards and random neurons.
    """
    cards = summary[summary["kind"].isin(["G", "S"])]
    null = summary[summary["kind"].isin(["near", "uniform"])].iloc[0]
    pairs = [(int(each["clear"].sum()), int(each["n"].sum())) for each in (cards, null.to_frame().T)]
    p = fisher_exact([[clear, n - clear] for clear, n in pairs]).pvalue
    return pairs[0][0] / pairs[0][1], pairs[1][0] / pairs[1][1], float(p)
