"""A neuron explorer's page from made-up scores and cards; the package itself packs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import app_page
import numpy as np
import pandas as pd

from polinb.chapters.browse.cards import ALL, Cards, picks
from polinb.display.explorer import explorer_payload
from polinb.display.webdata import embed
from polinb.runs.params import Params
from polinb.scoring.pnlac import neuron_sets

TOPICS = ("race", "gun control", "immigration", "abortion", "taxation", "climate")
HOSTILE = ("<img src=x onerror=\"document.title='broken in'\">", "<script>document.title='broken in'</script>")
VARIANTS = ("values", "left", "right")
SIDES = ("vanilla", "left", "right")
SHAPE = (6, 400)
TOKENS = [" I", " think", " the", " tax", " on", " guns", "\n", HOSTILE[0], " is", " too", " high", HOSTILE[1], "."]


@dataclass
class Made:
    """A payload with the scores it came from: topic → (L, F)."""

    payload: dict[str, Any]
    blobs: dict[str, bytes]
    scores: dict[str, np.ndarray]

    def write(self, folder: Path) -> str:
        """A page with the explorer; its address."""
        shown = embed("explorer", self.payload, "Neuron explorer", "<p>Without scripts: a table.</p>", self.blobs)
        return app_page.write_app(folder, "explorer", shown.data)


def make(planted: list[tuple[int, int]]) -> Made:
    """Scores with a common part, so that G is not empty; ``planted`` (layer, neuron) are strongest for each topic."""
    random = np.random.default_rng(0)
    common = random.standard_normal(SHAPE)
    scores = {topic: np.exp(0.8 * common + 0.6 * random.standard_normal(SHAPE)) for topic in TOPICS}
    for score in scores.values():
        for place, at in enumerate(planted):
            score[at] = 100.0 - place
    sets = neuron_sets(scores, 5.0)
    both = SimpleNamespace(general=sets.general, specific=sets.specific | {"race": sets.strict["race"]})
    chosen = picks(scores, both, general=8, specific=2)  # type: ignore[arg-type]
    own = [(pick.layer, pick.neuron) for pick in chosen]
    rows = pd.DataFrame([(*at, topic) for at in own for topic in (ALL, *TOPICS)], columns=["layer", "neuron", "topic"])
    effect = np.where(rows["topic"] == ALL, 0.0123, random.normal(0, 0.02, len(rows)))
    means = {side: random.normal(0.2, 0.3, len(rows)) for side in SIDES}
    lens = [(text, round(3 - i / 4, 3)) for i, text in enumerate([" gun", HOSTILE[0], "\n", "۞", "\t", HOSTILE[1]])]
    found = Cards(
        picks=chosen,
        nulls={"uniform": own[:4], "near": own[4:8]},
        scores=scores,
        normalised={topic: score * random.uniform(0.1, 2, SHAPE) for topic, score in scores.items()},
        scale=random.uniform(0.1, 1, SHAPE),
        lens=[{"promoted": list(lens), "suppressed": list(lens)} for _ in own],
        means=rows.assign(n=40, **means)[rows["topic"] != ALL],
        contexts={at: [_context(random, topic) for topic in TOPICS[:3]] for at in own},
        histograms={
            at: {"width": 0.25} | {side: dict(enumerate(random.integers(1, 60, 9).tolist(), -3)) for side in SIDES}
            for at in own
        },
        effects=rows.assign(n=40, effect=effect, low=effect - 0.0083, high=effect + 0.0083),
        readings=pd.DataFrame(),
    )
    params = Params.from_profile("tiny").model_copy(update={"topics": list(TOPICS), "gamma": 5.0, "gammas": []})
    return Made(*explorer_payload(SimpleNamespace(params=params), found), scores)  # type: ignore[arg-type]


def _context(random: np.random.Generator, topic: str) -> dict[str, Any]:
    values = {name: np.round(random.standard_normal(len(TOKENS)), 3).tolist() for name in VARIANTS}
    peak = int(np.abs(values["values"]).argmax())
    return {"topic": topic, "source": "statement", "start": 3, "tokens": TOKENS, "peak": peak, **values}
