"""Batched answers, greedy or sampled, and log-likelihoods of given answers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np

from polinb.lazy import torch
from polinb.models.lm import LM
from polinb.models.tokens import Batch, Ids, batches, end_ids


def generate(
    lm: LM,
    prompts: Ids,
    *,
    max_new_tokens: int,
    temperature: float | None = None,
    seed: int = 0,
    batch: int = 48,
    label: str = "answers",
) -> list[list[int]]:
    """Continuations of token-id prompts, without the end-of-turn token: the likeliest tokens, or one sample a prompt.

    Nothing of the model's own generation settings counts: no penalty, no forbidden or forced token, no cut-off.

    Args:
        prompts: one list of token ids each; repeat a prompt for several samples.
        temperature: None: greedy. Else one draw from the softmax of logits / temperature.
        seed: of the draws; the state of PyTorch's generators outside is left as it was.
        batch: prompts answered at once, of similar length; part of what determines the draws.
    """
    from transformers import GenerationConfig

    model: Any = lm.model
    stop, pad = stop_ids(lm), lm.tokenizer.pad_token_id
    config = GenerationConfig(max_new_tokens=max_new_tokens, eos_token_id=stop, pad_token_id=pad, do_sample=False)
    if temperature is not None:  # top_k: left out, it would be 50
        config.update(do_sample=True, temperature=temperature, top_k=0)
    out: list[list[int]] = [[] for _ in prompts]
    devices = [lm.device] if lm.device.type == "cuda" else []
    # In place of the model's own settings, from which transformers would fill what it leaves out.
    before, model.generation_config = model.generation_config, config
    try:
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            if temperature is not None:
                torch.manual_seed(seed)
            for chunk in batches(lm, prompts, [[] for _ in prompts], batch, max_new_tokens, label):
                made = model.generate(input_ids=chunk.ids, attention_mask=chunk.mask, generation_config=config)
                for row, ids in zip(chunk.rows, made[:, chunk.ids.shape[1] :].tolist(), strict=True):
                    out[row] = cut(ids, stop)
    finally:
        model.generation_config = before
    return out


def stop_ids(lm: LM) -> list[int]:
    """Tokens that end an answer: the template's end of turn and the tokenizer's end of text."""
    end = lm.tokenizer.eos_token_id
    return sorted({*end_ids(lm), *([] if end is None else [int(end)])})


def cut(ids: Sequence[int], stop: Sequence[int]) -> list[int]:
    """``ids`` up to the first stop token."""
    return list(takewhile(lambda token: token not in stop, ids))


def decode(lm: LM, ids: Sequence[int]) -> str:
    """Text of token ids, special tokens dropped."""
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def pieces(lm: LM, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text of all; a letter of several tokens comes with its last one."""
    whole, at, out = decode(lm, ids), 0, list[str]()
    for count in range(1, len(ids) + 1):
        text = decode(lm, ids[:count])
        same = (k for k, (one, other) in enumerate(zip(text, whole, strict=False)) if one != other)
        end = max(at, next(same, min(len(text), len(whole))))
        out.append(whole[at:end])
        at = end
    return out


def log_likelihood(lm: LM, prompts: Ids, responses: Ids, *, batch: int = 16) -> np.ndarray:
    """Mean log-probability a token of each response after its prompt, shape (n,), in nats; NaN for an empty response.

    Only the logits of response positions are computed.
    """
    out = np.full(len(prompts), np.nan)
    with torch.inference_mode():
        for chunk in batches(lm, prompts, responses, batch, label="likelihood"):
            keep = int(chunk.response.sum(1).max()) + 1
            logits = lm.model(**chunk.inputs, logits_to_keep=keep, use_cache=False).logits
            out[chunk.rows] = response_logp(logits, chunk)
    return out


def response_logp(logits: torch.Tensor, chunk: Batch) -> np.ndarray:
    """Mean log-probability a response token, (rows,) float64; logits as for :func:`likelihood`; NaN for no token."""
    total, count = likelihood(logits.float(), chunk).cpu().double(), chunk.response.sum(1).cpu()
    mean: np.ndarray = (total / count).numpy()  # 0 / 0 is NaN
    return mean


def likelihood(logits: torch.Tensor, chunk: Batch) -> torch.Tensor:
    """Log-likelihood of each response of a batch, (rows,), nats; 0 for an empty response.

    ``logits`` are of the longest response's positions and the one before, or more, (rows, positions, vocabulary).
    """
    first = chunk.ids.shape[1] - (logits.shape[1] - 1)
    targets, logits = chunk.ids[:, first:], logits[:, :-1]
    token = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)
    return token.where(chunk.response[:, first:], 0).sum(1)  # not a product: a NaN at a padded position would spread
