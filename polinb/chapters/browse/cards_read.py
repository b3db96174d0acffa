"""Single neurons read and zeroed: activations where PNLAC read, strongest contexts, and the stance without a neuron."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.browse.cards_lens import Neuron, token_text
from polinb.lazy import torch
from polinb.masking.decoding import Reader
from polinb.models.architectures import architecture_of, resolve
from polinb.models.generation import response_logp
from polinb.models.lm import LM
from polinb.models.tokens import Batch, Ids, batches
from polinb.progress import bar
from polinb.scoring.residual import blocks

AROUND = 12  # tokens of a context on either side of its peak


def activations(lm: LM, neurons: Sequence[Neuron], prompts: Ids, responses: Ids, batch: int = 16) -> list[np.ndarray]:
    """Activations of the neurons on every token of each text, prompt and response: one (tokens, n) float32 a text."""
    chosen = np.zeros((lm.layers, lm.width), bool)
    chosen[tuple(zip(*neurons, strict=True))] = True
    place = {each: k for k, each in enumerate(sorted(neurons))}  # a reader gives them in order
    out: list[np.ndarray] = [np.zeros((0, len(neurons)), dtype=np.float32) for _ in prompts]
    with torch.no_grad():
        for chunk in batches(lm, prompts, responses, batch, label=f"{lm.name} activations"):
            values = Reader(lm, chosen).read(chunk)
            kept = torch.cat(values, -1)[..., [place[each] for each in neurons]].float().cpu().numpy()
            for row, mask, seen in zip(chunk.rows, chunk.mask.bool().cpu().numpy(), kept, strict=True):
                out[row] = seen[mask]
    return out


def on_answers(read: Sequence[np.ndarray], responses: Ids) -> np.ndarray:
    """Activations on all response tokens, (tokens, n), of those on all tokens of each text (:func:`activations`)."""
    return np.concatenate([seen[len(seen) - len(answer) :] for seen, answer in zip(read, responses, strict=True)])


def histograms(ends: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """How often a neuron takes which activation on response tokens, in each model; one a neuron.

    Args:
        ends: ``vanilla``, ``left`` and ``right`` → activations (tokens, n), as :func:`on_answers` gives them.

    Returns:
        ``width`` of a bin: a quarter to half of the vanilla RMS, a power of two so that :func:`pooled` is exact; and
        for each model ``{bin: tokens}``, where bin ``i`` (as text) holds the activations from ``i * width`` to below
        ``(i + 1) * width``.
    """
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
    lm: LM, read: Mapping[str, Sequence[np.ndarray]], texts: pd.DataFrame, column: int, most: int
) -> list[dict[str, Any]]:
    """The windows of text on which one neuron is furthest from zero in the vanilla model, strongest first.

    The peak is a response token (a prompt's template tokens would win everywhere); the window may reach back into the
    prompt. A question gives at most one context, and a window of the same tokens as a stronger one is left out.

    Args:
        read: ``vanilla``, ``left`` and ``right`` → activations of each text, as :func:`activations` gives them.
        texts: prompt_ids, response_ids (lists), source (whose response it is), question (its prompt's number).
        column: the neuron's place in them.

    Returns:
        source, start (place of the window's first token in the text, prompt included), tokens (text), values, left,
        right (activations), peak (place in the window), strength (absolute activation at the peak).
    """
    found: list[tuple[float, int, int]] = []
    for row, (seen, answer) in enumerate(zip(read["vanilla"], texts["response_ids"], strict=True)):
        if len(answer):
            first = len(seen) - len(answer)
            peak = first + int(np.abs(seen[first:, column]).argmax())
            found.append((float(abs(seen[peak, column])), row, peak))
    out: list[dict[str, Any]] = []
    taken: set[Any] = set()  # questions and windows
    for strength, row, peak in sorted(found, key=lambda each: (-each[0], each[1])):
        if len(out) == most:
            break
        text = texts.iloc[row]
        start, end = max(0, peak - AROUND), peak + AROUND + 1
        window = (*text.prompt_ids, *text.response_ids)[start:end]
        if {text.question, window} & taken:
            continue
        taken |= {text.question, window}
        context = {"source": text.source, "start": start}
        context["tokens"] = [token_text(lm.tokenizer, token) for token in window]
        for name, model in (("values", "vanilla"), ("left", "left"), ("right", "right")):
            context[name] = read[model][row][start:end, column].astype(float).tolist()
        out.append(context | {"peak": peak - start, "strength": strength})
    return out


def zeroed_logp(
    lm: LM, neurons: Sequence[Neuron], prompts: Ids, responses: Ids, *, batch: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Mean log-probability a token of each response, untouched and with one neuron at a time held at zero.

    A neuron's activation is set to zero at every position, prompt included. The untouched pass runs once a batch; a
    neuron of layer l changes nothing below l, so its pass starts from the untouched states that enter layer l.

    Args:
        neurons: (layer, index) each; may be empty.
        prompts, responses: token ids.

    Returns:
        (texts,) untouched and (neurons, texts) ablated, float64, in nats.
    """
    base, out = np.full(len(prompts), np.nan), np.full((len(neurons), len(prompts)), np.nan)
    below = sorted({layer - 1 for layer, _ in neurons if layer})
    root, found = blocks(lm)
    downs = [resolve(block, architecture_of(lm.model).down) for block in found]
    with torch.no_grad(), bar(len(neurons) * len(prompts), "ablating neurons") as shown:
        for chunk in batches(lm, prompts, responses, batch):
            keep = int(chunk.response.sum(1).max()) + 1
            states, logits = _untouched(root, [found[layer] for layer in below], chunk, keep)
            base[chunk.rows] = response_logp(logits, chunk)
            entering = dict(zip(below, states, strict=True))
            for row, (layer, neuron) in enumerate(neurons):
                start = entering.get(layer - 1)
                logits = _zeroed(root, found[:layer], downs[layer], neuron, start, chunk, keep)
                out[row, chunk.rows] = response_logp(logits, chunk)
                shown.update(len(chunk.rows))
    return base, out


def effects(base_right: Any, base_left: Any, right: Any, left: Any) -> np.ndarray:
    """eq-ablation. Change of the likelihood stance by question: with the neuron at zero minus before, nats a token.

    Args:
        base_right, base_left: (questions,) mean log-probability a token of the right and left reference answers.
        right, left: the same with neurons ablated, (..., questions).
    """
    before = np.asarray(base_right, dtype=float) - np.asarray(base_left, dtype=float)
    return (np.asarray(right, dtype=float) - np.asarray(left, dtype=float)) - before


def _untouched(root: Any, wanted: list[Any], chunk: Batch, keep: int) -> tuple[list[Any], torch.Tensor]:
    """What the wanted blocks put out, and the logits of the last ``keep`` positions."""
    import nnsight

    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=keep):
        states = nnsight.save([block.output for block in wanted])
        out = root.output.save()
    return list(states), out.logits


def _zeroed(root: Any, skipped: list[Any], down: Any, neuron: int, start: Any, chunk: Batch, keep: int) -> torch.Tensor:
    """Logits with one neuron at zero; ``skipped`` blocks do not run, the last one puts out ``start``."""
    with root.trace(**chunk.inputs, use_cache=False, logits_to_keep=keep):
        for block in skipped:
            block.skip(start)
        down.input[:, :, neuron] = 0
        out = root.output.save()
    return out.logits
