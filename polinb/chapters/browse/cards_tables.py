"""Cards → the tables and the figure of the explorer's chapter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from polinb import wording
from polinb.chapters.browse.cards import ALL, Cards, card_ranks
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
TOKENS = 5  # shown on each side


def visible(token: str) -> str:
    """One token as text a reader can see: ⏎ for line breaks, ⇥ for tabs, ␣ for a leading space.

    Control characters are written by number; a long token, such as a run of tabs, ends in ``…``.
    """
    lead = "␣" if token.startswith(" ") else ""
    rest = token[len(lead) :].replace("\r\n", "\n")
    shown = wording.visible(rest[:LONGEST].replace("\t", "⇥")).replace(wording.NEWLINE, "⏎")
    return lead + shown + ("…" if len(rest) > LONGEST else "")


def token_line(tokens: Sequence[str]) -> str:
    """Tokens on one line, so that spaces inside and between them are told apart."""
    return " · ".join(visible(token) for token in tokens)


def card_table(found: Cards, kind: str, pool: str, most: int = 12) -> pd.DataFrame:
    """The strongest cards of G or of each S_t, one row each.

    Args:
        kind: ``G`` or ``S``.
        pool: over what neurons are ranked.
        most: at most so many rows, for S per topic.

    Returns:
        topic, layer, neuron, score (mean over topics; for S on its own topic), scale_rank, promoted, suppressed, and
        the ablation effect with low, high (over all topics; for S on its own topic). Without any such card one row of
        missing values, so that a table has a row to say so.
    """
    scale_rank, rows = ranks(found.scale, pool), []
    for pick, lens in zip(found.picks, found.lens, strict=True):
        if pick.kind == kind:
            at, own = pick[:2], [pick.topic] if pick.topic else list(found.scores)
            score = float(np.mean([found.scores[topic][at] for topic in own]))
            sides = [token_line([text for text, _ in lens[side][:TOKENS]]) for side in ("promoted", "suppressed")]
            effect = [found.effect(at, pick.topic or ALL)[name] for name in ("effect", "low", "high")]
            rows.append([pick.topic, *at, score, int(scale_rank[at]), *sides, *effect])
    names = ["topic", "layer", "neuron", "score", "scale_rank", "promoted", "suppressed", "effect", "low", "high"]
    frame = pd.DataFrame(rows or [[np.nan] * len(names)], columns=names)
    return frame.groupby("topic", sort=False, dropna=False).head(most)


def tested(found: Cards) -> pd.DataFrame:
    """Neurons whose ablation is compared: those with a card and the two kinds of random ones, in this order.

    Returns:
        kind (G, S, near, uniform), group (the same in words), layer, neuron, scale (of activation), and the effect over
        all topics: effect, low, high, n.
    """
    rows = [(kind, *pick[:2]) for kind in "GS" for pick in found.picks if pick.kind == kind]
    rows += [(kind, *at) for kind in ("near", "uniform") for at in found.nulls[kind]]
    frame = pd.DataFrame(rows, columns=["kind", "layer", "neuron"])
    frame["scale"] = found.scale[frame["layer"].to_numpy(int), frame["neuron"].to_numpy(int)]
    frame.insert(1, "group", frame["kind"].map(GROUPS))
    whole = found.effects[found.effects["topic"] == ALL].drop(columns="topic")
    return frame.merge(whole, on=["layer", "neuron"], how="left")


def effect_rows(found: Cards) -> pd.DataFrame:
    """Ablation effect over all topics of every neuron that was ablated: group, label, value, low, high."""
    rows = tested(found).rename(columns={"effect": "value"})
    rows["label"] = "layer " + rows["layer"].astype(str) + ", neuron " + rows["neuron"].astype(str)
    return rows[["group", "label", "value", "low", "high"]]


def effect_summary(found: Cards) -> pd.DataFrame:
    """How much ablation does in each group, over all topics.

    Returns:
        group, kind, n, scale (median activation scale), median and largest (absolute effect), clear (intervals that
        exclude zero), chance (how many of n would if no neuron did anything: 5 % of them).
    """
    rows = tested(found)
    rows = rows.assign(size=rows["effect"].abs(), clear=(rows["low"] > 0) | (rows["high"] < 0))
    size = {"median": ("size", "median"), "largest": ("size", "max"), "clear": ("clear", "sum")}
    by = rows.groupby(["group", "kind"], sort=False)
    return by.agg(n=("size", "size"), scale=("scale", "median"), **size).reset_index().eval("chance = 0.05 * n")


def places(found: Cards, pool: str) -> pd.DataFrame:
    """Where the neurons with a card are, and how large their activations, by group.

    Returns:
        kind, group, n, first and last (layer), late (share in the last third of the layers), rank (median by activation
        scale, 1 the largest), top (share among the top 1 %), normalised (median rank with scores in units of the
        neuron's own spread), pool (how many neurons are ranked).
    """
    rank, rows = card_ranks(found, pool), []
    size = found.scale.size if pool == "model" else found.scale.shape[1]
    for (kind, group), each in tested(found).query("kind in ['G', 'S']").groupby(["kind", "group"], sort=False):
        at = each["layer"].to_numpy(), each["neuron"].to_numpy()
        own, normal = rank["scale"][at], np.median([ranked[at] for ranked in rank["normalised"].values()])
        late, top = (float(np.mean(part)) for part in (at[0] >= found.scale.shape[0] * 2 / 3, own <= 0.01 * size))
        rows.append([kind, group, len(each), at[0].min(), at[0].max(), late, np.median(own), top, normal, size])
    names = ["kind", "group", "n", "first", "last", "late", "rank", "top", "normalised", "pool"]
    return pd.DataFrame(rows, columns=names)


def against_chance(summary: pd.DataFrame) -> tuple[float, float, float]:
    """Share of intervals clear of zero, of all cards and of random neurons (the nearest ones if any), and Fisher's p.

    Args:
        summary: of :func:`effect_summary`, with cards and random neurons.
    """
    cards, counts = summary["kind"].isin(["G", "S"]), summary[["clear", "n"]]
    (clear, n), (by_chance, drawn) = counts[cards].sum(), counts[~cards].iloc[0]
    p = fisher_exact([[clear, n - clear], [by_chance, drawn - by_chance]]).pvalue
    return clear / n, by_chance / drawn, float(p)
