"""Tiny randomly initialised models of every known architecture, made from a configuration: no download, for tests."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from polinb.errors import ParameterError
from polinb.lazy import torch
from polinb.models.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TINY = tuple(ARCHITECTURES)
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "n_inner": 48,  # what GPT-2 calls it
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
    "head_dim": 8,
}
_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@lru_cache(maxsize=1)
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 800 tokens learnt from the bundled statements, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    folder = resources.files("polinb") / "resources" / "statements"
    texts = [(folder / f"{name}.jsonl").read_text("utf-8") for name in ("compass", "ideologies")]
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def tiny_config(architecture: str) -> Any:
    """Configuration of the tiny model of ``architecture``; a ParameterError if there is none of that name."""
    from transformers import AutoConfig

    if architecture not in TINY:
        raise ParameterError("model", f"tiny:{architecture}", ", ".join(f"tiny:{name}" for name in TINY))
    tokenizer = tiny_tokenizer()
    sizes = _SIZES if architecture.startswith("gpt") else _SIZES | {"num_key_value_heads": 2}
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    # Untied: a random model whose output head is its embedding only repeats its last token.
    return AutoConfig.for_model(architecture, vocab_size=len(tokenizer), tie_word_embeddings=False, **sizes, **ids)


def tiny_model(architecture: str, seed: int = 0) -> PreTrainedModel:
    """A three-layer random model of ``architecture`` in float32, the same for the same seed."""
    import transformers

    config, tokenizer = tiny_config(architecture), tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        # Default initialisation leaves FFNs near zero: widen it so that neurons matter in tests.
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.data.normal_(0.0, 0.15)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval()
