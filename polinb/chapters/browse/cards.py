"""Neuron cards: what the explorer shows of single neurons. Each part asks the store first, so a rerun loads no model.

Parts: the logit lens (one artifact), activations and contexts (one per topic), ablation (one per topic).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from polinb.chapters.browse import cards_read
from polinb.chapters.browse.cards_lens import Neuron, extremes
from polinb.chapters.browse.explorer_levels import ranks
from polinb.errors import ArtifactError
from polinb.masking.random_sets import random_set
from polinb.resampling import bootstrap_mean, stratified_mean
from polinb.runs.conditions import Texts, encode
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.stages import contrast_of
from polinb.scoring.pnlac import NeuronSets
from polinb.scoring.tracing import Contrast

CLOSE = 1e-3  # of a neuron's activation scale: how well means must agree with PNLAC's own sums
ALL = "all"
_UNIFORM, _NEAR = 401, 402  # keep the two draws apart from each other and from the run's other ones


# --- which neurons have a card


class Pick(NamedTuple):
    """A neuron with a card.

    Attributes:
        layer, neuron: where it is.
        kind: ``G`` or ``S``.
        topic: the topic whose S_t it stands for; empty for G.
    """

    layer: int
    neuron: int
    kind: str
    topic: str = ""


def picks(scores: Mapping[str, np.ndarray], sets: NeuronSets, general: int, specific: int) -> list[Pick]:
    """The strongest neurons: of G by mean score over topics, then of each S_t by that topic's score.

    A neuron has one card. Where S_t of two topics share one, the earlier topic keeps it and the later one takes its
    next strongest. Ties go to the lower layer and index. Sets with fewer neurons give fewer cards.

    Args:
        scores: topic → (L, F).
        general, specific: how many of G, and of each S_t.
    """
    mean = np.mean(list(scores.values()), axis=0)
    out = [Pick(*at, "G") for at in _strongest(mean, sets.general, general)]
    taken = np.zeros(mean.shape, dtype=bool)
    for topic, chosen in sets.specific.items():
        for at in _strongest(scores[topic], chosen & ~taken, specific):
            taken[at] = True
            out.append(Pick(*at, "S", topic))
    return out


def random_neurons(picked: Sequence[Pick], scale: np.ndarray, n: int, seed: int) -> dict[str, list[Neuron]]:
    """Neurons without a card whose ablation is the null, ``n`` of each kind (fewer if there are fewer), in order.

    ``uniform``: any neuron of the model. ``near``: each of nearly the same activation scale as some neuron with a card,
    because a neuron with large activations does more to a model whatever it is about.

    Args:
        scale: plain activation scale, (L, F).
        seed: the same seed gives the same neurons.
    """
    carded = np.zeros(scale.shape, dtype=bool)
    for pick in picked:
        carded[pick[:2]] = True
    near = random_set("next_highest", carded, scale, seed) & ~carded
    out = {}
    for kind, free, salt in (("uniform", ~carded, _UNIFORM), ("near", near, _NEAR)):
        flat = np.flatnonzero(free)
        drawn = np.random.default_rng([seed, salt]).choice(flat, min(n, len(flat)), replace=False)
        out[kind] = _places(np.sort(drawn), scale.shape)
    return out


def _strongest(score: np.ndarray, chosen: np.ndarray, n: int) -> list[Neuron]:
    order = np.argsort(-np.where(chosen, score, -np.inf), axis=None, kind="stable")
    return _places(order[: min(n, int(chosen.sum()))], score.shape)


def _places(flat: np.ndarray, shape: tuple[int, ...]) -> list[Neuron]:
    return [(int(layer), int(neuron)) for layer, neuron in zip(*np.unravel_index(flat, shape), strict=True)]


# --- what a card holds


@dataclass(frozen=True)
class Cards:
    """Everything about the neurons with a card, and about the random ones beside them.

    Attributes:
        picks: the neurons with a card, general ones first.
        nulls: ``uniform`` and ``near`` (in activation scale) → random neurons without a card.
        scores, normalised: topic → (L, F), the run's scores and those in units of the vanilla standard deviation.
        scale: plain activation scale, (L, F).
        lens: for each pick its promoted and suppressed tokens with values.
        means: layer, neuron, topic, vanilla, left, right, n (answer tokens).
        contexts: neuron → strongest contexts over all topics.
        effects: layer, neuron, topic, effect, low, high, n (questions); topic ``all`` weighs topics alike.
        histograms: neuron → how often it takes which activation (``cards_read.pooled``); none in older results.
        readings: topic, gap (largest difference of a mean activation from PNLAC's own sums, in units of the neuron's
            activation scale).
    """

    picks: list[Pick]
    nulls: dict[str, list[Neuron]]
    scores: dict[str, np.ndarray]
    normalised: dict[str, np.ndarray]
    scale: np.ndarray
    lens: list[dict[str, list[tuple[str, float]]]]
    means: pd.DataFrame
    contexts: dict[Neuron, list[dict[str, Any]]]
    histograms: dict[Neuron, dict[str, Any]]
    effects: pd.DataFrame
    readings: pd.DataFrame

    def effect(self, neuron: Neuron, topic: str = ALL) -> dict[str, Any]:
        """Ablation effect of one neuron: effect, low, high, n."""
        rows = self.effects
        found = rows[(rows.layer == neuron[0]) & (rows.neuron == neuron[1]) & (rows.topic == topic)].iloc[0]
        return {name: found[name] for name in ("effect", "low", "high", "n")}


def collect(run: Run) -> Cards:
    """All cards of a run; made part by part where the store does not have them yet."""
    p = run.params
    scores = run.topic_scores()
    picked = picks(scores, run.sets(), p.cards_general, p.cards_specific)
    nulls = random_neurons(picked, run.scale(), p.cards_random, p.seed)
    own = [pick[:2] for pick in picked]
    tested = sorted({*own, *(each for drawn in nulls.values() for each in drawn)})
    readings: dict[str, Result] = {}
    for topic in p.topics if own else ():
        scored = run.scores(topic)
        readings[topic] = reading(
            run,
            scores=scored,
            left=run.weights(run.tuned(topic, "left")),
            right=run.weights(run.tuned(topic, "right")),
            questions=len(scored.inputs["asked"]),
            neurons=own,
            contexts=p.card_contexts,
        )
    gaps = [(topic, part.summary["gap"]) for topic, part in readings.items()]
    means = [part.frame("means").assign(topic=topic) for topic, part in readings.items()]
    moved: dict[str, pd.DataFrame] = {}
    for topic in p.topics:
        asked = run.questions(p.card_questions, [topic])
        texts = pd.concat([asked[["id", "prompt"]].assign(response=asked[side]) for side in ("right", "left")])
        moved[topic] = ablation(run, asked=Texts.of(texts), limit=p.max_tokens, neurons=tested).frame("effects")
    return Cards(
        picks=picked,
        nulls=nulls,
        scores=scores,
        normalised=run.topic_scores("vanilla_std"),
        scale=run.scale(),
        lens=_json(lens(run, neurons=own), "lens") if own else [],
        means=pd.concat(means, ignore_index=True) if means else pd.DataFrame(),
        contexts=_merged(readings, own, p.card_contexts),
        histograms=_pooled(readings, own),
        effects=effect_table(moved, p.bootstrap, p.seed),
        readings=pd.DataFrame(gaps, columns=["topic", "gap"]),
    )


@stage("card-lens", Model)
def lens(run: Run, folder: Path, *, neurons: Sequence[Neuron]) -> None:
    """Tokens that the neurons' value vectors promote and suppress in the vanilla model (see cards_lens): ``lens``."""
    _write_json(folder / "lens.json", extremes(run.lm, neurons))


