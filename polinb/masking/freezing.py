"""Neuron masks on parameters: what InhibitFT freezes, and the guarantee that it did not move (paper 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.errors import ParameterError, TrainingError
from polinb.models.architectures import weight_slices

if TYPE_CHECKING:
    import torch

MODES = ("neuron", "down", "up")


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

    Raises:
        ParameterError: unknown ``freeze``.
    """
    import torch

    if freeze not in MODES:
        raise ParameterError("freeze", freeze, ", ".join(MODES))
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

    Gradients are zeroed as they are accumulated, so before clipping; what the optimiser still moves (decoupled weight
    decay) is put back after each step. With LoRA the same holds for the merged weights: rows of B (incoming side) and
    columns of A (outgoing side) are zero and stay zero.
    """

    def __init__(self, model: Any, slices: list[FrozenSlice]) -> None:
        self._before: list[tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]] = []
        self._hooks: list[Any] = []
        parameters = dict(model.named_parameters())
        lora = any(".lora_A." in name for name in parameters)
        for part in slices:
            for parameter, dim, zero in self._targets(parameters, part, lora):
                index = part.index.to(parameter.device)
                if zero:
                    parameter.data.index_fill_(dim, index, 0.0)
                self._before.append((parameter, dim, index, parameter.data.index_select(dim, index).clone()))
                self._hooks.append(parameter.register_post_accumulate_grad_hook(_zeroer(dim, index)))

    @staticmethod
    def _targets(parameters: dict[str, torch.Tensor], part: FrozenSlice, lora: bool) -> list[tuple[Any, int, bool]]:
        if not lora:
            parameter = parameters[part.name]
            return [(parameter, part.dim, False)] if parameter.requires_grad else []
        module = part.name.removesuffix(".weight")
        if part.name.endswith(".bias"):
            return []  # adapters leave biases alone
        outgoing = part.side == "down"
        wanted = f"{module}.lora_A." if outgoing else f"{module}.lora_B."
        # Incoming: an output coordinate, a row of B. Outgoing: an input coordinate, a column of A.
        return [(p, 1 if outgoing else 0, True) for name, p in parameters.items() if wanted in name]

    def restore(self) -> None:
        """Put the frozen entries back; call after every optimiser step."""
        for parameter, dim, index, value in self._before:
            where = parameter.device  # a trainer may have moved the model since
            parameter.data.index_copy_(dim, index.to(where), value.to(where))

    def max_change(self) -> float:
        """Largest absolute change of any frozen entry since the start; exactly 0.0 when the guarantee holds."""
        worst = 0.0
        for parameter, dim, index, value in self._before:
            now = parameter.data.index_select(dim, index.to(parameter.device))
            if now.numel():
                worst = max(worst, float((now.cpu().double() - value.cpu().double()).abs().max()))
        return worst

    @property
    def entries(self) -> int:
        """Number of weights held in place."""
        return sum(value.numel() for *_, value in self._before)

    def release(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()


def _zeroer(dim: int, index: torch.Tensor) -> Any:
    def zero(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.index_fill_(dim, index.to(parameter.grad.device), 0.0)

    return zero


def check_frozen(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], slices: list[FrozenSlice]) -> float:
    """Largest change of the frozen entries between two sets of plain weights; must be exactly 0.

    Args:
        before, after: parameter name → tensor; a name missing from ``after`` was not trained.

    Raises:
        TrainingError: a frozen weight moved.
    """
    worst = 0.0
    for part in slices:
        if part.name not in after:
            continue
        index = part.index
        old = before[part.name].detach().cpu().index_select(part.dim, index)
        new = after[part.name].detach().cpu().index_select(part.dim, index)
        if new.numel():
            worst = max(worst, float((new.double() - old.double()).abs().max()))
    if worst != 0.0:
        raise TrainingError(f"a frozen weight moved by {worst:g}; the freeze guarantee is broken, nothing was saved")
    return worst
