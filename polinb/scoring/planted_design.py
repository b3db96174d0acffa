"""What a planted model is to hold: sizes, effects and traps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polinb.errors import ParameterError


@dataclass(frozen=True)
class Design:
    """What is planted, and how hard it is to find.

    Attributes:
        layers, width: blocks L and FFN neurons a block F.
        general: general neurons; specific: topic-specific neurons a topic. Both even, for they come in pairs.
        volume: median activation of a planted neuron whose gate is open (an ordinary distractor has about 0.12).
        strength: what a planted neuron of activation 1 writes along the stance direction.
        effect: share η by which a constructed variant raises one side's activations and lowers the other's.
        drift: every neuron's activation is scaled by 1 + drift·N(0, 1), anew in each variant: the proportional change
            that any training leaves behind.
        noise: every weight moves by noise·N(0, 1) times the root mean square of its matrix, anew in each variant.
        loud, loudness: how many distractors are loud, and how many times louder than ordinary ones. They are as loud
            in all models and mean nothing for stance: a trap for raw scores, if there is drift.
        steady: distractors of nearly constant activation, so of small standard deviation: a trap for normalised scores.
        readers: distractors of the last block that follow the stance direction and do nothing for it: a trap for all
            differences of activation, which cannot tell cause from effect.
        idle: neurons like general ones, in cancelling pairs, that variants do not move: a trap for attribution, which
            sees the vanilla model only.
        shut: how far below 0 the gate of a specific neuron is on another topic. The deeper, the more its activation
            there is 0 in all but relative terms.
        blocks: blocks that may hold planted neurons; empty: all but the first.
        seed: of everything random in weights, variants and prompts.
    """

    layers: int = 4
    width: int = 160
    general: int = 16
    specific: int = 16
    volume: float = 0.1
    strength: float = 1.0
    effect: float = 0.25
    drift: float = 0.02
    noise: float = 0.003
    loud: int = 48
    loudness: float = 3.0
    steady: int = 0
    readers: int = 0
    idle: int = 0
    shut: float = 6.0
    blocks: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("layers", "width"):
            if getattr(self, name) < 1:
                raise ParameterError(name, getattr(self, name), "at least 1")
        for name in ("general", "specific"):
            if getattr(self, name) < 2 or getattr(self, name) % 2:
                raise ParameterError(name, getattr(self, name), "an even number of at least 2")
        if self.idle % 2:
            raise ParameterError("idle", self.idle, "an even number")
        numbers = ("volume", "strength", "effect", "loudness", "drift", "noise", "shut")
        for name in ("loud", "steady", "readers", "idle", *numbers):
            if not np.isfinite(getattr(self, name)) or getattr(self, name) < 0:
                raise ParameterError(name, getattr(self, name), "a finite number of at least 0")
        if not self.places or not set(self.places) <= set(range(self.layers)):
            raise ParameterError("blocks", self.blocks, f"blocks from 0 to {self.layers - 1}")

    @property
    def places(self) -> tuple[int, ...]:
        """Blocks that may hold planted neurons."""
        return self.blocks or tuple(range(1, self.layers))

    @property
    def gamma(self) -> float:
        """The true size of N_t in per cent of all neurons: the γ at which a perfect score finds exactly N_t."""
        return 100 * (self.general + self.specific) / (self.layers * self.width)
