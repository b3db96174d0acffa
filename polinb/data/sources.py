"""Reading a local CSV, JSON, JSONL or Parquet file into plain rows.

Read by Python's own csv and json modules and by pyarrow: they neither guess types (a text that looks like a date or a
number stays text) nor fill lines. Nothing here runs code that comes with the data: no pickle, no loading script. A
local file is read without a single network request.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Collection, Sequence
from functools import partial
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any

from polinb.data.rows import fail, fail_at
from polinb.errors import DataError

SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_parsed = partial(json.loads, parse_constant=lambda constant: None)  # NaN: nothing
_DELIMITERS = (",", ";", "\t", "|")  # of spreadsheets, by the country they are set to, and of databases


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resource(path: str) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file that comes with the package; they were checked when it was written."""
    text = (resources.files("polinb") / "resources" / path).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def place(given: str) -> Path:
    """The path that a user wrote, with ``~`` for the home folder.

    Raises:
        DataError: what no file system takes as a path, such as NUL in it or a part of more than 255 bytes.
    """
    try:
        path = Path(given).expanduser()
        path.stat()
    except FileNotFoundError:
        return path
    except (OSError, ValueError, RuntimeError) as error:
        shown = ascii(given)[1:-1]
        fail(shown if len(shown) <= 200 else f"{shown[:200]}…", f"no such data ({first_line(error)[:200]})")
    return path


def read_table(path: Path, name: str | None = None, columns: Collection[str] = ()) -> list[dict[str, Any]]:
    """Rows of a local file, in file order, with the same columns in each.

    Args:
        path: the file; its suffix says its format.
        name: what error messages call it (default: the path).
        columns: names that columns may have; tell JSON written by column from JSON written by row label.

    Raises:
        DataError: no such file, a format that is not read, or content that is not of that format.
    """
    name = name or str(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        allowed = ", ".join(SUFFIXES)
        fail(name, f"the suffix {path.suffix!r} is unknown; expected one of {allowed}; pickles are never opened")
    if not path.is_file():
        fail(name, "is not a regular file" if path.exists() else "no such file")
    if path.name.startswith("._"):
        fail(name, f"is what macOS leaves beside a file and holds no data; give {path.name[2:]!r}")
    try:
        raw = path.read_bytes()
    except OSError as error:
        fail(name, f"cannot be read ({error.strerror or error})")
    if kind == "parquet":
        rows = _parquet(raw, name)
    else:
        text = _decode(raw, name)
        rows = _csv(text, name) if kind == "csv" else _json(text, name, columns)
    if not rows:
        fail(name, "holds no rows")
    return rows


def _decode(raw: bytes, name: str) -> str:
    # Spreadsheets put a byte-order mark first, and their "Unicode text" is UTF-16.
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fail(name, f"line {line} is not UTF-8 text (byte {raw[error.start]:#04x}); save the file as UTF-8")
    if "\0" in text:
        fail(name, "holds NUL characters, as UTF-16 text without a byte-order mark does; save the file as UTF-8")
    if not text.strip():
        fail(name, "is empty")
    return text


def _csv(text: str, name: str) -> list[dict[str, Any]]:
    """Rows of CSV text as spreadsheets write it: other delimiters, a ``sep=`` line, empty columns and rows."""
    said = re.match(r'"?sep=([^\r\n"])"?\r?\n', text, re.IGNORECASE)
    if said:
        text = text[said.end() :]
    lines: list[list[str]] = []
    try:
        delimiter = said[1] if said else max(_DELIMITERS, key=lambda mark: len(_header(text, mark)))
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True):
            if any(cell.strip() for cell in cells):
                lines.append(cells)
    except csv.Error as error:
        fail_at(name, max(1, len(lines)), None, f"not valid CSV ({first_line(error)}); save it anew as CSV UTF-8")
    header = [column.strip() for column in lines[0]] if lines else []
    while header and not header[-1]:
        header.pop()
    _once(header, name)
    rows = []
    for number, cells in enumerate(lines[1:], start=1):
        advice = ""
        if any(cell.strip() for cell in cells[len(header) :]):
            title = number == 1 and len(header) == 1
            advice = "remove what stands above the names of the columns"
            advice = advice if title else f"put quotes around text with {delimiter!r}"
        elif number == len(lines) - 1 and len(cells) < len(header) and not text.endswith(("\n", "\r")):
            advice = "is the file truncated?"
        if advice:
            expected = f"expected {len(header)} cells ({', '.join(header)[:300]})"
            fail_at(name, number, None, f"{expected}, found {len(cells)}; {advice}")
        # A row may end before its last columns: spreadsheets leave out what is empty there.
        row = zip_longest(header, cells[: len(header)], fillvalue="")
        rows.append({column: cell for column, cell in row if column})
    return rows


