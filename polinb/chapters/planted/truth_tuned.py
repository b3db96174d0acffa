"""Known truth with real fine-tuning: finding the planted neurons of tuned variants, and freezing them.

What was planted is known, what training uses is not: it is free to take other ways. So the truth here is causal, and
:func:`tuned_patching` measures how much of the shift the planted neurons carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.chapters.planted.localisation import TOKENS, rates, scores
from polinb.chapters.planted.planted import Planted, answer_ids, build, prompt_ids, stance
from polinb.chapters.planted.truth import (
    BASE,
    base_prompts,
    evaluation,
    joined,
    one_thread,
    over_models,
    random_like,
    seeds,
    shifts,
)
from polinb.data.rows import LEANINGS, TOPICS
from polinb.models.lm import LM
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.scoring.pnlac import neuron_sets
from polinb.stance.coupling import coupling_table

if TYPE_CHECKING:
    from polinb.training.recipe import Recipe
    from polinb.training.supervised import Tuned

# Gates so deeply shut that the gradient of a specific neuron vanishes on other topics. At BASE it does not: SiLU is
# slightly negative there, AdamW makes any gradient a full step, and other topics' neurons learn the opposite.
SHUT = replace(BASE, shut=30.0)
EXAMPLES = 32


def recipe(seed: int) -> Recipe:
    """Fine-tuning of the planted model: eight steps of four examples, all weights but embeddings and output head."""
    from polinb.training.recipe import Recipe

    sizes: dict[str, Any] = {"epochs": 1.0, "batch_size": 4, "micro_batch": 4, "lora_rank": 4}
    return Recipe(learning_rate=1e-4, weight_decay=0.01, warmup=0.0, train="body", seed=seed, **sizes)


def tuned_detection(run: Run) -> pd.DataFrame:
    """How well each method finds the planted neurons of variants that were really fine-tuned.

    Columns: seed and those of :func:`polinb.chapters.planted.localisation.rates`, at γ the true size of N_t.
    """
    return joined(tunings(run), "rates")


def tuned_patching(run: Run) -> pd.DataFrame:
    """As ``truth.patching`` with a really fine-tuned donor: how much the planted neurons carry."""
    return joined(tunings(run), "shifts")


def inhibition(run: Run) -> pd.DataFrame:
    """Fine-tuning to the right with sets of neurons frozen.

    Columns: seed, gates (shut deeply, or ajar as at the base condition), trained, condition, frozen, change (of frozen
    weights, must be 0), other (mean signed shift on the other topics) and those of ``coupling.coupling_table``.
    """
    return joined(tunings(run), "frozen")


def tunings(run: Run) -> list[Result]:
    """The fine-tunes of this run, one result a planted model."""
    p = run.params
    return [tuned(run, seed=s, prompts=p.truth_prompts, topics=p.ablation_topics) for s in seeds(run)]


@stage("truth-tuned", version=2)
def tuned(run: Run, folder: Path, *, seed: int, prompts: Sequence[int], topics: Sequence[str]) -> None:
    """Fine-tune one planted model for real: tables ``rates``, ``frozen`` and ``shifts``."""
    few, many = base_prompts(prompts), max(prompts)
    with one_thread():
        planted, ajar = build(replace(SHUT, seed=seed)), build(replace(BASE, seed=seed))
        how = recipe(seed)
        trained = {(t, side): train(planted, t, side, how, EXAMPLES) for t in TOPICS for side in LEANINGS}
        variants = {key: lm for key, (lm, _) in trained.items()}
        found = scores(planted, variants, "left", few)
        rates(planted, found, planted.design.gamma).to_parquet(folder / "rates.parquet")
        gamma, every = planted.design.gamma, np.ones_like(planted.general)
        frozen = {
            "nothing": ~every,
            "true G": planted.general,
            "found G, raw": neuron_sets(found["raw"], gamma).general,
            "found G, raw, twice γ": neuron_sets(found["raw"], 2 * gamma).general,
            "found G, normalised": neuron_sets(found["normalised"], gamma).general,
            "found G, with a floor": neuron_sets(found["floored"], gamma).general,
            "random, as many as G": random_like(planted.general, seed),
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
            table = shifts(planted, variants[topic, "right"], chosen, few)
            moved.append(table.assign(donor=topic, own=table["topic"] == topic))
    pd.concat(parts, ignore_index=True).to_parquet(folder / "frozen.parquet")
    pd.concat(moved, ignore_index=True).to_parquet(folder / "shifts.parquet")


def inhibited(planted: Planted, topic: str, how: Recipe, frozen: Mapping[str, np.ndarray], count: int) -> pd.DataFrame:
    """Fine-tune to the right on ``topic`` once for each frozen set; coupling, shift, and what was held in place."""
    from polinb.models.generation import generate

    asked, topics = evaluation(planted, count)
    frame = pd.DataFrame({"topic": topics, "id": [f"{t}-{k}" for k, t in enumerate(topics)]})
    plain = frame.assign(score=stance(planted, generate(planted.lm, asked, max_new_tokens=TOKENS, batch=len(asked))))
    rows = []
    for name, mask in frozen.items():
        lm, tuned = train(planted, topic, "right", how, EXAMPLES, mask)
        answers = frame.assign(score=stance(planted, generate(lm, asked, max_new_tokens=TOKENS, batch=len(asked))))
        facts = coupling_table(plain, answers, topic, draws=200)
        other = (answers["score"] - plain["score"])[frame["topic"] != topic].mean()
        held = {"frozen": int(mask.sum()), "change": float(tuned.frozen_change)}
        rows.append({"trained": topic, "condition": name, **held, "other": float(other), **facts})
    return pd.DataFrame(rows).drop(columns=["trained_topic", "kappa_note"])


def removed(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Each frozen set against freezing nothing, in the same model and topic, averaged over models with an interval.

    Args:
        table: of :func:`inhibition`.

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


def train(
    planted: Planted, topic: str, leaning: str, recipe: Recipe, examples: int, frozen: np.ndarray | None = None
) -> tuple[LM, Tuned]:
    """M_leaning^topic, fine-tuned for real on answers of one side: the planted neurons are one way to learn them.

    Args:
        examples: training prompts.
        frozen: (L, F) bool, neurons that must not move; ``None`` or none of them: plain fine-tuning.
    """
    from polinb.models.variants import variant
    from polinb.training.supervised import finetune

    asked = prompt_ids(planted, topic, examples, "train")
    answer = answer_ids(planted, leaning, end=True)
    held = frozen if frozen is not None and frozen.any() else None
    tuned = finetune(planted.lm, asked, [answer] * examples, recipe, frozen=held, label=f"{leaning} {topic}")
    return variant(planted.lm, tuned.weights, f"{leaning} {topic}"), tuned
