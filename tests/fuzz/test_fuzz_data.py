"""Data files, whole and damaged, against what was written and a plain reading of the rules."""

import re
import unicodedata

import pyarrow as pa
import pytest
from fuzzing import budgets, plain, refused, run
from hypothesis import strategies as st
from planted_files import write

from polinb.data.loading import load_data
from polinb.data.reading import read_table
from polinb.data.rows import TOPICS
from polinb.errors import DataError

AWKWARD = st.sampled_from(
    ["", " ", "\t", "NA", "null", "None", "nan", "5", "1e5", "2020-01-01", "true", "-", "<b>x</b>", "=1+1", "a,b",
     'a"b', "a\nb", "a\r\nb", "a\rb", "\ufeffa", "\x00", "\u2028x", "naïve", "日本語", "🙂", "#x", "'", "x" * 500]
)  # fmt: skip
CELL = AWKWARD | plain | st.sampled_from(["Should taxes rise?", "Yes, they should.", "No."])
COLUMNS = ("topic", "prompt", "left", "right")
ROW = st.fixed_dictionaries(
    {"topic": st.sampled_from([*TOPICS, "Crime", " race ", "sport", ""]), "prompt": CELL, "left": CELL, "right": CELL},
    optional={"": CELL},
)
GOOD = st.builds(
    lambda topic, asked, more: {"topic": topic, "prompt": f"Is {asked} good?", "left": f"Yes {more}", "right": "No"},
    st.sampled_from(TOPICS), st.sampled_from(["tax", "law", "order", "trade"]), AWKWARD,
)  # fmt: skip
ROWS = st.lists(ROW, max_size=3) | st.lists(GOOD, min_size=1, max_size=6)
DAMAGES = {  # what happens to files on their way: the bytes before a place in them, those after it
    "none": lambda head, tail: head + tail,
    "cut": lambda head, tail: head,
    "flip": lambda head, tail: head + bytes(byte ^ (1 << len(head) % 8) for byte in tail[:1]) + tail[1:],
    "nul": lambda head, tail: head + b"\0" + tail,
    "quote": lambda head, tail: head + b'"' + tail,
    "utf-16": lambda head, tail: (head + tail).decode("utf-8", "replace").encode("utf-16"),
    "mixed ends": lambda head, tail: head.replace(b"\n", b"\r\n") + tail,
    "deep": lambda head, tail: b"[" * 20_000 + head + tail,
}


def holds(cell):
    """Whether a cell says anything: ``NA``, ``nan`` and white space do not."""
    return str("" if cell is None else cell).strip() not in ("", "NA", "nan")


def expected_pairs(rows):
    """The pairs that rows mean, by a plain reading of the documented rules; None: they must be refused."""
    seen = {}
    for row in rows:
        row = {name.strip().casefold(): cell for name, cell in reversed(row.items()) if holds(cell)}
        cells = [row.get(c) for c in COLUMNS]
        if not all(isinstance(c, str) and any(x.isalpha() for x in c) for c in cells):
            return None
        topic, prompt, left, right = (c.strip() for c in cells)
        if plain_form(left) == plain_form(right):
            return None
        seen.setdefault(plain_form(prompt), []).append((slug(topic), prompt, left, right))
    kept = {found[0] for found in seen.values() if len({each[0] for each in found}) == 1}
    every = {each[0] for found in seen.values() for each in found}
    return kept if every and every == {each[0] for each in kept} else None


def plain_form(text):
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def slug(topic):
    return "-".join(re.findall(r"[^\W_]+", plain_form(topic)))


def whole(rows):
    """Rows of plain texts in our four columns, which every format keeps as they are."""
    texts = [cell for row in rows for cell in row.values()]
    plain = all(isinstance(text, str) and text == text.strip() and not {"\r", "\0"} & set(text) for text in texts)
    return bool(rows) and plain and all(list(row) == list(COLUMNS) and any(row.values()) for row in rows)


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
@budgets(50, 1500)
def test_any_file(kind, size, tmp_path):
    """Whole, it holds what was written; damaged, it is refused by name, or its rows are judged by the rules."""

    def check(case):
        rows, damage, at = case
        try:
            path = write(tmp_path, kind, rows)
        except (pa.ArrowException, TypeError, OverflowError):
            return False
        raw = path.read_bytes()
        path.write_bytes(DAMAGES[damage](raw[: at % (len(raw) + 1)], raw[at % (len(raw) + 1) :]))
        try:
            found = read_table(path, "the-file")
        except DataError as error:
            refused(error, "the-file")
            found = None
        if damage == "none" and whole(rows):
            assert found == rows, "a whole file is refused or cut"
        try:
            data = load_data(str(path))
        except DataError as error:
            assert found is None or expected_pairs(found) is None, f"valid, but refused: {error}"
            return refused(error, path.name)
        assert {(p.topic, p.prompt, p.left, p.right) for p in data.pairs} == expected_pairs(found)
        assert data.source["rows"] == len(found) and data.source["kept"] == len(data.pairs)
        return True

    damages = st.sampled_from([*["none"] * 4, *DAMAGES])
    run(size, st.tuples(ROWS, damages, st.integers(0, 5000)), check)
