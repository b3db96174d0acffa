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

from dataclasses import dataclass, field

import numpy as np

from polinb.data.rows import TOPICS
from polinb.errors import ParameterError
from polinb.models.lm import LM
from polinb.scoring import planted_weights as written
from polinb.scoring.planted_design import Design
from polinb.scoring.planted_weights import SIZE, STANCE, Pair


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


def build(design: Design | None = None) -> Planted:
    """The planted model of ``design``, the same for the same design.

    Raises:
        ParameterError: more planted neurons and readers than their blocks can hold.
    """
    design = design or Design()
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
    written.load(lm, weights)
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
    if len(wanted) > len(room) or design.readers > design.width:
        given = (design.general, design.specific, design.readers)
        raise ParameterError("general, specific, readers", given, f"at most {2 * len(room)} planted neurons in all")
    free = [list(rng.permutation(design.width)) for _ in range(design.layers)]
    blocks = rng.permutation(room)[: len(wanted)]
    pairs = [Pair(int(b), free[b].pop(), free[b].pop(), kind) for b, kind in zip(blocks, wanted, strict=True)]
    roles = {name: np.zeros((design.layers, design.width), bool) for name in ("loud", "steady", "reader")}
    roles["reader"][last, [free[last].pop() for _ in range(design.readers)]] = True
    others = rng.permutation([(layer, i) for layer, ids in enumerate(free) for i in ids])
    if design.loud + design.steady > len(others):
        raise ParameterError("loud, steady", (design.loud, design.steady), f"in all at most {len(others)}")
    for rank, (layer, i) in enumerate(others[: design.loud + design.steady]):
        roles["loud" if rank < design.loud else "steady"][layer, i] = True
    return pairs, roles