def _header(text: str, delimiter: str) -> list[str]:
    return next((cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if cells), [])


def _once(columns: Sequence[str], name: str) -> None:
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        fail_at(name, None, twice[0], "this column name occurs twice")


def _json(text: str, name: str, columns: Collection[str]) -> list[dict[str, Any]]:
    """Rows of JSON: a list of objects, one object a line, or a table as pandas and others write it."""
    try:
        value = _parsed(text)
    except json.JSONDecodeError as whole:
        if text.lstrip().startswith("["):
            fail(name, f"line {whole.lineno}: not valid JSON ({whole.msg}); is the file truncated?")
        return even(_lines(text, name), name)
    except (ValueError, RecursionError) as error:
        fail(name, f"not valid JSON ({first_line(error)})")
    return even(_records(value, name, columns), name)


def _records(value: Any, name: str, known: Collection[str]) -> list[Any]:
    """The list of objects in a JSON value: itself, inside a wrapper, by column or by row label."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        fail(name, f"expected a list of objects or one object a line, found {type(value).__name__}")
    inner = list(value.values())
    tables = [key for key, each in value.items() if isinstance(each, list) and each and _is_row(each[0])]
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list) and "data" not in tables:  # pandas, orient="split"
        return [dict(zip(columns, cells, strict=False)) if isinstance(cells, list) else cells for cells in data]
    if inner and all(isinstance(each, list) and not (each and isinstance(each[0], dict)) for each in inner):
        if len({len(each) for each in inner}) > 1:
            fail(name, f"its columns have different lengths: {', '.join(f'{k} {len(v)}' for k, v in value.items())}")
        return [dict(zip(value, cells, strict=True)) for cells in zip(*inner, strict=True)]
    if inner and all(isinstance(each, dict) for each in inner):
        if not {key.strip().casefold() for key in value} & set(known):  # orient="index"
            return inner
        labels = dict.fromkeys(label for column in inner for label in column)
        return [{key: column.get(label) for key, column in value.items()} for label in labels]
    if len(tables) > 1:
        fail(name, f"holds several tables ({', '.join(tables)}); put the one that is meant into a file of its own")
    return list(value[tables[0]]) if tables else [value]


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and not {"role", "from"} & set(value)  # a turn of a chat is no row


def _lines(text: str, name: str) -> list[Any]:
    rows: list[Any] = []
    for line in text.split("\n"):  # not splitlines: a text may hold other marks that end a line
        try:
            if line.strip():
                rows.append(_parsed(line))
        except json.JSONDecodeError as bad:
            fail_at(name, len(rows) + 1, None, f"not valid JSON ({bad.msg}); is the file truncated?")
        except (ValueError, RecursionError) as error:
            fail_at(name, len(rows) + 1, None, f"not valid JSON ({first_line(error)})")
    return rows


def even(rows: Sequence[Any], name: str) -> list[dict[str, Any]]:
    """The rows with the same columns each; what one lacks is ``None``."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            fail_at(name, number, None, f"expected an object with named columns, found {type(row).__name__}")
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column) for column in columns} for row in rows]


def _parquet(raw: bytes, name: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(raw), use_threads=False, page_checksum_verification=True)
        _once(table.column_names, name)
        table.validate(full=True)  # offsets and UTF-8: a damaged file may pass for a whole one until it is used
        rows: list[dict[str, Any]] = table.to_pylist()
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        fail(name, f"cannot be read as parquet ({type(error).__name__}: {first_line(error)})")
    return rows


def first_line(error: BaseException) -> str:
    """The beginning of an error's message, for use inside another one."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (str(error).strip().splitlines() or [""])[0][:300]
