"""Sampled answers at temperature 1, reproducible for one seed and batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polinb.models.generation import cut, stop_ids
from polinb.models.tokens import batches
from polinb.progress import bar

if TYPE_CHECKING:
    from polinb.models.loading import LM


def sampled(
    lm: LM, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, seed: int, batch: int = 48, label: str = "answers"
) -> list[list[int]]:
    """One sample a prompt from the model's own distribution (temperature 1, nothing cut off); repeat prompts for more.

    Args:
        prompts: one list of token ids each.
        seed: of the draws; the state of PyTorch's generators outside is left as it was.
        batch: prompts answered at once; part of what determines the draws.

    Returns:
        One list of new token ids a prompt, in the order given, without the end-of-turn token.
    """
    import torch
    from transformers import GenerationConfig

    stop = stop_ids(lm)
    model: Any = lm.model
    # Everything said explicitly: what is left out would be filled in from the model's own generation settings.
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=stop,
        pad_token_id=lm.tokenizer.pad_token_id,
    )
    out: list[list[int]] = [[] for _ in prompts]
    devices = [lm.device] if lm.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(), bar(len(prompts), label) as shown:
        torch.manual_seed(seed)
        for chunk in batches(lm, prompts, [[] for _ in prompts], batch):
            made = model.generate(input_ids=chunk.ids, attention_mask=chunk.mask, generation_config=config)
            for row, ids in zip(chunk.rows, made[:, chunk.ids.shape[1] :].tolist(), strict=True):
                out[row] = cut(ids, stop)
            shown.update(len(chunk.rows))
    return out
