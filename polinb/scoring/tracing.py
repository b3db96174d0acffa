"""Tracing FFN neurons with nnsight: stream statistics of two models on the same text, read and write activations.

One trace covers all layers (a trace a layer would pay the set-up L times), and traces live in functions of this
package because nnsight captures the source of the block.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from greenlet import getcurrent, greenlet

from polinb.models.architectures import architecture_of, resolve
from polinb.models.tokens import Batch, batches
from polinb.models.turns import Bring, everywhere
from polinb.progress import bar

if TYPE_CHECKING:
    import torch

    from polinb.models.loading import LM


def envoys(lm: LM) -> tuple[Any, list[Any]]:
    """The model as nnsight sees it, and its L output projections, whose ``.input`` is the neurons' activation."""
    import nnsight

    arch = architecture_of(lm.model)
    root = nnsight.NNsight(lm.model)
    blocks = resolve(root, arch.blocks)
    return root, [resolve(blocks[layer], arch.down) for layer in range(lm.layers)]


@dataclass
class Contrast:
    """Sums over response tokens, from which every PNLAC variant follows; all (L, F) float64.

    Attributes:
        squared_difference: Σ (a_right − a_left)², the SumDiff of the paper.
        difference: Σ (a_right − a_left).
        vanilla, vanilla_squared: Σ a and Σ a² of the vanilla model on the same tokens.
        tokens: number of response tokens, Σ |w_1|.
    """

    squared_difference: np.ndarray
    difference: np.ndarray
    vanilla: np.ndarray
    vanilla_squared: np.ndarray
    tokens: int

    @property
    def score(self) -> np.ndarray:
        """Eq. 1: sqrt(SumDiff / Σ |w_1|), shape (L, F), in units of activation."""
        return np.sqrt(self.squared_difference / self.tokens)

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
    left: LM,
    right: LM,
    vanilla: LM,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    batch: int = 16,
    bring: Bring = everywhere,
) -> Contrast:
    """Teacher-force three models on the same texts and stream the sums PNLAC needs (paper 3.2, eq. 1).

    However many texts there are, memory is that of a plain forward pass over ``batch`` texts and the sums: vanilla is
    read first, then left and right walk through half as many texts in step, so that only one layer's activations of
    each are there at a time. Padding and prompt positions never count.

    Args:
        left, right, vanilla: three models of one architecture and size.
        prompts, responses: token ids; an empty response adds nothing.
        batch: texts in flight at a time; half of ``batch``, but one at least, in each of left and right.
        bring: called with the models that are read next (``polinb.models.turns``).

    Raises:
        ValueError: there is no response token at all.
    """
    import torch

    tokens = sum(map(len, responses))
    if not tokens:
        raise ValueError("no response token to read neurons on: every response is empty")
    with torch.no_grad(), bar(2 * len(prompts), "reading neurons") as shown:
        bring(vanilla)
        plain = _moments(vanilla, prompts, responses, batch, shown)
        bring(left, right)
        gaps = _Sums(left.layers)
        # nnsight runs one pass at a time through a module.
        sides = envoys(_twin(left) if left.model is right.model else left), envoys(right)
        for chunk in _with_response(batches(left, prompts, responses, max(1, batch // 2)), shown):
            in_step(*sides, chunk, partial(gaps.add_gap, chunk.response))
        both = gaps.numpy()
    return Contrast(both[1], both[0], plain[0], plain[1], tokens)


def activation_scale(
    lm: LM, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, batch: int = 16
) -> np.ndarray:
    """Root mean square of each neuron's activation over the response tokens, (L, F) float64.

    Args:
        prompts, responses: token ids, with one response token at least.
    """
    import torch

    with torch.no_grad(), bar(len(prompts), "reading neurons") as shown:
        squares = _moments(lm, prompts, responses, batch, shown)[1]
    return np.sqrt(squares / sum(map(len, responses)))


def _moments(
    lm: LM, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], batch: int, shown: Any
) -> np.ndarray:
    """Σ a and Σ a² over response tokens: (2, L, F) float64."""
    own, traced = _Sums(lm.layers), envoys(lm)
    for chunk in _with_response(batches(lm, prompts, responses, batch), shown):
        walk(*traced, chunk, partial(own.add_moments, chunk.response))
    return own.numpy()


def _with_response(chunks: Iterable[Batch], shown: Any) -> Iterator[Batch]:
    for chunk in chunks:
        shown.update(len(chunk.rows))
        if bool(chunk.response.any()):
            yield chunk


def _twin(lm: LM) -> LM:
    """The same weights, not copied, under modules of their own."""
    weights = {id(each): each for each in (*lm.model.parameters(), *lm.model.buffers())}
    return replace(lm, model=copy.deepcopy(lm.model, weights))


class _Sums:
    """Running sums over response tokens of a value and its square: float64, on the device of each layer.

    A batch is reduced in float32, whose rounding a few hundred tokens keep small, and added up in float64.
    """

    def __init__(self, layers: int) -> None:
        self._layers: list[Any] = [None] * layers

    def add_moments(self, where: torch.Tensor, layer: int, values: torch.Tensor) -> None:
        """Activations (B, T, F) of one layer, at ``where`` (B, T)."""
        for part, mask in zip(*_pieces(values, where), strict=True):
            self._add(layer, _rows(part, _chosen(mask)).float())

    def add_gap(self, where: torch.Tensor, layer: int, low: torch.Tensor, high: torch.Tensor) -> None:
        """``high − low`` of one layer, each (B, T, F), at ``where`` (B, T)."""
        for one, other, mask in zip(*_pieces(low, high, where), strict=True):
            chosen = _chosen(mask)
            gap = _rows(other, chosen).float()
            gap -= _rows(one, chosen).to(gap.device)
            self._add(layer, gap)

    def _add(self, layer: int, values: torch.Tensor) -> None:
        """``values`` (N, F) is ours: selecting rows copies, so the model's activations are never written."""
        import torch

        if self._layers[layer] is None:
            place = "cpu" if values.device.type == "mps" else values.device  # Apple's GPU knows no float64
            self._layers[layer] = torch.zeros(2, values.shape[1], dtype=torch.float64, device=place)
        total = self._layers[layer]
        total[0] += values.sum(0).to(total.device)
        total[1] += values.square_().sum(0).to(total.device)

    def numpy(self) -> np.ndarray:
        """Σ x and Σ x²: (2, L, F) float64."""
        import torch

        sums: np.ndarray = torch.stack([layer.cpu() for layer in self._layers], dim=1).numpy()
        return sums


def _pieces(*values: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """Views of the batch's texts. Half precision goes in quarters: float32 copies of all would outweigh the pass."""
    import torch

    return [each.chunk(1 if values[0].dtype == torch.float32 else 4) for each in values]


def _chosen(mask: torch.Tensor) -> torch.Tensor:
    """Where ``mask`` (B, T) is true, counted through: (N,)."""
    return mask.flatten().nonzero().squeeze(1)


def _rows(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """A copy of these rows of ``values`` (B, T, F): (N, F). Copies of whole rows beat indexing with a mask."""
    return values.flatten(0, 1).index_select(0, chosen.to(values.device))


def walk(root: Any, downs: Sequence[Any], chunk: Batch, take: Callable[[int, torch.Tensor], None]) -> None:
    """One pass over a batch that calls ``take(layer, activations (B, T, F))`` at each layer and keeps nothing."""
    # Only the last position's logits: the output head is not needed to read neurons.
    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
        for layer, down in enumerate(downs):
            take(layer, down.input)


def in_step(
    left: tuple[Any, list[Any]],
    right: tuple[Any, list[Any]],
    chunk: Batch,
    take: Callable[[int, torch.Tensor, torch.Tensor], None],
) -> None:
    """Two models' passes over a batch, a layer at a time: ``take(layer, left's, right's activations (B, T, F))``.

    Whatever is raised in either pass ends both and reaches the caller.
    """
    other = _Steps(*left, chunk)
    try:
        walk(*right, chunk, lambda layer, values: take(layer, other.next(), values))
        other.next()  # left's last layer on
    finally:
        other.close()


class _Steps:
    """A pass that stands still at each layer until it is asked for the next one.

    nnsight runs a trace's body in a greenlet, beside the model; here the pass itself runs in one. All of it is one
    thread: what runs is always the greenlet that was asked last, so nothing is locked and nothing can wait forever.
    """

    def __init__(self, root: Any, downs: Sequence[Any], chunk: Batch) -> None:
        self._whole = greenlet(lambda: walk(root, downs, chunk, self._stand))
        self._whole.gr_context = copy_context()
        self._at = self._whole
        self._asker = getcurrent()

    def next(self) -> Any:
        """The next layer's activations (B, T, F), valid until the next call; None at the pass's end."""
        # The parent gets control, and any exception, when the pass ends.
        self._asker = self._whole.parent = getcurrent()
        return self._at.switch()

    def close(self) -> None:
        """End the pass where it stands, if it still does."""
        if self._whole.dead or not self._whole:
            return
        self._whole.parent = getcurrent()
        with suppress(_Ended):
            self._at.throw(_Ended())

    def _stand(self, _layer: int, values: torch.Tensor) -> None:
        self._at = getcurrent()
        self._asker.switch(values)


class _Ended(BaseException):
    """Unwinds a pass that nobody needs any more; no ``except Exception`` on the way may stop it."""


def read(root: Any, downs: Sequence[Any], chunk: Batch) -> list[torch.Tensor]:
    """Activations of all neurons on the response tokens of one batch: L tensors (N, F) in float32."""
    import nnsight

    where = chunk.response
    # Only the last position's logits: the output head is not needed to read neurons.
    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
        seen = nnsight.save([down.input[where].float() for down in downs])
    return list(seen)
