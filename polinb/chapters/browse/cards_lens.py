"""The logit lens on value vectors: which tokens a neuron makes likelier or less likely by what it writes.

A neuron writes a·v into the residual stream (a its activation, v its value vector). Read straight through the final
norm and the unembedding, with every later layer left out, one unit of activation moves the logits by W_U (g ⊙ v) up to
one positive factor, the norm's division by the stream's own size. Decisions:

- The final norm's scale g is applied: without it the unembedding would read coordinates at sizes it never meets. What
  the norm divides by is left out: it differs from token to token but scales all logits alike.
- Where the norm subtracts the mean over coordinates (LayerNorm), it is subtracted from v as well; RMSNorm has none.
- Where the FFN's output is normed before it is added (Gemma 2 and 3, OLMo 2), that norm's scale is applied to v too.
- The mean over the vocabulary is subtracted: a shift of all logits changes no probability.
- Tied or untied, W_U is the model's output embedding. Its bias and a final soft cap are left out: the one does not
  depend on the neuron, the other keeps the order.
- Everything is computed in float32. Rows of W_U beyond the tokenizer's vocabulary (padding) do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from polinb.lazy import torch
from polinb.models.architectures import architecture_of, resolve, value_vectors
from polinb.models.lm import LM

Neuron = tuple[int, int]  # layer and index within it, both from 0
FINAL_NORM = {"gpt2": "transformer.ln_f", "gpt_neox": "gpt_neox.final_layer_norm"}  # all others: model.norm
OUTPUT_NORM = {  # norm of the FFN's output inside a block, before it is added to the residual stream
    "gemma2": "post_feedforward_layernorm",
    "gemma3_text": "post_feedforward_layernorm",
    "olmo2": "post_feedforward_layernorm",
}
ROWS = 16_384  # rows of the unembedding held in float32 at once


def lens(lm: LM, neurons: Sequence[Neuron]) -> np.ndarray:
    """eq-lens. What one unit of activation adds to each token's logit, (n, V) float32, up to one positive factor.

    The mean over the vocabulary is 0. See the module for what is and is not applied.

    Args:
        neurons: (layer, index) each.
    """
    model: Any = lm.model
    matrix = model.get_output_embeddings().weight.detach()[: len(lm.tokenizer)]
    with torch.no_grad():
        norm = resolve(model, FINAL_NORM.get(str(model.config.model_type), "model.norm"))
        written = _through(norm, torch.stack([_written(lm, *each) for each in neurons]))
        parts = [written @ part.float().T for part in matrix.split(ROWS)]
        out = torch.cat(parts, 1)
        return (out - out.mean(1, keepdim=True)).cpu().numpy()


def extremes(lm: LM, neurons: Sequence[Neuron]) -> list[dict[str, list[tuple[str, float]]]]:
    """For each neuron the ten tokens it moves up (``promoted``) and down (``suppressed``) most, strongest first."""
    out = []
    for row in lens(lm, neurons):
        order = np.argsort(-row, kind="stable")
        sides = {"promoted": order[:10], "suppressed": order[::-1][:10]}
        out.append(
            {name: [(token_text(lm.tokenizer, int(i)), float(row[i])) for i in ids] for name, ids in sides.items()}
        )
    return out


def token_text(tokenizer: Any, token: int) -> str:
    """Text of one token with its leading space; bytes that are no whole character come as U+FFFD."""
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    piece = tokenizer.convert_ids_to_tokens(token)
    # SentencePiece writes a leading space as U+2581 and drops it when a text starts with it.
    if isinstance(piece, str) and piece.startswith("\u2581") and not text.startswith(" "):
        return " " + text
    return text


def _written(lm: LM, layer: int, neuron: int) -> torch.Tensor:
    """The direction that a neuron adds to the residual stream, float32."""
    vector = value_vectors(lm.model, layer)[neuron].float()
    path = OUTPUT_NORM.get(str(lm.model.config.model_type))
    if path is None:
        return vector
    block = resolve(lm.model, architecture_of(lm.model).blocks)[layer]
    return _through(resolve(block, path), vector)


def _through(norm: Any, vectors: torch.Tensor) -> torch.Tensor:
    """The linear part of a norm: mean subtracted (LayerNorm only), then its scale; without the division."""
    if isinstance(norm, torch.nn.LayerNorm):
        centred = vectors - vectors.mean(-1, keepdim=True)
        return centred if norm.weight is None else centred * norm.weight.float()
    # An RMSNorm makes its scale of a vector of ones, whose size is 1; Gemma's scale is 1 + weight.
    ones = torch.ones(vectors.shape[-1], device=vectors.device, dtype=norm.weight.dtype)
    return vectors * norm(ones).float()
