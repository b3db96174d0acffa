"""Where FFN neurons and attention are, per architecture: the only file that knows architectures.

A neuron is one coordinate of the input of the FFN's output projection ("down"). Its incoming weights are one row
of each "up" projection (gate and up in gated FFNs), its outgoing weights one column of "down".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from polinb.errors import ModelError
from polinb.lazy import torch


@dataclass(frozen=True)
class Architecture:
    """Paths of the FFN parts inside a Hugging Face causal LM; all but ``blocks`` are paths inside a block.

    ``attention`` is empty where the FFN's output is normed before it is added to the residual stream: a neuron's
    contribution is not m·(v·w) there.
    """

    blocks: str  #: the list of transformer blocks
    down: str  #: the projection whose input is the neurons' activation
    up: tuple[str, ...]  #: the projections that feed the neurons
    attention: str = ""  #: attention's output projection
    fused: int = 1  #: number of equal parts stacked in one ``up`` projection (Phi-3 stacks gate and up: 2)
    transposed: bool = False  #: weights are stored as (in, out), as in GPT-2's Conv1D


_NORMED = Architecture("model.layers", "mlp.down_proj", ("mlp.gate_proj", "mlp.up_proj"))
_GATED = replace(_NORMED, attention="self_attn.o_proj")

# model_type of the configuration → where its neurons are. To add a model, add a line;
# tests/scoring/test_neurons.py then checks a tiny one (polinb/models/tiny.py) against plain PyTorch hooks.
ARCHITECTURES: dict[str, Architecture] = {
    "llama": _GATED,
    "qwen2": _GATED,
    "qwen3": _GATED,
    "mistral": _GATED,
    "gemma": _GATED,
    "gemma2": _NORMED,
    "gemma3_text": _NORMED,
    "olmo2": _NORMED,
    "phi3": replace(_GATED, up=("mlp.gate_up_proj",), fused=2),
    "gpt2": Architecture("transformer.h", "mlp.c_proj", ("mlp.c_fc",), "attn.c_proj", transposed=True),
    "gpt_neox": Architecture("gpt_neox.layers", "mlp.dense_4h_to_h", ("mlp.dense_h_to_4h",), "attention.dense"),
}
ATTENTION = {name: each.attention for name, each in ARCHITECTURES.items() if each.attention}
"""Architectures whose change can be decomposed → path of attention's output projection inside a block."""


@dataclass(frozen=True)
class WeightSlice:
    """One slice of a parameter that belongs to neurons: ``parameter[..., offset + i, ...]`` along ``dim``."""

    name: str
    dim: int
    offset: int
    side: str  # "up" (incoming) or "down" (outgoing)


def architecture_of(model: Any) -> Architecture:
    """The table's entry for a model, or for whatever has its ``config``.

    Raises:
        ModelError: the model's type is not in the table; says what to add.
    """
    kind = model.config.model_type
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"architecture {kind!r} is unknown; known: {', '.join(sorted(ARCHITECTURES))}. To add it, put a line "
            "into ARCHITECTURES in polinb/models/architectures.py: the path of its blocks and, inside a block, of the "
            "FFN's output projection ('down') and input projections ('up')."
        )
    return ARCHITECTURES[kind]


def resolve(root: Any, path: str) -> Any:
    """Attribute ``path`` (dotted) of ``root``; works on modules and on nnsight's envoys alike."""
    return reduce(getattr, path.split("."), root)


def n_layers(model: Any) -> int:
    """Number of transformer blocks L."""
    return len(resolve(model, architecture_of(model).blocks))


def ffn_width(model: Any) -> int:
    """Number of FFN neurons a block F."""
    arch = architecture_of(model)
    weight = resolve(resolve(model, arch.blocks)[0], arch.down).weight
    return int(weight.shape[0 if arch.transposed else 1])


def down_modules(model: Any) -> list[Any]:
    """The L output projections; each one's input is the (batch, token, F) activation of the block's neurons."""
    arch = architecture_of(model)
    return [resolve(block, arch.down) for block in resolve(model, arch.blocks)]


def value_vectors(model: Any, layer: int) -> torch.Tensor:
    """Value vectors of a layer, (F, d_model): neuron i writes a_i times row i into the residual stream.

    With an adapter its change is added, in float32.
    """
    down = down_modules(model)[layer]
    weight = down.weight.detach()
    for adapter in getattr(down, "active_adapters", ()):
        weight = weight + down.get_delta_weight(adapter).detach()
    return weight if architecture_of(model).transposed else weight.T


def weight_slices(model: Any, layer: int) -> Iterator[WeightSlice]:
    """Every parameter slice that belongs to a neuron of ``layer``: incoming weights and biases, outgoing weights."""
    arch = architecture_of(model)
    block = f"{arch.blocks}.{layer}"
    width = ffn_width(model)
    for path in arch.up:
        has_bias = getattr(resolve(model, f"{block}.{path}"), "bias", None) is not None
        for part in range(arch.fused):
            yield WeightSlice(f"{block}.{path}.weight", 1 if arch.transposed else 0, part * width, "up")
            if has_bias:
                yield WeightSlice(f"{block}.{path}.bias", 0, part * width, "up")
    yield WeightSlice(f"{block}.{arch.down}.weight", 0 if arch.transposed else 1, 0, "down")
