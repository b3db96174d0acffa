"""A small BatchTopK sparse autoencoder (Bussmann, Leask and Nanda 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polinb.errors import ModelError, ParameterError
from polinb.lazy import torch
from polinb.progress import bar

AUX_WEIGHT = 1 / 32  # α of the auxiliary loss (Gao et al. 2024)
DEAD_AFTER = 20  # steps without firing after which a latent counts as dead while training
RATE = 3e-3  # Adam's peak learning rate, falling linearly to 0 over the last half
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


@dataclass
class SAE:
    """f = σ((x − b_dec) W_enc + b_enc),  x̂ = f W_dec + b_dec.

    σ is ReLU followed by what the autoencoder was trained with: values up to ``threshold`` become 0 (BatchTopK at
    inference, JumpReLU), or all but the ``k`` largest of a token do (TopK), or nothing more (plain ReLU).
    """

    W_enc: torch.Tensor  #: (d_model, latents)
    b_enc: torch.Tensor  #: (latents,)
    W_dec: torch.Tensor  #: (latents, d_model); unit rows if trained here
    b_dec: torch.Tensor  #: (d_model,)
    threshold: torch.Tensor | None = None  #: (1,) or (latents,)
    k: int | None = None  #: latents a token
    centre: bool = True  #: b_dec is taken off before encoding

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """Latents before σ's selection, ReLU done: x (n, d_model) → (n, latents)."""
        return ((x - self.b_dec if self.centre else x) @ self.W_enc + self.b_enc).relu()

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latent activations of hidden states: (n, d_model) → (n, latents), not negative."""
        f = self.before(x)
        if self.threshold is not None:
            f = f * (f > self.threshold)
        return f if self.k is None else keep_top(f, self.k)

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        """Reconstruction: (n, latents) → (n, d_model)."""
        return f @ self.W_dec + self.b_dec

    def save(self, path: Path) -> None:
        """Write a safetensors file with the names of :func:`polinb.chapters.caft.sae_files.load`."""
        from safetensors.torch import save_file

        tensors = {name: getattr(self, name).contiguous() for name in NAMES}
        if self.threshold is not None:
            tensors["threshold"] = self.threshold.contiguous()
        save_file(tensors, path)


def keep_top(values: torch.Tensor, k: int) -> torch.Tensor:
    """TopK: of (…, latents) values the k largest of each row, the others 0."""
    top, index = values.topk(min(k, values.shape[-1]), dim=-1)
    return torch.zeros_like(values).scatter(-1, index, top)


def keep_batch_top(values: torch.Tensor, k: int) -> torch.Tensor:
    """BatchTopK: of (n, latents) non-negative values the n·k largest of the whole batch, the others 0."""
    return keep_top(values.flatten(), k * len(values)).view_as(values)


def loss(sae: SAE, x: torch.Tensor, k: int, dead: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """eq-sae. BatchTopK loss of a batch, as a share of its variance, and the latents used.

    L = ‖x − x̂‖² + α ‖e − ê‖², where e = x − x̂ and ê is the dead latents' attempt at e: the min(d/2, dead) most active
    ones of each token. Without the second term a latent that never fires gets no gradient and stays dead.

    Args:
        dead: (latents,) bool.
    """
    before = sae.before(x)
    f = keep_batch_top(before, k)
    error = x - sae.decode(f)
    variance = (x - x.mean(0)).square().sum()
    total = error.square().sum() / variance
    if bool(dead.any()):
        attempt = keep_top(before[:, dead], max(x.shape[1] // 2, 1)) @ sae.W_dec[dead]
        total = total + AUX_WEIGHT * (error.detach() - attempt).square().sum() / variance
    return total, f.detach()


def train(states: np.ndarray, latents: int, k: int, steps: int, *, batch: int = 256, seed: int = 0) -> SAE:
    """Fit a BatchTopK autoencoder to hidden states in ``steps`` optimiser steps of ``batch`` tokens each.

    Args:
        states: (tokens, d_model); scaled inside to a mean square of 1 a dimension, and back.
        latents: size of the dictionary. k: active latents a token, on average over a batch.

    Raises:
        ModelError: the loss is not finite.
        ParameterError: more active latents than there are, or fewer than two tokens.
    """
    if not 1 <= k <= latents:
        raise ParameterError("sae_k", k, f"1 to sae_latents ({latents})")
    if len(states) < 2:
        raise ParameterError("caft_prompts", f"texts of {len(states)} tokens", "texts of at least 2 tokens")
    x = torch.from_numpy(np.ascontiguousarray(states, dtype=np.float32))
    centre = x.mean(0)
    scale = float((x - centre).square().mean().sqrt()) or 1.0
    x = (x - centre) / scale
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(latents, x.shape[1], generator=generator)
    rows = rows / rows.norm(dim=1, keepdim=True)
    # Tied at the start: encoder and decoder agree on what a latent means before any step.
    sae = SAE(rows.T.clone(), torch.zeros(latents), rows, torch.zeros(x.shape[1]))
    parameters = [getattr(sae, name).requires_grad_() for name in NAMES]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps)))
    silent = torch.zeros(latents, dtype=torch.long)
    decoder: Any = sae.W_dec
    size = min(batch, len(x))  # every token once before any comes again
    order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(-(-steps * size // len(x)))])
    with bar(steps, "sparse autoencoder") as shown:
        for rows in order.split(size)[:steps]:
            value, used = loss(sae, x[rows], k, silent >= DEAD_AFTER)
            if not bool(torch.isfinite(value)):
                raise ModelError("the sparse autoencoder's loss is not finite; lower sae_latents or look at the states")
            optimizer.zero_grad()
            value.backward()
            with torch.no_grad():  # rows of the decoder stay at length 1: no gradient along themselves
                decoder.grad -= (decoder.grad * decoder).sum(1, keepdim=True) * decoder
                optimizer.step()
                decoder /= decoder.norm(dim=1, keepdim=True)
            schedule.step()
            silent = torch.where((used > 0).any(0), 0, silent + 1)
            shown.update(1)
    own = SAE(*(getattr(sae, name).detach() for name in NAMES))
    # for states in their own units: x = centre + scale · x'
    return replace(
        own, b_enc=own.b_enc * scale, b_dec=centre + scale * own.b_dec, threshold=_threshold(own, x, k, batch) * scale
    )


def _threshold(sae: SAE, x: torch.Tensor, k: int, batch: int) -> torch.Tensor:
    """Inference threshold: mean over batches of the smallest activation that BatchTopK keeps; (1,)."""
    lowest = []
    with torch.no_grad():
        for rows in x.split(batch):
            kept = keep_batch_top(sae.before(rows), k)
            if bool((kept > 0).any()):
                lowest.append(kept[kept > 0].min())
    return torch.stack(lowest).mean()[None] if lowest else torch.zeros(1)


def quality(sae: SAE, states: np.ndarray, batch: int = 1024) -> dict[str, float]:
    """How good an autoencoder is on tokens it was not trained on, at least two different ones.

    Returns:
        tokens; fvu, the share of the variance it misses, ‖x − x̂‖² / ‖x − mean‖²; explained = 1 − fvu; l0, active
        latents a token; dead, the share of latents that fire on none of these tokens.
    """
    x = torch.from_numpy(np.ascontiguousarray(states, dtype=np.float32))
    variance = float((x.double() - x.double().mean(0)).square().sum())
    if len(x) < 2 or variance == 0:
        raise ValueError("the quality of a sparse autoencoder needs at least two different tokens")
    missed, active = 0.0, torch.zeros(len(sae.b_enc))
    with torch.no_grad():
        for rows in x.split(batch):
            f = sae.encode(rows)
            missed += float((rows - sae.decode(f)).double().square().sum())
            active += (f > 0).sum(0)
    fvu, l0, dead = missed / variance, float(active.sum()) / len(x), float((active == 0).float().mean())
    return {"tokens": len(x), "fvu": fvu, "explained": 1 - fvu, "l0": l0, "dead": dead}
