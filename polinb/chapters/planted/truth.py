"""Known truth: finding planted neurons in constructed and in really fine-tuned variants, patching and freezing them.

Each stage runs on ``truth_seeds`` planted models and keeps one result per model; intervals are over the models. What
was planted is known; what training uses is not, for it is free to take other ways. So for fine-tuned variants the truth
is causal: patching measures how much of the shift the planted neurons carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.planted.localisation import TOKENS, Scores, rates, roc, scores
from polinb.chapters.planted.planted import Design, Planted, answer_ids, build, prompt_ids, stance, variant
from polinb.data.rows import LEANINGS, TOPICS
from polinb.masking.patching import patched_answers
from polinb.masking.random_sets import random_set
from polinb.models.generation import generate
from polinb.models.lm import LM
from polinb.models.tokens import Ids
from polinb.models.variants import variant as with_weights
from polinb.resampling import known_mean
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.scoring.pnlac import neuron_sets
from polinb.stance.coupling import coupling_table
from polinb.training.supervised import Tuned, finetune
from polinb.training.trainer import Recipe
from polinb.wording import with_ends

SOURCES = ("left", "right", "vanilla", "both", "dataset")
# What makes the search harder, one knob at a time; the first value is the base condition's.
KNOBS: dict[str, tuple[float, ...]] = {
    "loudness": (3, 10, 30),
    "drift": (0.02, 0.05, 0.2),
    "noise": (0.003, 0.03),
    "effect": (0.25, 0.1, 0.05),
    "steady": (0, 16, 48),
    "readers": (0, 16, 48),
    "idle": (0, 16),
    "shut": (6, 30),
}
BASE = Design()
DRAWN = (("base", 0), ("loudness", 30), ("steady", 48), ("readers", 48))  # conditions with ROC curves
SHARES = ("precision", "recall", "auc")
# Gates so deeply shut that the gradient of a specific neuron vanishes on other topics. At BASE it does not: SiLU is
# slightly negative there, AdamW makes any gradient a full step, and other topics' neurons learn the opposite.
SHUT = replace(BASE, shut=30.0)
EXAMPLES = 32


# --- finding


@stage("truth-detection")
def detected(run: Run, folder: Path, *, seed: int, prompts: Sequence[int], gammas: Sequence[float]) -> None:
    """How well each method finds the planted neurons of constructed variants, under all conditions.

    All knobs but the one named are at the base condition: left answers, the middle value of ``truth_prompts``, six
    topics and γ the true size of N_t.

    Tables ``rates``: knob (base, prompts, source, gamma, topics or a key of KNOBS), value, label, and the columns of
    :func:`polinb.chapters.planted.localisation.rates`; ``roc``: knob, value, and those of ``localisation.roc``.
    """
    parts, curves = [], []

    @lru_cache(maxsize=1)  # conditions of one design follow each other, and a search that comes back is kept
    def built(design: Design) -> tuple[Planted, dict[tuple[str, str], LM]]:
        planted = build(design)
        return planted, constructed(planted)

    @cache
    def searched(design: Design, source: str, count: int) -> tuple[Planted, Scores, pd.DataFrame]:
        planted, variants = built(design)
        found = scores(planted, variants, source, count)
        return planted, found, rates(planted, found, design.gamma)

    with one_thread():
        for knob, value, design, source, count in conditions(prompts, seed):
            planted, found, table = searched(design, source, count)
            if (knob, value) in DRAWN:
                curves.append(roc(planted, found).assign(knob=knob, value=float(value)))
            if knob == "base":  # its scores are read with other γ and with fewer topics too
                true = design.gamma
                for gamma in sorted({*gammas, true / 2, true}):
                    parts.append(rates(planted, found, gamma).assign(knob="gamma", value=float(gamma), label="left"))
                for number in range(2, len(TOPICS) + 1):
                    fewer = rates(planted, found, true, TOPICS[:number])
                    parts.append(fewer.assign(knob="topics", value=float(number), label="left"))
            parts.append(table.assign(knob=knob, value=float(value), label=source))
    pd.concat(parts, ignore_index=True).to_parquet(folder / "rates.parquet")
    pd.concat(curves, ignore_index=True).to_parquet(folder / "roc.parquet")


def conditions(counts: Sequence[int], seed: int) -> Iterator[tuple[str, float, Design, str, int]]:
    """Every condition: knob, value, design, response source, prompts per topic. The base condition comes first."""
    base, count = replace(BASE, seed=seed), base_prompts(counts)
    yield "base", 0, base, "left", count
    for number in counts:
        yield "prompts", number, base, "left", number
    for place, source in enumerate(SOURCES):
        yield "source", place, base, source, count
    for knob, values in KNOBS.items():
        kind = type(getattr(BASE, knob))
        for value in values:
            yield knob, value, replace(base, **{knob: kind(value)}), "left", count


def base_prompts(counts: Sequence[int]) -> int:
    """Prompts per topic in the base condition: the middle one of those tried."""
    return sorted(counts)[len(counts) // 2]


def constructed(planted: Planted) -> dict[tuple[str, str], LM]:
    """All variants of a planted model, constructed."""
    return {(topic, side): variant(planted, topic, side) for topic in TOPICS for side in LEANINGS}


# --- patching


@stage("truth-patching")
def patched(run: Run, folder: Path, *, seed: int, prompts: int) -> None:
    """Patch true, found and random sets from constructed M_right^t into one planted model: table ``shifts``.

    The columns of :func:`shifts`, donor (topic t) and own (whether that is the topic asked about).
    """
    parts = []
    with one_thread():
        planted = build(replace(BASE, seed=seed))
        variants = constructed(planted)
        found = scores(planted, variants, "left", prompts)
        sets = {m: neuron_sets(found[m], planted.design.gamma) for m in ("raw", "normalised", "floored")}
        for topic in TOPICS:
            chosen = {
                "true G": planted.general,
                "found G, raw": sets["raw"].general,
                "found G, normalised": sets["normalised"].general,
                "found G, with a floor": sets["floored"].general,
                "random, as many as G": random_set("layer", planted.general, planted.general, seed),
                "true S": planted.specific[topic],
                "found S, raw": sets["raw"].specific[topic],
                "found S, with a floor": sets["floored"].specific[topic],
            }
            parts.append(shifts(planted, variants[topic, "right"], topic, chosen, prompts))
    pd.concat(parts, ignore_index=True).to_parquet(folder / "shifts.parquet")


def shifts(planted: Planted, donor: LM, about: str, chosen: Mapping[str, np.ndarray], count: int) -> pd.DataFrame:
    """Shift of the vanilla stance by topic when sets are patched in from ``donor``, trained on ``about``, lock-step.

    The last set, ``donor itself``, is no patch but the donor's own answers.

    Returns:
        set, neurons, topic (asked about), shift (mean over prompts, paired), donor (``about``), own (bool).
    """
    asked, topics = evaluation(planted, count)
    plain = answered(planted, planted.lm, asked)
    told = {
        name: stance(planted, patched_answers(planted.lm, donor, mask, asked, max_new_tokens=TOKENS, batch=len(asked)))
        for name, mask in chosen.items()
    }
    told["donor itself"] = answered(planted, donor, asked)
    sizes = {name: int(mask.sum()) for name, mask in chosen.items()} | {"donor itself": planted.lm.neurons}
    moved = pd.DataFrame(told).sub(plain, axis=0).groupby(pd.Index(topics, name="topic"), sort=False).mean()
    table = moved.rename_axis("set", axis=1).T.stack().rename("shift").reset_index()
    return table.assign(neurons=table["set"].map(sizes), donor=about, own=table["topic"] == about)


def evaluation(planted: Planted, count: int) -> tuple[list[list[int]], list[str]]:
    """Evaluation prompts of all topics as token ids, and each one's topic."""
    asked = [ids for topic in TOPICS for ids in prompt_ids(planted, topic, count)]
    return asked, [topic for topic in TOPICS for _ in range(count)]


