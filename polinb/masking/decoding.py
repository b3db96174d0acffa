"""Decoding while chosen neurons are changed: the one loop behind patching, editing, ablation and scaling.

At every step the model reads what is new (the whole prompt first, then its newest token) with a key-value cache, one
nnsight trace a step. What is written in place of a neuron's activation is a :data:`Change`; what a donor brings to it,
such as its own activations on the same text, comes from a :data:`Source`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from polinb.errors import ParameterError
from polinb.lazy import torch
from polinb.models.generation import cut, stop_ids
from polinb.models.lm import LM
from polinb.models.tokens import Batch, Ids, batches
from polinb.scoring.tracing import envoys

# (layer, own activations (B, T, k_l), the source's or None) → what is written, broadcastable to (B, T, k_l).
Change = Callable[[int, Any, Any], Any]
# What the model reads next → for the change, L tensors (B, T, k_l).
Source = Callable[[Batch], "Sequence[torch.Tensor]"]


def patch(strength: float = 1.0) -> Change:
    """a + strength · (a_donor − a). At 1 the donor's value itself: the sum would differ by a rounding."""
    return lambda layer, own, donor: donor if strength == 1 else own + strength * (donor - own)


def scale(factor: float | Sequence[Any]) -> Change:
    """factor · a, with one factor for all neurons or a tensor (k_l,) a layer."""
    if isinstance(factor, (int, float)):
        return lambda layer, own, _: own * factor
    return lambda layer, own, _: own * factor[layer]


def assign(values: float | Sequence[Any]) -> Change:
    """The same value at every token, whatever the activation: 0 for zero ablation, or a tensor (k_l,) a layer."""
    if isinstance(values, (int, float)):
        return lambda layer, own, _: own.new_full((), values)
    return lambda layer, own, _: values[layer]


def per_layer(lm: LM, chosen: np.ndarray, values: np.ndarray) -> list[torch.Tensor]:
    """``values`` (L, F) of the chosen neurons in the model's precision: L tensors (k_l,), for scale and assign."""
    return [torch.from_numpy(v[row]).to(lm.device, lm.model.dtype) for v, row in zip(values, chosen, strict=True)]


def check_chosen(chosen: np.ndarray, *models: LM) -> None:
    """Refuse a set of neurons that has another shape than (layers, FFN width) of a model."""
    for lm in models:
        if chosen.shape != (lm.layers, lm.width):
            raise ParameterError("chosen", chosen.shape, f"{(lm.layers, lm.width)}, layers and FFN width of {lm.name}")


class Reader:
    """A model that reads a growing text with its own cache; its chosen neurons (L, F) are read, or changed."""

    def __init__(self, lm: LM, chosen: np.ndarray) -> None:
        check_chosen(chosen, lm)
        self.where = [torch.from_numpy(np.flatnonzero(row)).to(lm.device) for row in chosen]
        self.root, self.downs = envoys(lm)
        self.cache: Any = None

    def read(self, chunk: Batch) -> list[torch.Tensor]:
        """Activations on the new positions, L tensors (B, T, k_l). Reads with the reader's own cache: a Source."""
        import nnsight

        root, downs, where = self.root, self.downs, self.where
        inputs = {**chunk.inputs, "past_key_values": self.cache}
        with torch.no_grad(), root.trace(**inputs, use_cache=True, logits_to_keep=1):
            values = nnsight.save([down.input[:, :, index] for down, index in zip(downs, where, strict=True)])
            out = root.output.save()
        self.cache = out.past_key_values
        return list(values)

    def write(
        self,
        chunk: Batch,
        change: Change,
        given: Sequence[torch.Tensor] | None = None,
        *,
        start: int = 0,
        keep: int = 1,
    ) -> torch.Tensor:
        """Change the activations from position ``start`` on; logits of the last ``keep`` positions, (B, keep, V)."""
        root = self.root
        brought: list[Any] = [value[:, start:] for value in given] if given else [None] * len(self.downs)
        rows = enumerate(zip(self.downs, self.where, brought, strict=True))
        layers = [(layer, down, index, value) for layer, (down, index, value) in rows if len(index)]
        inputs = {**chunk.inputs, "past_key_values": self.cache}
        with torch.no_grad(), root.trace(**inputs, use_cache=True, logits_to_keep=keep):
            for layer, down, index, value in layers:
                down.input[:, start:, index] = change(layer, down.input[:, start:, index], value)
            out = root.output.save()
        self.cache = out.past_key_values
        logits: torch.Tensor = out.logits
        return logits


def tokens(
    lm: LM,
    chunk: Batch,
    chosen: np.ndarray,
    change: Change,
    source: Source | None = None,
    *,
    max_new_tokens: int,
    answer_only: bool = False,
    pick: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Iterator[torch.Tensor]:
    """The new token of every row, (B,), step by step, until each row has met a stop token.

    Nothing is computed between two steps: whoever asks for no further token has stopped it.

    Args:
        chunk: the prompts, without responses.
        chosen: (L, F) bool; the neurons that are changed.
        source: brings each step's donor activations to ``change``; asked before the model reads the step.
        answer_only: leave the prompt alone up to its last token, whose output is the first answer token.
        pick: logits (B, V) → tokens (B,); the likeliest ones unless given.

    Raises:
        ParameterError: ``chosen`` of another shape than the model, when the first token is asked for.
    """
    own, ends = Reader(lm, chosen), torch.tensor(stop_ids(lm), device=chunk.ids.device)
    done = torch.zeros(len(chunk.ids), dtype=torch.bool, device=chunk.ids.device)
    for step in range(max_new_tokens):
        given = source(chunk) if source else None
        start = chunk.ids.shape[1] - 1 if answer_only and not step else 0
        logits = own.write(chunk, change, given, start=start)[:, -1]
        token = pick(logits) if pick else logits.argmax(-1)
        yield token
        done |= torch.isin(token, ends)
        if bool(done.all()):
            return
        chunk = chunk.longer(token)


def changed_answers(
    lm: LM,
    prompts: Ids,
    chosen: np.ndarray,
    change: Change,
    source: Callable[[list[int]], Source] | None = None,
    *,
    max_new_tokens: int,
    answer_only: bool = False,
    batch: int = 48,
    label: str = "answers",
) -> list[list[int]]:
    """Greedy answers while the chosen neurons are changed; arguments as for :func:`tokens`.

    Args:
        source: the source of a batch, from the indices of its prompts.

    Returns:
        New token ids a prompt, without the end-of-turn token, in the order given.
    """
    out: list[list[int]] = [[] for _ in prompts]
    stop = stop_ids(lm)
    with torch.no_grad():
        for chunk in batches(lm, prompts, [[] for _ in prompts], batch, max_new_tokens, label):
            brought = source(chunk.rows) if source else None
            options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "answer_only": answer_only}
            steps = torch.stack(list(tokens(lm, chunk, chosen, change, brought, **options)), 1)
            for row, ids in zip(chunk.rows, steps.tolist(), strict=True):
                out[row] = cut(ids, stop)
    return out
