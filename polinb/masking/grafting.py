"""Weights of chosen neurons out of a tuned model, inside another one for a while: what do these neurons' weights do?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from polinb.errors import ParameterError
from polinb.lazy import torch
from polinb.masking.decoding import check_chosen
from polinb.masking.freezing import frozen_slices
from polinb.models.architectures import ATTENTION
from polinb.models.lm import LM


def grafted(lm: LM, tuned: LM, chosen: np.ndarray) -> AbstractContextManager[None]:
    """Within this block the chosen neurons of ``lm`` have the weights that they have in ``tuned``.

    Their incoming weights and biases (rows of gate and up) and outgoing weights (columns of down) are copied; the bias
    of the down projection belongs to no single neuron and stays. At the end, after an error as well, the model's own
    weights are put back bit for bit. ``tuned`` is only read.

    ``chosen`` is (L, F) bool. A ParameterError tells that it or ``tuned`` has another shape than the model.
    """
    check_chosen(chosen, lm, tuned)
    own, theirs = dict(lm.model.named_parameters()), dict(tuned.model.named_parameters())
    parts = []
    for part in frozen_slices(lm.model, chosen):
        weight, source = own[part.name], theirs.get(part.name)
        if source is None or weight.shape != source.shape:
            given = None if source is None else tuple(source.shape)
            raise ParameterError("tuned", given, f"{part.name} of shape {tuple(weight.shape)}, as the model's")
        parts.append((weight, source, part.dim, part.index))
    return _copied(parts)


def grafted_attention(lm: LM, tuned: LM) -> AbstractContextManager[None]:
    """Within this block all attention weights of ``lm`` are those of ``tuned``; put back bit for bit afterwards.

    Raises:
        ParameterError: an architecture whose attention layers are not known by name.
    """
    kind = str(lm.model.config.model_type)
    if kind not in ATTENTION:
        raise ParameterError("model", kind, f"an architecture among {', '.join(sorted(ATTENTION))}")
    mark = f".{ATTENTION[kind].split('.')[0]}."
    theirs = dict(tuned.model.named_parameters())
    own = [(name, weight) for name, weight in lm.model.named_parameters() if mark in name]
    return _copied([(weight, theirs[name], 0, torch.arange(len(weight))) for name, weight in own])


@contextmanager
def _copied(parts: Sequence[tuple[Any, Any, int, torch.Tensor]]) -> Iterator[None]:
    """Within this block weights have, at ``index`` along ``dim``, what others have there: weight, other, dim, index."""
    with torch.no_grad():
        kept = [weight.index_select(dim, index.to(weight.device)) for weight, _, dim, index in parts]
        try:
            for weight, other, dim, index in parts:
                new = other.index_select(dim, index.to(other.device)).to(weight)
                weight.index_copy_(dim, index.to(weight.device), new)
            yield
        finally:
            for (weight, _, dim, index), before in zip(parts, kept, strict=True):
                weight.index_copy_(dim, index.to(weight.device), before)
