"""A neuron explorer's payload from made-up scores, written by the format alone: nothing of the explorer is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import app_page
import numpy as np

from polinb.display.webdata import embed
from polinb.scoring.pnlac import neuron_sets

TOPICS = ("race", "gun control", "immigration", "abortion", "taxation", "climate")
GAMMAS = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 50.0]
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


def make(layers: int = 6, width: int = 400, planted=(), cards: int = 8, seed: int = 0, gamma: float = 5.0) -> Made:
    """Scores with a common part, so that G is not empty; ``planted`` (layer, neuron) are strongest for each topic."""
    random = np.random.default_rng(seed)
    common = random.standard_normal((layers, width))
    depth = np.exp(-(((np.arange(layers) / max(1, layers - 1) - 0.6) / 0.25) ** 2))[:, None]
    scores = {}
    for topic in TOPICS:
        own = random.standard_normal((layers, width))
        scores[topic] = np.exp(0.8 * common + 0.6 * own) * (0.3 + depth)
        for place, (layer, neuron) in enumerate(planted):
            scores[topic][layer, neuron] = 100.0 - place
    bounds = sorted({100.0, *(float(f"{100 * 0.93**k:.4g}") for k in range(130)), *GAMMAS}, reverse=True)
    shown = _carded(scores, gamma, cards)
    ranks = {topic: _ranks(score) for topic, score in scores.items()}
    kept = np.array([round(bound / 100 * layers * width) for bound in bounds])
    blob = np.stack([(ranks[t][..., None] <= kept).sum(-1) - 1 for t in TOPICS]).astype(np.uint8)
    falling = {t: np.sort(s.ravel())[::-1] for t, s in scores.items()}
    payload = {
        "version": 1,
        "run": {"profile": "quick", "model": "made up", "data": "none", "seed": seed, "note": "A quick run: made up."},
        "layers": layers,
        "width": width,
        "topics": list(TOPICS),
        "pool": "model",
        "gamma": gamma,
        "gammas": GAMMAS,
        "shares": bounds,
        "cuts": [bounds.index(g) for g in GAMMAS],
        "scores_at": {t: [float(falling[t][max(0, n - 1)]) for n in kept] for t in TOPICS},
        "counts": {str(i): expected(scores, g) for i, g in enumerate(GAMMAS)},
        "cards": [_card(random, scores, ranks, at, kind, topic) for at, kind, topic in shown],
        "null": {"n": 12, "effect": {t: [-0.01, 0.012] for t in TOPICS}, "all": [-0.006, 0.007], "values": [0.0] * 12},
        "units": {"effect": "nats a token, likelihood stance after zeroing the neuron minus before"},
    }
    return Made(payload, {"levels": blob.tobytes()}, scores)


def expected(scores, gamma: float) -> dict:
    """Sizes of G, S_t and the strict sets by :func:`polinb.scoring.pnlac.neuron_sets`."""
    sets = neuron_sets(scores, gamma)
    return {
        "G": int(sets.general.sum()),
        "S": {t: int(s.sum()) for t, s in sets.specific.items()},
        "strict": {t: int(s.sum()) for t, s in sets.strict.items()},
    }


def write(folder: Path, made: Made) -> str:
    """A page with the explorer; its address."""
    return app_page.write(folder, "explorer", made.html())


def _ranks(score: np.ndarray) -> np.ndarray:
    out = np.empty(score.size, dtype=np.int64)
    out[np.argsort(-score.ravel(), kind="stable")] = np.arange(1, score.size + 1)
    return out.reshape(score.shape)


def _carded(scores, gamma: float, cards: int) -> list:
    sets = neuron_sets(scores, gamma)
    mean = np.mean(list(scores.values()), axis=0)
    best = [tuple(map(int, at)) for at in np.argwhere(sets.general)]
    best.sort(key=lambda at: -mean[at])
    out = [(at, "G", "") for at in best[:cards]]
    for topic in TOPICS:
        mine = sorted(
            (tuple(map(int, at)) for at in np.argwhere(sets.strict[topic])), key=lambda at: -scores[topic][at]
        )
        out += [(at, "S", topic) for at in mine[: max(1, cards // 4)]]
    return out


def _card(random, scores, ranks, at, kind: str, topic: str) -> dict:
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
        "ranks": [int(ranks[t][at]) for t in TOPICS],
        "normalised": [float(f"{scores[t][at] / 2:.4g}") for t in TOPICS],
        "rank_normalised": [int(ranks[t][at]) + 7 for t in TOPICS],
        "scale": 0.8312,
        "scale_rank": 77,
        "promoted": [[HOSTILE[0] if i == 2 else w, round(3 - i / 4, 3)] for i, w in enumerate(words[:10])],
        "suppressed": [[HOSTILE[1] if i == 1 else w, round(i / 4 - 3, 3)] for i, w in enumerate(words[::-1][:10])],
        "activation": [{"topic": t, "vanilla": v[0], "left": v[1], "right": v[2], "n": 40} for t, v in mean.items()],
        "histogram": {"width": 0.25, "first": -3, **{n: random.integers(0, 60, 9).tolist() for n in SIDES}},
        "contexts": contexts,
        "ablation": {"all": {"effect": 0.0123, "low": 0.004, "high": 0.0206}, "topics": ends},
    }
