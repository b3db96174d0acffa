"""Activation patching while the recipient writes (eq-patch): donor activations replace the recipient's, token by token.

``lockstep``: at every step the donor reads the recipient's current text with its own cache; the activations of the
chosen neurons overwrite the recipient's (all prompt positions first, then the newest token); the recipient's token
extends both. ``recorded``: the donor writes its own answer first and its activations are replayed by position.
``mean``: the donor's mean activation over its own answers is written everywhere. (paper 4.2)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from polinb.errors import ParameterError
from polinb.lazy import torch
from polinb.masking.decoding import Reader, Source, assign, changed_answers, check_chosen, patch
from polinb.models.generation import generate
from polinb.models.lm import LM
from polinb.models.tokens import Batch, Ids, batches, pad

MODES = ("lockstep", "recorded", "mean")


def patched_answers(
    recipient: LM,
    donor: LM,
    chosen: np.ndarray,
    prompts: Ids,
    *,
    max_new_tokens: int,
    mode: str = "lockstep",
    batch: int = 48,
    label: str = "patching",
) -> list[list[int]]:
    """eq-patch. Greedy answers of ``recipient`` with the chosen neurons' activations taken from ``donor``.

    Args:
        chosen: (L, F) bool; the neurons to patch. Empty: the recipient's plain answers.

    Returns:
        New token ids a prompt, without the end-of-turn token, in the order given.

    Raises:
        ParameterError: unknown mode, or ``chosen`` of another shape than the models.
    """
    if mode not in MODES:
        raise ParameterError("patch", mode, ", ".join(MODES))
    check_chosen(chosen, recipient, donor)
    sources = {
        "lockstep": lambda rows: Reader(donor, chosen).read,
        "recorded": lambda rows: _recorded(donor, chosen, [prompts[i] for i in rows], max_new_tokens),
    }
    change = assign(_means(donor, chosen, prompts, max_new_tokens, batch)) if mode == "mean" else patch()
    return changed_answers(
        recipient, prompts, chosen, change, sources.get(mode), max_new_tokens=max_new_tokens, batch=batch, label=label
    )


def _recorded(donor: LM, chosen: np.ndarray, prompts: Ids, steps: int) -> Source:
    """The donor's activations on its own answers, replayed by position; past an answer's end the last one repeats."""
    answers = generate(donor, prompts, max_new_tokens=steps, batch=len(prompts), label="donor answers")
    # The same prompt padding as the recipient's batch, the answers padded on the right.
    longest = max(len(a) for a in answers)
    filled = [a + [a[-1] if a else p[-1]] * (longest - len(a)) for a, p in zip(answers, prompts, strict=True)]
    chunk = pad(donor, prompts, filled, range(len(prompts)))
    values, width, at = Reader(donor, chosen).read(chunk), chunk.ids.shape[1], 0

    def replay(new: Batch) -> list[torch.Tensor]:
        nonlocal at
        start, at = min(at, width - 1), at + new.ids.shape[1]
        return [value[:, start : start + new.ids.shape[1]] for value in values]

    return replay


def _means(donor: LM, chosen: np.ndarray, prompts: Ids, steps: int, batch: int) -> list[torch.Tensor]:
    """The donor's mean activation over the tokens of its own answers to all prompts: L tensors (k_l,)."""
    answers = generate(donor, prompts, max_new_tokens=steps, batch=batch, label="donor answers")
    sums: list[Any] = [0.0] * donor.layers
    count = 0
    for chunk in batches(donor, prompts, answers, batch):
        if not bool(chunk.response.any()):  # nothing but empty answers: their prompts stand in
            chunk.response = chunk.mask.bool()
        count += int(chunk.response.sum())
        for layer, seen in enumerate(Reader(donor, chosen).read(chunk)):
            sums[layer] += seen[chunk.response].float().sum(0)
    return [(total / count).to(donor.model.dtype) for total in sums]
