"""How much memory each stage of a run needs, from the model's configuration alone: no weight is loaded.

The figures are estimates of the peak on one card (or in the computer's memory, on a CPU), built from what is held at
once. They are shown at the start of a chapter, compared with what is free before a stage starts, and compared with
measured peaks in ``tests/test_memory.py``.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

from polinb.errors import ParameterError
from polinb.models.shapes import Shape, shape_of
from polinb.training.trainer import checkpointed

STAGES = ("load", "train", "score", "ask", "patch")
# Questions are short; max_tokens is what may come, not what does.
PROMPT_TOKENS = 96
READ_BATCH = 16  # texts read at once where neurons are scored and likelihoods taken
# What the libraries themselves take once a model runs: code, kernels, workspaces.
OVERHEAD = 600_000_000
_LOWER = "eval_batch, or take dtype=bfloat16 with train=lora, device_map=auto over several GPUs, or a smaller model"
LOWER = dict.fromkeys(STAGES, f"Lower {_LOWER}") | {
    "train": "Take train=lora, gradient_checkpointing=on or a smaller micro_batch, or processes above 1 on several GPUs"
}


@dataclass(frozen=True)
class Estimate:
    """Bytes at the peak of a stage, by what holds them; on each card (or of the computer's memory, on a CPU)."""

    stage: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        named = ", ".join(f"{name} {size(value)}" for name, value in self.parts.items() if value)
        return f"{self.stage}: {size(self.total)} ({named})"


def size(count: float) -> str:
    """Bytes in words, 1 GB = 10⁹ bytes."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def estimate(shape: Shape, params: Any, stage: str, *, on_cpu: bool = True, gpus: int = 1) -> Estimate:
    """The peak of one stage.

    Args:
        stage: load (the vanilla model), train (one fine-tuning), score (PNLAC: three models), ask (vanilla and a
            variant, with the key-value cache), patch (recipient and donor in lock-step, a cache each).
        on_cpu: all processes share one memory.
        gpus: over how many a model is spread when ``device_map`` is auto.
    """
    if stage == "train":
        return Estimate(stage, _training(shape, params, on_cpu))
    width = 4 if params.dtype in ("auto", "float32") else 2
    models = {"load": 1, "score": 3, "ask": 2, "patch": 2}[stage]
    spread = gpus if params.device_map == "auto" else 1
    parts = {"weights": models * shape.parameters * width // spread}
    if stage in ("load", "ask", "patch"):
        caches = 2 if stage == "patch" else 1
        answer = getattr(params, "eval_tokens", 0)  # a chapter that asks nothing has none
        tokens = params.eval_batch * (PROMPT_TOKENS + answer)
        parts["key-value cache"] = caches * tokens * shape.cache_per_token * width // spread
    if stage == "score":
        tokens = READ_BATCH * (PROMPT_TOKENS + params.localise_tokens)
        # One layer's as float32, and all layers of the left model on half a batch.
        parts["activations"] = READ_BATCH * params.localise_tokens * shape.ffn * 4 + tokens // 2 * shape.neurons * width
        parts["sums"] = 4 * shape.neurons * 8
    else:
        tokens = max(params.eval_batch * PROMPT_TOKENS, READ_BATCH * (PROMPT_TOKENS + answer))
        parts["logits"] = 2 * READ_BATCH * answer * shape.vocabulary * 4
    # Without gradients one block's activations live at a time.
    parts["one block"] = tokens * (6 * shape.hidden + 3 * shape.ffn) * width
    return Estimate(stage, {**parts, "libraries": OVERHEAD})


def _training(shape: Shape, p: Any, on_cpu: bool) -> dict[str, int]:
    width = 4 if p.dtype in ("auto", "float32") else 2
    total = shape.parameters * width
    lora = p.train == "lora"
    learnt = shape.adapter(p.lora_rank) if lora else shape.parameters - (shape.ends if p.train == "body" else 0)
    learning = 4 if lora else width  # adapters are float32 whatever the model is
    several = p.processes > 1
    # One process trains a copy beside the vanilla model; adapters need none, and workers hold the model once.
    held = total if lora or several else 2 * total
    split = p.processes
    parts = {
        "weights": held // split,
        "gradients": learnt * learning // split,
        "optimiser": 2 * learnt * learning // split,
        "adapters": learnt * learning // split if lora else 0,
    }
    if several:
        parts["gathered blocks"] = 2 * (shape.block + shape.ends // 2) * width
    compute = 2 if p.autocast == "bfloat16" else width
    if p.autocast == "bfloat16":
        parts["weights in bfloat16"] = shape.parameters * 2 // split
    tokens = p.micro_batch * p.max_tokens
    block = tokens * _kept_in_block(shape, compute, lora)
    if checkpointed(p.gradient_checkpointing, shape.parameters):
        parts["activations"] = shape.layers * tokens * shape.hidden * compute + block
    else:
        parts["activations"] = shape.layers * block
    # The logits, their float32 form, its log-softmax and its gradient.
    parts["logits"] = tokens * shape.vocabulary * (3 * 4 + (compute if compute < 4 else 0))
    parts["libraries"] = OVERHEAD
    if several and on_cpu:
        parts = {name: value * p.processes for name, value in parts.items()}
        parts["vanilla model"] = total
    return parts


def _kept_in_block(shape: Shape, width: int, lora: bool) -> int:
    """Bytes a token that one block keeps for the backward pass."""
    heads = shape.heads * shape.head_dim
    cache = 2 * shape.kv_heads * shape.head_dim
    # Two norms (input, normalised, scaled), queries and keys twice (rotated), values, attention output, two sums.
    kept = 8 * shape.hidden + 4 * heads + 2 * cache + (4 if shape.gated else 2) * shape.ffn
    if not lora:
        return kept * width
    # Beside each linear layer stands an adapter: on half-precision models it reads a float32 copy of the layer's
    # input, and else its sum with the layer's output is kept.
    inputs, outputs = 5 * shape.hidden + heads + shape.ffn, 2 * shape.hidden + heads + cache + 2 * shape.ffn
    return kept * width + 4 * (inputs if width < 4 else outputs)


def free_memory(device: str, spread: bool = False) -> int:
    """Bytes free now on a card (all cards when the model is spread), or in the computer's memory."""
    if device.startswith("cuda"):
        import torch

        indices = range(torch.cuda.device_count()) if spread else [torch.device(device).index or 0]
        return sum(torch.cuda.mem_get_info(i)[0] + _reserved(i) for i in indices)
    import psutil

    return int(psutil.virtual_memory().available)


def _reserved(index: int) -> int:
    """What PyTorch holds on a card without using it."""
    import torch

    return int(torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index))


