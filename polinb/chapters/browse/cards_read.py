"""Activations of chosen neurons on the texts that PNLAC read: means over the answers, and the strongest contexts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.chapters.browse.cards_choice import Neuron
from polinb.chapters.browse.cards_lens import token_text
from polinb.models.tokens import Batch, batches
from polinb.scoring.tracing import envoys

if TYPE_CHECKING:
    import torch

    from polinb.models.lm import LM

AROUND = 12  # tokens of a context on either side of its peak


@dataclass(frozen=True)
class Texts:
    """What PNLAC read for one topic.

    Attributes:
        prompts, responses: token ids.
        sources: whose response each is.
        questions: which prompt each belongs to; two responses to one prompt share a number.
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    sources: list[str]
    questions: list[int]

    @property
    def tokens(self) -> int:
        """Number of response tokens."""
        return sum(len(r) for r in self.responses)


def activations(
    lm: LM,
    neurons: Sequence[Neuron],
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    batch: int = 16,
) -> list[np.ndarray]:
    """Activations of the neurons on every token of each text, prompt and response: one (tokens, n) float32 a text."""
    import torch

    root, downs = envoys(lm)
    layers = sorted({layer for layer, _ in neurons})
    inside = {layer: [neuron for at, neuron in neurons if at == layer] for layer in layers}
    # The trace gives them layer by layer; this puts them back into the order asked for.
    read = [(layer, neuron) for layer in layers for neuron in inside[layer]]
    back = [read.index(each) for each in neurons]
    out: list[np.ndarray] = [np.zeros((0, len(neurons)), dtype=np.float32) for _ in prompts]
    with torch.no_grad():
        for chunk in batches(lm, prompts, responses, batch, label=f"{lm.name} activations"):
            values = _trace(root, [downs[layer] for layer in layers], list(inside.values()), chunk)
            kept = torch.cat(values, -1)[..., back].cpu().numpy()
            for row, mask, seen in zip(chunk.rows, chunk.mask.bool().cpu().numpy(), kept, strict=True):
                out[row] = seen[mask]
    return out


def answer_means(read: Sequence[np.ndarray], responses: Sequence[Sequence[int]]) -> np.ndarray:
    """Mean activation over all response tokens, (n,) float64."""
    parts = [seen[len(seen) - len(answer) :] for seen, answer in zip(read, responses, strict=True)]
    return np.concatenate(parts).mean(0, dtype=np.float64)


def histograms(read: Mapping[str, Sequence[np.ndarray]], responses: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """How often a neuron takes which activation on response tokens, in each model; one a neuron.

    Args:
        read: ``vanilla``, ``left`` and ``right`` → activations of each text, as :func:`activations` gives them.

    Returns:
        ``width`` of a bin: a quarter to half of the vanilla RMS, a power of two so that :func:`pooled` is exact; and
        for each model ``{bin: tokens}``, where bin ``i`` (as text) holds the activations from ``i * width`` to below
        ``(i + 1) * width``.
    """
    ends = {
        name: np.concatenate([seen[len(seen) - len(answer) :] for seen, answer in zip(texts, responses, strict=True)])
        for name, texts in read.items()
    }
    out = []
    for column, scale in enumerate(np.sqrt((ends["vanilla"].astype(np.float64) ** 2).mean(0))):
        width = 2.0 ** np.floor(np.log2(max(scale, 1e-12) / 2))
        bins = {name: np.floor(values[:, column] / width).astype(int) for name, values in ends.items()}
        counted = {name: zip(*np.unique(found, return_counts=True), strict=True) for name, found in bins.items()}
        out.append({"width": width, **{name: {str(i): int(n) for i, n in pairs} for name, pairs in counted.items()}})
    return out


def pooled(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One neuron's histograms on several topics as one, in the widest of their bins."""
    width = max(part["width"] for part in parts)
    out: dict[str, Any] = {"width": width}
    for name in parts[0].keys() - {"width"}:
        total: Counter[int] = Counter()
        for part in parts:
            for i, n in part[name].items():
                total[int(i) // round(width / part["width"])] += n
        out[name] = dict(total)
    return out


def contexts(
    lm: LM, read: Mapping[str, Sequence[np.ndarray]], texts: Texts, column: int, most: int
) -> list[dict[str, Any]]:
    """The windows of text on which one neuron is furthest from zero in the vanilla model, strongest first.

    The peak is a response token (a prompt's template tokens would win everywhere); the window may reach back into the
    prompt. A question gives at most one context, and a window of the same tokens as a stronger one is left out.

    Args:
        read: ``vanilla``, ``left`` and ``right`` → activations of each text, as :func:`activations` gives them.
        column: the neuron's place in them.
        most: at most this many.

    Returns:
        source, start (place of the window's first token in the text, prompt included), tokens (text), values, left,
        right (activations), peak (place in the window), strength (absolute activation at the peak).
    """
    found: list[tuple[float, int, int]] = []
    for row, (seen, answer) in enumerate(zip(read["vanilla"], texts.responses, strict=True)):
        if len(answer):
            first = len(seen) - len(answer)
            peak = first + int(np.abs(seen[first:, column]).argmax())
            found.append((float(abs(seen[peak, column])), row, peak))
    out: list[dict[str, Any]] = []
    asked: set[int] = set()
    windows: set[tuple[int, ...]] = set()
    for strength, row, peak in sorted(found, key=lambda each: (-each[0], each[1])):
        if len(out) == most:
            break
        ids = [*texts.prompts[row], *texts.responses[row]]
        start, end = max(0, peak - AROUND), min(len(ids), peak + AROUND + 1)
        window = tuple(ids[start:end])
        if texts.questions[row] in asked or window in windows:
            continue
        asked.add(texts.questions[row])
        windows.add(window)
        values = {name: read[name][row][start:end, column].astype(float).tolist() for name in read}
        out.append(
            {
                "source": texts.sources[row],
                "start": start,
                "tokens": [token_text(lm.tokenizer, token) for token in window],
                "values": values["vanilla"],
                "left": values["left"],
                "right": values["right"],
                "peak": peak - start,
                "strength": strength,
            }
        )
    return out


def _trace(root: Any, downs: Sequence[Any], inside: Sequence[Sequence[int]], chunk: Batch) -> list[torch.Tensor]:
    import nnsight

    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
        seen = nnsight.save([down.input[:, :, which].float() for down, which in zip(downs, inside, strict=True)])
    return list(seen)
