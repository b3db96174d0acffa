"""Executed notebooks as the book reads them back: damaged or cut, they are refused by name or read right."""

from __future__ import annotations

import nbformat
from fuzzing import budgets, refused, run
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output

from polinb.chapters.paper.answers import KEY
from polinb.errors import PolinbError
from polinb.wording import PAYLOAD
from polinb_book import reference, results

TOLD = {"profile": "tiny", "model": "tiny:llama", "first": "The shift is 0.5.", "text": "The shift is 0.5. So."}


@budgets(50, 1500)
def test_any_executed_notebook(size, tmp_path):
    output = new_output("display_data", {PAYLOAD: {"kind": "text", "title": "", "answer": KEY, **TOLD}})
    whole = nbformat.writes(new_notebook(cells=[new_code_cell("1", outputs=[output], id="b")])).encode()
    path = tmp_path / "a.ipynb"

    def check(case):
        flips, cut = case
        raw = bytearray(whole)
        for at, bit in flips:
            raw[at % len(raw)] ^= 1 << bit
        path.write_bytes(bytes(raw)[:cut])
        try:
            found = results.answer(results.parsed(path.read_bytes(), path.name), "a")
            page = reference.in_this_run(tmp_path, ["a"])
        except PolinbError as error:
            return refused(error, "a.ipynb")
        if found is None:
            return False
        assert set(found) >= set(TOLD) and all(isinstance(found[name], str) for name in TOLD)
        assert found["first"] in page and (flips or found == TOLD)
        return True

    flips = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 7)), max_size=2)
    run(size, st.tuples(flips, st.none() | st.none() | st.integers(0, len(whole))), check)
