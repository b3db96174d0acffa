"""Executed notebooks as the book reads them back: damaged, cut, or of another form."""

from __future__ import annotations

import copy
import json

import nbformat
from fuzzing import budgets, plain, refused, run
from hypothesis import strategies as st

from polinb.chapters.paper.answers import KEY
from polinb.errors import PolinbError
from polinb.wording import PAYLOAD
from polinb_book import reference, results

TOLD = {"profile": "tiny", "model": "tiny:llama", "first": "The shift is 0.5.", "text": "The shift is 0.5. So."}
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | plain,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(plain, inner, max_size=2),
    max_leaves=3,
)


def notebook() -> dict:
    payload = {"kind": "text", "title": "", "answer": KEY, **TOLD}
    output = nbformat.v4.new_output("display_data", {"text/plain": "x", PAYLOAD: payload})
    cells = [
        nbformat.v4.new_markdown_cell("(sec-a)=\n# A\n\nAn answer.", id="a"),
        nbformat.v4.new_code_cell("1", outputs=[output], id="b"),
    ]
    return json.loads(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


def places(node, path=()):
    """Every path into nested lists and mappings."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


PLACES = [path for path in places(notebook()) if path]


@budgets(50, 1500)
def test_any_executed_notebook(size, tmp_path):
    def check(case):
        changes, flips, cut = case
        book = notebook()
        for place, value, drop in changes:
            node = book
            try:
                for key in place[:-1]:
                    node = node[key]
                if drop:
                    del node[place[-1]]
                else:
                    node[place[-1]] = copy.deepcopy(value)
            except (KeyError, IndexError, TypeError):
                continue
        raw = bytearray(json.dumps(book).encode())
        for at, bit in flips:
            raw[at % len(raw)] ^= 1 << bit
        path = tmp_path / "a.ipynb"
        path.write_bytes(bytes(raw)[: len(raw) if cut is None else cut])
        try:
            book = results.parsed(path.read_bytes(), path.name)
            found = results.answer(book, "a")
            page = reference.in_this_run(tmp_path, ["a"])
        except PolinbError as error:
            return refused(error, "a.ipynb")
        if found is None:
            return False
        assert set(found) >= set(TOLD) and all(isinstance(found[name], str) for name in TOLD)
        if not flips and not changes:
            assert found == TOLD
        assert found["first"] in page
        return True

    change = st.tuples(st.sampled_from(PLACES), VALUE, st.booleans())
    flips = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 7)), max_size=2)
    case = st.tuples(st.lists(change, max_size=2), flips, st.none() | st.none() | st.integers(0, 900))
    run("executed notebooks", size, case, check)
