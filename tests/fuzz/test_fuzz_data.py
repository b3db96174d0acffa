"""Data files, whole and damaged, against what was written and a plain reading of the rules."""

from __future__ import annotations

import pytest
from data_files import COLUMNS, DAMAGE, FORMATS, ODD, ROWS, damaged, expected_pairs
from fuzzing import budgets, refused, run
from hypothesis import strategies as st

from polinb.data.loading import load_data
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