@stage("card-reading", Model, version=2, memory="score")  # three models at once
def reading(
    run: Run,
    folder: Path,
    *,
    scores: Result,
    left: Result,
    right: Result,
    questions: int,
    neurons: Sequence[Neuron],
    contexts: int,
) -> Mapping[str, Any]:
    """Mean activations and contexts on the very tokens PNLAC read: table ``means``, ``contexts`` and ``histograms``.

    The means must agree with the sums that PNLAC kept; the summary says how large the gap is.

    Args:
        scores: of the topic; left, right: the weights that it contrasts.
        questions: prompts behind the texts.
        contexts: strongest ones kept of each neuron.

    Raises:
        ArtifactError: they do not agree to ``CLOSE``.
    """
    models = {"vanilla": run.lm, "left": run.model(left), "right": run.model(right)}
    texts = scores.frame("responses")  # the very tokens PNLAC read; two responses to one prompt share a number
    prompts, responses = ([ids.tolist() for ids in texts[name]] for name in ("prompt_ids", "response_ids"))
    texts = texts.assign(prompt_ids=prompts, response_ids=responses, question=np.arange(len(texts)) % questions)
    read = {name: cards_read.activations(lm, neurons, prompts, responses) for name, lm in models.items()}
    ends = {name: cards_read.on_answers(seen, responses) for name, seen in read.items()}
    means = {name: each.mean(0, dtype=np.float64) for name, each in ends.items()}
    gap = _gap(contrast_of(scores), neurons, means)
    if not gap <= CLOSE:
        raise ArtifactError(f"mean activations differ from PNLAC's own sums by {gap:.1e} of a scale")
    layer, neuron = zip(*neurons, strict=True)
    tokens = len(ends["vanilla"])
    pd.DataFrame({"layer": layer, "neuron": neuron, **means, "n": tokens}).to_parquet(folder / "means.parquet")
    windows = [cards_read.contexts(run.lm, read, texts, column, contexts) for column in range(len(neurons))]
    _write_json(folder / "contexts.json", windows)
    _write_json(folder / "histograms.json", cards_read.histograms(ends))
    return {"gap": gap, "tokens": tokens}


