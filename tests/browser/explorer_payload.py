"""A neuron explorer's payload from made-up scores and cards; its levels are those of the explorer itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import app_page
import numpy as np

from polinb.chapters.browse.explorer_levels import GAMMAS, bound_scores, level_bounds, levels, ranks, set_counts
from polinb.display.webdata import embed
from polinb.scoring.pnlac import neuron_sets

TOPICS = ("race", "gun control", "immigration", "abortion", "taxation", "climate")
HOSTILE = ("<img src=x onerror=\"document.title='broken in'\">", "<script>document.title='broken in'</script>")
VARIANTS = ("values", "left", "right")
SIDES = ("vanilla", "left", "right")


@dataclass
class Made:
    """A payload with the scores it came from: topic → (L, F)."""

    payload: dict
    blobs: dict[str, bytes]
    scores: dict[str, np.ndarray]

    def html(self, fallback: str = "<p>Without scripts: a table.</p>") -> str:
        return embed("explorer", self.payload, "Neuron explorer", fallback, self.blobs).data


def make(rows: int = 6, width: int = 400, planted=(), cards: int = 8) -> Made:
    """Scores with a common part, so that G is not empty; ``planted`` (layer, neuron) are strongest for each topic."""
    random = np.random.default_rng(0)
    common = random.standard_normal((rows, width))
    scores = {topic: np.exp(0.8 * common + 0.6 * random.standard_normal((rows, width))) for topic in TOPICS}
    for score in scores.values():
        for place, at in enumerate(planted):
            score[at] = 100.0 - place
    bounds, sets = level_bounds(GAMMAS), neuron_sets(scores, 5.0)
    rank = {topic: ranks(score, "model") for topic, score in scores.items()}
    mean = np.mean(list(scores.values()), axis=0)
    shown = [(at, "G", "") for at in _strongest(sets.general, mean)[:cards]]
    for topic in TOPICS:
        shown += [(at, "S", topic) for at in _strongest(sets.strict[topic], scores[topic])[: max(1, cards // 4)]]
    chance = {"n": 12, "effect": {topic: [-0.01, 0.012] for topic in TOPICS}, "all": [-0.006, 0.007]}
    payload = {
        "version": 1,
        "run": {"profile": "quick", "model": "made up", "data": "none", "seed": 0, "score": "raw", "note": "Made up."},
        "layers": rows,
        "width": width,
        "topics": list(TOPICS),
        "pool": "model",
        "gamma": 5.0,
        "gammas": list(GAMMAS),
        "shares": bounds,
        "cuts": [bounds.index(g) for g in GAMMAS],
        "scores_at": {topic: bound_scores(score, bounds, "model") for topic, score in scores.items()},
        "counts": set_counts(scores, GAMMAS, "model"),
        "cards": [_card(random, scores, rank, *each) for each in shown],
        "null": {**chance, "loud": chance},
        "units": {"effect": "nats a token", "lens": "logits", "activation": "activation"},
    }
    blob = np.stack([levels(score, bounds, "model") for score in scores.values()])
    return Made(payload, {"levels": blob.tobytes()}, scores)


def write(folder: Path, made: Made) -> str:
    """A page with the explorer; its address."""
    return app_page.write_app(folder, "explorer", made.html())


def _strongest(chosen, score) -> list:
    return sorted((tuple(map(int, at)) for at in np.argwhere(chosen)), key=lambda at: -score[at])


def _card(random, scores, rank, at, kind: str, topic: str) -> dict:
    words = [" gun", " border", "tax", "\n", " climate", " the", "wing", " right", " left", " women", "۞", "\t"]
    tokens = [" I", " think", " the", " tax", " on", " guns", "\n", HOSTILE[0], " is", " too", " high", HOSTILE[1], "."]
    values = {name: [float(v) for v in np.round(random.standard_normal(len(tokens)), 3)] for name in VARIANTS}
    contexts = [
        {"topic": t, "source": f"statement {i}", "start": 3 * i, "tokens": tokens, **values}
        | {"peak": int(np.argmax(np.abs(values["values"])))}
        for i, t in enumerate(TOPICS[:3])
    ]
    effect = {t: float(random.normal(0, 0.02)) for t in TOPICS}
    ends = [{"topic": t, "effect": e, "low": e - 0.01, "high": e + 0.01, "n": 40} for t, e in effect.items()]
    mean = {t: [float(v) for v in random.normal(0.2, 0.3, 3)] for t in TOPICS}
    return {
        "layer": at[0],
        "neuron": at[1],
        "kind": kind,
        "topic": topic,
        "scores": [float(f"{scores[t][at]:.4g}") for t in TOPICS],
        "ranks": [int(rank[t][at]) for t in TOPICS],
        "normalised": [float(f"{scores[t][at] / 2:.4g}") for t in TOPICS],
        "rank_normalised": [int(rank[t][at]) + 7 for t in TOPICS],
        "scale": 0.8312,
        "scale_rank": 77,
        "promoted": [[HOSTILE[0] if i == 2 else w, round(3 - i / 4, 3)] for i, w in enumerate(words[:10])],
        "suppressed": [[HOSTILE[1] if i == 1 else w, round(i / 4 - 3, 3)] for i, w in enumerate(words[::-1][:10])],
        "activation": [{"topic": t, "vanilla": v[0], "left": v[1], "right": v[2], "n": 40} for t, v in mean.items()],
        "histogram": {"width": 0.25, "first": -3, **{n: random.integers(0, 60, 9).tolist() for n in SIDES}},
        "contexts": contexts,
        "ablation": {"all": {"effect": 0.0123, "low": 0.004, "high": 0.0206}, "topics": ends},
    }
