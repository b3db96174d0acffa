"""Files of stance data in all states, and a plain reading of what their rows mean."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

import pyarrow as pa
import pyarrow.parquet
from fuzzing import plain
from hypothesis import strategies as st

from polinb.data.rows import TOPICS

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
    "quote": lambda raw, at: raw[: at % (len(raw) + 1)] + b'"' + raw[at % (len(raw) + 1) :],
    "deep": lambda raw, at: b"[" * 20_000 + raw,
}
DAMAGE = st.tuples(st.sampled_from(["none", "none", "none", *DAMAGES]), st.integers(0, 5000))


def damaged(raw: bytes, damage: tuple[str, int]) -> bytes:
    return DAMAGES[damage[0]](raw, damage[1])


def holds(cell: object) -> bool:
    """Whether a cell says anything: ``NA``, ``nan`` and white space do not."""
    return str("" if cell is None else cell).strip() not in ("", "NA", "nan")


def expected_pairs(rows) -> set[tuple[str, str, str, str]] | None:
    """The pairs that rows mean, by a plain reading of the documented rules; None: they must be refused."""
    seen: dict[str, list[tuple[str, str, str, str]]] = {}
    ids = []
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


def plain_form(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


# --- writing a file by other means; ``style`` picks one of two ways


def names_of(rows) -> list[str]:
    return list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))


def csv_file(rows, style: bool) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL if style else csv.QUOTE_MINIMAL, lineterminator="\n")
    writer.writerow(names_of(rows))
    for row in rows:
        writer.writerow(["" if row.get(name) is None else str(row[name]) for name in names_of(rows)])
    return stream.getvalue().encode("utf-8", "replace")


def json_file(rows, style: bool) -> bytes:
    return f"[{', '.join(json.dumps(row, ensure_ascii=style) for row in rows)}]".encode("utf-8", "replace")


def jsonl_file(rows, style: bool) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=style)}\n" for row in rows).encode("utf-8", "replace")


def parquet_file(rows, style: bool) -> bytes | None:
    try:
        table = pa.table({name: [row.get(name) for row in rows] for name in names_of(rows)})
    except (pa.ArrowException, TypeError, OverflowError):
        return None
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream, use_dictionary=style)
    return stream.getvalue()


FORMATS = {"csv": csv_file, "json": json_file, "jsonl": jsonl_file, "parquet": parquet_file}
