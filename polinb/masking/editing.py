"""Tuning-free editing (Yang et al. 2025): activations of neuron groups are set while the model answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.errors import ParameterError
from polinb.models.generation import cut, stop_ids
from polinb.models.tokens import Batch, batches
from polinb.progress import bar
from polinb.scoring.shares import Group
from polinb.scoring.tracing import envoys

if TYPE_CHECKING:
    import torch

    from polinb.models.loading import LM

MODES = ("mean", "scale")
PLACES = ("answer", "all")


def edit_factors(groups: Mapping[str, Group], alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """eq-edit. What to edit and by how much: factor 1 + α where a group must rise, 1 − α where it must fall.

    For toxicity TP and AN fall, AP and TN rise; for a stance trained to the right LP and RN fall, RP and LN rise.

    Args:
        groups: as :func:`polinb.scoring.shares.groups` makes them, disjoint.
        alpha: 0 or more; above 1 falling activations change sign.

    Returns:
        chosen (L, F) bool, factors (L, F) float; factors are 1 outside ``chosen``.

    Raises:
        ParameterError: a negative ``alpha``, no group, or groups that hold no neuron or overlap.
    """
    if not 0 <= alpha < float("inf"):
        raise ParameterError("alpha", alpha, "0 or more")
    masks = [group.chosen for group in groups.values()]
    count = np.sum(masks, axis=0) if masks else np.zeros(1)
    if not count.any() or count.max() > 1:
        raise ParameterError("groups", list(groups), "disjoint groups that hold at least one neuron")
    factors = np.ones(masks[0].shape)
    for group in groups.values():
        factors[group.chosen] = 1 + alpha if group.rises else 1 - alpha
    return count > 0, factors


def edited_answers(
    lm: LM,
    chosen: np.ndarray,
    factors: np.ndarray,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    mode: str = "mean",
    means: np.ndarray | None = None,
    where: str = "answer",
    batch: int = 48,
    label: str = "editing",
) -> list[list[int]]:
    """Greedy answers while the chosen neurons are edited at every step.

    ``mean``: the activation is set to its mean × factor, the same at every token; with all factors 1 this is the
    mean-assignment control, which shows what losing the tokens' own activations does. ``scale``: the live activation
    is multiplied by its factor; with all factors 1 the answers are the unedited ones, token for token.

    Args:
        chosen: (L, F) bool.
        factors: (L, F); see :func:`edit_factors`.
        means: (L, F) mean activations; needed for ``mean``.
        where: ``answer``: from the last prompt token on, whose output is the first answer token; ``all``: the whole
            prompt as well.

    Returns:
        New token ids a prompt, without the end-of-turn token, in the order given.

    Raises:
        ParameterError: unknown mode or place, arrays of another shape than the model, values that are not finite, or
            no neuron chosen.
    """
    import torch

    if mode not in MODES:
        raise ParameterError("mode", mode, ", ".join(MODES))
    if where not in PLACES:
        raise ParameterError("where", where, ", ".join(PLACES))
    shape = (lm.layers, lm.width)
    if mode == "mean" and means is None:
        raise ParameterError("means", None, f"mean activations of shape {shape} for mode 'mean'")
    values = np.asarray(factors if means is None or mode == "scale" else factors * means, dtype=float)
    if chosen.shape != shape or values.shape != shape:
        raise ParameterError("chosen, factors or means", (chosen.shape, values.shape), f"{shape}, layers and FFN width")
    if not chosen.any():
        raise ParameterError("chosen", "no neuron", "at least one neuron to edit")
    if not np.isfinite(values[chosen]).all():
        raise ParameterError("factors or means", "a value that is not finite", "finite numbers")
    index = [torch.from_numpy(np.flatnonzero(row)).to(lm.device) for row in chosen]
    kind = lm.model.dtype
    written = [torch.from_numpy(v[row]).to(lm.device, kind) for v, row in zip(values, chosen, strict=True)]
    out: list[list[int]] = [[] for _ in prompts]
    stop = stop_ids(lm)
    with torch.no_grad(), bar(len(prompts), label) as shown:
        for chunk in batches(lm, prompts, [[] for _ in prompts], batch):
            made = _decode(lm, index, written, mode == "scale", where == "all", chunk, max_new_tokens, stop)
            for row, ids in zip(chunk.rows, made, strict=True):
                out[row] = cut(ids, stop)
            shown.update(len(chunk.rows))
    return out


def _decode(
    lm: LM,
    index: list[torch.Tensor],
    values: list[torch.Tensor],
    scale: bool,
    everywhere: bool,
    chunk: Batch,
    steps: int,
    stop: list[int],
) -> list[list[int]]:
    import torch

    root, downs = envoys(lm)
    ids, mask, position = chunk.ids, chunk.mask, chunk.positions
    cache: Any = None
    made: list[torch.Tensor] = []
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    ends = torch.tensor(stop, device=ids.device)
    for step in range(steps):
        start = 0 if everywhere or step else ids.shape[1] - 1
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": position, "past_key_values": cache}
        logits, cache = _edit_step(root, downs, index, values, scale, start, inputs)
        token = logits[:, -1].argmax(-1)
        made.append(token)
        done |= torch.isin(token, ends)
        if bool(done.all()):
            break
        ids = token[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], 1)
        position = position[:, -1:] + 1
    return torch.stack(made, 1).tolist()


def _edit_step(
    root: Any,
    downs: list[Any],
    index: list[torch.Tensor],
    values: list[torch.Tensor],
    scale: bool,
    start: int,
    inputs: dict[str, Any],
) -> tuple[torch.Tensor, Any]:
    with root.trace(**inputs, use_cache=True, logits_to_keep=1):
        for down, which, value in zip(downs, index, values, strict=True):
            if len(which):
                down.input[:, start:, which] = down.input[:, start:, which] * value if scale else value
        out = root.output.save()
    return out.logits, out.past_key_values
