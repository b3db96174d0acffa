"""Fine-tuned variants of a base model: whole weights of their own, or LoRA adapters around the weights of the base.

Adapters stay apart from the weights. Added to a bfloat16 weight and rounded, a short training's change would drown in
the rounding, which scores of neurons then square. A variant with adapters is another tree of modules around the base's
own parameters: vanilla, left and right together take the memory of one model.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polinb.errors import ModelError
from polinb.lazy import torch
from polinb.models.architectures import architecture_of
from polinb.models.lm import LM

KEPT = "default"
"""Name of a variant's adapter inside its model."""
LEARNT = "learnt"
"""Name of the adapter that learns, beside that of the model it starts from."""
_WEIGHTS, _ADAPTER, _CONFIG = "weights.safetensors", "adapter_model.safetensors", "adapter_config.json"
_PEFT = "base_model.model."  # before the names in peft's files


def shared_copy(model: Any) -> Any:
    """The same modules once more, around the very parameters of ``model``: who moves or casts one does so to both."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters()})


def adapter_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Name, in the plain model, and module of every layer with an adapter."""
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            yield name.removeprefix(_PEFT), module


def has_adapters(weights: Mapping[str, Any]) -> bool:
    """Whether trained weights are adapters: ``….lora_A.weight`` (r, in) and ``….lora_B.weight`` (out, r)."""
    return any(".lora_A." in name for name in weights)


def adapters(model: Any, only: str | None = None) -> dict[str, torch.Tensor]:
    """A (r, in) and B (out, r) of every adapted layer, float32 on the CPU: the layer adds B A x to its plain output.

    B holds the scale (alpha / r). Several active adapters of a layer (or ``only`` one) stand side by side, as one of
    their summed rank. Under FSDP every process must call it.
    """
    out = {}
    with torch.no_grad():
        for name, module in adapter_layers(model):
            used = [only] if only else module.active_adapters
            down = [whole(module.lora_A[each].weight).float() for each in used]
            up = [whole(module.lora_B[each].weight).float() * module.scaling[each] for each in used]
            out[f"{name}.lora_A.weight"] = torch.cat(down).cpu().contiguous()
            out[f"{name}.lora_B.weight"] = torch.cat(up, 1).cpu().contiguous()
    return out


def whole(tensor: Any) -> torch.Tensor:
    """All of a sharded tensor, on every process; a plain tensor itself."""
    full: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def variant(base: LM, weights: Mapping[str, Any], name: str, *, blend: float = 1.0) -> LM:
    """The base with trained weights; the base itself is not touched.

    Args:
        weights: parameter name → value; or adapters, which are those of the plain model: where the base has some, they
            are replaced.
        blend: λ of θ0 + λ(θ − θ0), in float32; for adapters the factor on B.

    Raises:
        ModelError: weights of another model.
    """
    if has_adapters(weights):
        model = _adapted(base.model, weights, name, blend)
        return LM(model.eval(), base.tokenizer, name, base.identity)
    model = copy.deepcopy(base.model)
    own = dict(model.named_parameters())
    _check_names(set(weights) - set(own), name)
    with torch.no_grad():
        for key, value in weights.items():
            if blend != 1.0:
                origin = own[key].detach().cpu().float()
                value = (origin + blend * (value.float() - origin)).to(value.dtype)
            own[key].copy_(value)
    return LM(model.eval(), base.tokenizer, name, base.identity)


def _adapted(base: Any, weights: Mapping[str, Any], name: str, blend: float) -> Any:
    from peft import LoraConfig, inject_adapter_in_model

    rank = next(len(value) for key, value in weights.items() if ".lora_A." in key)
    settings = LoraConfig(
        r=rank, lora_alpha=rank, target_modules="all-linear", fan_in_fan_out=architecture_of(base).transposed
    )
    model = shared_copy(base)
    learns = [(p, p.requires_grad) for p in base.parameters()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of adapters that are replaced
        inject_adapter_in_model(settings, model, KEPT, low_cpu_mem_usage=True)
    for parameter, flag in learns:  # peft switches them off, and they are the base's
        parameter.requires_grad_(flag)
    layers = dict(adapter_layers(model))
    _check_names(set(weights) ^ {f"{layer}.lora_{side}.weight" for layer in layers for side in "AB"}, name)
    for key, value in weights.items():
        layer, side = key.removesuffix(".weight").rsplit(".", 1)
        inner = getattr(layers[layer], side)[KEPT]
        if inner.weight.shape != value.shape:
            _check_names({key}, name)
        place = layers[layer].base_layer.weight.device
        factor = blend if side == "lora_B" else 1.0
        # In place of peft's own: those have the number format of the base.
        inner.weight = torch.nn.Parameter((value * factor).to(place), requires_grad=False)
    return model


def _check_names(stray: set[str], name: str) -> None:
    if stray:
        raise ModelError(f"weights of {name} do not belong to this model, e.g. {min(stray)!r}")


def save_variant(folder: Path, weights: Mapping[str, Any]) -> None:
    """Keep trained weights in ``folder``; adapters as peft does, A and B in float32 and a configuration."""
    from safetensors.torch import save_file

    if not has_adapters(weights):
        save_file(dict(weights), folder / _WEIGHTS)
        return
    save_file({_PEFT + key: value for key, value in weights.items()}, folder / _ADAPTER)
    rank = next(len(value) for key, value in weights.items() if ".lora_A." in key)
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": "all-linear"}
    (folder / _CONFIG).write_text(json.dumps({**settings, "task_type": "CAUSAL_LM"}, indent=1) + "\n", "utf-8")


def load_variant(base: LM, folder: Path, name: str, *, blend: float = 1.0) -> LM:
    """The base with the weights that :func:`save_variant` kept; arguments and errors as for :func:`variant`."""
    from safetensors.torch import load_file

    adapted = (folder / _ADAPTER).exists()
    weights = load_file(folder / (_ADAPTER if adapted else _WEIGHTS))
    return variant(base, {key.removeprefix(_PEFT): value for key, value in weights.items()}, name, blend=blend)
