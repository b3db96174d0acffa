"""Typed lists of neurons in the lab, against a plain reading of their form."""

from __future__ import annotations

import numpy as np
from fuzzing import budgets, refused, run, text
from hypothesis import strategies as st

from polinb.errors import ParameterError
from polinb.lab.request import parse

LAYERS, WIDTH = 4, 12


def plainly(typed: str) -> set[tuple[int, int]] | None:
    """What a list means, item by item; None: it is no list."""
    found: set[tuple[int, int]] = set()
    for item in typed.replace(";", ",").replace("\n", ",").split(","):
        item = item.strip()
        if not item:
            continue
        layer, dot, rest = item.partition(".")
        first, dash, last = rest.replace("–", "-").partition("-")
        parts = [layer.strip(), first.strip(), *([last.strip()] if dash else [])]
        if not dot or not all(part.isdecimal() and part.isascii() and len(part) < 10 for part in parts):
            return None
        numbers = [int(part) for part in parts]
        ends = numbers[1:] if dash else [numbers[1], numbers[1]]
        if numbers[0] >= LAYERS or max(ends) >= WIDTH or ends[0] > ends[1]:
            return None
        found |= {(numbers[0], neuron) for neuron in range(ends[0], ends[1] + 1)}
    return found or None


@budgets(60, 2000)
def test_any_list(size):
    def check(typed):
        try:
            chosen = parse(typed, LAYERS, WIDTH)
        except ParameterError as error:
            assert plainly(typed) is None, f"valid, but refused: {error}"
            return refused(error, "own list")
        assert {(int(layer), int(neuron)) for layer, neuron in zip(*np.nonzero(chosen), strict=True)} == plainly(typed)
        return True

    number = st.integers(0, 14).map(str) | st.sampled_from(
        ["", "٣", "²", "1e3", "-1", "007", "9" * 12, "9" * 5000, "x"]
    )
    gap, dash = st.sampled_from(["", " ", "\t", "\u2009"]), st.sampled_from(["", "-", "–", "--", " - "])
    item = st.tuples(number, gap, st.just("."), gap, number, dash, number).map("".join)
    single, between = st.tuples(number, number).map(".".join), st.sampled_from([",", ";", "\n", ", "])
    lists = st.tuples(between, st.lists(item | single | text, max_size=4)).map(lambda parts: parts[0].join(parts[1]))
    near = st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(0, 12), st.booleans())
    close = st.lists(near.map(lambda n: f"{n[0]}.{n[1]}-{n[2]}" if n[3] else f"{n[0]}.{n[1]}"), min_size=1, max_size=4)
    run("neuron lists", size, close.map(",".join) | close.map(" ; ".join) | lists | text, check)
