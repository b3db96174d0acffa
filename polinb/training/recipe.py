"""Hyperparameters of a fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass


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

    @property
    def code(self) -> int:
        """Version of what a training gives, for keys of results: 2 where adapters are kept, no longer merged."""
        return 2 if self.train == "lora" else 1
