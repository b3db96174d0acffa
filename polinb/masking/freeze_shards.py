"""InhibitFT's freeze guarantee on weights that several processes hold together (DDP replicas or FSDP shards).

``freezing.Freezer`` works on whole parameters before the trainer wraps them. Under DDP a gradient is averaged
after its hooks ran, and under FSDP the parameter the optimiser sees is another object, a shard: here the frozen
entries are found on what each process really holds, after wrapping, and gradients are zeroed after they were averaged
and before they are clipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from polinb.masking.freezing import FrozenSlice


class ShardFreezer:
    """Holds the frozen entries of this process's part of a model, its gradients and its optimiser state.

    Args:
        model: the model as the trainer holds it, after wrapping.
        slices: from :func:`polinb.masking.freezing.frozen_slices` of the plain model.
    """

    def __init__(self, model: Any, slices: Sequence[FrozenSlice]) -> None:
        self._held: list[tuple[Any, int, torch.Tensor, torch.Tensor]] = []
        self.entries = 0
        for parameter, dim, index, zero in _targets(model, slices):
            own = local(parameter.data)
            where = _own_index(parameter.data, dim, index).to(own.device)
            if zero:
                own.index_fill_(dim, where, 0.0)
            self.entries += len(index) * (parameter.numel() // parameter.shape[dim])
            self._held.append((parameter, dim, where, own.index_select(dim, where).clone()))

    def zero_gradients(self) -> None:
        """Frozen entries have no gradient; call after the gradients were averaged, before they are clipped."""
        for parameter, dim, where, _ in self._held:
            if parameter.grad is not None:
                local(parameter.grad).index_fill_(dim, where, 0.0)

    def restore(self) -> None:
        """Put the frozen entries back (weight decay moves them); call after every optimiser step."""
        for parameter, dim, where, value in self._held:
            local(parameter.data).index_copy_(dim, where, value)

    def max_change(self) -> float:
        """Largest absolute change of this process's frozen entries; exactly 0.0 when the guarantee holds."""
        worst = 0.0
        for parameter, dim, where, value in self._held:
            now = local(parameter.data).index_select(dim, where)
            if now.numel():
                worst = max(worst, float((now.double() - value.double()).abs().max()))
        return worst

    def max_state(self, optimizer: Any) -> float:
        """Largest absolute entry of the optimiser's moments on frozen entries; exactly 0.0: it never saw them move.

        Infinite where the optimiser does not know a parameter: then nothing was looked at, which proves nothing.
        """
        worst, plain = 0.0, getattr(optimizer, "optimizer", optimizer)
        for parameter, dim, where, _ in self._held:
            if parameter not in plain.state:
                return float("inf")
            for moment in plain.state[parameter].values():
                if getattr(moment, "shape", None) == parameter.shape and len(where):
                    seen = local(moment).index_select(dim, where.to(local(moment).device))
                    worst = max(worst, float(seen.double().abs().max()) if seen.numel() else 0.0)
        return worst


def local(tensor: Any) -> torch.Tensor:
    """This process's part of a sharded tensor; a plain tensor itself. Shares memory."""
    own: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return own


def _own_index(tensor: Any, dim: int, index: torch.Tensor) -> torch.Tensor:
    """Positions of ``index`` (along ``dim`` of the whole tensor) inside this process's part."""
    if not hasattr(tensor, "to_local"):
        return index
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    first, count = offset[dim], shape[dim]
    mine = index[(index >= first) & (index < first + count)] - first
    return mine if all(shape) else mine[:0]


def _targets(model: Any, slices: Sequence[FrozenSlice]) -> Iterator[tuple[Any, int, torch.Tensor, bool]]:
    """Trained parameters that hold a frozen slice: parameter, dim, index, and whether it starts at zero (LoRA)."""
    parameters = {name.removeprefix("module."): p for name, p in model.named_parameters()}
    lora = any(".lora_A." in name for name in parameters)
    for part in slices:
        if not lora:
            if parameters[part.name].requires_grad:
                yield parameters[part.name], part.dim, part.index, False
        elif part.name.endswith(".weight"):  # adapters leave biases alone
            # Incoming: an output coordinate, a row of B. Outgoing: an input coordinate, a column of A.
            outgoing = part.side == "down"
            wanted = f"{part.name.removesuffix('.weight')}.lora_{'A' if outgoing else 'B'}."
            for name, parameter in parameters.items():
                if wanted in name:
                    yield parameter, int(outgoing), part.index, True
