"""Memory of each stage of a run at its peak, from the model's configuration alone: no weight is loaded.

Bytes on each GPU (or of the computer's memory, without one), from what is held at once. Shown at the start of a
chapter, checked before a stage starts, and compared with measured peaks in ``tests/runs/test_memory.py``.
"""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from polinb.errors import ParameterError
from polinb.models.aliases import ALIASES, EMBEDDED
from polinb.training.trainer import checkpointed

PROMPT_TOKENS = 96  # of a question: max_tokens is what may come, not what does
READ_BATCH = 16  # texts read at once where neurons are scored and likelihoods taken
OVERHEAD = 600_000_000  # what the libraries take once a model runs: code, kernels, workspaces
MODELS = {"load": 1, "ask": 2, "patch": 2, "score": 3}  # read at once


class Shape(NamedTuple):
    """Sizes of a decoder; ``tied``: the output head is the embedding, ``gated``: three FFN projections, not two."""

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
    def linear(self) -> list[tuple[int, int]]:
        """In and out of each linear layer of a block."""
        wide, narrow, up = self.heads * self.head_dim, self.kv_heads * self.head_dim, 2 if self.gated else 1
        attention = [(self.hidden, wide), (self.hidden, narrow), (self.hidden, narrow), (wide, self.hidden)]
        return [*attention, *[(self.hidden, self.ffn)] * up, (self.ffn, self.hidden)]

    @property
    def ends(self) -> int:
        """Weights of the embedding and the output head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All weights; biases and learnt positions left out, which are below a thousandth in large models."""
        return self.layers * (sum(a * b for a, b in self.linear) + 2 * self.hidden) + self.ends + self.hidden

    def adapter(self, rank: int) -> int:
        """Weights of a LoRA adapter of a rank."""
        return self.layers * rank * sum(a + b for a, b in self.linear)


# Configurations of the models with a short name: neither network nor transformers is needed to know what they take.
_KNOWN = {
    EMBEDDED: Shape(576, 1536, 30, 9, 3, 64, 49152, True),
    "llama-3.1-8b-instruct": Shape(4096, 14336, 32, 32, 8, 128, 128256, False),
    "llama-3.2-3b-instruct": Shape(3072, 8192, 28, 24, 8, 128, 128256, True),
    "qwen2.5-3b-instruct": Shape(2048, 11008, 36, 16, 2, 128, 151936, True),
    "qwen2.5-7b-instruct": Shape(3584, 18944, 28, 28, 4, 128, 152064, False),
    "tiny:llama": Shape(32, 48, 3, 4, 2, 8, 800, False),
}


def shape_of(model: str, revision: str = "") -> Shape | None:
    """Sizes of a model by alias, id, folder or ``tiny:<architecture>``; None if its configuration cannot be had."""
    try:
        return _KNOWN.get(model) or _shape(model, revision)
    except Exception:
        return None  # loading it says why


@lru_cache(maxsize=8)  # of what was found: a hub that was out of reach is asked again
def _shape(model: str, revision: str) -> Shape:
    from transformers import AutoConfig

    from polinb.models.tiny import tiny_config

    if model.startswith("tiny:"):
        config: Any = tiny_config(model.removeprefix("tiny:"))
    else:
        name = ALIASES[model][0] if model in ALIASES else str(Path(model).expanduser())
        config = AutoConfig.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
    hidden, heads, layers = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    ffn = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
    kv = getattr(config, "num_key_value_heads", None) or heads
    dim = getattr(config, "head_dim", None) or hidden // heads
    tied, gated = bool(getattr(config, "tie_word_embeddings", True)), config.model_type not in ("gpt2", "gpt_neox")
    return Shape(hidden, ffn, layers, heads, kv, dim, config.vocab_size, tied, gated)


def peak(p: Any, stage: str, gpus: int = 1) -> int | None:
    """Bytes on each of ``gpus`` at the peak of a stage, train or one of MODELS; None without a configuration."""
    shape = shape_of(p.model, p.revision)
    if shape is None:
        return None
    return training(shape, p) if stage == "train" else reading(shape, stage, p, gpus)


