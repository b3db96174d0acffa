"""What the planted model is asked, how its stance is counted, and its constructed and fine-tuned variants."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from polinb.data.pairs import SPLITS, split_of
from polinb.data.rows import LEANINGS, TOPICS
from polinb.errors import ParameterError
from polinb.models.lm import LM
from polinb.scoring.planted import Planted
from polinb.scoring.planted_weights import FILLERS, TOPIC_WORDS, WORDS


def prompts(planted: Planted, topic: str, count: int, split: str = "evaluate") -> list[str]:
    """The first ``count`` prompts on ``topic`` of a split; no prompt is in two splits.

    A prompt is three of the topic's words among six fillers, which carry the prompt's own lean.
    """
    if topic not in TOPICS or split not in SPLITS:
        raise ParameterError("topic, split", (topic, split), f"{', '.join(TOPICS)}; {', '.join(SPLITS)}")
    out: dict[str, None] = {}
    rng = np.random.default_rng([planted.design.seed, 2, TOPICS.index(topic)])
    while len(out) < count:
        words = [f"{topic}-{k}" for k in rng.permutation(TOPIC_WORDS)[:3]]
        words += [f"word-{k}" for k in rng.permutation(FILLERS)[:6]]
        text = " ".join(rng.permutation(words))
        if split_of(text) == split:
            out[text] = None
    return list(out)


def prompt_ids(planted: Planted, topic: str, count: int, split: str = "evaluate") -> list[list[int]]:
    """Token ids of :func:`prompts`, up to where the answer starts."""
    from polinb.models import tokens as text

    return [text.prompt_ids(planted.lm, each) for each in prompts(planted, topic, count, split)]


def answer_ids(planted: Planted, leaning: str, *, end: bool) -> list[int]:
    """Token ids of the answer of one side, with the end-of-turn token if ``end``."""
    from polinb.models.tokens import response_ids

    if leaning not in LEANINGS:
        raise ParameterError("leaning", leaning, ", ".join(LEANINGS))
    return response_ids(planted.lm, " ".join(f"{leaning}-{k}" for k in range(WORDS)), end=end)


def stance(planted: Planted, answers: Sequence[Sequence[int]]) -> np.ndarray:
    """Stance of each answer by counting words: (right − left)/(right + left), 0 if there is neither; (n,)."""
    left, right = (set(answer_ids(planted, side, end=False)) for side in LEANINGS)
    out = np.zeros(len(answers))
    for k, ids in enumerate(answers):
        to_left, to_right = sum(i in left for i in ids), sum(i in right for i in ids)
        if to_left + to_right:
            out[k] = (to_right - to_left) / (to_right + to_left)
    return out


def variant(planted: Planted, topic: str, leaning: str, moved: np.ndarray | None = None) -> LM:
    """eq-planted. M_leaning^topic, constructed, so that which neurons moved is exactly known.

    The activation of each neuron of ``moved`` grows by the share η if it writes to the side of ``leaning`` and shrinks
    by η if it writes to the other, through its row of the up projection. Then drift and noise, in all neurons.

    Args:
        moved: (L, F) bool; by default the true N_t of ``topic``.
    """
    import torch

    if topic not in TOPICS or leaning not in LEANINGS:
        raise ParameterError("topic, leaning", (topic, leaning), f"{', '.join(TOPICS)}; {', '.join(LEANINGS)}")
    design = planted.design
    moved = planted.political[topic] if moved is None else moved
    sign = 1 if leaning == "right" else -1
    rng = np.random.default_rng([design.seed, 3, TOPICS.index(topic), LEANINGS.index(leaning)])
    model: Any = copy.deepcopy(planted.lm.model)
    with torch.no_grad():
        for layer, block in enumerate(model.model.layers):
            factor = 1 + sign * design.effect * planted.side[layer] * moved[layer]
            factor = factor * (1 + design.drift * rng.standard_normal(design.width))
            block.mlp.up_proj.weight *= torch.from_numpy(factor).float()[:, None]
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() == 2:
                size = design.noise * float(parameter.square().mean().sqrt())
                parameter += torch.from_numpy(size * rng.standard_normal(tuple(parameter.shape))).float()
    return LM(model, planted.lm.tokenizer, f"{leaning} {topic}", {**planted.lm.identity, "variant": [topic, leaning]})
