"""Sentences of the explorer's chapter; all of them follow from the cards, whichever way the numbers fall."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from polinb.chapters.browse.cards import Cards, card_ranks
from polinb.chapters.browse.cards_tables import GROUPS, groups
from polinb.wording import Answer, listed, thousands

_LIKE = {"loud": " among the nearest in loudness", "uniform": ""}
NONE = "No neuron is in $G$ or in any $S_t$ at the γ of this run, so there is no card"


def who(found: Cards) -> str:
    """Which neurons have a card."""
    size = {kind: len(neurons) for kind, neurons in groups(found).items()}
    if not found.picks:
        return f"{NONE}; the map shows all neurons all the same."
    missing = "" if "G" in size else " $G$ is empty in this run, so all cards are of topic-specific neurons."
    return (
        f"**{len(found.picks)}** neurons have a card: {size.get('G', 0)} of $G$ by mean score over topics, and "
        f"{size.get('S', 0)} of the sets $S_t$ by the score on their topic.{missing}"
    )


def texts(found: Cards) -> str:
    """How well the cards' activations agree with PNLAC's own."""
    if found.readings.empty:
        return ""
    gap = float(found.readings["gap"].max())
    return (
        "Texts: the answers PNLAC read, token by token. Mean activations agree with its own sums (largest gap "
        f"{gap:.0e} of a neuron's scale)."
    )


def loudness(found: Cards, pool: str) -> str:
    """How loud the neurons with a card are, where they sit, and what is left after normalising."""
    if not found.picks:
        return f"{NONE}."
    rank = card_ranks(found, pool)
    size = found.scale.size if pool == "model" else found.scale.shape[1]
    parts = []
    for kind, neurons in groups(found).items():
        if kind not in ("G", "S"):
            continue
        at = tuple(np.array(neurons).T)
        own = rank["scale"][at]
        normal = [rank["normalised"][topic][at] for topic in found.scores]
        late = float(np.mean(at[0] >= found.scale.shape[0] * 2 / 3))
        parts.append(
            f"The median {GROUPS[kind]} card ranks **{thousands(np.median(own))}** of {thousands(size)} by plain "
            f"activation scale; {100 * np.mean(own <= 0.01 * size):.0f} % of these cards are among the loudest 1 %, "
            f"and {100 * late:.0f} % sit in the last third of the layers. With each score divided by the neuron's own "
            f"spread, the median card would rank {thousands(np.median(normal))}."
        )
    return " ".join(parts)


def ablation(summary: pd.DataFrame) -> str:
    """How many effects are clear of zero, against chance and against random neurons."""
    rows = summary.set_index("kind")
    own = [kind for kind in ("G", "S") if kind in rows.index]
    null = [kind for kind in ("loud", "uniform") if kind in rows.index]
    told = [_clear(rows.loc[kind]) for kind in [*own, *null]]
    text = f"Intervals that exclude zero: {listed(told)}. "
    if own:
        cards, clear = int(rows.loc[own, "n"].sum()), int(rows.loc[own, "clear"].sum())
        text += (
            f"Of all {cards} cards that is **{clear}**, where {0.05 * cards:.1f} would be expected if no neuron did "
            f"anything. The largest effect of a card is {rows.loc[own, 'largest'].max():.2g} nats a token"
        )
        against = null[0] if null else None
        largest = f", of a neuron drawn at random{_LIKE[against]} {rows.loc[against, 'largest']:.2g}" if against else ""
        text += f"{largest}. "
        if against:
            text += _apart(rows, own, against)
    return text.strip()


def answer(found: Cards, summary: pd.DataFrame, pool: str) -> Answer:
    """What does a political neuron look like?"""
    if not found.picks:
        return Answer(f"{NONE}.", "")
    kind = "G" if any(p.kind == "G" for p in found.picks) else "S"
    neurons = groups(found)[kind]
    rank = card_ranks(found, pool)
    size = found.scale.size if pool == "model" else found.scale.shape[1]
    middle = np.median([rank["scale"][at] for at in neurons])
    at = tuple(np.array(neurons).T)
    normal = np.median([each[at] for each in rank["normalised"].values()])
    layers = sorted({layer for layer, _ in neurons})
    where = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
    rows = summary.set_index("kind")
    own, cards = rows.loc[kind], rows[rows.index.isin(["G", "S"])]
    first = (
        f"The {len(neurons)} strongest {GROUPS[kind]} neurons sit in {where} (of {found.scale.shape[0]}, from 0), "
        f"and the median one ranks {thousands(middle)} of {thousands(size)} by plain loudness; set to zero one at "
        f"a time, the largest of {int(own['n'])} estimated moves of the likelihood stance is {own['largest']:.2g} nats "
        "a token."
    )
    clear, n = int(cards["clear"].sum()), int(cards["n"].sum())
    rest = (
        f"With scores in units of each neuron's own spread the median one would rank {thousands(normal)}. Of the {n} "
        f"neurons with a card, {clear} have an effect whose interval excludes zero ({0.05 * n:.1f} by chance)"
    )
    if "loud" in rows.index:
        matched = rows.loc["loud"]
        near = matched["scale"] / own["scale"]
        rest += (
            f"; of {int(matched['n'])} random ones as loud as possible (median loudness {near:.2g} times that of the "
            f"{GROUPS[kind]} cards), {int(matched['clear'])}"
        )
    return Answer(first, rest + ".")


def _clear(row: pd.Series) -> str:
    return f"**{int(row['clear'])} of {int(row['n'])}** {row['group']} (by chance {row['chance']:.1f})"


def _apart(rows: pd.DataFrame, own: list[str], against: str) -> str:
    """Share of clear intervals among cards and among random neurons, told as counts this small allow."""
    hits, cards = rows.loc[own, "clear"].sum(), rows.loc[own, "n"].sum()
    theirs, drawn = rows.loc[against, "clear"], rows.loc[against, "n"]
    p = float(fisher_exact([[hits, cards - hits], [theirs, drawn - theirs]]).pvalue)
    more = "more often" if hits / cards > theirs / drawn else "less often"
    word = more if p <= 0.05 else "neither clearly more nor clearly less often"
    loud = rows.loc[against, "scale"] / rows.loc[own, "scale"].max()
    return (
        f"A card's interval excludes zero {word} than that of a neuron drawn at random{_LIKE[against]}: "
        f"{100 * hits / cards:.0f} % and {100 * theirs / drawn:.0f} %, the latter of only {int(drawn)} neurons "
        f"(Fisher's exact test, p = {p:.2g}). Those are {loud:.2g} times as loud as the loudest kind of card, by "
        "medians: the further below 1, the less they can settle."
    )
