"""Supervised fine-tuning on response tokens (paper B.1), with neurons held (InhibitFT) or directions ablated (CAFT)."""

from __future__ import annotations

import copy
import gc
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polinb.errors import ParameterError, TrainingError
from polinb.lazy import torch
from polinb.masking.ablation import Passes, ablated
from polinb.masking.freezing import FrozenSlice, check_frozen, frozen_slices
from polinb.models.architectures import architecture_of
from polinb.models.lm import LM
from polinb.models.tokens import Ids
from polinb.models.variants import LEARNT, adapter_layers, adapters, shared_copy, whole
from polinb.training.trainer import Recipe, alone, make_trainer


@dataclass
class Tuned:
    """What fine-tuning changed.

    Attributes:
        weights: parameter name → new value, of what was trained (:func:`trained_weights`).
        losses: training loss of each optimiser step.
        frozen_entries: how many weights were held in place.
        frozen_change: their largest change, 0.0 by guarantee.
        tokens: read in training.
        world_size: processes that trained together.
    """

    weights: dict[str, torch.Tensor]
    losses: list[float]
    frozen_entries: int = 0
    frozen_change: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    world_size: int = 1

    @property
    def steps(self) -> int:
        """Optimiser steps done."""
        return len(self.losses)


def finetune(
    base: LM,
    prompts: Ids,
    responses: Ids,
    recipe: Recipe,
    *,
    frozen: np.ndarray | None = None,
    freeze: str = "neuron",
    ablate: Mapping[int, np.ndarray] | None = None,
    passes: Passes = "both",
    stop: float = 1.0,
    label: str = "fine-tuning",
    watch: Callable[[int, Any], None] | None = None,
) -> Tuned:
    """Fine-tune a copy of ``base``; ``base`` itself is not touched.

    Args:
        prompts, responses: token ids; the loss counts response tokens only.
        frozen: (L, F) bool, neurons that must not move; ``None`` is plain fine-tuning.
        freeze: which weights of a frozen neuron are held (:func:`polinb.masking.freezing.frozen_slices`).
        ablate: block → (d_model, k) orthonormal directions projected out of its output during training only.
        passes: out of activations and gradients, or of one of them (:func:`polinb.masking.ablation.ablated`).
        stop: share of the optimiser steps done; the schedule of the learning rate stays that of the whole run.
        watch: told the number of each optimiser step and the model after it; it must leave the model as it is.

    Raises:
        ParameterError: ``ablate`` does not fit the model, or ``stop`` is not above 0 and at most 1.
        TrainingError: a loss that is not finite, or a frozen weight that moved.
    """
    if not 0 < stop <= 1:
        raise ParameterError("stop", stop, "a share of the steps, above 0 and at most 1")
    how: dict[str, Any] = {"ablate": ablate, "passes": passes, "stop": stop, "label": label, "watch": watch}
    with alone(), own_copy(base, recipe) as own:
        slices = frozen_slices(own, frozen, freeze) if frozen is not None else []
        before = dict(base.model.named_parameters())
        return learn(own, base, training_rows(prompts, responses), recipe, slices, before, **how)[0]


def learn(
    model: Any,
    base: LM,
    rows: Sequence[Any],
    recipe: Recipe,
    slices: list[FrozenSlice],
    before: dict[str, torch.Tensor],
    *,
    ablate: Mapping[int, np.ndarray] | None,
    passes: Passes,
    stop: float,
    label: str,
    examples: int | None = None,
    **how: Any,
) -> tuple[Tuned, Any]:
    """Train ``model`` itself; what changed (of several processes: of this one), and the trainer.

    Args:
        rows: :func:`training_rows`, the first ``examples`` of which count.
        before: name → value of what must not move, whole or in ``slices``.
        how: further arguments of :func:`polinb.training.trainer.make_trainer`.
    """
    from datasets import Dataset

    ablation = ablated(model, ablate, passes) if ablate is not None else nullcontext()
    start = time.perf_counter()
    model, data = trainable(model, recipe), Dataset.from_list(rows)
    with ablation:
        trainer = make_trainer(model, base, data, recipe, slices, label, stop, examples=examples, **how)
        trainer.train()
    seconds = time.perf_counter() - start
    weights, held = trained_weights(trainer.model, label, recipe), trainer.freezer
    moved = adapters(trainer.model, LEARNT) if recipe.train == "lora" else weights
    change = max(check_frozen(before, moved, slices), held.max_change())
    tokens = int(sum(len(row["input_ids"]) for row in rows[:examples]) * recipe.epochs * stop)
    return Tuned(weights, trainer.losses, held.entries, change, seconds, tokens), trainer


