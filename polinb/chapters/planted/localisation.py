"""Finding planted neurons: scores of PNLAC and others on the same texts, and how good each is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.planted.planted import Planted, answer, answer_ids, prompts
from polinb.data.rows import LEANINGS, TOPICS
from polinb.models.lm import LM
from polinb.models.tokens import Batch
from polinb.runs.conditions import Texts
from polinb.runs.stages import read_on
from polinb.scoring.attribution import attribution
from polinb.scoring.pnlac import neuron_sets, normalised
from polinb.scoring.tracing import contrast

METHODS = {
    "raw": "PNLAC, raw",
    "normalised": "PNLAC, normalised",
    "floored": "PNLAC, normalised with a floor",
    "scale": "activation scale",
    "gradient": "gradient attribution",
    "random": "random",
}
TOKENS = 8  # an answer has six words and its end
Scores = dict[str, dict[str, np.ndarray]]  # method → topic → (L, F)


def side_margin(left: Sequence[int], right: Sequence[int]) -> Callable[[Batch, Any], Any]:
    """m of gradient attribution: mean logit of the ``right`` tokens minus that of the ``left``, over response tokens.

    Args:
        left, right: token ids of the two sides' words.
    """

    def margin(chunk: Batch, logits: Any) -> Any:
        gap = logits[..., list(right)].mean(-1) - logits[..., list(left)].mean(-1)
        return gap[chunk.response].sum()

    return margin


def floored(score: np.ndarray, vanilla_std: np.ndarray) -> np.ndarray:
    """Score over the vanilla standard deviation, taken to be at least its lower quartile over the model; (L, F).

    Not in the paper. Without the floor a nearly silent neuron, whose deviation is next to nothing, comes out on top.
    """
    floor = float(np.quantile(vanilla_std, 0.25))
    return normalised(score, np.maximum(vanilla_std, floor))


def scores(planted: Planted, variants: Mapping[tuple[str, str], LM], source: str, count: int) -> Scores:
    """Scores of every method and topic on the same texts.

    Args:
        variants: (topic, leaning) → M_leaning^topic.
        source: whose responses are read.
        count: prompts a topic.
    """
    left, right = (answer_ids(planted, side, end=False) for side in LEANINGS)
    guess = np.random.default_rng([planted.design.seed, 5]).random((planted.lm.layers, planted.lm.width))
    out: Scores = {name: {} for name in METHODS}
    for topic in TOPICS:
        models = {"vanilla": planted.lm, **{side: variants[topic, side] for side in LEANINGS}}
        rows = pd.DataFrame({"prompt": prompts(planted, topic, count, "localise"), **{s: answer(s) for s in LEANINGS}})
        given = Texts("", "chat", rows)
        asked, responses, _ = read_on(models, given, source, TOKENS, planted.lm.context, 128, False)
        sums = contrast(variants[topic, "left"], variants[topic, "right"], planted.lm, asked, responses, batch=128)
        out["raw"][topic] = sums.score
        out["normalised"][topic] = normalised(sums.score, sums.vanilla_std)
        out["floored"][topic] = floored(sums.score, sums.vanilla_std)
        out["scale"][topic] = sums.scale
        out["gradient"][topic] = attribution(planted.lm, asked, responses, side_margin(left, right), batch=128)
        out["random"][topic] = guess  # one guess for all topics: else no neuron would be in every N_t
    return out


def precision_recall(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """eq-precision. Share of the found that is true, and share of the true that is found; NaN for an empty set."""
    both, one, other = (float(each.sum()) for each in (found & true, found, true))
    return both / one if one else float("nan"), both / other if other else float("nan")


def general_score(by_topic: Mapping[str, np.ndarray]) -> np.ndarray:
    """A score whose top neurons are G at every γ: a neuron's worst rank over the topics, (L, F), higher is better.

    A neuron is in the intersection of all N_t exactly when its worst rank is within the top γ %.
    """
    from scipy.stats import rankdata

    ranks = [score.size + 1 - rankdata(-score, "ordinal").reshape(score.shape) for score in by_topic.values()]
    return np.min(ranks, axis=0).astype(float)


def rates(planted: Planted, found: Scores, gamma: float, topics: Sequence[str] = TOPICS) -> pd.DataFrame:
    """Precision, recall and area under the ROC curve of G, N_t and S_t (means over topics), one row a method and set.

    Columns: method, set, found (mean number of neurons), precision, recall, auc (NaN for S_t, which is no threshold
    on one score).
    """
    from sklearn.metrics import roc_auc_score

    rows = []
    for method, every in found.items():
        by_topic = {t: every[t] for t in topics}
        sets = neuron_sets(by_topic, gamma)
        area = roc_auc_score(planted.general.ravel(), general_score(by_topic).ravel())
        rows.append((method, "G", float(sets.general.sum()), *precision_recall(sets.general, planted.general), area))
        areas = [roc_auc_score(planted.political[t].ravel(), by_topic[t].ravel()) for t in topics]
        for name, mine, true, area in (
            ("N", sets.political, planted.political, float(np.mean(areas))),
            ("S", sets.specific, planted.specific, float("nan")),
        ):
            each = pd.DataFrame([precision_recall(mine[t], true[t]) for t in topics])
            rows.append((method, name, float(np.mean([mine[t].sum() for t in topics])), *each.mean(), area))
    return pd.DataFrame(rows, columns=["method", "set", "found", "precision", "recall", "auc"])


def roc(planted: Planted, found: Scores) -> pd.DataFrame:
    """ROC curves of G: method, fpr, tpr on one grid of false positive rates, auc."""
    from sklearn.metrics import roc_auc_score, roc_curve

    grid = np.concatenate([np.linspace(0, 0.1, 51)[:-1], np.linspace(0.1, 1, 46)])
    parts = []
    for method, by_topic in found.items():
        score, true = general_score(by_topic).ravel(), planted.general.ravel()
        fpr, tpr, _ = roc_curve(true, score, drop_intermediate=False)
        # Highest true positive rate at no more than this false positive rate.
        height = tpr[np.searchsorted(fpr, grid + 1e-12, side="right") - 1]
        parts.append(pd.DataFrame({"method": method, "fpr": grid, "tpr": height, "auc": roc_auc_score(true, score)}))
    return pd.concat(parts, ignore_index=True)
