"""What a single neuron does to the likelihood stance: its activation is set to zero and the texts are read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.chapters.browse.cards_choice import Neuron
from polinb.errors import ParameterError
from polinb.models.architectures import architecture_of, resolve
from polinb.models.tokens import Batch, batches
from polinb.progress import bar
from polinb.scoring.residual import blocks

if TYPE_CHECKING:
    import torch

    from polinb.models.lm import LM


def zeroed_logp(
    lm: LM,
    neurons: Sequence[Neuron],
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    batch: int = 16,
    label: str = "ablating neurons",
) -> tuple[np.ndarray, np.ndarray]:
    """Mean log-probability a token of each response, untouched and with one neuron at a time held at zero.

    A neuron's activation is set to zero at every position, prompt included. The untouched pass runs once a batch; a
    neuron of layer l changes nothing below l, so its pass starts from the untouched states that enter layer l.

    Args:
        neurons: (layer, index) each; may be empty.
        prompts, responses: token ids; no empty response.

    Returns:
        (texts,) untouched and (neurons, texts) ablated, float64, in nats.

    Raises:
        ParameterError: a neuron that the model does not have, or an empty response.
    """
    import torch

    for layer, neuron in neurons:
        if not (0 <= layer < lm.layers and 0 <= neuron < lm.width):
            raise ParameterError("neurons", (layer, neuron), f"layers below {lm.layers}, neurons below {lm.width}")
    if not all(len(r) for r in responses):
        raise ParameterError("responses", "an empty one", "texts of at least one token")
    base, out = np.full(len(prompts), np.nan), np.full((len(neurons), len(prompts)), np.nan)
    below = sorted({layer - 1 for layer, _ in neurons if layer})
    root, found = blocks(lm)
    downs = [resolve(block, architecture_of(lm.model).down) for block in found]
    with torch.no_grad(), bar(len(neurons) * len(prompts), label) as shown:
        for chunk in batches(lm, prompts, responses, batch):
            keep = int(chunk.response.sum(1).max()) + 1
            states, logits = _untouched(root, [found[layer] for layer in below], chunk, keep)
            base[chunk.rows] = _mean_logp(logits, chunk, keep)
            entering = dict(zip(below, states, strict=True))
            for row, (layer, neuron) in enumerate(neurons):
                start = entering.get(layer - 1)
                logits = _zeroed(root, found[:layer], downs[layer], neuron, start, chunk, keep)
                out[row, chunk.rows] = _mean_logp(logits, chunk, keep)
                shown.update(len(chunk.rows))
    return base, out


def effects(base_right: Any, base_left: Any, right: Any, left: Any) -> np.ndarray:
    """eq-ablation. Change of the likelihood stance by question: with the neuron at zero minus before, nats a token.

    Args:
        base_right, base_left: (questions,) mean log-probability a token of the right and left reference answers.
        right, left: the same with neurons ablated, (..., questions).
    """
    before = np.asarray(base_right, dtype=float) - np.asarray(base_left, dtype=float)
    return (np.asarray(right, dtype=float) - np.asarray(left, dtype=float)) - before


def _untouched(root: Any, wanted: list[Any], chunk: Batch, keep: int) -> tuple[list[Any], torch.Tensor]:
    """What the wanted blocks put out, and the logits of the last ``keep`` positions."""
    import nnsight

    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=keep):
        states = nnsight.save([block.output for block in wanted])
        out = root.output.save()
    return list(states), out.logits


def _zeroed(root: Any, skipped: list[Any], down: Any, neuron: int, start: Any, chunk: Batch, keep: int) -> torch.Tensor:
    """Logits with one neuron at zero; ``skipped`` blocks do not run, the last one puts out ``start``."""
    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=keep):
        for block in skipped:
            block.skip(start)
        down.input[:, :, neuron] = 0
        out = root.output.save()
    return out.logits


def _mean_logp(logits: torch.Tensor, chunk: Batch, keep: int) -> np.ndarray:
    """Mean log-probability a response token, (rows,), as :func:`polinb.models.generation.log_likelihood`."""
    first = chunk.ids.shape[1] - (keep - 1)
    targets, weight = chunk.ids[:, first:], chunk.response[:, first:]
    logits = logits[:, :-1].float()
    token = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)
    total = token.where(weight, 0).sum(1).cpu().double().numpy()
    return total / weight.sum(1).cpu().numpy()
