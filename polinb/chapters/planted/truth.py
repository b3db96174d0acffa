"""Known truth: finding planted neurons in constructed variants, and patching them.

Each stage runs on ``truth_seeds`` planted models and keeps one result per model; intervals are over the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.chapters.planted.design import Design
from polinb.chapters.planted.localisation import TOKENS, Scores, rates, roc, scores
from polinb.chapters.planted.planted import Planted, build, prompt_ids, stance, variant
from polinb.data.rows import LEANINGS, TOPICS
from polinb.resampling import bootstrap_mean, share_interval
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.scoring.pnlac import neuron_sets

if TYPE_CHECKING:
    from polinb.models.lm import LM

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
Variants = dict[tuple[str, str], "LM"]


# --- finding


def detection(run: Run) -> pd.DataFrame:
    """How well each method finds the planted neurons of constructed variants, over all conditions and models.

    Columns: seed, knob (base, prompts, source, gamma, topics or a key of KNOBS), value, label, then as in
    ``localisation.rates``. All knobs but the one named are at the base condition: left answers, the middle
    value of ``truth_prompts``, six topics and γ the true size of N_t.
    """
    return joined(detections(run), "rates")


def roc_curves(run: Run) -> pd.DataFrame:
    """ROC curves of G at the base condition and in three traps, means over models.

    Columns: knob, value, method, fpr, tpr, auc.
    """
    table = joined(detections(run), "roc")
    return table.groupby(["knob", "value", "method", "fpr"], sort=False, as_index=False)[["tpr", "auc"]].mean()


def detections(run: Run) -> list[Result]:
    """The searches of this run, one per planted model."""
    p = run.params
    return [detected(run, seed=s, prompts=p.truth_prompts, gammas=p.truth_gammas) for s in seeds(run)]


@stage("truth-detection")
def detected(run: Run, folder: Path, *, seed: int, prompts: Sequence[int], gammas: Sequence[float]) -> None:
    """Search one planted model under all conditions: tables ``rates`` and ``roc``."""
    parts: list[pd.DataFrame] = []
    curves: list[pd.DataFrame] = []
    known: dict[Any, pd.DataFrame] = {}
    built: dict[Design, tuple[Planted, Variants]] = {}
    with one_thread():
        for knob, value, design, source, count in conditions(prompts, seed):
            key = (design, source, count)
            if key not in known:
                if design not in built:
                    planted = build(design)
                    built = {design: (planted, constructed(planted))} | (built if len(built) < 2 else {})
                planted, variants = built[design]
                found = scores(planted, variants, source, count)
                known[key] = rates(planted, found, design.gamma)
                if (knob, value) in DRAWN:
                    curves.append(roc(planted, found).assign(knob=knob, value=float(value)))
                if knob == "base":
                    parts += _regrouped(planted, found, gammas)
            parts.append(known[key].assign(knob=knob, value=float(value), label=source))
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


def constructed(planted: Planted) -> Variants:
    """All variants of a planted model, constructed."""
    return {(topic, side): variant(planted, topic, side) for topic in TOPICS for side in LEANINGS}


def _regrouped(planted: Planted, found: Scores, gammas: Sequence[float]) -> Iterator[pd.DataFrame]:
    """The base condition's scores read with other γ and with fewer topics."""
    true = planted.design.gamma
    for gamma in sorted({*gammas, true / 2, true}):
        yield rates(planted, found, gamma).assign(knob="gamma", value=float(gamma), label="left")
    for number in range(2, len(TOPICS) + 1):
        table = rates(planted, found, true, TOPICS[:number])
        yield table.assign(knob="topics", value=float(number), label="left")


# --- patching


def patching(run: Run) -> pd.DataFrame:
    """Shift of the vanilla stance when sets of neurons are patched in from constructed M_right^t, lock-step.

    Columns: seed, set, neurons, donor (topic t), topic (asked about), own (bool), shift (mean over prompts, paired).
    The last set, ``donor itself``, is no patch but the donor's own answers.
    """
    return joined(patchings(run), "shifts")


