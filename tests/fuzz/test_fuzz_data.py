"""Data files, whole and damaged, against what was written and a plain reading of the rules."""

import csv
import io
import json
import unicodedata

import pyarrow as pa
import pyarrow.parquet
import pytest
from fuzzing import budgets, plain, refused, run
from hypothesis import strategies as st

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
IDS = st.none() | st.integers(0, 3) | st.sampled_from(["a", "b", "2024-01-01", "", " "]) | st.floats() | st.booleans()
ROW = st.fixed_dictionaries(
    {"topic": st.sampled_from([*TOPICS, "Crime", " race ", "sport", ""]), "prompt": CELL, "left": CELL, "right": CELL},
    optional={"id": IDS, "": CELL},
)
GOOD = st.builds(
    lambda topic, asked, more: {"topic": topic, "prompt": f"Is {asked} good?", "left": f"Yes {more}", "right": "No"},
    st.sampled_from(TOPICS), st.sampled_from(["tax", "law", "order", "trade"]), AWKWARD,
)  # fmt: skip
JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=4,
)
ROWS = st.lists(ROW, max_size=3) | st.lists(GOOD, min_size=1, max_size=6)
ODD = st.lists(st.dictionaries(st.sampled_from([*COLUMNS, "id", "x"]), JSON_VALUE, max_size=5), max_size=3)
DAMAGES = ("cut", "flip", "nul", "bom", "utf-16", "latin-1", "twice", "mixed ends", "quote", "deep")
DAMAGE = st.tuples(st.sampled_from(["none", "none", "none", "none", *DAMAGES]), st.integers(0, 5000))


def damaged(raw, kind, at):
    """What happens to files on their way, at a place in them."""
    at %= len(raw) + 1
    head, tail, text = raw[:at], raw[at:], raw.decode("utf-8", "replace")
    return {
        "none": raw,
        "cut": head,
        "flip": head + bytes(byte ^ (1 << at % 8) for byte in tail[:1]) + tail[1:],
        "nul": head + b"\0" + tail,
        "quote": head + b'"' + tail,
        "bom": b"\xef\xbb\xbf" + raw,
        "utf-16": text.encode("utf-16"),
        "latin-1": text.encode("latin-1", "replace"),
        "twice": raw * 2,
        "mixed ends": raw.replace(b"\n", b"\r\n", at % 4),
        "deep": b"[" * 20_000 + raw,
    }[kind]


def holds(cell):
    """Whether a cell says anything: ``NA``, ``nan`` and white space do not."""
    return str("" if cell is None else cell).strip() not in ("", "NA", "nan")


def expected_pairs(rows):
    """The pairs that rows mean, by a plain reading of the documented rules; None: they must be refused."""
    seen, ids = {}, []
    rows = [{name.strip().casefold(): cell for name, cell in row.items()} for row in rows]
    if not rows or any(not any(c in row for row in rows) for c in COLUMNS):
        return None
    for row in rows:
        cells = [row.get(c) for c in COLUMNS]
        if not all(isinstance(c, str) and holds(c) and any(x.isalpha() for x in c) for c in cells):
            return None
        topic, prompt, left, right = (c.strip() for c in cells)
        if plain_form(left) == plain_form(right):
            return None
        key = row.get("id")
        if holds(key):
            key = int(key) if isinstance(key, float) and key.is_integer() else key
            if type(key) not in (str, int) or str(key).strip() in ids:
                return None
            ids.append(str(key).strip())
        seen.setdefault(plain_form(prompt), []).append((topic.casefold(), prompt, left, right))
    kept = {found[0] for found in seen.values() if len({each[0] for each in found}) == 1}
    return kept if {each[0] for found in seen.values() for each in found} == {each[0] for each in kept} else None


def plain_form(text):
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


# --- writing a file by other means; ``style`` picks one of two ways


def names_of(rows):
    return list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))


def csv_file(rows, style):
    stream, quoting = io.StringIO(newline=""), csv.QUOTE_ALL if style else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(stream, names_of(rows), quoting=quoting, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode("utf-8", "replace")


def json_file(rows, style):
    return json.dumps(rows, ensure_ascii=style).encode("utf-8", "replace")


def jsonl_file(rows, style):
    return "".join(f"{json.dumps(row, ensure_ascii=style)}\n" for row in rows).encode("utf-8", "replace")


def parquet_file(rows, style):
    try:
        table = pa.table({name: [row.get(name) for row in rows] for name in names_of(rows)})
    except (pa.ArrowException, TypeError, OverflowError):
        return None
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream, use_dictionary=style)
    return stream.getvalue()


FORMATS = {"csv": csv_file, "json": json_file, "jsonl": jsonl_file, "parquet": parquet_file}


def whole(rows):
    """Rows of plain texts in our four columns, which every format keeps as they are."""
    texts = [cell for row in rows for cell in row.values()]
    plain = all(isinstance(text, str) and text == text.strip() and not {"\r", "\0"} & set(text) for text in texts)
    return bool(rows) and plain and all(list(row) == list(COLUMNS) and any(row.values()) for row in rows)


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
        path.write_bytes(damaged(raw, *damage))
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