def training(shape: Shape, p: Any) -> int:
    """Peak of one fine-tuning in bytes, beside the vanilla model; on each of the GPUs (processes) that share it."""
    width, lora = _width(p.dtype), p.train == "lora"
    learnt = shape.adapter(p.lora_rank) if lora else shape.parameters - (shape.ends if p.train == "body" else 0)
    # One process trains a copy beside the vanilla model; adapters need none, and workers hold the model once.
    copies = 1 if lora or p.processes > 1 else 2
    # Gradients and two moments; adapters are float32 whatever the model is, and not among the weights.
    held = copies * shape.parameters * width + (4 * 4 if lora else 3 * width) * learnt
    compute = 2 if p.autocast == "bfloat16" else width
    if compute < width:
        held += shape.parameters * compute
    # Kept for the backward pass, a token and block: norms, queries and keys, values, attention, FFN.
    heads, cache = shape.heads * shape.head_dim, 2 * shape.kv_heads * shape.head_dim
    kept = (8 * shape.hidden + 4 * heads + 2 * cache + (4 if shape.gated else 2) * shape.ffn) * compute
    if lora:  # beside each linear layer: on half-precision models a float32 copy of its input, else of its output
        inputs, outputs = 5 * shape.hidden + heads + shape.ffn, 2 * shape.hidden + heads + cache + 2 * shape.ffn
        kept += 4 * (inputs if compute < 4 else outputs)
    again = checkpointed(p.gradient_checkpointing, shape.parameters)
    blocks = shape.layers * shape.hidden * compute + kept if again else shape.layers * kept
    # The logits, their float32 form, its log-softmax and its gradient.
    logits = shape.vocabulary * (12 + (compute if compute < 4 else 0))
    gathered = 0 if p.processes == 1 else 2 * shape.parameters // shape.layers * width
    return held // p.processes + gathered + p.micro_batch * p.max_tokens * (blocks + logits) + OVERHEAD


def reading(shape: Shape, stage: str, p: Any, gpus: int = 1) -> int:
    """Peak of a stage without gradients in bytes: load (the vanilla model answers), ask, patch or score.

    Variants that were trained with LoRA are float32 adapters around the vanilla weights.
    """
    # A chapter that trains, asks or scores nothing has no such parameter.
    names = ("lora_rank", "eval_batch", "eval_tokens", "localise_tokens")
    rank, batch, answer, scored = (getattr(p, name, 0) for name in names)
    width, variants, lora = _width(p.dtype), MODELS[stage] - 1, getattr(p, "train", "") == "lora"
    held = shape.parameters * width + variants * (shape.adapter(rank) * 4 if lora else shape.parameters * width)
    if stage == "score":  # left's response tokens of half a batch in all layers, and four sums
        tokens = READ_BATCH * (PROMPT_TOKENS + scored)
        held += shape.layers * shape.ffn * (READ_BATCH // 2 * scored * width + 4 * 8)
        passing = READ_BATCH * scored * shape.ffn * 4
    else:
        tokens = max(batch * PROMPT_TOKENS, READ_BATCH * (PROMPT_TOKENS + answer))
        caches = batch * (PROMPT_TOKENS + answer) * 2 * shape.layers * shape.kv_heads * shape.head_dim * width
        held += caches * (2 if stage == "patch" else 1)
        passing = 2 * READ_BATCH * answer * shape.vocabulary * 4  # logits
    if lora and variants:  # float32 beside a linear layer: its input, the change of its output, and their sum
        passing += tokens * 4 * (shape.hidden + 2 * shape.ffn)
    # Without gradients one block's activations live at a time.
    return held // gpus + passing + tokens * (6 * shape.hidden + 3 * shape.ffn) * width + OVERHEAD


def _width(dtype: str) -> int:
    return 4 if dtype in ("auto", "float32") else 2


def size(count: float) -> str:
    """Bytes in words, 1 GB = 10⁹ bytes."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def free_memory(device: str) -> int:
    """Bytes free now on the GPU, or in the computer's memory and what a container or a job may use of it."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
    import psutil

    return min([int(psutil.virtual_memory().available), *group_room()])


def group_room(mounts: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Bytes left in this process's Linux control groups (``own`` names them), and in those around them."""
    room = []
    for line in own.read_text("utf-8").splitlines() if own.is_file() else ():
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2 of control groups
            top, names = mounts, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top, names = mounts / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # Inside a container the path may be that of the host, and its own group is mounted at the top.
        inner = top / path.lstrip("/")
        limit, used, cache = names
        for group in (inner, *inner.parents):  # above the top no folder is a group
            try:
                stat = dict(line.split() for line in (group / "memory.stat").read_text("utf-8").splitlines())
                most, taken = (int((group / name).read_text("utf-8")) for name in (limit, used))
            except (OSError, ValueError):  # no such group here, or "max"
                continue
            room.append(max(0, most - taken + int(stat.get(cache, 0))))  # a file cache is given back at need
    return room


def check(stage: str, need: int, free: int) -> None:
    """Refuse a stage that needs more bytes than are free; ``POLINB_MEMORY_CHECK=off`` in the environment only warns.

    Raises:
        ParameterError: with both sizes and the parameters that lower the need.
    """
    if need <= free:
        return
    lower = "micro_batch, or set gradient_checkpointing=on" if stage == "train" else "eval_batch or localise_tokens"
    told = (
        f"{stage} needs about {size(need)} more memory than is in use, and {size(free)} are free. Lower {lower}, or "
        "train=lora dtype=bfloat16, or take a smaller model; POLINB_MEMORY_CHECK=off in the environment tries it all "
        "the same"
    )
    if os.environ.get("POLINB_MEMORY_CHECK") != "off":
        raise ParameterError("model", stage, "a stage that fits into the memory", told)
    warnings.warn(told, stacklevel=3)
