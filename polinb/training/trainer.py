"""The trainer of supervised fine-tuning: TRL's SFTTrainer on response tokens, for one process or several."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from polinb.errors import TrainingError
from polinb.masking.freezing import Freezer, FrozenSlice
from polinb.progress import bar

if TYPE_CHECKING:
    import torch

    from polinb.models.lm import LM
    from polinb.training.recipe import Recipe


def warmup_steps(steps: int, share: float) -> int:
    """Steps with a rising learning rate: ``share`` of all, rounded up, so that a short run warms up too.

    As in transformers the first of them has a learning rate of 0; so the last step is never one of them.
    """
    return min(math.ceil(steps * share), steps - 1)


def make_trainer(
    model: Any,
    base: LM,
    dataset: Any,
    recipe: Recipe,
    folder: str,
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
        model: what learns, as ``polinb.training.supervised`` left it.
        frozen: slices that must not move; the trainer's ``freezer`` holds them.
        examples: rows that count (others are padding of the last step); None: all.
        sampler: the order of the rows; None: the trainer's own.
        watch: told the number of each optimiser step and the model after it.
        settings_of_launch: further fields of ``SFTConfig``.
    """
    from transformers import PrinterCallback, TrainerCallback
    from transformers.utils import logging as hf_logging
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    hf_logging.set_verbosity_error()
    per_epoch = math.ceil((examples or len(dataset)) / recipe.batch_size)
    steps = max(1, math.ceil(per_epoch * recipe.epochs))
    last = max(1, round(steps * stop))
    count = sum(p.numel() for p in model.parameters())
    own: dict[str, Any] = dict(
        output_dir=folder,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.batch_size // (recipe.micro_batch * processes),
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type="linear",
        warmup_steps=warmup_steps(steps, recipe.warmup),
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        max_length=None,
        packing=False,
        bf16=recipe.autocast == "bfloat16",
        fp16=False,
        activation_checkpointing=checkpointed(recipe.gradient_checkpointing, count),
        use_cpu=base.device.type == "cpu",
        seed=recipe.seed,
        data_seed=recipe.seed,
        dataloader_pin_memory=False,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    settings = SFTConfig(**(own | settings_of_launch))

    # One process, one device: with several cards the trainer would otherwise multiply the batch silently.
    if settings.n_gpu > 1:
        settings._n_gpu = 1

    class Trainer(SFTTrainer):
        """SFTTrainer that holds frozen entries and stops at the first loss that is not finite."""

        freezer: Freezer

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.losses: list[float] = []
            self._sum = 0.0
            super().__init__(*args, **kwargs)

        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            loss = super().training_step(*args, **kwargs)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"{label}: the loss is {value} at step {self.state.global_step + 1} of {steps}; lower "
                    f"learning_rate (now {recipe.learning_rate}) or use dtype=float32. Nothing was saved; finished "
                    "work is kept."
                )
            self._sum += value
            return loss

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return sampler or super()._get_train_sampler(train_dataset)

        def _clip_grad_norm(self, model: Any) -> Any:
            self.freezer.zero_gradients()
            return super()._clip_grad_norm(model)

    class Steps(TrainerCallback):  # type: ignore[misc, no-any-unimported]
        """After each optimiser step: restore frozen entries, keep the loss, stop early if asked."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.shown = bar(state.max_steps, label)
            trainer.freezer = Freezer(trainer.model, frozen)  # only now is the model wrapped and in its place

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.freezer.restore()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.losses.append(trainer._sum)
            trainer._sum = 0.0
            self.shown.update(1)
            if watch is not None:
                # Of adapters the model that holds them, whose modules are where those of the plain model are.
                watch(state.global_step, model.get_base_model() if recipe.train == "lora" else model)
            if state.global_step >= last:
                control.should_training_stop = True

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.shown.close()

    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=dataset,
        processing_class=base.tokenizer,
        callbacks=[Steps()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def checkpointed(choice: str, parameters: int) -> bool:
    """Whether activations are recomputed in the backward pass; ``auto``: in models above a billion parameters."""
    return parameters > 1_000_000_000 if choice == "auto" else choice == "on"
