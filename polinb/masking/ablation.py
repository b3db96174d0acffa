"""Directions projected out of the residual stream while a model learns, the one step of CAFT (Casademunt et al.)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import numpy as np

from polinb.errors import ParameterError
from polinb.lazy import torch
from polinb.models.architectures import architecture_of, resolve
from polinb.scoring.residual import hidden_after

Passes = Literal["both", "activation", "gradient"]
# Columns further from orthonormal than this would not make a projection in float32.
_TOLERANCE = 1e-4


def check_directions(directions: Mapping[int, Any], layers: int, d_model: int) -> None:
    """Refuse directions other than block → (d_model, k) with orthonormal columns, 1 ≤ k ≤ d_model."""
    if not directions:
        raise ParameterError("directions", {}, "at least one block with at least one direction")
    for block, basis in directions.items():
        columns = np.asarray(basis, dtype=float)
        name = f"directions of block {block}"
        if not 0 <= block < layers:
            raise ParameterError("directions", f"block {block}", f"blocks 0 to {layers - 1}")
        if columns.ndim != 2 or columns.shape[0] != d_model or not columns.size:
            allowed = f"shape ({d_model}, k) with k of at least 1; {d_model} is the model's residual width"
            raise ParameterError(name, f"shape {columns.shape}", allowed)
        if not np.isfinite(columns).all():
            raise ParameterError(name, "a value that is not finite", "finite numbers")
        off = float(np.abs(columns.T @ columns - np.eye(columns.shape[1])).max())
        if off > _TOLERANCE:
            raise ParameterError(name, f"columns {off:.2g} away from orthonormal", f"at most {_TOLERANCE:g}; use QR")


def project_out(hidden: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """eq-caft. h − QQᵀh for each position: hidden (…, d_model), basis Q (d_model, k) with orthonormal columns."""
    return hidden - (hidden @ basis) @ basis.T


@contextmanager
def ablated(model: Any, directions: Mapping[int, Any], passes: Passes = "both") -> Iterator[None]:
    """h ← h − QQᵀh at the output of the given blocks, at all positions, forward and (so) backward; gone on exit.

    Args:
        directions: block → Q (d_model, k), orthonormal columns.
        passes: what loses the directions: both, the activation alone (forward) or the gradient alone (backward).

    Raises:
        ParameterError: directions that do not fit the model.
    """
    blocks = resolve(model, architecture_of(model).blocks)
    check_directions(directions, len(blocks), int(model.config.hidden_size))
    handles = [blocks[block].register_forward_hook(_hook(basis, passes)) for block, basis in directions.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(basis: Any, passes: Passes) -> Any:
    own = torch.as_tensor(np.asarray(basis, dtype=np.float32))
    moved = cache(own.to)

    def hook(module: Any, args: Any, output: Any) -> Any:
        hidden = hidden_after(output)
        clean = project_out(hidden, moved(hidden.device, hidden.dtype))
        if passes == "activation":
            clean = clean.detach() + (hidden - hidden.detach())
        elif passes == "gradient":
            clean = hidden.detach() + (clean - clean.detach())
        return (clean, *output[1:]) if isinstance(output, tuple) else clean

    return hook
