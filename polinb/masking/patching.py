"""Activation patching while the recipient writes: donor activations replace the recipient's, token by token.

``lockstep``: at every step the donor reads the recipient's current text with its own cache; the activations of the
chosen neurons overwrite the recipient's (all prompt positions first, then the newest token); the recipient's token
extends both. ``recorded``: the donor writes its own answer first and its activations are replayed by position.
``mean``: the donor's mean activation over its own answers is written everywhere. (paper 4.2)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.errors import ParameterError
from polinb.models.generation import cut, greedy, stop_ids
from polinb.models.tokens import Batch, batches, pad
from polinb.progress import bar
from polinb.scoring.tracing import envoys, read

if TYPE_CHECKING:
    import torch

    from polinb.models.loading import LM

MODES = ("lockstep", "recorded", "mean")


def patched_answers(
    recipient: LM,
    donor: LM,
    chosen: np.ndarray,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    mode: str = "lockstep",
    batch: int = 48,
    label: str = "patching",
) -> list[list[int]]:
    """eq-patch. Greedy answers of ``recipient`` with the chosen neurons' activations taken from ``donor``.

    Args:
        chosen: (L, F) bool; the neurons to patch. Empty: the recipient's plain answers.
        prompts: token ids.

    Returns:
        New token ids a prompt, without the end-of-turn token, in the order given.

    Raises:
        ParameterError: unknown mode, or ``chosen`` of another shape than the models.
    """
    import torch

    if mode not in MODES:
        raise ParameterError("patch", mode, ", ".join(MODES))
    shape = (recipient.layers, recipient.width)
    if chosen.shape != shape or (donor.layers, donor.width) != shape:
        raise ParameterError("chosen", chosen.shape, f"{shape}, the recipient's layers and FFN width, as the donor's")
    where = [torch.from_numpy(np.flatnonzero(row)).to(recipient.device) for row in chosen]
    out: list[list[int]] = [[] for _ in prompts]
    stop = stop_ids(recipient)
    means = _means(donor, where, prompts, max_new_tokens, batch) if mode == "mean" else None
    with torch.no_grad(), bar(len(prompts), label) as shown:
        for chunk in batches(recipient, prompts, [[] for _ in prompts], batch):
            source = _source(mode, donor, where, means, [prompts[i] for i in chunk.rows], max_new_tokens)
            made = _decode(recipient, source, where, chunk, max_new_tokens, stop)
            for row, ids in zip(chunk.rows, made, strict=True):
                out[row] = cut(ids, stop)
            shown.update(len(chunk.rows))
    return out


def _decode(
    lm: LM, source: Any, where: list[torch.Tensor], chunk: Batch, steps: int, stop: list[int]
) -> list[list[int]]:
    import torch

    root, downs = envoys(lm)
    ids, mask, position = chunk.ids, chunk.mask, chunk.positions
    cache: Any = None
    made: list[torch.Tensor] = []
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    ends = torch.tensor(stop, device=ids.device)
    for _ in range(steps):
        values = source(ids, mask, position)
        logits, cache = _write_step(root, downs, where, values, ids, mask, position, cache)
        token = logits[:, -1].argmax(-1)
        made.append(token)
        done |= torch.isin(token, ends)
        if bool(done.all()):
            break
        ids = token[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], 1)
        position = position[:, -1:] + 1
    return torch.stack(made, 1).tolist()


def _write_step(
    root: Any,
    downs: list[Any],
    where: list[torch.Tensor],
    values: list[torch.Tensor],
    ids: torch.Tensor,
    mask: torch.Tensor,
    position: torch.Tensor,
    cache: Any,
) -> tuple[torch.Tensor, Any]:
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": position, "past_key_values": cache}
    with root.trace(**inputs, use_cache=True, logits_to_keep=1):
        for down, index, value in zip(downs, where, values, strict=True):
            if len(index):
                down.input[:, :, index] = value
        out = root.output.save()
    return out.logits, out.past_key_values


def _source(
    mode: str, donor: LM, where: list[torch.Tensor], means: Any, prompts: Sequence[Sequence[int]], steps: int
) -> Any:
    """A function (ids, mask, positions) → per layer the values to write, broadcastable to (B, T, k_l)."""
    if means is not None:
        return lambda ids, mask, position: means
    if mode == "lockstep":
        return _Lockstep(donor, where)
    answers = greedy(donor, prompts, max_new_tokens=steps, batch=len(prompts), label="donor answers")
    return _Recorded(donor, where, prompts, answers)


class _Lockstep:
    """The donor reads what the recipient reads, with its own key-value cache."""

    def __init__(self, donor: LM, where: list[torch.Tensor]) -> None:
        self.root, self.downs = envoys(donor)
        self.where, self.cache = where, None

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor, position: torch.Tensor) -> list[torch.Tensor]:
        import nnsight

        where, downs, root = self.where, self.downs, self.root
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": position,
            "past_key_values": self.cache,
        }
        with root.trace(**inputs, use_cache=True, logits_to_keep=1):
            values = nnsight.save([down.input[:, :, index] for down, index in zip(downs, where, strict=True)])
            out = root.output.save()
        self.cache = out.past_key_values
        return list(values)


class _Recorded:
    """The donor's activations on its own answer, replayed by position; past its end the last one repeats."""

    def __init__(
        self, donor: LM, where: list[torch.Tensor], prompts: Sequence[Sequence[int]], answers: list[list[int]]
    ) -> None:
        # The same prompt padding as the recipient's batch, the answers padded on the right.
        longest = max(len(a) for a in answers)
        filled = [a + [a[-1] if a else p[-1]] * (longest - len(a)) for a, p in zip(answers, prompts, strict=True)]
        chunk = pad(donor, prompts, filled, range(len(prompts)))
        chunk.response[:] = True
        root, downs = envoys(donor)
        rows, width = chunk.ids.shape
        self.values = [
            flat.reshape(rows, width, -1)[:, :, index].to(donor.model.dtype)
            for flat, index in zip(read(root, downs, chunk), where, strict=True)
        ]
        self.at = 0

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor, position: torch.Tensor) -> list[torch.Tensor]:
        width = ids.shape[1]
        last = self.values[0].shape[1] - 1
        start = min(self.at, last)
        self.at += width
        return [value[:, start : start + width] for value in self.values]


def _means(
    donor: LM, where: list[torch.Tensor], prompts: Sequence[Sequence[int]], steps: int, batch: int
) -> list[torch.Tensor]:
    """The donor's mean activation over the tokens of its own answers to all prompts: L tensors (1, 1, k_l)."""
    import torch

    answers = greedy(donor, prompts, max_new_tokens=steps, batch=batch, label="donor answers")
    root, downs = envoys(donor)
    sums = [torch.zeros(len(index), device=donor.device) for index in where]
    count = 0
    with torch.no_grad():
        for chunk in batches(donor, prompts, answers, batch):
            if not bool(chunk.response.any()):  # nothing but empty answers: their prompts stand in
                chunk.response = chunk.mask.bool()
            count += int(chunk.response.sum())
            for total, seen, index in zip(sums, read(root, downs, chunk), where, strict=True):
                total += seen[:, index].sum(0)
    return [(total / count)[None, None].to(donor.model.dtype) for total in sums]
