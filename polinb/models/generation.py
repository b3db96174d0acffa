"""Batched greedy answers and log-likelihoods of given answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.models.tokens import batches, end_ids
from polinb.progress import bar

if TYPE_CHECKING:
    from polinb.models.loading import LM


def greedy(
    lm: LM, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, batch: int = 48, label: str = "answers"
) -> list[list[int]]:
    """Greedy continuations of token-id prompts, without the end-of-turn token.

    Args:
        prompts: one list of token ids each.
        batch: prompts answered at once, of similar length.

    Returns:
        One list of new token ids a prompt, in the order given; at most ``max_new_tokens`` each.
    """
    import torch
    from transformers import GenerationConfig

    stop = stop_ids(lm)
    model: Any = lm.model
    # Everything said explicitly: what is left out would be filled in from the model's own generation settings.
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=stop,
        pad_token_id=lm.tokenizer.pad_token_id,
    )
    out: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode(), bar(len(prompts), label) as shown:
        for chunk in batches(lm, prompts, [[] for _ in prompts], batch):
            made = model.generate(input_ids=chunk.ids, attention_mask=chunk.mask, generation_config=config)
            for row, ids in zip(chunk.rows, made[:, chunk.ids.shape[1] :].tolist(), strict=True):
                out[row] = cut(ids, stop)
            shown.update(len(chunk.rows))
    return out


def stop_ids(lm: LM) -> list[int]:
    """Tokens that end an answer: the template's end of turn and the tokenizer's end of text."""
    ids = {*end_ids(lm)}
    if lm.tokenizer.eos_token_id is not None:
        ids.add(int(lm.tokenizer.eos_token_id))
    return sorted(ids)


def cut(ids: Sequence[int], stop: Sequence[int]) -> list[int]:
    """``ids`` up to the first stop token."""
    out: list[int] = []
    for token in ids:
        if token in stop:
            break
        out.append(int(token))
    return out


def decode(lm: LM, ids: Sequence[int]) -> str:
    """Text of token ids, special tokens dropped."""
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def log_likelihood(
    lm: LM, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, batch: int = 16
) -> np.ndarray:
    """Mean log-probability a token of each response after its prompt, shape (n,), in nats; NaN for an empty response.

    Only the logits of response positions are computed.
    """
    import torch

    out = np.full(len(prompts), np.nan)
    with torch.inference_mode(), bar(len(prompts), "likelihood") as shown:
        for chunk in batches(lm, prompts, responses, batch):
            keep = int(chunk.response.sum(1).max()) + 1
            logits = lm.model(**chunk.inputs, logits_to_keep=keep, use_cache=False).logits[:, :-1]
            first = chunk.ids.shape[1] - (keep - 1)
            targets, weight = chunk.ids[:, first:], chunk.response[:, first:]
            logits = logits.float()
            token = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)
            total = (token * weight).sum(1, dtype=torch.float32).cpu().numpy()
            count = weight.sum(1).cpu().numpy()
            for row, value, n in zip(chunk.rows, total, count, strict=True):
                out[row] = value / n if n else np.nan
            shown.update(len(chunk.rows))
    return out
