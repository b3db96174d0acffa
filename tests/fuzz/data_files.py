"""Files of stance data in all states, and plain readings of what they mean."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

from fuzzing import plain, refused
from hypothesis import strategies as st

from polinb.data.loading import load_data
from polinb.data.reading import read_table
from polinb.data.rows import TOPICS
from polinb.errors import DataError

AWKWARD = st.sampled_from(
    ["", " ", "\t", "NA", "null", "None", "nan", "5", "1e5", "2020-01-01", "true", "-", "<b>x</b>",
     "<script>1</script>",
     "=1+1", "a,b", 'a"b', "a\nb", "a\r\nb", "a\rb", "\ufeffa", "\x00", "a\x00b", "\u2028x", "naïve", "日本語", "🙂",
     "#x",
     "'", "\\", "\\n", "x" * 500]
)  # fmt: skip
CELL = AWKWARD | plain | st.sampled_from(["Should taxes rise?", "Yes, they should.", "No."])
TOPIC = st.sampled_from([*TOPICS, "Crime", " race ", "sport", ""])
COLUMNS = ("topic", "prompt", "left", "right")
IDS = st.none() | st.integers(0, 3) | st.sampled_from(["a", "b", "2024-01-01", "", " "]) | st.floats() | st.booleans()
ROW = st.fixed_dictionaries(
    {"topic": TOPIC, "prompt": CELL, "left": CELL, "right": CELL}, optional={"id": IDS, "": CELL}
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
MISSING = st.sampled_from([None, None, None, *COLUMNS])
# What happens to files on their way: each takes bytes and a place in them.
DAMAGES = {
    "none": lambda raw, at: raw,
    "cut": lambda raw, at: raw[: at % (len(raw) + 1)],
    "flip": lambda raw, at: (
        raw[: at % len(raw)] + bytes([raw[at % len(raw)] ^ (1 << at % 8)]) + raw[at % len(raw) + 1 :] if raw else raw
    ),
    "nul": lambda raw, at: raw[: at % (len(raw) + 1)] + b"\0" + raw[at % (len(raw) + 1) :],
    "bom": lambda raw, at: b"\xef\xbb\xbf" + raw,
    "utf-16": lambda raw, at: raw.decode("utf-8", "replace").encode("utf-16"),
    "latin-1": lambda raw, at: raw.decode("utf-8", "replace").encode("latin-1", "replace"),
    "twice": lambda raw, at: raw + raw,
    "mixed ends": lambda raw, at: raw.replace(b"\n", b"\r\n", at % 4),
    "old ends": lambda raw, at: raw.replace(b"\n", b"\r"),
    "quote": lambda raw, at: raw[: at % (len(raw) + 1)] + b'"' + raw[at % (len(raw) + 1) :],
    "deep": lambda raw, at: b"[" * 20_000 + raw,
    "empty": lambda raw, at: b"",
}
DAMAGE = st.tuples(st.sampled_from(["none", "none", "none", *DAMAGES]), st.integers(0, 5000))
ROWS = st.lists(ROW, max_size=3) | st.lists(GOOD, min_size=1, max_size=6)


def holds(cell: object) -> bool:
    """Whether a cell says anything: ``NA``, ``nan`` and white space do not."""
    return str("" if cell is None else cell).strip() not in ("", "NA", "nan")


def damaged(raw: bytes, damage: tuple[str, int]) -> bytes:
    return DAMAGES[damage[0]](raw, damage[1])


def as_csv(rows, quoting, end, header) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=quoting, lineterminator=end)
    names = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    writer.writerow([name for name in names if name != header])
    for row in rows:
        cells = [row.get(name) for name in names if name != header]
        writer.writerow(["" if cell is None else str(cell) for cell in cells])
    return stream.getvalue().encode("utf-8", "replace")


def expected_pairs(rows) -> set[tuple[str, str, str, str]] | None:
    """The pairs that rows mean, by a plain reading of the documented rules; None: they must be refused."""
    seen: dict[str, list[tuple[str, str, str, str]]] = {}
    ids = []
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
        same = plain_form(prompt)
        seen.setdefault(same, []).append((topic.casefold(), prompt, left, right))
    kept = {found[0] for found in seen.values() if len({each[0] for each in found}) == 1}
    return kept if {each[0] for found in seen.values() for each in found} == {each[0] for each in kept} else None


def plain_form(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def decoded(raw: bytes) -> str:
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig").removeprefix("\ufeff")
    if "\0" in text:
        raise ValueError("NUL")
    return text


def compare(path, raw, read) -> bool:
    """The reader and the loader on one file, against an independent reading: rows, or None where it must be refused."""
    path.write_bytes(raw)
    try:
        rows = read_table(path, "the-file")
    except DataError as error:
        refused(error, "the-file")
        rows = None
    if rows is not None:
        assert rows == read, "other rows than the independent reader"
    try:
        data = load_data(str(path))
    except DataError as error:
        assert rows is None or expected_pairs(rows) is None, f"valid, but refused: {error}"
        return refused(error, path.name)
    assert rows is not None
    assert {(p.topic, p.prompt, p.left, p.right) for p in data.pairs} == expected_pairs(rows)
    assert data.source["rows"] == len(rows) and data.source["kept"] == len(data.pairs)
    return True


def csv_rows(raw: bytes):
    try:
        lines = csv.reader(io.StringIO(decoded(raw), newline=""), skipinitialspace=True, strict=True)
        found = [line for line in lines if "".join(line).strip()]
    except (csv.Error, ValueError):
        return None
    names = [name.strip() for name in found[0]] if found else []
    while names and not names[-1]:
        names.pop()
    if any("".join(line[len(names) :]).strip() for line in found[1:]):
        return None  # text beyond the last column that has a name
    rows = [line + [""] * (len(names) - len(line)) for line in found[1:]]
    return [{name: cell for name, cell in zip(names, row, strict=False) if name} for row in rows] if names else None


def nothing(constant: str) -> None:
    """What NaN in JSON means."""


def json_rows(raw: bytes, lines: bool):
    try:
        text = decoded(raw)
        if lines:
            values = [json.loads(line, parse_constant=nothing) for line in text.split("\n") if line.strip()]
        else:
            values = json.loads(text, parse_constant=nothing)
            inner = list(values.values()) if isinstance(values, dict) else []
            if inner and all(isinstance(each, dict) for each in inner):
                values = inner  # rows under labels
            elif inner and all(isinstance(each, list) and not (each and isinstance(each[0], dict)) for each in inner):
                values = [dict(zip(values, cells, strict=True)) for cells in zip(*inner, strict=True)]
            elif tables := [each for each in inner if isinstance(each, list) and each and isinstance(each[0], dict)]:
                values = tables[0] if len(tables) == 1 else None  # wrapped
            values = values if isinstance(values, list) else [values]
        columns = dict.fromkeys(name for row in values for name in row)
        return [{name: row.get(name) for name in columns} for row in values]
    except (ValueError, RecursionError, AttributeError, TypeError):
        return None