def training_rows(prompts: Ids, responses: Ids) -> list[dict[str, list[int]]]:
    """Rows of the trainer's data: input_ids, and labels that count response tokens only."""
    return [
        {"input_ids": [*p, *r], "labels": [-100] * len(p) + list(r)} for p, r in zip(prompts, responses, strict=True)
    ]


@contextmanager
def own_copy(base: LM, recipe: Recipe) -> Iterator[Any]:
    """A copy of the model to train. For LoRA its weights are the base's own: adapters leave them alone.

    Raises:
        ParameterError: all weights of a model that has adapters are to be trained, or it is spread over several GPUs.
    """
    import trl.trainer.sft_trainer  # noqa: F401 (and what it imports)

    if not gc.get_freeze_count():
        # Each training collects garbage twice, which need not walk through what libraries hold (0.3 s each time).
        # Before there is anything to train: what is set apart is freed only where nothing refers to it.
        gc.collect()
        gc.freeze()
    lora = recipe.train == "lora"
    if not lora and any(adapter_layers(base.model)):
        raise ParameterError("train", recipe.train, "lora for a model that has adapters")
    shared = [(p, p.requires_grad) for p in base.model.parameters()] if lora else []
    model: Any = shared_copy(base.model) if lora else copy.deepcopy(base.model)
    places = getattr(model, "hf_device_map", None)
    if places:
        if len(set(places.values())) > 1:
            allowed = "none, or processes above 1, to train a model that takes several GPUs"
            raise ParameterError("device_map", "auto", allowed)
        from accelerate.hooks import remove_hook_from_submodules

        remove_hook_from_submodules(model)  # all on one device: nothing needs moving, and the trainer has hooks too
        del model.hf_device_map
    try:
        yield model
    finally:
        for parameter, learnt in shared:
            parameter.requires_grad_(learnt)


def trainable(model: Any, recipe: Recipe) -> Any:
    """Mark what learns; returns the model that the trainer takes.

    LoRA on a model that has adapters trains further ones beside them: nothing is merged, so nothing is rounded, and
    the weights stay the base's.
    """
    model.config.use_cache = False
    if recipe.train != "lora":
        ends = {id(p) for m in (model.get_input_embeddings(), model.get_output_embeddings()) for p in m.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(recipe.train == "all" or id(parameter) not in ends)
        return model
    from peft import LoraConfig, get_peft_model

    earlier = list(getattr(model, "peft_config", {}))
    settings = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        fan_in_fan_out=architecture_of(model).transposed,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(recipe.seed)
        warnings.simplefilter("ignore", UserWarning)  # of adapters beside the earlier ones
        wrapped = get_peft_model(model, settings, LEARNT)
    wrapped.base_model.set_adapter([*earlier, LEARNT])
    for name, parameter in wrapped.named_parameters():
        parameter.requires_grad_(f".{LEARNT}." in name)
    return wrapped


def trained_weights(model: Any, label: str, recipe: Recipe) -> dict[str, torch.Tensor]:
    """What learnt, on the CPU, for :func:`polinb.models.variants.variant`; under FSDP every process must call it.

    Weights by their names in the number format of the model; of LoRA the adapters in float32, also those of the model
    it started from.

    Raises:
        TrainingError: a weight that is not finite.
    """
    if recipe.train == "lora":
        weights = adapters(model)
    else:
        learnt = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        weights = {name: whole(value).cpu().contiguous() for name, value in learnt.items()}
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        advice = f"lower learning_rate (now {recipe.learning_rate})"
        raise TrainingError(f"{label}: a trained weight is not finite; {advice}")
    return weights
