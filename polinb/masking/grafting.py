"""Weights of chosen neurons out of a tuned model, inside another one for a while: what do these neurons' weights do?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from polinb.errors import ParameterError
from polinb.masking.freezing import frozen_slices
from polinb.scoring.contributions import ATTENTION

if TYPE_CHECKING:
    from polinb.models.lm import LM


@contextmanager
def grafted(lm: LM, tuned: LM, chosen: np.ndarray) -> Iterator[None]:
    """Within this block the chosen neurons of ``lm`` have the weights that they have in ``tuned``.

    Their incoming weights and biases (rows of gate and up) and outgoing weights (columns of down) are copied; the bias
    of the down projection belongs to no single neuron and stays. At the end, after an error as well, the model's own
    weights are put back bit for bit. ``tuned`` is only read.

    ``chosen`` is (L, F) bool. A ParameterError tells that it or ``tuned`` has another shape than the model.
    """
    import torch

    shape = (lm.layers, lm.width)
    if chosen.shape != shape or (tuned.layers, tuned.width) != shape:
        raise ParameterError("chosen", chosen.shape, f"{shape}, the model's layers and FFN width, as the tuned model's")
    own, theirs = dict(lm.model.named_parameters()), dict(tuned.model.named_parameters())
    kept = []
    with torch.no_grad():
        for part in frozen_slices(lm.model, chosen):
            weight, source = own[part.name], theirs.get(part.name)
            if source is None or weight.shape != source.shape:
                given = None if source is None else tuple(source.shape)
                raise ParameterError("tuned", given, f"{part.name} of shape {tuple(weight.shape)}, as the model's")
            index = part.index.to(weight.device)
            new = source.index_select(part.dim, part.index.to(source.device)).to(weight)
            kept.append((weight, part.dim, index, weight.index_select(part.dim, index), new))
        try:
            for weight, dim, index, _, new in kept:
                weight.index_copy_(dim, index, new)
            yield
        finally:
            for weight, dim, index, before, _ in kept:
                weight.index_copy_(dim, index, before)


@contextmanager
def grafted_attention(lm: LM, tuned: LM) -> Iterator[None]:
    """Within this block all attention weights of ``lm`` are those of ``tuned``; put back bit for bit afterwards.

    Raises:
        ParameterError: an architecture whose attention layers are not known by name.
    """
    import torch

    kind = str(lm.model.config.model_type)
    if kind not in ATTENTION:
        raise ParameterError("model", kind, f"an architecture among {', '.join(sorted(ATTENTION))}")
    mark = f".{ATTENTION[kind].split('.')[0]}."
    theirs = dict(tuned.model.named_parameters())
    own = {name: weight for name, weight in lm.model.named_parameters() if mark in name}
    before = {name: weight.detach().clone() for name, weight in own.items()}
    with torch.no_grad():
        try:
            for name, weight in own.items():
                weight.copy_(theirs[name])
            yield
        finally:
            for name, weight in own.items():
                weight.copy_(before[name])
