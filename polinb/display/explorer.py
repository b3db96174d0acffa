"""The neuron explorer: everything the page needs to show all neurons of a run and the cards of some, with no kernel."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.chapters.browse.cards import ALL, Cards, card_ranks, collect
from polinb.chapters.browse.cards_tables import UNITS, token_line
from polinb.chapters.browse.explorer_levels import bound_scores, level_bounds, levels, set_counts, slider
from polinb.display.explorer_picture import picture
from polinb.display.webdata import embed

if TYPE_CHECKING:
    from IPython.display import HTML

    from polinb.runs.run import Run

VERSION = 1
NOTES = {
    "tiny": "A randomly initialised model: what is shown only proves that the machinery runs.",
    "quick": "A quick run: few examples and questions. It shows effects, it does not settle them.",
}
SHOWN = 12  # cards in the table that stands in for the explorer


def explorer(run: Run, found: Cards | None = None) -> HTML:
    """The explorer as one element of a page; without JavaScript a picture and a table of the first cards.

    Args:
        found: what :func:`polinb.chapters.browse.cards.collect` gave; made here if left out.
    """
    found = found or collect(run)
    payload, blobs = explorer_payload(run, found)
    return embed("explorer", payload, "Neuron explorer", _fallback(payload, blobs["levels"]), blobs)


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
        "version": VERSION,
        "run": {
            "profile": p.profile,
            "model": p.model,
            "data": p.data,
            "seed": p.seed,
            "score": "raw" if p.normalise == "none" else "divided by the vanilla standard deviation",
            "note": NOTES.get(p.profile, ""),
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
        out.append(
            {
                "layer": pick.layer,
                "neuron": pick.neuron,
                "kind": pick.kind,
                "topic": pick.topic,
                "scores": _rounded(found.scores[t][at] for t in topics),
                "ranks": [int(rank["score"][t][at]) for t in topics],
                "normalised": _rounded(found.normalised[t][at] for t in topics),
                "rank_normalised": [int(rank["normalised"][t][at]) for t in topics],
                "scale": _round(found.scale[at]),
                "scale_rank": int(rank["scale"][at]),
                **{side: [[text, _round(value)] for text, value in lens[side]] for side in ("promoted", "suppressed")},
                "activation": [
                    {"topic": row.topic, **{m: _round(getattr(row, m)) for m in MODELS}, "n": int(row.n)}
                    for row in means.itertuples()
                ],
                "contexts": [_context(each) for each in found.contexts[at]],
                "ablation": {
                    "all": _effect(found.effect(at)),
                    "topics": [{"topic": t, **_effect(found.effect(at, t), n=True)} for t in topics],
                },
            }
        )
    return out


MODELS = ("vanilla", "left", "right")


def _context(each: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: each[name] for name in ("topic", "source", "start", "tokens", "peak")}
    return kept | {name: _rounded(each[name]) for name in ("values", "left", "right")}


def _effect(found: Mapping[str, Any], n: bool = False) -> dict[str, Any]:
    out: dict[str, Any] = {name: _round(found[name]) for name in ("effect", "low", "high")}
    return out | ({"n": int(found["n"])} if n else {})


def _null(found: Cards, kind: str) -> dict[str, Any]:
    """Range of the effects of random neurons, by topic and over all; how many of their intervals exclude zero."""
    drawn = found.nulls[kind]
    values = {topic: [found.effect(each, topic)["effect"] for each in drawn] for topic in (ALL, *found.scores)}
    return {
        "n": len(drawn),
        "effect": {topic: _range(values[topic]) for topic in found.scores},
        "all": _range(values[ALL]),
        "values": _rounded(values[ALL]),
    }


def _range(values: Sequence[float]) -> list[float | None]:
    return [_round(min(values)), _round(max(values))] if values else [None, None]


def _rounded(values: Any) -> list[float | None]:
    return [_round(value) for value in values]


def _round(value: Any) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _fallback(payload: Mapping[str, Any], levels: bytes) -> str:
    """The map as a picture and a plain table of the first cards; text of the model is escaped."""
    head = ("layer", "neuron", "set", "mean score", "tokens it promotes", "effect of ablating it")
    rows = []
    for card in payload["cards"][:SHOWN]:
        effect = card["ablation"]["all"]
        ends = ", ".join("?" if effect[end] is None else f"{effect[end]:+.2g}" for end in ("low", "high"))
        cells = (
            str(card["layer"]),
            str(card["neuron"]),
            "G" if card["kind"] == "G" else f"S, {card['topic']}",
            f"{np.mean(card['scores']):.3g}",
            token_line([text for text, _ in card["promoted"][:5]]),
            f"{effect['effect']:+.2g} [{ends}]".replace("-", "−"),
        )
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(rows) or f'<tr><td colspan="{len(head)}">No neuron is in any set at this γ.</td></tr>'
    return (
        f"<p>The interactive map of all neurons needs JavaScript. Here are a picture of it and {len(rows)} of its "
        f"{len(payload['cards'])} cards. {picture(payload, levels)}</p>"
        f"<p>Unit of the effect: {html.escape(UNITS['effect'])}.</p>"
        f'<table class="table"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
    )
