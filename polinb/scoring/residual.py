"""Reading the residual stream with nnsight: the hidden state after each block, on response tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from polinb.errors import ParameterError
from polinb.lazy import torch
from polinb.models.architectures import architecture_of, resolve
from polinb.models.lm import LM
from polinb.models.tokens import Batch, Ids, batches


def blocks(lm: LM) -> tuple[Any, list[Any]]:
    """The model as nnsight sees it, and its L transformer blocks."""
    import nnsight

    root = nnsight.NNsight(lm.model)
    found = resolve(root, architecture_of(lm.model).blocks)
    return root, [found[layer] for layer in range(lm.layers)]


def block_index(name: str, layer: int, layers: int) -> int:
    """A block number from 0; negative numbers count from the last block (−1); else a ParameterError."""
    if not -layers <= layer < layers:
        allowed = f"a block from 0 to {layers - 1}, or from −{layers} to −1 counted from the end"
        raise ParameterError(name, layer, allowed)
    return layer % layers


def depths(name: str, fractions: Sequence[float], layers: int) -> list[int]:
    """Blocks at fractions of the depth, 0 the first and 1 the last, each once and in order."""
    bad = [f for f in fractions if not 0 <= f <= 1]
    if bad or not fractions:
        raise ParameterError(name, list(fractions), "fractions of the depth, from 0 (first block) to 1 (last block)")
    return sorted({round(f * (layers - 1)) for f in fractions})


def read_blocks(root: Any, found: Sequence[Any], chunk: Batch, layers: Sequence[int]) -> list[torch.Tensor]:
    """Residual stream after the blocks ``layers`` on a batch's response tokens, row by row: (N, d_model) float32."""
    import nnsight

    where = chunk.response
    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
        seen = nnsight.save([hidden_after(found[layer].output)[where].float() for layer in layers])
    return list(seen)


def mean_states(lm: LM, prompts: Ids, responses: Ids, batch: int = 16) -> np.ndarray:
    """Mean residual state over the response tokens of each text, after every block: (texts, L, d_model) float32.

    Raises:
        ValueError: an empty response.
    """
    if not all(len(r) for r in responses):
        raise ValueError("a response without tokens has no mean state")
    root, found = blocks(lm)
    out: np.ndarray = np.zeros((len(prompts), lm.layers, lm.d_model), dtype=np.float32)
    with torch.no_grad():
        for chunk in batches(lm, prompts, responses, batch, label="reading hidden states"):
            counts = chunk.response.sum(1)
            owner = torch.repeat_interleave(torch.arange(len(chunk.rows), device=counts.device), counts)
            for layer, states in enumerate(read_blocks(root, found, chunk, range(lm.layers))):
                sums = torch.zeros(len(chunk.rows), states.shape[1], device=states.device)
                sums.index_add_(0, owner, states)
                out[chunk.rows, layer] = (sums / counts[:, None]).cpu().numpy()
    return out


def hidden_after(output: Any) -> Any:
    """The hidden state in what a block returns."""
    return output[0] if isinstance(output, tuple) else output
