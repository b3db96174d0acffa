"""A loaded causal language model with its tokenizer and FFN sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from polinb.lazy import torch
from polinb.models.architectures import ffn_width, n_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class LM:
    """A causal language model with everything the chapters need to know of it."""

    model: PreTrainedModel  #: in eval mode
    tokenizer: PreTrainedTokenizerBase
    name: str  #: alias, id or folder it was asked for by
    identity: dict[str, Any]  #: what determines its weights (id, revision, dtype, or a digest), for artifact keys
    layers: int = field(init=False)  #: L, number of blocks
    width: int = field(init=False)  #: F, FFN neurons a block

    def __post_init__(self) -> None:
        self.layers, self.width = n_layers(self.model), ffn_width(self.model)

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the first weight; the CPU for a model spread over several devices.

        From there each layer takes its inputs to its own device, and activations of every layer can be indexed.
        """
        if hasattr(self.model, "_hf_hook"):  # there is none where a device map put everything on one GPU
            return torch.device("cpu")
        return next(self.model.parameters()).device

    @property
    def context(self) -> int:
        """Tokens that a text may have, those that are to follow included; 2³¹ − 1 where the model tells no number."""
        return int(getattr(self.model.config, "max_position_embeddings", None) or 2**31 - 1)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.hidden_size)

    @property
    def neurons(self) -> int:
        """L × F, number of FFN neurons."""
        return self.layers * self.width