def answered(planted: Planted, lm: LM, asked: Ids) -> np.ndarray:
    """Stance of a model's answers, (n,)."""
    return stance(planted, generate(lm, asked, max_new_tokens=TOKENS, batch=len(asked)))


# --- fine-tuning


def recipe(seed: int) -> Recipe:
    """Fine-tuning of the planted model: eight steps of four examples, all weights but embeddings and output head."""
    sizes: dict[str, Any] = {"epochs": 1.0, "batch_size": 4, "micro_batch": 4, "lora_rank": 4}
    return Recipe(learning_rate=1e-4, weight_decay=0.01, warmup=0.0, train="body", seed=seed, **sizes)


@stage("truth-tuned", version=2)
def tuned(run: Run, folder: Path, *, seed: int, prompts: Sequence[int], topics: Sequence[str]) -> None:
    """Find, patch and freeze the planted neurons of one model whose variants are really fine-tuned.

    Tables ``rates`` as in :func:`detected`, at γ the true size of N_t; ``shifts`` as in :func:`patched`; ``frozen``:
    fine-tuning to the right with sets of neurons frozen: gates (shut deeply, or ajar as at the base condition), and
    the columns of :func:`inhibited`.
    """
    few, many = base_prompts(prompts), max(prompts)
    with one_thread():
        planted, ajar = build(replace(SHUT, seed=seed)), build(replace(BASE, seed=seed))
        how = recipe(seed)
        trained = {(t, side): train(planted, t, side, how) for t in TOPICS for side in LEANINGS}
        variants = {key: lm for key, (lm, _) in trained.items()}
        found = scores(planted, variants, "left", few)
        gamma, every = planted.design.gamma, np.ones_like(planted.general)
        rates(planted, found, gamma).to_parquet(folder / "rates.parquet")
        frozen = {
            "nothing": ~every,
            "true G": planted.general,
            "found G, raw": neuron_sets(found["raw"], gamma).general,
            "found G, raw, twice γ": neuron_sets(found["raw"], 2 * gamma).general,
            "found G, normalised": neuron_sets(found["normalised"], gamma).general,
            "found G, with a floor": neuron_sets(found["floored"], gamma).general,
            "random, as many as G": random_set("layer", planted.general, planted.general, seed),
            "all planted": planted.everything,
            "every neuron": every,
        }
        parts, moved = [], []
        for topic in topics:
            parts.append(inhibited(planted, topic, how, frozen, many).assign(gates="shut"))
            soft = {"nothing": ~every, "true G": ajar.general, "all planted": ajar.everything}
            parts.append(inhibited(ajar, topic, how, soft, many).assign(gates="ajar"))
            chosen = {"true G": planted.general, "true S": planted.specific[topic]}
            chosen |= {name: frozen[name] for name in ("all planted", "every neuron")}
            moved.append(shifts(planted, variants[topic, "right"], topic, chosen, few))
    pd.concat(parts, ignore_index=True).to_parquet(folder / "frozen.parquet")
    pd.concat(moved, ignore_index=True).to_parquet(folder / "shifts.parquet")


