"""Data files, whole and damaged, against what was written and a plain reading of the rules."""

from __future__ import annotations

import json

import pytest
from data_files import CELL, COLUMNS, DAMAGE, FORMATS, IDS, JSON_VALUE, ODD, ROWS, damaged, expected_pairs, holds
from fuzzing import budgets, refused, run
from hypothesis import strategies as st

from polinb.data.loading import load_data, load_statements
from polinb.data.reading import read_table
from polinb.errors import DataError


@pytest.mark.parametrize("kind", FORMATS)
@budgets(50, 1500)
def test_any_file(kind, size, tmp_path):
    """Whole, it holds what was written; damaged, it is refused by name, or its rows are judged by the rules."""
    path = tmp_path / f"set.{kind}"

    def check(case):
        rows, style, damage = case
        raw = FORMATS[kind](rows, style)
        if raw is None:
            return False
        path.write_bytes(damaged(raw, damage))
        try:
            found = read_table(path, "the-file")
        except DataError as error:
            refused(error, "the-file")
            found = None
        if damage[0] == "none" and whole(rows):
            assert found == rows, "a whole file is refused or cut"
        try:
            data = load_data(str(path))
        except DataError as error:
            assert found is None or expected_pairs(found) is None, f"valid, but refused: {error}"
            return refused(error, path.name)
        assert {(p.topic, p.prompt, p.left, p.right) for p in data.pairs} == expected_pairs(found)
        assert data.source["rows"] == len(found) and data.source["kept"] == len(data.pairs)
        return True

    run(size, st.tuples(ROWS if kind in ("csv", "parquet") else ROWS | ODD, st.booleans(), DAMAGE), check)


def whole(rows) -> bool:
    """Rows of plain texts in our four columns, which every format keeps as they are."""
    texts = [cell for row in rows for cell in row.values()]
    plain = all(isinstance(text, str) and text == text.strip() and not {"\r", "\0"} & set(text) for text in texts)
    return bool(rows) and plain and all(list(row) == list(COLUMNS) and any(row.values()) for row in rows)


@budgets(30, 800)
def test_any_statements(size, tmp_path):
    path = tmp_path / "list.jsonl"

    def check(case):
        rows, damage = case
        path.write_bytes(damaged("\n".join(json.dumps(row) for row in rows).encode(), damage))
        try:
            found = load_statements(str(path)).statements
        except DataError as error:
            return refused(error, path.name)
        assert all(s.direction in ("left", "right", "none") and s.text.strip() for s in found)
        assert len({s.id for s in found}) == len(found)
        if damage[0] == "none":
            told = [row["statement"] if holds(row.get("statement")) else row.get("text") for row in rows]
            assert [s.text for s in found] == [text.strip() for text in told]
        return True

    some = st.sampled_from(["Taxes are too high.", "Borders matter.", "War is bad."])
    words = some | CELL | JSON_VALUE
    directions = st.sampled_from(["left", "Right", "none", "up", None])
    row = st.fixed_dictionaries({"statement": words}, optional={"text": words, "direction": directions, "id": IDS})
    good = st.lists(some, min_size=1, unique=True).map(
        lambda found: [{"statement": each, "direction": "left"} for each in found]
    )
    run(size, st.tuples(st.lists(row, max_size=3) | good, DAMAGE), check)
