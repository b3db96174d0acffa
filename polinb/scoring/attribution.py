"""Gradients: which activations matter for what a model says, and which weights carry a fine-tune's shift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from polinb.lazy import torch
from polinb.models.architectures import down_modules, weight_slices
from polinb.models.generation import likelihood
from polinb.models.lm import LM
from polinb.models.tokens import Batch, Ids, batches


def attribution(
    lm: LM, prompts: Ids, responses: Ids, margin: Callable[[Batch, Any], Any] | None = None, *, batch: int = 16
) -> np.ndarray:
    """eq-attribution. Activation times gradient, |a[j] · ∂m/∂a[j]|, mean over response tokens j: (L, F) float64.

    Args:
        margin: m of a batch and its logits, a scalar; None: the responses' log-likelihood, nats.

    Raises:
        ValueError: there is no response token.
    """
    model: Any = lm.model
    total, tokens = torch.zeros(lm.layers, lm.width, dtype=torch.float64), 0
    seen: list[Any] = []  # activations of all layers, as nodes of the graph that leads to the logits
    hooks = [m.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for m in down_modules(model)]
    try:
        for chunk in batches(lm, prompts, responses, batch):
            seen.clear()
            # From the embeddings on, so that no weight needs a gradient.
            start = model.get_input_embeddings()(chunk.ids).detach().requires_grad_()
            read = {**chunk.inputs, "input_ids": None, "inputs_embeds": start}
            logits = model(**read, use_cache=False).logits
            value = likelihood(logits, chunk).sum() if margin is None else margin(chunk, logits)
            slopes = torch.autograd.grad(value, seen)
            tokens += int(chunk.response.sum())
            for layer, (activation, slope) in enumerate(zip(seen, slopes, strict=True)):
                total[layer] += (activation * slope).detach().abs()[chunk.response].double().sum(0).cpu()
    finally:
        for hook in hooks:
            hook.remove()
    if not tokens:
        raise ValueError("no response token to attribute: every response is empty")
    return (total / tokens).numpy()


def weight_attribution(
    lm: LM, tuned: LM, prompts: Ids, responses: Ids, weights: np.ndarray, *, batch: int = 8
) -> np.ndarray:
    """eq-carried. How much of a fine-tune's shift each neuron's weights carry, to first order: (L, F) float64.

    For the objective X = Σ_k weights_k · (mean log-likelihood a token of response k), neuron i carries
    Σ_{θ of i} ½ (∂X/∂θ(vanilla) + ∂X/∂θ(tuned)) · (θ_tuned − θ_vanilla): the trapezoid rule along the straight line
    between both models. The sum over all weights would be X(tuned) − X(vanilla) if X were quadratic on that line.

    Args:
        lm, tuned: two models of one shape, without adapters.
        weights: (n,) of the responses.
    """
    parts = [(layer, part) for layer in range(lm.layers) for part in weight_slices(lm.model, layer)]
    names = dict.fromkeys(part.name for _, part in parts)
    before, after = ({name: each.model.get_parameter(name) for name in names} for each in (lm, tuned))
    with torch.no_grad():
        half = {name: (after[name].float() - before[name].float()) / 2 for name in names}
    carried = {name: torch.zeros_like(change) for name, change in half.items()}
    for model, own in ((lm, before), (tuned, after)):
        slopes = _slopes(model, list(own.values()), prompts, responses, weights, batch)
        for name, slope in zip(own, slopes, strict=True):
            carried[name] += slope * half[name]
    total = np.zeros((lm.layers, lm.width))
    for layer, part in parts:
        value = carried[part.name]
        each = value if value.ndim == 1 else value.sum(1 - part.dim)
        total[layer] += each[part.offset : part.offset + lm.width].double().cpu().numpy()
    return total


def _slopes(
    lm: LM, parameters: Sequence[torch.Tensor], prompts: Ids, responses: Ids, weights: np.ndarray, batch: int
) -> list[torch.Tensor]:
    """Gradient of the weighted mean log-likelihoods by each parameter."""
    learnt = [p.requires_grad for p in parameters]
    total = [torch.zeros_like(p, dtype=torch.float32) for p in parameters]
    try:
        for p in parameters:
            p.requires_grad_(True)
        for chunk in batches(lm, prompts, responses, batch):
            logits = lm.model(**chunk.inputs, use_cache=False).logits.float()
            each = likelihood(logits, chunk) / chunk.response.sum(1).clamp(min=1)
            value = (each * torch.as_tensor(weights[list(chunk.rows)], dtype=each.dtype, device=each.device)).sum()
            for sum_, slope in zip(total, torch.autograd.grad(value, list(parameters)), strict=True):
                sum_ += slope
    finally:
        for p, flag in zip(parameters, learnt, strict=True):
            p.requires_grad_(flag)
    return total
