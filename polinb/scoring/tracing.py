"""Tracing FFN neurons with nnsight: stream statistics of two models on the same text, read and write activations.

One trace covers all layers (a trace a layer would pay the set-up L times), and traces live in functions of this
package because nnsight captures the source of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polinb.lazy import torch
from polinb.models.architectures import architecture_of, resolve
from polinb.models.lm import LM
from polinb.models.tokens import Batch, Ids, batches
from polinb.scoring.pnlac import pnlac_score
from polinb.scoring.residual import blocks


def envoys(lm: LM) -> tuple[Any, list[Any]]:
    """The model as nnsight sees it, and its L output projections, whose ``.input`` is the neurons' activation."""
    root, found = blocks(lm)
    return root, [resolve(block, architecture_of(lm.model).down) for block in found]


@dataclass
class Contrast:
    """Sums over response tokens, from which every PNLAC variant follows; all (L, F) float64."""

    squared_difference: np.ndarray  #: Σ (a_right − a_left)², the SumDiff of the paper
    difference: np.ndarray  #: Σ (a_right − a_left)
    vanilla: np.ndarray  #: Σ a of the vanilla model on the same tokens
    vanilla_squared: np.ndarray  #: Σ a² of the vanilla model
    tokens: int  #: number of response tokens, Σ |w_1|

    @property
    def score(self) -> np.ndarray:
        """PNLAC score, (L, F)."""
        return pnlac_score(self.squared_difference, self.tokens)

    @property
    def vanilla_std(self) -> np.ndarray:
        """Standard deviation of the vanilla activation over response tokens, (L, F)."""
        mean = self.vanilla / self.tokens
        return np.sqrt(np.maximum(self.vanilla_squared / self.tokens - mean**2, 0.0))

    @property
    def scale(self) -> np.ndarray:
        """Plain activation scale: root mean square of the vanilla activation, (L, F)."""
        return np.sqrt(self.vanilla_squared / self.tokens)


def contrast(
    left: LM, right: LM, vanilla: LM, prompts: Ids, responses: Ids, *, batch: int = 16, generating: bool = False
) -> Contrast:
    """Teacher-force three models on the same texts and stream the sums PNLAC needs (paper 3.2, eq. 1).

    However many texts there are, memory is that of a plain forward pass over ``batch`` texts, the sums, and the left
    model's activations on the response tokens of half a batch, which the right model then meets layer by layer.
    Padding and prompt positions never count.

    Args:
        left, right, vanilla: three models of one architecture and size.
        prompts, responses: token ids; an empty response adds nothing.
        batch: texts read at once by vanilla; half as many, but one at least, by left and right.
        generating: count the positions from which the response is generated, each one before its token: the prompt's
            last, and not the response's last.

    Raises:
        ValueError: there is no response token at all.
    """
    tokens = sum(map(len, responses))
    if not tokens:
        raise ValueError("no response token to read neurons on: every response is empty")
    own = _moments([vanilla], prompts, responses, batch, generating)
    both = _moments([left, right], prompts, responses, max(1, batch // 2), generating)
    return Contrast(both[1], both[0], own[0], own[1], tokens)


def activation_scale(lm: LM, prompts: Ids, responses: Ids, *, batch: int = 16) -> np.ndarray:
    """Root mean square of each neuron's activation over the response tokens, (L, F) float64."""
    return np.sqrt(_moments([lm], prompts, responses, batch)[1] / sum(map(len, responses)))


def _moments(models: Sequence[LM], prompts: Ids, responses: Ids, batch: int, generating: bool = False) -> np.ndarray:
    """Σ x and Σ x² over response tokens, (2, L, F) float64; x: a model's activation, or that of the second − the first.

    A batch is reduced in float32, whose rounding a few hundred tokens keep small, and added up in float64 on the device
    of each layer.
    """
    *first, last = map(envoys, models)
    sums, kept = dict[int, torch.Tensor](), list[torch.Tensor]()

    def add(at: int, rows: torch.Tensor) -> None:
        values = rows.float().sub_(kept[at].to(rows.device)) if kept else rows.float()
        place = "cpu" if values.device.type == "mps" else values.device  # Apple's GPU knows no float64
        both = torch.stack([values.sum(0), values.square_().sum(0)]).to(place).double()
        sums[at] = both + sums.get(at, 0)

    with torch.no_grad():
        for chunk in batches(models[0], prompts, responses, batch, label="reading neurons"):
            if not bool(chunk.response.any()):
                continue
            if generating:  # no response stands first: nothing wraps round
                chunk.response = chunk.response.roll(-1, 1)
            kept.clear()
            for traced in first:
                _walk(*traced, chunk, lambda _, rows: kept.append(rows))
            _walk(*last, chunk, add)
    found: np.ndarray = torch.stack([both.cpu() for both in sums.values()], dim=1).numpy()
    return found


def _walk(root: Any, downs: Sequence[Any], chunk: Batch, take: Callable[[int, torch.Tensor], None]) -> None:
    """One pass over a batch that calls ``take(layer, rows)`` with a copy of the activations (N, F) on its responses."""
    where = chunk.response.flatten().nonzero().squeeze(1)
    # Only the last position's logits: the output head is not needed to read neurons.
    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
        for layer, down in enumerate(downs):  # copies of whole rows beat indexing with a mask
            values = down.input.flatten(0, 1)
            take(layer, values.index_select(0, where.to(values.device)))
