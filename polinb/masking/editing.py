"""Tuning-free editing (Yang et al. 2025): activations of neuron groups are set while the model answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from polinb.errors import ParameterError
from polinb.masking.decoding import assign, changed_answers, check_chosen, per_layer, scale
from polinb.models.lm import LM
from polinb.models.tokens import Ids
from polinb.scoring.shares import Group

MODES = ("mean", "scale")


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
    prompts: Ids,
    *,
    max_new_tokens: int,
    mode: str = "mean",
    means: np.ndarray | None = None,
    batch: int = 48,
    label: str = "editing",
) -> list[list[int]]:
    """Greedy answers while the chosen neurons are edited at every step, in the order given, without end-of-turn token.

    The prompt is left alone up to its last token, whose output is the first answer token.

    ``mean``: the activation is set to its mean × factor, the same at every token; with all factors 1 this is the
    mean-assignment control, which shows what losing the tokens' own activations does. ``scale``: the live activation
    is multiplied by its factor; with all factors 1 the answers are the unedited ones, token for token.

    Args:
        chosen, factors: (L, F), see :func:`edit_factors`.
        means: (L, F) mean activations; needed for ``mean``.

    Raises:
        ParameterError: unknown mode, arrays of another shape than the model, values that are not finite, or
            no neuron chosen.
    """
    if mode not in MODES:
        raise ParameterError("mode", mode, ", ".join(MODES))
    check_chosen(chosen, lm)
    if mode == "mean" and means is None:
        raise ParameterError("means", None, f"mean activations of shape {chosen.shape} for mode 'mean'")
    for name, given in {"factors": factors, "means": means}.items():
        if given is not None and np.shape(given) != chosen.shape:
            raise ParameterError(name, np.shape(given), f"{chosen.shape}, layers and FFN width")
        if given is not None and not np.isfinite(np.asarray(given, dtype=float)[chosen]).all():
            raise ParameterError(name, "a value that is not finite", "finite numbers")
    values = np.asarray(factors if means is None or mode == "scale" else factors * means, dtype=float)
    if not chosen.any():
        raise ParameterError("chosen", "no neuron", "at least one neuron to edit")
    change = (scale if mode == "scale" else assign)(per_layer(lm, chosen, values))
    how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch": batch, "label": label}
    return changed_answers(lm, prompts, chosen, change, answer_only=True, **how)