def patchings(run: Run) -> list[Result]:
    """The patching of this run, one per planted model."""
    return [patched(run, seed=s, prompts=base_prompts(run.params.truth_prompts)) for s in seeds(run)]


@stage("truth-patching")
def patched(run: Run, folder: Path, *, seed: int, prompts: int) -> None:
    """Patch true, found and random sets into one planted model: table ``shifts``."""
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
                "random, as many as G": random_like(planted.general, seed),
                "true S": planted.specific[topic],
                "found S, raw": sets["raw"].specific[topic],
                "found S, with a floor": sets["floored"].specific[topic],
            }
            parts.append(shifts(planted, variants[topic, "right"], chosen, prompts).assign(donor=topic))
    table = pd.concat(parts, ignore_index=True)
    table.assign(own=table["topic"] == table["donor"]).to_parquet(folder / "shifts.parquet")


def shifts(planted: Planted, donor: LM, chosen: Mapping[str, np.ndarray], count: int) -> pd.DataFrame:
    """Stance shift by topic when each set is patched from ``donor`` into the vanilla model.

    Columns: set, neurons, topic, shift.
    """
    from polinb.masking.patching import patched_answers
    from polinb.models.generation import generate

    asked, topics = evaluation(planted, count)
    plain = stance(planted, generate(planted.lm, asked, max_new_tokens=TOKENS, batch=len(asked)))
    rows = []
    for name, mask in {**chosen, "donor itself": None}.items():
        if mask is None:
            made = generate(donor, asked, max_new_tokens=TOKENS, batch=len(asked))
        else:
            made = patched_answers(planted.lm, donor, mask, asked, max_new_tokens=TOKENS, batch=len(asked))
        moved = pd.Series(stance(planted, made) - plain).groupby(topics, sort=False).mean()
        size = mask.sum() if mask is not None else planted.lm.neurons
        rows += [(name, int(size), topic, shift) for topic, shift in moved.items()]
    return pd.DataFrame(rows, columns=["set", "neurons", "topic", "shift"])


def evaluation(planted: Planted, count: int) -> tuple[list[list[int]], list[str]]:
    """Evaluation prompts of all topics as token ids, and each one's topic."""
    asked = [ids for topic in TOPICS for ids in prompt_ids(planted, topic, count)]
    return asked, [topic for topic in TOPICS for _ in range(count)]


def random_like(chosen: np.ndarray, seed: int) -> np.ndarray:
    """As many random neurons in every layer as ``chosen`` has there, from outside it."""
    from polinb.masking.random_sets import random_set

    return random_set("layer", chosen, np.ones(chosen.shape), seed)


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


def seeds(run: Run) -> list[int]:
    """Seeds of the planted models."""
    return [run.params.seed + k for k in range(run.params.truth_seeds)]


def joined(found: Sequence[Result], name: str) -> pd.DataFrame:
    """A table of all planted models, with the column seed."""
    return pd.concat([each.frame(name).assign(seed=each.inputs["seed"]) for each in found], ignore_index=True)


def over_models(run: Run, table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean of each value over planted models, with a 95 % interval over models (``<value>_low``, ``<value>_high``).

    Within a model rows are averaged first. Missing values are left out; with one model there is no interval. Intervals
    of shares end at 0 and 1.
    """
    rows = []
    for keys, part in table.groupby(list(by), sort=False):
        row: dict[str, Any] = dict(zip(by, keys, strict=True))
        models = part.groupby("seed")[list(values)].mean()
        for value in values:
            known = models[value].dropna()
            bounded = share_interval if value in SHARES else bootstrap_mean
            ends = bounded(known, run.params.bootstrap, run.params.seed) if len(known) else (np.nan,) * 3
            row |= dict(zip((value, f"{value}_low", f"{value}_high"), ends, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)