def check(params: Any, stage: str, *, loaded: bool = False, free: int | None = None) -> Estimate | None:
    """Refuse a stage that cannot fit, before it starts; with ``POLINB_MEMORY_CHECK=off`` in the environment only warn.

    Args:
        params: of the run or chapter.
        loaded: the vanilla model is in memory already, so it counts as taken.
        free: bytes free; None: asked of the machine.

    Returns:
        The estimate; None where the model's configuration cannot be had.

    Raises:
        ParameterError: what it needs, what is free, and what to lower.
    """
    from polinb.models.loading import pick_device

    shape = shape_of(params.model, params.revision)
    if shape is None:
        return None
    device = str(pick_device(params.device))
    on_cpu = not device.startswith("cuda")
    need = estimate(shape, params, stage, on_cpu=on_cpu, gpus=_gpus(device))
    already = shape.parameters * (4 if params.dtype in ("auto", "float32") else 2) if loaded else 0
    if stage == "train" and params.processes > 1 and not on_cpu:
        already = 0  # it leaves the GPUs while the workers train
    have = free if free is not None else free_memory(device, params.device_map == "auto")
    if need.total - already <= have:
        return need
    told = f"about {size(need.total - already)} more memory than is in use ({need})"
    if os.environ.get("POLINB_MEMORY_CHECK") == "off":
        warnings.warn(f"{params.model} needs {told}, but {size(have)} are free. {LOWER[stage]}", stacklevel=3)
        return need
    # The name is the parameter that usually decides.
    raise ParameterError(
        "train" if stage == "train" else "model",
        params.train if stage == "train" else params.model,
        f"what fits into the {size(have)} that are free on {device}; {stage} needs {told}",
        f"{LOWER[stage]}. POLINB_MEMORY_CHECK=off in the environment tries it all the same",
    )


def _gpus(device: str) -> int:
    if not device.startswith("cuda"):
        return 1
    import torch

    return max(1, torch.cuda.device_count())


def report(params: Any) -> str:
    """One line on what a chapter needs, the same on every machine; empty where the configuration cannot be had."""
    shape = shape_of(params.model, params.revision)
    if shape is None:
        return ""
    stages = {"train": "train", "localise_tokens": "score", "eval_tokens": "ask", "patch_questions": "patch"}
    names = {"train": "fine-tuning", "score": "scoring", "ask": "asking", "patch": "patching"}
    used = [stage for name, stage in stages.items() if name in type(params).model_fields]
    each = (f"{names[stage]} {size(estimate(shape, params, stage).total)}" for stage in used)
    return f"Memory, estimated from the model's configuration: {', '.join(each)}."