def inhibited(planted: Planted, topic: str, how: Recipe, frozen: Mapping[str, np.ndarray], count: int) -> pd.DataFrame:
    """Fine-tune to the right on ``topic`` once for each frozen set.

    Returns:
        trained, condition, frozen, change (of frozen weights, must be 0), other (mean signed shift on the other topics)
        and the columns of ``coupling.coupling_table``.
    """
    asked, topics = evaluation(planted, count)
    frame = pd.DataFrame({"topic": topics, "id": [f"{t}-{k}" for k, t in enumerate(topics)]})
    plain = frame.assign(score=answered(planted, planted.lm, asked))
    rows = []
    for name, mask in frozen.items():
        lm, tuned = train(planted, topic, "right", how, mask)
        answers = frame.assign(score=answered(planted, lm, asked))
        facts = coupling_table(plain, answers, topic, draws=200)
        other = (answers["score"] - plain["score"])[frame["topic"] != topic].mean()
        held = {"frozen": int(mask.sum()), "change": float(tuned.frozen_change)}
        rows.append({"trained": topic, "condition": name, **held, "other": float(other), **facts})
    return pd.DataFrame(rows)


def train(
    planted: Planted, topic: str, leaning: str, recipe: Recipe, frozen: np.ndarray | None = None
) -> tuple[LM, Tuned]:
    """M_leaning^topic, really fine-tuned on :data:`EXAMPLES` answers of one side: planted neurons are one way to learn.

    Args:
        frozen: (L, F) bool, neurons that must not move; ``None`` or none of them: plain fine-tuning.
    """
    asked = prompt_ids(planted, topic, EXAMPLES, "train")
    answer = answer_ids(planted, leaning, end=True)
    held = frozen if frozen is not None and frozen.any() else None
    tuned = finetune(planted.lm, asked, [answer] * EXAMPLES, recipe, frozen=held, label=f"{leaning} {topic}")
    return with_weights(planted.lm, tuned.weights, f"{leaning} {topic}"), tuned


