"""The live lab's engine: ``masking.decoding`` for one prompt, under one intervention. No widget is known here.

The change reaches every position: the whole prompt first, then the newest token.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from polinb.errors import ParameterError
from polinb.masking.decoding import Change, Reader, assign, patch, scale, tokens
from polinb.models.generation import stop_ids
from polinb.models.tokens import pad

if TYPE_CHECKING:
    import torch

    from polinb.models.loading import LM

KINDS = ("none", "ablate", "scale", "patch")


@dataclass(frozen=True, eq=False)
class Intervention:
    """What is done to the activation a of the chosen neurons while the model reads and writes.

    Attributes:
        kind: ``none``; ``ablate``: 0 instead of a; ``scale``: strength · a; ``patch``: a + strength · (a_donor − a),
            where the donor reads the same text in lock step.
        neurons: (L, F) bool; ``None`` or empty: nothing is changed.
        strength: any finite number for ``scale``, 0 to 1 for ``patch``; without meaning for the others.

    Raises:
        ParameterError: an unknown kind or a strength that is not allowed.
    """

    kind: str = "none"
    neurons: np.ndarray | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParameterError("intervention", self.kind, ", ".join(KINDS))
        if not math.isfinite(self.strength):
            raise ParameterError("strength", self.strength, "a finite number")
        if self.kind == "patch" and not 0 <= self.strength <= 1:
            raise ParameterError("strength", self.strength, "0 (own activations) to 1 (the donor's) for patch")

    @property
    def active(self) -> bool:
        """Whether any activation is changed."""
        return self.kind != "none" and self.neurons is not None and bool(self.neurons.any())

    @property
    def change(self) -> Change:
        """The intervention as :mod:`polinb.masking.decoding` wants it."""
        changes = {"ablate": assign(0.0), "scale": scale(self.strength), "patch": patch(self.strength)}
        return changes.get(self.kind, scale(1.0))

    def on(self, lm: LM) -> np.ndarray:
        """The neurons that are changed, (L, F) bool."""
        whole = np.zeros((lm.layers, lm.width), bool)
        return self.neurons if self.active and self.neurons is not None else whole


NOTHING = Intervention()


def stream(
    lm: LM,
    prompt: Sequence[int],
    intervention: Intervention = NOTHING,
    donor: LM | None = None,
    *,
    max_new_tokens: int,
    stop: threading.Event | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[int]:
    """The answer to ``prompt``, token by token, under an intervention.

    Args:
        prompt: token ids.
        donor: model of the same size whose activations ``patch`` takes.
        max_new_tokens: at most so many tokens.
        stop: once it is set no further token comes.
        temperature: 0: the likeliest token each time; above: sampled from the softmax of logits / temperature.
        seed: of the sampling; PyTorch's own generators are left alone.

    Returns:
        An iterator of new token ids, without the one that ends the answer.

    Raises:
        ParameterError: at once, for neurons or a donor of another shape, a patch without a donor, a text longer than
            the model's context, or a temperature or a number of tokens that is not allowed.
    """
    _check(lm, intervention, donor)
    if max_new_tokens < 1:
        raise ParameterError("max_new_tokens", max_new_tokens, "1 or more")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ParameterError("temperature", temperature, "0 (the likeliest token) or more")
    _check_room(lm, len(prompt), max_new_tokens)
    return _stream(lm, prompt, intervention, donor, max_new_tokens, stop, temperature, seed)


def reference_gap(
    lm: LM,
    prompt: Sequence[int],
    left: Sequence[int],
    right: Sequence[int],
    intervention: Intervention = NOTHING,
    donor: LM | None = None,
) -> float:
    """How much likelier the right reference response is than the left one after ``prompt``, under an intervention.

    Returns:
        log p(right) / tokens − log p(left) / tokens, in nats a token; positive: right. The likelihood stance
        (:func:`polinb.stance.stance.likelihood_stance`) of this one question.

    Raises:
        ParameterError: as :func:`stream`, or an empty response.
    """
    _check(lm, intervention, donor)
    values = []
    for name, response in (("left", left), ("right", right)):
        if not response:
            raise ParameterError(name, "an empty response", "at least one token")
        _check_room(lm, len(prompt), len(response))
        values.append(_log_likelihood(lm, prompt, response, intervention, donor))
    return values[1] - values[0]


def _check(lm: LM, intervention: Intervention, donor: LM | None) -> None:
    shape = (lm.layers, lm.width)
    if intervention.neurons is not None and intervention.neurons.shape != shape:
        raise ParameterError("neurons", intervention.neurons.shape, f"{shape}, the model's layers and FFN width")
    if intervention.kind != "patch":
        return
    if donor is None:
        raise ParameterError("donor", None, "a model whose activations are taken, for patch")
    if (donor.layers, donor.width) != shape:
        raise ParameterError("donor", (donor.layers, donor.width), f"a model of {shape}, the recipient's size")


def _check_room(lm: LM, prompt: int, new: int) -> None:
    room = getattr(lm.model.config, "max_position_embeddings", None)
    if not prompt:
        raise ParameterError("prompt", "no token", "at least one token")
    if room is not None and prompt + new > room:
        raise ParameterError("prompt", f"{prompt} tokens and {new} new ones", f"{room} together, the model's context")


def _stream(
    lm: LM,
    prompt: Sequence[int],
    intervention: Intervention,
    donor: LM | None,
    steps: int,
    stop: threading.Event | None,
    temperature: float,
    seed: int,
) -> Iterator[int]:
    import torch

    draw = torch.Generator().manual_seed(seed)

    def sample(logits: torch.Tensor) -> torch.Tensor:
        weights = (logits.float().cpu() / temperature).softmax(-1)
        return weights.multinomial(1, generator=draw)[:, 0].to(logits.device)

    ends, chunk = stop_ids(lm), pad(lm, [prompt], [[]], [0])
    source = _donor(intervention, donor)
    for token in tokens(
        lm,
        chunk,
        intervention.on(lm),
        intervention.change,
        source.read if source else None,
        max_new_tokens=steps,
        pick=sample if temperature else None,
        stop=stop,
    ):
        if int(token) in ends:
            return
        yield int(token)


def _donor(intervention: Intervention, donor: LM | None) -> Reader | None:
    needed = intervention.kind == "patch" and intervention.active and donor is not None
    return Reader(donor, intervention.on(donor)) if needed and donor is not None else None


def _log_likelihood(
    lm: LM, prompt: Sequence[int], response: Sequence[int], intervention: Intervention, donor: LM | None
) -> float:
    """Mean log-probability a token of ``response``, in nats."""
    chunk = pad(lm, [prompt], [response], [0])
    source = _donor(intervention, donor)
    given = source.read(chunk) if source else None
    reader = Reader(lm, intervention.on(lm))
    logits = reader.write(chunk, intervention.change, given, keep=len(response) + 1)[0, :-1].float()
    targets = chunk.ids[0, -len(response) :]
    chosen = logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)
    return float(chosen.mean())
