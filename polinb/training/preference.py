"""Preference fine-tuning with TRL's DPOTrainer: chosen responses against rejected ones (Yang et al. 2025)."""

from __future__ import annotations

import time
from typing import Any

from polinb.errors import ParameterError
from polinb.models.lm import LM
from polinb.models.tokens import Ids
from polinb.training.supervised import Tuned, own_copy, trainable, trained_weights
from polinb.training.trainer import Recipe, alone, settings_of, tracked


def prefer(
    base: LM, prompts: Ids, chosen: Ids, rejected: Ids, recipe: Recipe, *, beta: float = 0.1, label: str = "DPO"
) -> Tuned:
    """eq-dpo. DPO on a copy of ``base``, which is also the reference and is not touched.

    Args:
        prompts: token ids, one list a pair.
        chosen, rejected: token ids of the two responses, with their end tokens; the loss counts these only.
        recipe: ``train`` says which weights learn. Dropout is off, so the first loss is log 2.
        beta: β of the loss.

    Returns:
        ``extra`` holds, for each optimiser step and before it, ``margins`` (β (gain_chosen − gain_rejected), mean over
        its pairs) and ``accuracies`` (share of pairs whose chosen response gained more), and ``beta``.

    Raises:
        ParameterError: two equal responses.
        TrainingError: a loss or a trained weight that is not finite.
    """
    rows = [
        {"prompt_ids": list(p), "chosen_ids": list(c), "rejected_ids": list(r)}
        for p, c, r in zip(prompts, chosen, rejected, strict=True)
    ]
    same = [i for i, row in enumerate(rows) if row["chosen_ids"] == row["rejected_ids"]]
    if same:
        raise ParameterError("rejected", f"the chosen response itself in pair {same[0]}", "two different responses")
    special: dict[str, Any] = {"beta": beta, "loss_type": ["sigmoid"], "disable_dropout": True}
    special |= {"logging_strategy": "steps", "logging_steps": 1}  # to nowhere: the trainer's state keeps the margins
    # A reference of its own, which with LoRA shares the base's weights. Never base itself: the trainer changes the
    # forward method of its reference. Nor the model without adapters: the base may have some.
    with alone(), own_copy(base, recipe) as own, own_copy(base, recipe) as reference:
        from datasets import Dataset
        from trl.trainer.dpo_config import DPOConfig
        from trl.trainer.dpo_trainer import DPOTrainer

        class Trainer(tracked(DPOTrainer, label, recipe)):  # type: ignore[misc]
            """DPOTrainer on token ids as they are."""

            def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
                """Nothing to do: this book makes its prompts once, in ``models.tokens``, for every stage alike."""
                return dataset

        model = trainable(own, recipe)
        start = time.perf_counter()
        settings = settings_of(DPOConfig, model, base, len(rows), recipe, **special)
        given = {"train_dataset": Dataset.from_list(rows), "processing_class": base.tokenizer}
        trainer = Trainer(model=model, ref_model=reference, args=settings, **given)
        trainer.train()
        seconds = time.perf_counter() - start
        weights = trained_weights(model, label, recipe)
    read = sum(2 * len(p) + len(c) + len(r) for p, c, r in zip(prompts, chosen, rejected, strict=True))
    told = [each for each in trainer.state.log_history if "rewards/margins" in each]
    margins, accuracies = ([float(each[f"rewards/{name}"]) for each in told] for name in ("margins", "accuracies"))
    extra = {"margins": margins, "accuracies": accuracies, "beta": beta}
    return Tuned(weights, trainer.losses, seconds=seconds, tokens=int(read * recipe.epochs), extra=extra)
