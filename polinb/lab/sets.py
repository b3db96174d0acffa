"""Choosing neurons in the live lab: the sets of a run at any γ, random ones of the same size, or a typed list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from polinb.errors import ParameterError

if TYPE_CHECKING:
    from polinb.runs.run import Run

SETS = {
    "general": "G: general political neurons",
    "specific": "S_t: neurons of the topic, without G",
    "strict": "strict S_t: neurons of no other topic",
    "uniform": "random, as many as G",
    "layer": "random, as many as G in every layer",
    "own": "my own list",
}
_ITEM = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?:-([0-9]{1,9}))?")
_FORM = "layer.neuron or layer.first-last, parted by commas, as in 3.17, 5.0-9"


def neurons(
    exp: Run, kind: str, *, topic: str = "", gamma: float | None = None, number: int = 0, own: str = ""
) -> np.ndarray:
    """The neurons of one choice, (L, F) bool, never empty.

    Args:
        exp: the run. All kinds but ``own`` need its PNLAC scores; what is missing is computed.
        kind: a key of :data:`SETS`.
        topic: t of S_t.
        gamma: per cent a topic; ``None``: the run's.
        number: which random set, added to the run's seed; 0 is the first control set of the book's chapters.
        own: the list of ``own``, see :func:`parse`.

    Raises:
        ParameterError: an unknown kind or topic, a wrong list, or a set that holds no neuron.
        TrainingError: G is empty at this γ.
    """
    if kind not in SETS:
        raise ParameterError("neurons", kind, ", ".join(SETS))
    if kind == "own":
        return parse(own, exp.lm.layers, exp.lm.width)
    if kind in ("specific", "strict") and topic not in exp.params.topics:
        raise ParameterError("topic", topic, ", ".join(exp.params.topics))
    value = exp.params.gamma if gamma is None else gamma
    if kind in ("general", "uniform", "layer"):
        general = exp.general(value)
        return general if kind == "general" else exp.control_set(kind, number, value)
    sets = exp.sets(value)
    chosen = (sets.specific if kind == "specific" else sets.strict)[topic]
    if not chosen.any():
        what = "strictly specific to" if kind == "strict" else "specific to"
        raise ParameterError("gamma", value, f"another value: no neuron is {what} {topic!r} at this one")
    return chosen


def parse(text: str, layers: int, width: int) -> np.ndarray:
    """Neurons from a typed list such as ``3.17, 5.0-9``; layers and neurons count from 0.

    Returns:
        (layers, width) bool.

    Raises:
        ParameterError: names the item that is wrong and what is allowed.
    """
    chosen = np.zeros((layers, width), bool)
    if not isinstance(text, str):
        raise ParameterError("own list", text, _FORM)
    items = [item.strip() for item in re.split(r"[,;\n]", text) if item.strip()]
    if not items:
        raise ParameterError("own list", text, _FORM)
    for item in items:
        match = _ITEM.fullmatch(re.sub(r"\s*([.–-])\s*", r"\1", item).replace("–", "-"))
        if not match:
            raise ParameterError("own list", item, _FORM)
        layer, first = int(match[1]), int(match[2])
        last = int(match[3]) if match[3] else first
        if layer >= layers:
            raise ParameterError("own list", item, f"layer 0–{layers - 1}")
        if max(first, last) >= width:
            raise ParameterError("own list", item, f"neuron 0–{width - 1}")
        if last < first:
            raise ParameterError("own list", item, "a range that starts with its smaller end")
        chosen[layer, first : last + 1] = True
    return chosen


def written(chosen: np.ndarray) -> str:
    """A neuron set as the list that :func:`parse` reads, neighbours as ranges."""
    items = []
    for layer, row in enumerate(chosen):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            items.append(f"{layer}.{first}" if end == first + 1 else f"{layer}.{first}-{end - 1}")
    return ", ".join(items)
