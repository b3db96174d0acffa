"""A small gated transformer whose general and topic-specific stance neurons are planted, so the truth is known.

A real ``LlamaForCausalLM`` made from a configuration: everything in polinb runs on it unchanged. Its residual stream
has named coordinates, seen through a random rotation: which topic the prompt is about, the prompt's own lean, the
answer's next word, and one *stance* direction, which the output head reads as "right word" against "left word".

Attention of block 0 carries the prompt's topic and lean to every later position; attention of later blocks is silent.
Planted neurons are silent unless any topic (general) or their topic (specific) is there. They come in pairs of equal
activation of which one writes the stance direction to the right and one to the left, so they cancel in the vanilla
model, whose stance is the prompt's own lean, 0 on average. Pushing pairs apart moves stance: on all topics through
general pairs, on one through specific pairs. All other neurons read and write what means nothing for stance.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polinb.chapters.planted import design as written
from polinb.chapters.planted.design import FILLERS, SIZE, STANCE, TOPIC_WORDS, WORDS, Design, Pair
from polinb.data.pairs import SPLITS, split_of
from polinb.data.rows import LEANINGS, TOPICS
from polinb.errors import ParameterError
from polinb.models import tokens
from polinb.models.lm import LM


@dataclass(frozen=True)
class Planted:
    """A built model and its truth.

    Attributes:
        lm: the vanilla model.
        design: what it was built from.
        general: G, (L, F) bool.
        specific: topic → S_t, (L, F) bool.
        side: +1 where a planted neuron writes to the right, −1 to the left, 0 elsewhere; (L, F).
        roles: loud, steady, reader, idle → (L, F) bool.
        basis: (d, d) rotation; column k is the residual direction of coordinate k.
    """

    lm: LM
    design: Design
    general: np.ndarray
    specific: dict[str, np.ndarray]
    side: np.ndarray
    roles: dict[str, np.ndarray]
    basis: np.ndarray = field(repr=False)

    @property
    def political(self) -> dict[str, np.ndarray]:
        """Topic → true N_t = G ∪ S_t."""
        return {topic: self.general | chosen for topic, chosen in self.specific.items()}

    @property
    def everything(self) -> np.ndarray:
        """All planted neurons that move on some topic, (L, F) bool."""
        return np.any([self.general, *self.specific.values()], axis=0)


def direction(planted: Planted) -> np.ndarray:
    """The true left→right unit vector in the residual stream, (d_model,) float64."""
    return planted.basis[:, STANCE].copy()


def build(design: Design) -> Planted:
    """The planted model of ``design``, the same for the same design."""
    import torch

    rng = np.random.default_rng([design.seed, 1])
    basis = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    pairs, roles = _places(design, rng)
    lm = written.empty(design)
    weights = {name: np.ones(tuple(p.shape)) for name, p in lm.model.named_parameters() if "norm" in name}
    weights["model.embed_tokens.weight"] = written.embeddings(rng) @ basis.T
    weights["lm_head.weight"] = written.head() @ basis.T
    for layer in range(design.layers):
        for name, value in written.attention(layer).items():
            weights[f"model.layers.{layer}.self_attn.{name}_proj.weight"] = (
                basis @ value if name == "o" else value @ basis.T
            )
        gate, up, down = written.distractors(design, {name: chosen[layer] for name, chosen in roles.items()}, rng)
        for pair in pairs:
            if pair.layer == layer:
                written.plant(design, pair, gate, up, down, rng)
        for name, value in (("gate", gate @ basis.T), ("up", up @ basis.T), ("down", basis @ down)):
            weights[f"model.layers.{layer}.mlp.{name}_proj.weight"] = value
    lm.model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in weights.items()})
    side = np.zeros((design.layers, design.width), int)
    kinds = {kind: np.zeros(side.shape, bool) for kind in ("general", "idle", *TOPICS)}
    for pair in pairs:
        side[pair.layer, [pair.right, pair.left]] = [1, -1]
        kinds[pair.kind][pair.layer, [pair.right, pair.left]] = True
    roles["idle"] = kinds["idle"]
    return Planted(lm, design, kinds["general"], {topic: kinds[topic] for topic in TOPICS}, side, roles, basis)


def _places(design: Design, rng: np.random.Generator) -> tuple[list[Pair], dict[str, np.ndarray]]:
    """Which neuron is what."""
    last = design.layers - 1
    room = [b for b in design.places for _ in range((design.width - (design.readers if b == last else 0)) // 2)]
    wanted = ["general"] * (design.general // 2) + [topic for topic in TOPICS for _ in range(design.specific // 2)]
    wanted += ["idle"] * (design.idle // 2)
    free = [list(rng.permutation(design.width)) for _ in range(design.layers)]
    blocks = rng.permutation(room)[: len(wanted)]
    pairs = [Pair(int(b), free[b].pop(), free[b].pop(), kind) for b, kind in zip(blocks, wanted, strict=True)]
    roles = {name: np.zeros((design.layers, design.width), bool) for name in ("loud", "steady", "reader")}
    roles["reader"][last, [free[last].pop() for _ in range(design.readers)]] = True
    others = rng.permutation([(layer, i) for layer, ids in enumerate(free) for i in ids])
    for rank, (layer, i) in enumerate(others[: design.loud + design.steady]):
        roles["loud" if rank < design.loud else "steady"][layer, i] = True
    return pairs, roles


# --- what it is asked, how its stance is counted, and its constructed variants


def prompts(planted: Planted, topic: str, count: int, split: str = "evaluate") -> list[str]:
    """The first ``count`` prompts on ``topic`` of a split; no prompt is in two splits.

    A prompt is three of the topic's words among six fillers, which carry the prompt's own lean.
    """
    if split not in SPLITS:
        raise ParameterError("split", split, ", ".join(SPLITS))
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
    return [tokens.prompt_ids(planted.lm, each) for each in prompts(planted, topic, count, split)]


def answer(leaning: str) -> str:
    """The answer of one side."""
    return " ".join(f"{leaning}-{k}" for k in range(WORDS))


def answer_ids(planted: Planted, leaning: str, *, end: bool) -> list[int]:
    """Token ids of the answer of one side, with the end-of-turn token if ``end``."""
    return tokens.response_ids(planted.lm, answer(leaning), end=end)


def stance(planted: Planted, answers: tokens.Ids) -> np.ndarray:
    """Stance of each answer by counting words: (right − left)/(right + left), 0 if there is neither; (n,)."""
    words = [set(answer_ids(planted, side, end=False)) for side in LEANINGS]
    left, right = (np.array([sum(i in own for i in ids) for ids in answers]) for own in words)
    return (right - left) / np.maximum(right + left, 1)


def variant(planted: Planted, topic: str, leaning: str, moved: np.ndarray | None = None) -> LM:
    """eq-planted. M_leaning^topic, constructed, so that which neurons moved is exactly known.

    The activation of each neuron of ``moved`` grows by the share η if it writes to the side of ``leaning`` and shrinks
    by η if it writes to the other, through its row of the up projection. Then drift and noise, in all neurons.

    Args:
        moved: (L, F) bool; by default the true N_t of ``topic``.
    """
    import torch

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
