"""Tracing FFN neurons with nnsight: stream statistics of two models on the same text, read and write activations.

One trace covers all layers (a trace a layer would pay the set-up L times), and traces live in functions of this
package because nnsight captures the source of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.architectures import architecture_of, resolve
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

    traced = [envoys(lm) for lm in (left, right, vanilla)]
    total = torch.zeros(4, left.layers, left.width, dtype=torch.float64)
    tokens = 0
    with torch.no_grad(), bar(len(prompts), "reading neurons") as shown:
        for chunk in batches(left, prompts, responses, batch):
            count = int(chunk.response.sum())
            shown.update(len(chunk.rows))
            if not count:
                continue
            tokens += count
            low, high = (read(root, downs, chunk) for root, downs in traced[:2])
            for layer in range(left.layers):
                gap = high[layer] - low[layer]
                total[0, layer] += gap.square().sum(0).cpu().double()
                total[1, layer] += gap.sum(0).cpu().double()
            del low, high
            plain = read(*traced[2], chunk)
            for layer in range(left.layers):
                total[2, layer] += plain[layer].sum(0).cpu().double()
                total[3, layer] += plain[layer].square().sum(0).cpu().double()
    if not tokens:
        raise ValueError("no response token to read neurons on: every response is empty")
    sums = total.numpy()
    return Contrast(sums[0], sums[1], sums[2], sums[3], tokens)


def read(root: Any, downs: Sequence[Any], chunk: Batch) -> list[torch.Tensor]:
    """Activations of all neurons on the response tokens of one batch: L tensors (N, F) in float32."""
    import nnsight

    where = chunk.response
    # Only the last position's logits: the output head is not needed to read neurons.
    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
        seen = nnsight.save([down.input[where].float() for down in downs])
    return list(seen)
