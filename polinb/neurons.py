"""Tracing FFN neurons with nnsight: stream statistics of two models on the same text, read and write activations.

One trace covers all layers (a trace a layer would pay the set-up L times), and traces live in functions of this
package because nnsight captures the source of the block. PNLAC's own pass uses plain hooks and runs two models layer
by layer together, which no trace does: so it costs hardly more than their forward passes, in time and in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.architectures import architecture_of, down_modules, resolve
from polinb.progress import bar
from polinb.text import Batch, batches

if TYPE_CHECKING:
    import torch

    from polinb.models import LM


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
) -> Contrast:
    """Teacher-force three models on the same texts and stream the sums PNLAC needs (paper 3.2, eq. 1).

    Memory is O(L·F) plus one batch, however many texts there are. Padding and prompt positions never count.

    Args:
        left, right, vanilla: three models of one architecture and size.
        prompts, responses: token ids; an empty response adds nothing.

    Raises:
        ValueError: there is no response token at all.
    """
    import torch

    total = np.zeros((4, left.layers, left.width))
    tokens = 0
    with torch.no_grad(), bar(len(prompts), "reading neurons") as shown:
        for chunk in batches(left, prompts, responses, batch):
            count = int(chunk.response.sum())
            shown.update(len(chunk.rows))
            if not count:
                continue
            tokens += count
            total[:2] += _pair_sums(left, right, chunk)
            total[2:] += _own_sums(vanilla, chunk)
    if not tokens:
        raise ValueError("no response token to read neurons on: every response is empty")
    return Contrast(total[0], total[1], total[2], total[3], tokens)


# Each feed-forward part runs on pieces of this share of a batch's tokens. It works on each token alone, so its results
# are those of the whole batch, and what we hold beside it costs less memory than the pieces save.
_PIECES = 4
_LEAST = 64


class _Stop(Exception):
    """No error: the way out of a forward pass whose rest is not needed."""


def _pair_sums(left: LM, right: LM, chunk: Batch) -> np.ndarray:
    """Σ (a_right − a_left)² and Σ (a_right − a_left) over response tokens: (2, L, F) float64.

    The two models run layer by layer together: when the right one reaches a feed-forward part, the left one's block is
    run up to the same place, with the arguments of the right one's block (masks and positions do not depend on
    weights). So both activations of a token exist at once and nothing of other layers is kept.
    """
    import torch

    sums = torch.zeros(2, right.layers, right.width, device=right.device)
    blocks, followers = (resolve(lm.model, architecture_of(lm.model).blocks) for lm in (right, left))
    path = architecture_of(right.model).down.rpartition(".")[0]
    forwards = [[resolve(block, path).forward for block in each] for each in (blocks, followers)]
    downs = [down_modules(lm.model) for lm in (right, left)]
    pieces = _pieces(chunk)
    calls: dict[int, tuple[Any, dict[str, Any]]] = {}
    waiting: list[Any] = []  # the right model's input of the part, while the left one catches up
    state: dict[str, Any] = {"hidden": _first_hidden(left, chunk)}

    def note(layer: int) -> Any:
        def hook(_module: Any, args: Any, kwargs: Any) -> None:
            if not waiting:
                calls[layer] = (args, kwargs)

        return hook

    def forward(layer: int) -> Any:
        def run(hidden: torch.Tensor) -> torch.Tensor:
            if not waiting:
                waiting.append(hidden)
                args, kwargs = calls.pop(layer)
                out = followers[layer](state.pop("hidden"), *args[1:], **kwargs)
                state["hidden"] = out[0] if isinstance(out, tuple) else out
                waiting.clear()
                return state.pop("out")
            return both(layer, waiting[0], hidden)

        return run

    def both(layer: int, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        last = layer == right.layers - 1
        done: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for columns, weight in pieces:
            out, high = _tapped(forwards[0][layer], downs[0][layer], own[:, columns].contiguous(), last)
            done[0].append(out)
            out, low = _tapped(forwards[1][layer], downs[1][layer], other[:, columns].contiguous(), last)
            done[1].append(out)
            if weight is not None:
                gap = (high.float() - low.to(high.device)).flatten(0, 1)
                sums[1, layer] += weight @ gap
                sums[0, layer] += weight @ gap.square_()
                del gap
            del high, low, out
        if last:
            raise _Stop
        state["out"] = torch.cat(done[0], 1)
        done[0].clear()
        return torch.cat(done[1], 1)

    hooks = [block.register_forward_pre_hook(note(k), with_kwargs=True) for k, block in enumerate(blocks)]
    modules = {
        id(m): (m, forward(k)) for each in (blocks, followers) for k, m in enumerate(resolve(b, path) for b in each)
    }
    try:
        with _replaced(modules.values()), suppress(_Stop):
            right.model(**chunk.inputs, use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    return sums.cpu().double().numpy()


def _own_sums(lm: LM, chunk: Batch) -> np.ndarray:
    """Σ a and Σ a² of one model over response tokens: (2, L, F) float64."""
    import torch

    sums = torch.zeros(2, lm.layers, lm.width, device=lm.device)
    arch = architecture_of(lm.model)
    parts = [resolve(block, arch.down.rpartition(".")[0]) for block in resolve(lm.model, arch.blocks)]
    pieces, downs = _pieces(chunk), down_modules(lm.model)

    def forward(layer: int, plain: Any) -> Any:
        def run(hidden: torch.Tensor) -> torch.Tensor:
            done = []
            for columns, weight in pieces:
                out, seen = _tapped(plain, downs[layer], hidden[:, columns].contiguous(), layer == lm.layers - 1)
                done.append(out)
                if weight is not None:
                    seen = seen.float().flatten(0, 1)
                    sums[0, layer] += weight @ seen
                    sums[1, layer] += weight @ seen.square()
            if layer == lm.layers - 1:
                raise _Stop
            return torch.cat(done, 1)

        return run

    with _replaced([(part, forward(k, part.forward)) for k, part in enumerate(parts)]), suppress(_Stop):
        lm.model(**chunk.inputs, use_cache=False, logits_to_keep=1)
    return sums.cpu().double().numpy()


@contextmanager
def _replaced(forwards: Iterable[tuple[Any, Any]]) -> Iterator[None]:
    """Modules with another ``forward`` within this block; what was there before comes back."""
    pairs = list(forwards)
    before = [module.__dict__.get("forward") for module, _ in pairs]
    try:
        for module, forward in pairs:
            module.forward = forward
        yield
    finally:
        for (module, _), old in zip(pairs, before, strict=True):
            if old is not None:
                module.forward = old
            else:
                module.__dict__.pop("forward", None)


def _pieces(chunk: Batch) -> list[tuple[slice, torch.Tensor | None]]:
    """Pieces of a batch, position by position, and 1.0 for each of their response tokens (``None``: there are none)."""
    rows, width = chunk.ids.shape
    step = max(-(-_LEAST // rows), -(-width // _PIECES))
    found = []
    for start in range(0, width, step):
        columns = slice(start, start + step)
        where = chunk.response[:, columns].flatten()
        found.append((columns, where.float() if bool(where.any()) else None))
    return found


def _tapped(forward: Any, down: Any, hidden: torch.Tensor, last: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Output of a feed-forward part (in the ``last`` one not needed, so not computed) and its neurons' activation."""
    seen: list[torch.Tensor] = []

    def keep(_module: Any, args: Any) -> None:
        seen.append(args[0])
        if last:
            raise _Stop

    hook = down.register_forward_pre_hook(keep)
    try:
        return forward(hidden), seen.pop()
    except _Stop:
        return hidden, seen.pop()
    finally:
        hook.remove()


def _first_hidden(lm: LM, chunk: Batch) -> torch.Tensor:
    """What a model's first block is given: embeddings, scaled and placed as its architecture does it."""
    seen: list[torch.Tensor] = []

    def hook(_module: Any, args: Any, kwargs: Any) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])
        raise _Stop

    first = resolve(lm.model, architecture_of(lm.model).blocks)[0]
    handle = first.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with suppress(_Stop):
            lm.model(**chunk.inputs, use_cache=False, logits_to_keep=1)
    finally:
        handle.remove()
    return seen[0]


def read(root: Any, downs: Sequence[Any], chunk: Batch) -> list[torch.Tensor]:
    """Activations of all neurons on the response tokens of one batch: L tensors (N, F) in float32."""
    import nnsight

    where = chunk.response
    # Only the last position's logits: the output head is not needed to read neurons.
    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
        seen = nnsight.save([down.input[where].float() for down in downs])
    return list(seen)