@stage("card-ablation", Model)
def ablation(run: Run, folder: Path, *, asked: Texts, limit: int, neurons: Sequence[Neuron]) -> None:
    """Change of the likelihood stance with each neuron at zero, by question: tables ``effects`` and ``untouched``.

    Args:
        asked: evaluation questions of a topic with a response, all right ones, then all left ones.
    """
    prompts, responses = encode(run.lm, asked, run.params.system_prompt, limit)
    base, moved = cards_read.zeroed_logp(run.lm, neurons, prompts, responses)
    n = len(asked) // 2
    change = cards_read.effects(base[:n], base[n:], moved[:, :n], moved[:, n:])
    ids = asked.rows["id"].to_numpy()[:n]
    table = pd.DataFrame(
        change, pd.MultiIndex.from_tuples(neurons, names=["layer", "neuron"]), pd.Index(ids, name="id")
    )
    table.stack().rename("effect").reset_index().to_parquet(folder / "effects.parquet")
    untouched = pd.DataFrame({"id": ids, "logp_left": base[n:], "logp_right": base[:n]})
    untouched.to_parquet(folder / "untouched.parquet")


def effect_table(moved: Mapping[str, pd.DataFrame], n_boot: int, seed: int) -> pd.DataFrame:
    """Mean effect of each neuron by topic, and over topics weighted alike (``all``), with 95 % intervals.

    Questions are resampled within topics, each with both its answers and with its untouched stance.

    Args:
        moved: topic → layer, neuron, id, effect; the same neurons in each.
    """
    joint = pd.concat(moved, names=["topic"]).groupby(["layer", "neuron"], sort=False)["effect"]
    rows: list[tuple[Any, ...]] = []
    for key, values in joint:
        own = {str(topic): part.to_numpy(float) for topic, part in values.groupby(level="topic", sort=False)}
        rows.append((*key, ALL, *stratified_mean(list(own.values()), n_boot, seed), len(values)))
        rows += [(*key, topic, *bootstrap_mean(part, n_boot, seed), len(part)) for topic, part in own.items()]
    return pd.DataFrame(rows, columns=["layer", "neuron", "topic", "effect", "low", "high", "n"])


def card_ranks(found: Cards, pool: str) -> dict[str, Any]:
    """Ranks in the pool, 1 the strongest: ``score`` and ``normalised`` by topic, ``scale``; each (L, F)."""
    by_topic = {"score": found.scores, "normalised": found.normalised}
    out = {name: {topic: ranks(values, pool) for topic, values in each.items()} for name, each in by_topic.items()}
    return {**out, "scale": ranks(found.scale, pool)}


def _gap(sums: Contrast, neurons: Sequence[Neuron], means: Mapping[str, np.ndarray]) -> float:
    """Largest difference from the means in PNLAC's sums, in units of the neuron's activation scale there."""
    at = tuple(np.array(neurons).T)
    scale = np.maximum(sums.scale[at], 1e-12)
    plain = np.abs(means["vanilla"] - sums.vanilla[at] / sums.tokens)
    between = np.abs(means["right"] - means["left"] - sums.difference[at] / sums.tokens)
    return float((np.maximum(plain, between) / scale).max())


def _merged(readings: Mapping[str, Result], neurons: Sequence[Neuron], most: int) -> dict[Neuron, list[dict[str, Any]]]:
    """The strongest contexts over all topics; the same tokens only once."""
    by_topic = {topic: _json(part, "contexts") for topic, part in readings.items()}
    out = {}
    for place, neuron in enumerate(neurons):
        found = [{"topic": topic, **each} for topic, parts in by_topic.items() for each in parts[place]]
        strongest: dict[tuple[str, ...], dict[str, Any]] = {}
        for each in sorted(found, key=lambda each: -each["strength"]):
            strongest.setdefault(tuple(each["tokens"]), each)
        out[neuron] = list(strongest.values())[:most]
    return out


def _pooled(readings: Mapping[str, Result], neurons: Sequence[Neuron]) -> dict[Neuron, dict[str, Any]]:
    """Histograms over all topics, where the readings have them."""
    if not all("histograms.json" in part.made().meta["files"] for part in readings.values()):
        return {}
    by_topic = [_json(part, "histograms") for part in readings.values()]
    return {neuron: cards_read.pooled(parts) for neuron, *parts in zip(neurons, *by_topic, strict=True)}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), "utf-8")


def _json(result: Result, name: str) -> Any:
    return json.loads(result.file(f"{name}.json").read_text("utf-8"))
