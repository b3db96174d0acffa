"""What both kinds of fine-tuning share: hyperparameters, settings of their own, and TRL's trainers."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from polinb.errors import ParameterError, TrainingError
from polinb.lazy import torch
from polinb.masking.freezing import Freezer, FrozenSlice
from polinb.models.lm import LM
from polinb.progress import bar

# Read by accelerate, transformers and torch: their switches, and what torchrun, MPI and SLURM tell each process.
_PREFIXES = (
    "ACCELERATE_", "FSDP_", "DEEPSPEED_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "TORCHELASTIC_", "SM_", "SAGEMAKER_",
    "OMPI_", "PMI_", "PMIX_", "MPI_", "MV2_", "SLURM_", "MASTER_", "GROUP_", "ROLE_",
)  # fmt: skip
_NAMES = {"RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "FORK_LAUNCHED"}


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one fine-tuning; names as in ``polinb.runs.groups.Train``."""

    epochs: float
    batch_size: int
    micro_batch: int
    learning_rate: float
    weight_decay: float
    warmup: float
    train: str
    lora_rank: int
    seed: int
    gradient_checkpointing: str = "auto"
    autocast: str = "none"


@contextmanager
def alone() -> Iterator[None]:
    """The environment without what a launcher or accelerate left in it; afterwards it is as before.

    A mixed precision would change numbers; a rank or a world size would start a distributed run, or wait for one.
    """

    def taken() -> dict[str, str]:
        left = [name for name in os.environ if name in _NAMES or name.startswith(_PREFIXES)]
        return {name: os.environ.pop(name) for name in left}

    before = taken()
    try:
        yield
    finally:
        taken()  # accelerate sets some itself
        os.environ.update(before)


def make_trainer(
    model: Any,
    base: LM,
    dataset: Any,
    recipe: Recipe,
    frozen: Sequence[FrozenSlice],
    label: str,
    stop: float,
    *,
    examples: int | None = None,
    processes: int = 1,
    sampler: Any = None,
    watch: Callable[[int, Any], None] | None = None,
    **settings_of_launch: Any,
) -> Any:
    """The trainer of one fine-tuning; examples to sampler, and the rest, are for several processes (``parallel``).

    Args:
        frozen: slices that must not move; the trainer's ``freezer`` holds them.
        examples: rows that count (others are padding of the last step); None: all.
        sampler: the order of the rows; None: the trainer's own.
        watch: told the number of each optimiser step and the model after it.
        settings_of_launch: further fields of ``SFTConfig``.

    Raises:
        TrainingError: another number of processes than ``processes`` would train together.
    """
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    rows = examples or len(dataset)
    last = max(1, round(steps_of(rows, recipe) * stop))
    own = {"train_sampling_strategy": "group_by_length", "packing": False, "logging_strategy": "no"}
    settings = settings_of(SFTConfig, model, base, rows, recipe, processes, **(own | settings_of_launch))
    kind = tracked(SFTTrainer, label, recipe, frozen, last, watch)
    trainer = kind(model=model, args=settings, train_dataset=dataset, processing_class=base.tokenizer)
    if sampler is not None:
        trainer._get_train_sampler = lambda *_: sampler
    world = trainer.accelerator.num_processes
    if world != processes:
        raise TrainingError(
            f"{label}: {processes} processes were asked for, but {world} trained together (world size {world}); "
            "nothing was saved. Start it through polinb (torchrun), not by another launcher"
        )
    return trainer


def steps_of(rows: int, recipe: Recipe) -> int:
    """Optimiser steps of a whole training."""
    return max(1, math.ceil(math.ceil(rows / recipe.batch_size) * recipe.epochs))


def check_batches(batch_size: int, micro_batch: int, processes: int) -> None:
    """Refuse passes that do not add up to an optimiser step: a smaller batch would be trained.

    Raises:
        ParameterError: ``micro_batch`` × ``processes`` does not divide ``batch_size``.
    """
    if batch_size % (micro_batch * processes):
        allowed = f"a divisor of batch_size / processes ({batch_size} / {processes})"
        raise ParameterError("micro_batch", micro_batch, allowed)


def settings_of(config: Any, model: Any, base: LM, rows: int, recipe: Recipe, processes: int = 1, **own: Any) -> Any:
    """A configuration of TRL for ``recipe``, with further fields of its ``own``."""
    from transformers.utils import logging as hf_logging

    hf_logging.set_verbosity_error()
    check_batches(recipe.batch_size, recipe.micro_batch, processes)
    steps, size = steps_of(rows, recipe), sum(p.numel() for p in model.parameters())
    common: dict[str, Any] = dict(
        output_dir=tempfile.gettempdir(),  # where nothing is saved
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.batch_size // (recipe.micro_batch * processes),
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type="linear",
        # Rounded up, so that a short run warms up too. The first has a rate of 0, so the last step is never among them.
        warmup_steps=min(math.ceil(steps * recipe.warmup), steps - 1),
        max_grad_norm=1.0,
        max_length=None,
        bf16=recipe.autocast == "bfloat16",
        fp16=False,
        activation_checkpointing=checkpointed(recipe.gradient_checkpointing, size),
        use_cpu=base.device.type == "cpu",
        seed=recipe.seed,
        data_seed=recipe.seed,
        dataloader_pin_memory=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    settings = config(**(common | own))
    if settings.n_gpu > 1:  # one process, one device: with several GPUs the trainer would multiply the batch silently
        settings._n_gpu = 1
    return settings


def tracked(
    parent: Any,
    label: str,
    recipe: Recipe,
    frozen: Sequence[FrozenSlice] = (),
    last: int | None = None,
    watch: Callable[[int, Any], None] | None = None,
) -> Any:
    """A trainer of TRL that shows its steps, keeps each one's loss, and ends at ``last`` or at a loss not finite.

    It holds frozen entries: without gradient when gradients are clipped, put back after each optimiser step.
    """
    from transformers import PrinterCallback, TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc, no-any-unimported]
        def __init__(self, trainer: Trainer) -> None:
            self.trainer = trainer

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.trainer.freezer = Freezer(self.trainer.model, frozen)  # only now is the model wrapped and in its place
            self.shown = bar(state.max_steps, label)

        def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            self.trainer.freezer.restore()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.trainer.losses.append(self.trainer.part)
            self.trainer.part = 0.0
            self.shown.update(1)
            if watch is not None:
                model = self.trainer.model
                # Of adapters the model that holds them, whose modules are where those of the plain model are.
                watch(state.global_step, model.get_base_model() if recipe.train == "lora" else model)
            if state.global_step == last:
                control.should_training_stop = True

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            self.shown.close()

    class Trainer(parent):  # type: ignore[misc]
        freezer: Freezer

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.losses: list[float] = []
            self.part = 0.0
            super().__init__(*args, **kwargs)
            self.remove_callback(PrinterCallback)
            self.add_callback(Steps(self))

        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*args, **kwargs)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"{label}: the loss is {value} at step {self.state.global_step + 1} of {self.state.max_steps}; "
                    f"lower learning_rate (now {recipe.learning_rate}) or use dtype=float32. Nothing was saved; "
                    "finished work is kept."
                )
            self.part += value
            return loss

        def _clip_grad_norm(self, model: Any) -> Any:
            self.freezer.zero_gradients()
            return super()._clip_grad_norm(model)

    return Trainer


def checkpointed(choice: str, parameters: int) -> bool:
    """Whether activations are recomputed in the backward pass; ``auto``: in models above a billion parameters."""
    return parameters > 1_000_000_000 if choice == "auto" else choice == "on"
