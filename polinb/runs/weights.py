"""Weights of conditions: trained, interpolated, loaded, and dropped where they take too much room."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.models.lm import LM
from polinb.models.loading import pick_device
from polinb.runs.artifacts import META, locked
from polinb.runs.base import Base
from polinb.runs.conditions import Apart, Condition, Texts, encode
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage

if TYPE_CHECKING:
    from polinb.training.supervised import Tuned

Watch = Callable[[int, Any], None]


@stage("weights", Model, memory="train")
def weights(run: Base, folder: Path, *, condition: Condition, processes: int = 1) -> Mapping[str, Any]:
    """Weights of a condition: those that were trained, as safetensors; the summary tells of the training."""
    make_room(run)
    return save(train(run, condition, processes), condition, folder)


def save(tuned: Tuned, condition: Condition, folder: Path) -> dict[str, Any]:
    """Write trained weights; what tables show of the training."""
    from polinb.models.variants import save_variant

    save_variant(folder, tuned.weights)
    facts = {name: getattr(tuned, name) for name in ("losses", "steps", "tokens", "seconds")}
    if condition.beta:
        return facts | tuned.extra
    facts |= {"losses": [round(x, 6) for x in tuned.losses], "seconds": round(tuned.seconds, 2)}
    facts |= {name: getattr(tuned, name) for name in ("frozen_entries", "frozen_change", "world_size")}
    return facts | (tuned.extra if tuned.world_size > 1 else {})


def train(run: Base, condition: Condition, processes: int = 1, watch: Watch | None = None) -> Tuned:
    """Fine-tune for ``condition``, by one process or several.

    Args:
        watch: told the number of each optimiser step and the model after it (supervised, one process).
    """
    import torch

    from polinb.training.preference import prefer
    from polinb.training.supervised import finetune

    learns, recipe = condition.learns, condition.recipe
    assert learns is not None
    assert recipe is not None
    start = model_of(run, condition.start, "start")
    system = run.params.system_prompt
    label = " ".join(word for word in (condition.name, condition.topic, condition.leaning) if word)
    prompts, responses = encode(start, learns, system, condition.limit, end=True)
    if condition.beta:
        rejected = encode(start, learns, system, condition.limit, end=True, column="rejected")[1]
        return prefer(start, prompts, responses, rejected, recipe, beta=condition.beta, label=label)
    frozen = None if condition.frozen is None else mask_of(condition.frozen)
    ablate = None if condition.ablated is None else bases_of(condition.ablated)
    passes: Any = "both" if condition.ablated is None else condition.ablated.summary.get("passes", "both")
    how: dict[str, Any] = {"frozen": frozen, "ablate": ablate}
    if processes > 1 and condition.start is None:  # several processes begin with the vanilla model
        from polinb.training.parallel import Job, finetune_parallel

        p = run.params
        source = {"name": p.model, "revision": p.revision, "dtype": p.dtype, "device": pick_device(p.device).type}
        job = Job(source, asdict(recipe), processes, condition.freeze, condition.step_share, label, passes=passes)
        del start
        run.unload()  # the workers need its memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return finetune_parallel(job, prompts, responses, **how)
    how |= {"passes": passes, "freeze": condition.freeze, "stop": condition.step_share, "label": label, "watch": watch}
    return finetune(start, prompts, responses, recipe, **how)


@stage("course", Model, memory="train")
def course(
    run: Base, folder: Path, *, condition: Condition, weights: Apart, texts: Texts, steps: Sequence[int], limit: int
) -> None:
    """Log-likelihoods along a fine-tuning: table ``course``, the rows of ``texts`` without texts, step and logp.

    The weights at its end are kept as those of the condition: it is trained once for both.

    Args:
        weights: the result of the condition, which need not be there before.
        steps: optimiser steps after which the model is read.
    """
    from polinb.models.generation import log_likelihood

    read = encode(run.lm, texts, run.params.system_prompt, limit)
    rows = texts.rows.drop(columns=["prompt", "response"], errors="ignore")
    parts = []

    def watch(step: int, model: Any) -> None:
        if step in steps:
            learning = model.training
            lm = LM(model.eval(), run.lm.tokenizer, "learning", run.lm.identity)
            parts.append(rows.assign(step=step, logp=log_likelihood(lm, *read)))
            model.train(learning)

    tuned = train(run, condition, watch=watch)
    make_room(run)
    weights.value.put(lambda place: save(tuned, condition, place))
    pd.concat(parts, ignore_index=True).to_parquet(folder / "course.parquet")


@stage("interpolated")
def interpolated(run: Base, folder: Path, *, trained: Result, share: float) -> Mapping[str, Any]:
    """θ0 + λ(θ − θ0) between the vanilla model and a fine-tune, λ = ``share``: computed when it is loaded."""
    return trained.summary


def model_of(run: Base, weights: Result | None, name: str = "") -> LM:
    """The vanilla model, or a copy of it with these weights, ready to run."""
    from polinb.models.variants import load_variant

    if weights is None:
        return run.lm
    share = 1.0
    if weights.stage is interpolated:
        weights, share = weights.inputs["trained"], weights.inputs["share"]
    while True:
        weights.made()
        with locked(weights.path):  # not dropped by make_room meanwhile
            if weights.done():
                os.utime(weights.path)
                return load_variant(run.lm, weights.path, name, blend=share)


def make_room(run: Base) -> None:
    """Drop the weights that were read longest ago while all of them take more than ``POLINB_WEIGHTS_GB`` (12).

    Those with something frozen, ablated or cut short go first: they are asked and done. Weights are made again when
    something still needs them; what was asked of a model is kept.
    """
    most = float(os.environ.get("POLINB_WEIGHTS_GB", "12")) * 1e9
    found = []
    for folder in (run.store.root / "weights").glob("[!.]*"):
        size = sum(file.stat().st_size for file in folder.iterdir())
        found.append((_shared(folder), folder.stat().st_mtime, size, folder))
    newest = sorted(each[1] for each in found)[-2:]  # two may be in use: donor and start
    size = sum(each[2] for each in found)
    for _, read, taken, folder in sorted(found):
        if size <= most:
            return
        if read in newest:
            continue
        with locked(folder):
            shutil.rmtree(folder, ignore_errors=True)
        size -= taken


def _shared(folder: Path) -> bool:
    """Whether weights are those of an ordinary fine-tune, which several chapters use."""
    try:
        condition = json.loads((folder / META).read_text("utf-8"))["inputs"]["condition"]
    except (OSError, ValueError, KeyError):
        return False
    plain = {"frozen": None, "ablated": None, "start": None, "beta": 0.0, "step_share": 1.0}
    return bool(condition.items() >= plain.items())


def mask_of(neurons: Result) -> np.ndarray:
    """The neurons of a result, (L, F) bool."""
    return neurons.arrays("neurons")["mask"].astype(bool)


def bases_of(ablated: Result) -> dict[int, np.ndarray]:
    """Block → directions (d_model, k) of a result."""
    return {int(name): basis for name, basis in sorted(ablated.arrays("bases").items(), key=lambda each: int(each[0]))}
