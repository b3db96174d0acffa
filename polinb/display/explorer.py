"""The neuron explorer: everything the page needs to show all neurons of a run and the cards of some, with no kernel."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.chapters.browse.cards import ALL, Cards, card_ranks
from polinb.chapters.browse.cards_tables import UNITS, token_line
from polinb.chapters.browse.explorer_levels import bound_scores, level_bounds, levels, set_counts, slider
from polinb.display.webdata import embed
from polinb.wording import label, placeless

if TYPE_CHECKING:
    from IPython.display import HTML

    from polinb.runs.run import Run

MODELS = ("vanilla", "left", "right")
CONTEXT = ("topic", "source", "start", "tokens", "peak", "values", "left", "right")
EFFECT = ("effect", "low", "high")
SHOWN = 12  # cards in the table that stands in for the explorer
BINS = 16  # of a histogram, on either side of zero


def explorer(run: Run, found: Cards) -> HTML:
    """The explorer as one element of a page; without JavaScript a table of the first cards.

    Args:
        found: what :func:`polinb.chapters.browse.cards.collect` gave.
    """
    payload, blobs = explorer_payload(run, found)
    return embed("explorer", payload, "Neuron explorer", _fallback(payload), blobs)


def explorer_payload(run: Run, found: Cards) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Payload (JSON values) and blobs of the explorer.

    ``levels`` is one byte a neuron, topic by topic and layer by layer; see ``browse.explorer_levels``. Numbers are
    rounded to four significant digits; a missing end of an interval is None.
    """
    p = run.params
    layers, width = found.scale.shape
    gammas = slider(p.gamma, p.gammas)
    bounds = level_bounds(gammas)
    payload = {
        "version": 1,
        "run": {
            "profile": p.profile,
            "model": placeless(p.model),
            "data": placeless(p.data),
            "seed": p.seed,
            "score": "raw" if p.normalise == "none" else "divided by the vanilla standard deviation",
            "note": label(p.profile),
        },
        "layers": layers,
        "width": width,
        "topics": list(p.topics),
        "pool": p.pool,
        "gamma": p.gamma,
        "gammas": gammas,
        "shares": bounds,
        "cuts": [bounds.index(gamma) for gamma in gammas],
        "scores_at": {t: _rounded(bound_scores(score, bounds, p.pool)) for t, score in found.scores.items()},
        "counts": set_counts(found.scores, gammas, p.pool),
        "cards": _cards(run, found),
        "null": _null(found, "uniform") | {"loud": _null(found, "near")},
        "units": UNITS,
    }
    blob = np.stack([levels(found.scores[topic], bounds, p.pool) for topic in p.topics]).tobytes()
    return payload, {"levels": blob}


def _cards(run: Run, found: Cards) -> list[dict[str, Any]]:
    rank = card_ranks(found, run.params.pool)
    topics = list(found.scores)
    out = []
    for pick, lens in zip(found.picks, found.lens, strict=True):
        at = (pick.layer, pick.neuron)
        means = found.means[(found.means.layer == pick.layer) & (found.means.neuron == pick.neuron)]
        card = {
            "layer": pick.layer,
            "neuron": pick.neuron,
            "kind": pick.kind,
            "topic": pick.topic,
            "scores": [found.scores[t][at] for t in topics],
            "ranks": [int(rank["score"][t][at]) for t in topics],
            "normalised": [found.normalised[t][at] for t in topics],
            "rank_normalised": [int(rank["normalised"][t][at]) for t in topics],
            "scale": found.scale[at],
            "scale_rank": int(rank["scale"][at]),
            "promoted": lens["promoted"],
            "suppressed": lens["suppressed"],
            "activation": means[["topic", *MODELS, "n"]].to_dict("records"),
            "contexts": [{name: each[name] for name in CONTEXT} for each in found.contexts[at]],
            "ablation": {
                "all": {name: found.effect(at)[name] for name in EFFECT},
                "topics": [
                    {"topic": t, **{name: found.effect(at, t)[name] for name in (*EFFECT, "n")}} for t in topics
                ],
            },
        }
        out.append(_rounded(card) | ({"histogram": _histogram(found.histograms[at])} if found.histograms else {}))
    return out


def _histogram(found: Mapping[str, Any]) -> dict[str, Any]:
    """Counts by model from bin ``first`` on; the outermost of :data:`BINS` on either side hold all beyond."""
    counts = pd.DataFrame({model: pd.Series(found[model]) for model in MODELS})
    counts = counts.groupby(np.clip(counts.index.to_numpy(), -BINS, BINS - 1)).sum()
    first, last = int(counts.index.min()), int(counts.index.max())
    counts = counts.reindex(range(first, last + 1), fill_value=0).astype(int)
    return {"width": found["width"], "first": first, **counts.to_dict("list")}


def _null(found: Cards, kind: str) -> dict[str, Any]:
    """Range of the effects of random neurons, by topic and over all; how many of their intervals exclude zero."""
    drawn = found.nulls[kind]
    values = {topic: [found.effect(each, topic)["effect"] for each in drawn] for topic in (ALL, *found.scores)}
    ranges = {topic: [min(each, default=None), max(each, default=None)] for topic, each in values.items()}
    overall = ranges.pop(ALL)
    return _rounded({"n": len(drawn), "effect": ranges, "all": overall, "values": values[ALL]})


def _rounded(value: Any) -> Any:
    """Plain JSON values: numbers to four significant digits, None for one that is not finite."""
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_rounded(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _fallback(payload: Mapping[str, Any]) -> str:
    """A plain table of the first cards; text of the model is escaped."""
    rows = []
    for card in payload["cards"][:SHOWN]:
        chosen = "G" if card["kind"] == "G" else f"S, {card['topic']}"
        effect, low, high = ("?" if v is None else f"{v:+.2g}" for v in card["ablation"]["all"].values())
        interval = f"{effect} [{low}, {high}]".replace("-", "−")
        tokens = token_line([text for text, _ in card["promoted"][:5]])
        rows.append([card["layer"], card["neuron"], chosen, f"{np.mean(card['scores']):.3g}", tokens, interval])
    names = ["layer", "neuron", "set", "mean score", "tokens it promotes", "effect of ablating it"]
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(rows, columns=names).to_html(index=False, border=0, classes="table", justify="left")
    return (
        f"<p>The interactive map of all neurons needs JavaScript. Here are {len(rows)} of its "
        f"{len(payload['cards'])} cards.</p>"
        f"<p>Unit of the effect: {html.escape(UNITS['effect'])}.</p>"
        + (table if rows else "<p>No neuron is in any set at this γ.</p>")
    )
