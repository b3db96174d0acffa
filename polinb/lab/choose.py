"""A typed list of neurons, such as ``3.17, 5.0-9``."""

from __future__ import annotations

import re

import numpy as np

from polinb.errors import ParameterError

_ITEM = re.compile(r"([0-9]{1,9})\s*\.\s*([0-9]{1,9})(?:\s*[-–]\s*([0-9]{1,9}))?")
_FORM = "layer.neuron or layer.first-last, separated by commas, as in 3.17, 5.0-9"


def parse(text: str, layers: int, width: int) -> np.ndarray:
    """The neurons of a list; layers and neurons count from 0.

    Returns:
        (layers, width) bool.

    Raises:
        ParameterError: names the item that is wrong and what is allowed.
    """
    chosen = np.zeros((layers, width), bool)
    items = [item.strip() for item in re.split(r"[,;\n]", text) if item.strip()]
    for item in items:
        match = _ITEM.fullmatch(item)
        if not match:
            raise ParameterError("own list", item, _FORM)
        layer, first, last = int(match[1]), int(match[2]), int(match[3] or match[2])
        if layer >= layers:
            raise ParameterError("own list", item, f"layer 0–{layers - 1}")
        if max(first, last) >= width:
            raise ParameterError("own list", item, f"neuron 0–{width - 1}")
        if last < first:
            raise ParameterError("own list", item, "a range that starts with its smaller end")
        chosen[layer, first : last + 1] = True
    if not items:
        raise ParameterError("own list", text, _FORM)
    return chosen
