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
    for item in filter(None, map(str.strip, typed.replace(";", ",").replace("\n", ",").split(","))):
        layer, dot, rest = item.partition(".")
        first, dash, last = rest.replace("–", "-").partition("-")
        parts = [part.strip() for part in ([layer, first, last] if dash else [layer, first])]
        if not dot or not all(part.isdecimal() and part.isascii() and len(part) < 10 for part in parts):
            return None
        row, low, high = int(parts[0]), int(parts[1]), int(parts[-1])
        if row >= LAYERS or max(low, high) >= WIDTH or low > high:
            return None
        found |= {(row, neuron) for neuron in range(low, high + 1)}
    return found or None


@budgets(60, 2000)
def test_any_list(size):
    def check(typed):
        try:
            chosen = parse(typed, LAYERS, WIDTH)
        except ParameterError as error:
            assert plainly(typed) is None, f"valid, but refused: {error}"
            return refused(error, "own list")
        assert set(zip(*map(np.ndarray.tolist, np.nonzero(chosen)), strict=True)) == plainly(typed)
        return True

    odd = st.sampled_from(["", "٣", "²", "1e3", "-1", "007", "9" * 12, "9" * 5000, "x", " 3", "\u20093"])
    number, dash = st.integers(0, 14).map(str) | odd, st.sampled_from(["-", "–", "--", " - "])
    item = st.tuples(number, number).map(".".join) | st.tuples(number, number, dash, number).map(
        lambda p: f"{p[0]}.{''.join(p[1:])}"
    )
    near = st.tuples(st.integers(0, 3), st.integers(0, 11)).map(lambda n: f"{n[0]}.{n[1]}-{n[1]}")
    between = st.sampled_from([",", ";", "\n", ", "])
    lists = st.tuples(between, st.lists(near, min_size=1, max_size=4) | st.lists(item | near | text, max_size=4))
    run(size, lists.map(lambda parts: parts[0].join(parts[1])) | text, check)
