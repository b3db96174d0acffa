"""One question put to a model while something is done to chosen neurons: its answer token by token, or a given one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from polinb.errors import ParameterError
from polinb.lazy import torch
from polinb.masking.decoding import Change, Reader, Source, assign, patch, scale, tokens
from polinb.masking.grafting import grafted
from polinb.models.generation import response_logp, stop_ids
from polinb.models.lm import LM
from polinb.models.tokens import pad

KINDS = ("none", "ablate", "scale", "patch", "graft")


def check_room(lm: LM, prompt: int, new: int) -> None:
    """Refuse a text of so many tokens that is longer than the model's context."""
    if prompt + new > lm.context:
        allowed = f"{lm.context} together, the model's context"
        raise ParameterError("prompt", f"{prompt} tokens and {new} new ones", allowed)


@dataclass(frozen=True, eq=False)
class Intervention:
    """What is done to the activation a of the chosen neurons at every token, those of the prompt included.

    The kind is ``none``; ``ablate``: 0 instead of a; ``scale``: strength · a; ``patch``: a + strength · (a_donor − a),
    where the donor reads the same text in lock step; ``graft``: the neurons have the donor's weights
    (:func:`polinb.masking.grafting.grafted`).

    Raises:
        ParameterError: an unknown kind, a patch or graft without a donor.
    """

    lm: LM  #: the model that answers
    chosen: np.ndarray  #: (L, F) bool
    kind: str = "none"
    strength: float = 1.0  #: of ``scale`` and ``patch``
    donor: LM | None = None  #: a fine-tuned copy of the model, for ``patch`` and ``graft``

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParameterError("kind", self.kind, ", ".join(KINDS))
        if self.kind in ("patch", "graft") and self.donor is None:
            raise ParameterError("donor", None, f"a model, for {self.kind}")

    def stream(
        self, prompt: Sequence[int], *, max_new_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[int]:
        """One answer, token by token, without the token that ends it. Other answers may be written in between.

        Args:
            temperature: 0: the likeliest token each time; above: sampled from the softmax of logits / temperature.
            seed: of the sampling; PyTorch's own generators are left alone.
        """
        check_room(self.lm, len(prompt), max_new_tokens)
        draw, ends = torch.Generator().manual_seed(seed), stop_ids(self.lm)

        def sample(logits: torch.Tensor) -> torch.Tensor:
            shares = (logits.float().cpu() / temperature).softmax(-1)
            return shares.multinomial(1, generator=draw)[:, 0].to(logits.device)

        options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "pick": sample if temperature else None}
        chunk = pad(self.lm, [prompt], [[]], [0])
        made = tokens(self.lm, chunk, self.chosen, self._change(), self._source(), **options)
        while True:
            with self._weights():  # for one step: the same model may write another answer in between
                token = next(made, None)
            if token is None or int(token) in ends:
                return
            yield int(token)

    def read(self, prompt: Sequence[int], response: Sequence[int]) -> tuple[float, np.ndarray]:
        """A given response, one token at least, read in one pass.

        Returns:
            Its mean log-probability a token, in nats; what the chosen neurons had on its tokens after the change,
            (T, k) float32, layer by layer.
        """
        change, source, count = self._change(), self._source(), len(response)
        chunk, seen = pad(self.lm, [prompt], [response], [0]), [torch.zeros(count, 0)]

        def watched(layer: int, own: Any, given: Any) -> Any:
            new = change(layer, own, given)
            seen.append(new.expand_as(own)[0, -count:].float().cpu())
            return new

        with self._weights():
            given = source(chunk) if source else None
            logits = Reader(self.lm, self.chosen).write(chunk, watched, given, keep=count + 1)
        return float(response_logp(logits, chunk)[0]), torch.cat(seen, 1).numpy()

    def _change(self) -> Change:
        changes = {"ablate": assign(0.0), "scale": scale(self.strength), "patch": patch(self.strength)}
        return changes.get(self.kind, scale(1.0))

    def _source(self) -> Source | None:
        return Reader(self.donor, self.chosen).read if self.donor and self.kind == "patch" else None

    def _weights(self) -> AbstractContextManager[None]:
        return grafted(self.lm, self.donor, self.chosen) if self.donor and self.kind == "graft" else nullcontext()
