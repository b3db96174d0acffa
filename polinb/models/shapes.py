"""Sizes of a model's parts from its configuration, without loading a weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from polinb.models.aliases import ALIASES, EMBEDDED


@dataclass(frozen=True)
class Shape:
    """What a decoder's memory depends on, in numbers of entries.

    Attributes:
        hidden, ffn, layers: d_model, F and L.
        heads, kv_heads, head_dim: attention heads, key-value heads, width of one.
        vocabulary: tokens.
        tied: the output head is the embedding.
        gated: three FFN projections (gate, up, down) instead of two.
    """

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    gated: bool = True

    @property
    def _linear(self) -> tuple[tuple[int, int, int], ...]:
        """Linear layers of a block: in, out, how many."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        up = 2 if self.gated else 1
        return (
            (self.hidden, wide, 1),
            (self.hidden, narrow, 2),
            (wide, self.hidden, 1),
            (self.hidden, self.ffn, up),
            (self.ffn, self.hidden, 1),
        )

    @property
    def block(self) -> int:
        """Weights of one block (biases left out: below a thousandth)."""
        return sum(a * b * n for a, b, n in self._linear) + 2 * self.hidden

    @property
    def ends(self) -> int:
        """Weights of the embedding and the output head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.layers * self.block + self.ends + self.hidden

    @property
    def neurons(self) -> int:
        """L × F."""
        return self.layers * self.ffn

    @property
    def cache_per_token(self) -> int:
        """Entries of the key-value cache a token."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    def adapter(self, rank: int) -> int:
        """Weights of LoRA adapters of this rank on every linear layer of the blocks."""
        return self.layers * sum(rank * (a + b) * n for a, b, n in self._linear)


# The published configurations of the models with a short name: no network is needed to know what they take.
_KNOWN = {
    EMBEDDED: Shape(576, 1536, 30, 9, 3, 64, 49152, True),
    "llama-3.1-8b-instruct": Shape(4096, 14336, 32, 32, 8, 128, 128256, False),
    "llama-3.2-3b-instruct": Shape(3072, 8192, 28, 24, 8, 128, 128256, True),
    "qwen2.5-3b-instruct": Shape(2048, 11008, 36, 16, 2, 128, 151936, True),
    "qwen2.5-7b-instruct": Shape(3584, 18944, 28, 28, 4, 128, 152064, False),
}


@lru_cache(maxsize=8)
def shape_of(model: str, revision: str = "") -> Shape | None:
    """Sizes of a model by alias, id, folder or ``tiny:<architecture>``; None if its configuration cannot be had."""
    if model in _KNOWN:
        return _KNOWN[model]
    from transformers import AutoConfig

    if model.startswith("tiny:"):
        from polinb.models.tiny import TINY, tiny_config

        return from_config(tiny_config(model.removeprefix("tiny:"))) if model.removeprefix("tiny:") in TINY else None
    try:
        name = ALIASES[model][0] if model in ALIASES else model
        config = AutoConfig.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
        return from_config(config)
    except (OSError, ValueError, AttributeError):
        return None  # loading it says why


def from_config(config: Any) -> Shape:
    """Sizes out of a Hugging Face configuration."""
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    gated = config.model_type not in ("gpt2", "gpt_neox")
    ffn = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
    return Shape(
        hidden=hidden,
        ffn=int(ffn),
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(config, "head_dim", None) or hidden // heads),
        vocabulary=int(config.vocab_size),
        tied=bool(getattr(config, "tie_word_embeddings", True)),
        gated=gated,
    )