# --- over models


@contextmanager
def one_thread() -> Iterator[None]:
    """So small a model only loses time to more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def results(run: Run) -> dict[str, list[Result]]:
    """What this run makes, one result a planted model: ``detected``, ``patched`` and ``tuned``."""
    p, prompts = run.params, run.params.truth_prompts
    seeds = [p.seed + k for k in range(p.truth_seeds)]
    return {
        "detected": [detected(run, seed=seed, prompts=prompts, gammas=p.truth_gammas) for seed in seeds],
        "patched": [patched(run, seed=seed, prompts=base_prompts(prompts)) for seed in seeds],
        "tuned": [tuned(run, seed=seed, prompts=prompts, topics=p.ablation_topics) for seed in seeds],
    }


def joined(run: Run, made: str, name: str) -> pd.DataFrame:
    """A table of all planted models, with the column seed; ``made``: a name of :func:`results`."""
    found = results(run)[made]
    return pd.concat([each.frame(name).assign(seed=each.inputs["seed"]) for each in found], ignore_index=True)


def over_models(run: Run, table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean of each value over planted models, with a 95 % interval over models (``<value>_low``, ``<value>_high``).

    Within a model rows are averaged first. Missing values are left out; with one model there is no interval. Intervals
    of shares end at 0 and 1.
    """
    p, rows = run.params, []
    for keys, part in table.groupby(list(by), sort=False):
        row: dict[str, Any] = dict(zip(by, keys, strict=True))
        models = part.groupby("seed")[list(values)].mean()
        for value in values:
            row |= with_ends(value, known_mean(models[value], p.bootstrap, p.seed, shares=value in SHARES))
        rows.append(row)
    return pd.DataFrame(rows)


def removed(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Each frozen set against freezing nothing, in the same model and topic, averaged over models with an interval.

    Args:
        table: ``frozen`` of :func:`tuned`, of all models.

    Returns:
        gates, condition, frozen, shift (on the trained topic), other, r, drop (of R from freezing nothing) and kept
        (on-topic shift as a share of that of freezing nothing), each with ``_low`` and ``_high`` but ``frozen``.
    """
    key = ["seed", "gates", "trained"]
    plain = table[table["condition"] == "nothing"].set_index(key)[["r", "shift"]].add_suffix("_plain")
    rows = table.join(plain, on=key)
    rows["drop"] = rows["r_plain"] - rows["r"]
    rows["kept"] = (rows["shift"] / rows["shift_plain"]).where(rows["shift_plain"] != 0)
    mean = over_models(run, rows, ["gates", "condition"], ["shift", "other", "r", "drop", "kept"])
    size = rows.groupby(["gates", "condition"], sort=False, as_index=False)["frozen"].mean()
    return size.merge(mean, on=["gates", "condition"], how="left", validate="one_to_one")
