"""Which neurons carry the change of a model along a direction: an exact decomposition (Yang et al. 2025).

Two models read the same text. The residual stream after a block is the sum of what the embedding, every attention
layer, every neuron and the biases wrote, so the change of its projection on a direction splits into exact parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from polinb.errors import ModelError, ParameterError
from polinb.lazy import torch
from polinb.models.architectures import ATTENTION, architecture_of, resolve, value_vectors
from polinb.models.lm import LM
from polinb.models.tokens import Batch, Ids, batches
from polinb.scoring.residual import block_index, blocks, hidden_after

# Largest allowed gap between the sum of the parts and the measured change, relative to all that was added up (not to
# the change, which can be much smaller). Ten to a hundred times the gaps that rounding makes in small models.
TOLERANCE = {"float64": 1e-14, "float32": 1e-6, "float16": 1e-3, "bfloat16": 5e-3}


@dataclass(frozen=True)
class Parts:
    """The parts of a change of h·w, each a mean over the response tokens of a text, then over texts."""

    activation: np.ndarray  #: δm·(v·w) of every neuron, (L, F); 0 above ``layer``
    value: np.ndarray  #: m·(δv·w), (L, F)
    cross: np.ndarray  #: δm·(δv·w), (L, F)
    attention: np.ndarray  #: change of what attention (without its bias) writes in each block, (L,)
    bias: np.ndarray  #: change of what the two biases of a block write, (L,)
    cosine: np.ndarray  #: cos(v, w) of the model before, (L, F)
    mean_before: np.ndarray  #: mean activation m of the model before, (L, F)
    mean_after: np.ndarray  #: that of the model after
    folds: np.ndarray  #: change of every neuron by text, (B, L, F) float32; texts share folds where there are more
    fold_parts: np.ndarray  #: change of h·w by text, (B, 5): neurons' three, attention, the rest (biases, embedding)
    fold_sizes: np.ndarray  #: texts in each fold, (B,)
    embedding: float  #: change at the input of the first block
    measured: float  #: ``after`` − ``before``, read from the residual stream itself
    before: float  #: h·w after block ``layer`` of the model before
    after: float  #: that of the model after
    layer: int  #: the block read
    texts: int
    tokens: int

    @property
    def neurons(self) -> np.ndarray:
        """Change of every neuron, all three parts together, (L, F)."""
        return np.asarray(self.activation + self.value + self.cross)

    @property
    def total(self) -> float:
        """Sum of all parts; equals ``measured`` up to rounding."""
        return float(self.neurons.sum() + self.attention.sum() + self.bias.sum() + self.embedding)


def three_parts(
    before: np.ndarray, after: np.ndarray, value_before: np.ndarray, value_after: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """eq-parts. Change of m·(v·w) in three exact parts: δm·(v·w), m·(δv·w), δm·(δv·w).

    ``before`` and ``after`` are activations m of the two models, or means of them, as every part is linear in m; the
    values v·w have a shape that broadcasts.
    """
    moved, turned = after - before, value_after - value_before
    return moved * value_before, before * turned, moved * turned


def check(before: LM, after: LM, w: np.ndarray, layer: int = -1) -> int:
    """The number of the block whose output is decomposed; what cannot be is refused before anything is run.

    Raises:
        ModelError: the FFN's output does not go straight into the residual stream, or the models differ in shape.
        ParameterError: ``w`` is not a unit direction of this model's width, or there is no such block.
    """
    shapes = [(str(lm.model.config.model_type), lm.layers, lm.width, lm.d_model) for lm in (before, after)]
    kind, _, _, width = shapes[0]
    if kind not in ATTENTION:
        raise ModelError(
            f"architecture {kind!r} cannot be decomposed: it norms the output of its FFN before it adds it to the "
            f"residual stream, so no neuron has a contribution of its own; possible: {', '.join(sorted(ATTENTION))}"
        )
    if shapes[0] != shapes[1]:
        raise ModelError(f"the models before and after differ: {shapes[0]} and {shapes[1]} (type, L, F, d_model)")
    if w.shape != (width,) or not np.isfinite(w).all() or abs(float(np.linalg.norm(w)) - 1) > 1e-6:
        norm = float(np.linalg.norm(w))
        raise ParameterError("direction", f"shape {w.shape}, length {norm:g}", f"a unit direction of shape ({width},)")
    return block_index("probe_layer", layer, before.layers)


def decompose(
    before: LM,
    after: LM,
    prompts: Ids,
    responses: Ids,
    w: np.ndarray,
    *,
    layer: int = -1,
    batch: int = 8,
    folds: int = 128,
) -> Parts:
    """Teacher-force both models on the same texts and split the change of h·w into parts.

    Texts are streamed: memory is O(L·F) for each of at most ``folds`` folds plus one batch, however many tokens.

    Args:
        prompts, responses: token ids; only response tokens count, and every text counts the same.
        w: unit direction, (d_model,).
        layer: block after which h is read, before the final norm; negative numbers from the last.

    Raises:
        ParameterError, ModelError: as :func:`check`; an empty response; the parts of a text do not sum to the
            measured change (both numbers are told).
    """
    at = check(before, after, w, layer)
    if not len(prompts) or len(prompts) != len(responses) or not all(len(r) for r in responses):
        raise ParameterError("responses", f"{len(prompts)} prompts, {len(responses)} responses", "one response with "
                             "tokens for each of at least one prompt")  # fmt: skip
    w = np.asarray(w, dtype=float)
    old, new = readers = [Reader(lm, w, at) for lm in (before, after)]
    shape = (before.layers, before.width)
    texts, count = len(prompts), min(len(prompts), folds)
    means, attention, ends, tokens = np.zeros((2, *shape)), np.zeros((2, before.layers)), np.zeros((2, 2)), 0
    by_fold, other = np.zeros((count, *shape), dtype=np.float32), np.zeros((count, 5))
    rest = new.bias.sum() - old.bias.sum()
    with torch.no_grad():
        for chunk in batches(before, prompts, responses, batch, label="decomposing"):
            tokens += int(chunk.response.sum())
            m, wrote, passed, size = map(np.stack, zip(*(reader.read(chunk) for reader in readers), strict=True))
            three = three_parts(m[0], m[1], old.value, new.value)  # each (texts, L, F)
            change = three[0] + three[1] + three[2]
            attended = (wrote[1] - wrote[0]).sum(1)
            entered = passed[1, :, 0] - passed[0, :, 0] + rest
            parts = np.stack([*(kind.sum((1, 2)) for kind in three), attended, entered], axis=1)
            size = sum(size) + sum(np.abs(m[k] * reader.value).sum((1, 2)) for k, reader in enumerate(readers))
            _assert_sum(parts.sum(1), passed[1, :, 1] - passed[0, :, 1], size, before.model.dtype)
            for row, text in enumerate(chunk.rows):
                by_fold[text % count] += change[row].astype(np.float32)
                other[text % count] += parts[row]
            means, attention, ends = means + m.sum(1), attention + wrote.sum(1), ends + passed.sum(1)
    sizes = np.bincount(np.arange(texts) % count, minlength=count)
    means, attention, ends = means / texts, attention / texts, ends / texts
    activation, value, cross = three_parts(means[0], means[1], old.value, new.value)
    return Parts(
        activation=activation,
        value=value,
        cross=cross,
        attention=attention[1] - attention[0],
        bias=new.bias - old.bias,
        cosine=old.cosine,
        mean_before=means[0],
        mean_after=means[1],
        folds=by_fold / sizes[:, None, None].astype(np.float32),
        fold_parts=other / sizes[:, None],
        fold_sizes=sizes.astype(np.int64),
        embedding=float(ends[1, 0] - ends[0, 0]),
        measured=float(ends[1, 1] - ends[0, 1]),
        before=float(ends[0, 1]),
        after=float(ends[1, 1]),
        layer=at,
        texts=texts,
        tokens=tokens,
    )


def _assert_sum(parts: np.ndarray, measured: np.ndarray, size: np.ndarray, dtype: Any) -> None:
    """The parts of every text must sum to the measured change of that text."""
    limit = TOLERANCE[str(dtype).removeprefix("torch.")] * size
    gap = np.abs(parts - measured)
    if not (gap <= limit).all():  # NaN fails too
        worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap - limit)))
        raise ModelError(
            f"the parts of a text sum to {parts[worst]:.8g}, but its projection changed by {measured[worst]:.8g} "
            f"(allowed gap {limit[worst]:.2g}): something writes into the residual stream that is not accounted for"
        )


class Reader:
    """Reads one model along a direction w.

    Attributes:
        value, cosine: v·w and cos(v, w) of every neuron, (L, F); 0 above the block read.
        bias: what the biases of attention and FFN write along w in each block, (L,).
    """

    def __init__(self, lm: LM, w: np.ndarray, at: int) -> None:
        self.lm, self.at = lm, at
        self.root, self.blocks = blocks(lm)
        arch = architecture_of(lm.model)
        self.attention = [resolve(block, arch.attention) for block in self.blocks]
        self.downs = [resolve(block, arch.down) for block in self.blocks]
        # Apple's GPUs have no float64; a mean in float32 is as exact as what they compute.
        self.kind = torch.float32 if lm.device.type == "mps" else torch.float64
        self.w = torch.as_tensor(w).to(lm.device, self.kind)
        self.value, lengths = np.zeros((2, lm.layers, lm.width))
        self.bias, self.attention_bias = np.zeros((2, lm.layers))
        for layer, block in enumerate(resolve(lm.model, arch.blocks)[: at + 1]):
            vectors = value_vectors(lm.model, layer).cpu().double().numpy()
            self.value[layer], lengths[layer] = vectors @ w, np.linalg.norm(vectors, axis=1)
            self.attention_bias[layer] = _along(resolve(block, arch.attention), w)
            self.bias[layer] = self.attention_bias[layer] + _along(resolve(block, arch.down), w)
        self.cosine = np.divide(self.value, lengths, out=np.zeros_like(lengths), where=lengths > 0)

    def read(self, chunk: Batch) -> tuple[np.ndarray, ...]:
        """Means over the response tokens of each text of a batch; every text must have some.

        Returns:
            Activations of all neurons, (texts, L, F), 0 above the block read; what each attention layer wrote along w,
            without its bias, (texts, L); h·w at the input of the first block and after the last one read, (texts, 2);
            Σ |h_j w_j| there, (texts,): how large the numbers were that were added up.
        """
        import nnsight

        counts = chunk.response.sum(1)
        rows = torch.arange(len(counts), device=counts.device)
        # (texts, tokens): row i averages the response tokens of text i, which come text by text
        average = (rows[:, None] == rows.repeat_interleave(counts)).to(self.kind) / counts[:, None]
        where, kind, w = chunk.response, self.kind, self.w
        # In the order of the forward pass; tokens are averaged inside the trace, so only means are kept.
        with self.root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
            neurons, wrote = [], []
            for layer in range(self.at + 1):
                if layer == 0:
                    first = average @ (hidden_after(self.blocks[0].input)[where].to(kind) @ w)
                wrote.append(average @ (self.attention[layer].output[where].to(kind) @ w))
                neurons.append(average @ self.downs[layer].input[where].to(kind))
            state = hidden_after(self.blocks[self.at].output)[where].to(kind)
            ends = [first, average @ (state @ w)]
            raw = nnsight.save([neurons, wrote, ends, [average @ (state.abs() @ w.abs())]])
        m, attention, passed, size = (np.stack([t.cpu().double().numpy() for t in part], 1) for part in raw)
        above = ((0, 0), (0, self.lm.layers - self.at - 1))
        attention = np.pad(attention - self.attention_bias[: self.at + 1], above)
        return np.pad(m, (*above, (0, 0))), attention, passed, size[:, 0]


def _along(module: Any, w: np.ndarray) -> float:
    bias = getattr(module, "bias", None)
    return 0.0 if bias is None else float(bias.detach().cpu().double().numpy() @ w)
