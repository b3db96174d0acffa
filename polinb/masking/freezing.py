"""Neuron masks on parameters: what InhibitFT freezes, and the guarantee that it did not move (paper 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polinb.errors import ParameterError, TrainingError
from polinb.lazy import torch
from polinb.models.architectures import architecture_of, n_layers, weight_slices
from polinb.models.variants import has_adapters

MODES = ("neuron", "down", "up", "only")


@dataclass(frozen=True)
class FrozenSlice:
    """Entries ``index`` along ``dim`` of parameter ``name`` that must not move; ``side`` as in ``WeightSlice``."""

    name: str
    dim: int
    index: torch.Tensor
    side: str


def frozen_slices(model: Any, chosen: np.ndarray, freeze: str = "neuron") -> list[FrozenSlice]:
    """The parameter slices of the chosen neurons.

    Args:
        chosen: (L, F) bool.
        freeze: ``neuron``: incoming weights and biases (gate and up rows) and outgoing weights (down column);
            ``down`` or ``up``: one side. The bias of the down projection belongs to no single neuron and stays free.
            ``only``: the other way round, everything but the incoming and outgoing weights of the chosen neurons.

    Raises:
        ParameterError: unknown ``freeze``.
    """
    if freeze not in MODES:
        raise ParameterError("freeze", freeze, ", ".join(MODES))
    if freeze == "only":
        others = frozen_slices(model, ~chosen)
        neurons = {part.name for layer in range(n_layers(model)) for part in weight_slices(model, layer)}
        for name, weight in model.named_parameters():
            if name not in neurons:  # whole, along the outputs, where an adapter is held too
                dim = int(architecture_of(model).transposed and weight.ndim == 2)
                others.append(FrozenSlice(name, dim, torch.arange(weight.shape[dim]), "up"))
        return others
    found: dict[tuple[str, int, str], list[torch.Tensor]] = {}
    for layer, row in enumerate(chosen):
        index = torch.from_numpy(np.flatnonzero(row))
        if not len(index):
            continue
        for part in weight_slices(model, layer):
            if freeze in ("neuron", part.side):
                found.setdefault((part.name, part.dim, part.side), []).append(index + part.offset)
    return [FrozenSlice(name, dim, torch.cat(parts), side) for (name, dim, side), parts in found.items()]


class Freezer:
    """Keeps slices of a model's parameters bitwise where they are during training, whatever the optimiser does.

    Gradients are zeroed before they are clipped; what the optimiser still moves (decoupled weight decay) is put back
    after each step. With LoRA what the new adapter adds to these slices is exactly zero: rows of B (incoming side) and
    columns of A (outgoing side) are zero and stay zero. Under FSDP each process holds the entries of its own shard.
    ``model`` is the model as the trainer holds it, after wrapping; ``slices`` are those of the plain one.
    """

    def __init__(self, model: Any, slices: Sequence[FrozenSlice]) -> None:
        self._held: list[tuple[Any, int, torch.Tensor, torch.Tensor]] = []
        self.entries = 0
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        lora = any(".lora_A." in name for name in parameters)
        if lora:
            plain = {name: name.removeprefix("base_model.model.") for name in parameters}
            parameters = {re.sub(r"(\.lora_[AB])\.\w+\.", r"\1.", plain[name]): p for name, p in parameters.items()}
        for part in adapter_slices(slices) if lora else slices:
            if part.name in parameters:
                parameter, dim = parameters[part.name], part.dim
                own = _local(parameter.data)
                where = _own_index(parameter.data, dim, part.index).to(own.device)
                if lora:
                    own.index_fill_(dim, where, 0.0)
                self.entries += len(part.index) * (parameter.numel() // parameter.shape[dim])
                self._held.append((parameter, dim, where, own.index_select(dim, where).clone()))

    def zero_gradients(self) -> None:
        """Frozen entries have no gradient; call after the gradients were averaged, before they are clipped."""
        for parameter, dim, where, _ in self._held:
            if parameter.grad is not None:
                _local(parameter.grad).index_fill_(dim, where, 0.0)

    def restore(self) -> None:
        """Put the frozen entries back; call after every optimiser step."""
        for parameter, dim, where, value in self._held:
            _local(parameter.data).index_copy_(dim, where, value)

    def max_change(self) -> float:
        """Largest absolute change of this process's frozen entries; exactly 0.0 when the guarantee holds."""
        held = ((_local(parameter.data).index_select(dim, where), value) for parameter, dim, where, value in self._held)
        return max((_largest(now.cpu().double() - value.cpu().double()) for now, value in held), default=0.0)

    def max_state(self, optimizer: Any) -> float:
        """Largest absolute entry of the optimiser's moments on frozen entries; exactly 0.0: it never saw them move.

        Infinite where the optimiser does not know a parameter: then nothing was looked at, which proves nothing.
        """
        worst, plain = 0.0, getattr(optimizer, "optimizer", optimizer)
        for parameter, dim, where, _ in self._held:
            if parameter not in plain.state:
                return float("inf")
            for moment in plain.state[parameter].values():
                if getattr(moment, "shape", None) == parameter.shape:
                    own = _local(moment)
                    worst = max(worst, _largest(own.index_select(dim, where.to(own.device))))
        return worst


def adapter_slices(slices: Sequence[FrozenSlice]) -> list[FrozenSlice]:
    """Where the adapter must be zero so that it adds nothing to these slices; adapters leave biases alone.

    Incoming: an output coordinate, a row of B. Outgoing: an input coordinate, a column of A.
    """
    found = []
    for part in slices:
        layer, outgoing = part.name.removesuffix(".weight"), part.side == "down"
        if layer != part.name:
            name = f"{layer}.lora_{'A' if outgoing else 'B'}.weight"
            found.append(FrozenSlice(name, int(outgoing), part.index, part.side))
    return found


def _local(tensor: Any) -> torch.Tensor:
    """This process's part of a sharded tensor; a plain tensor itself. Shares memory."""
    own: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return own


def _largest(values: torch.Tensor) -> float:
    """Largest absolute value, 0 where there is none."""
    return float(values.abs().max()) if values.numel() else 0.0


def _own_index(tensor: Any, dim: int, index: torch.Tensor) -> torch.Tensor:
    """Positions of ``index`` (along ``dim`` of the whole tensor) inside this process's part."""
    if not hasattr(tensor, "to_local"):
        return index
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    first, count = offset[dim], shape[dim]
    mine = index[(index >= first) & (index < first + count)] - first
    return mine if all(shape) else mine[:0]


def check_frozen(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], slices: list[FrozenSlice]) -> float:
    """Largest change of the frozen entries between two sets of weights, name → tensor; must be exactly 0.

    A name missing from ``after`` was not trained. Of adapters, which start at a change of 0, only ``after`` is needed.

    Raises:
        TrainingError: a frozen weight moved.
    """
    worst = 0.0
    adapted = has_adapters(after)
    for part in adapter_slices(slices) if adapted else slices:
        if part.name not in after:
            continue
        moved = after[part.name].detach().cpu().index_select(part.dim, part.index).double()
        if not adapted:
            moved = moved - before[part.name].detach().cpu().index_select(part.dim, part.index).double()
        worst = max(worst, _largest(moved))
    if worst != 0.0:
        raise TrainingError(f"a frozen weight moved by {worst:g}; the freeze guarantee is broken, nothing was saved")
    return worst
