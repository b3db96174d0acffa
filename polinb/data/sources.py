"""Reading a local CSV, JSON, JSONL or Parquet file into plain rows.

Read by Python's own csv and json modules and by pyarrow: they neither guess types (a text that looks like a date or a
number stays text) nor fill or drop lines. Nothing here runs code that comes with the data: no pickle, no loading
script. A local file is read without a single network request.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from polinb.data.rows import fail, fail_at
from polinb.errors import DataError

SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_DIGITS = 400  # of a whole number in JSON; nothing here counts so far
_HALF = re.compile("[\\ud800-\\udfff]")
_PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".dill"})


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_path(path: Path) -> None:
    """Refuse what no file system takes as a path, such as one with NUL or with a part of more than 255 bytes.

    Raises:
        DataError: says why.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        shown = ascii(str(path))[1:-1]
        fail(shown if len(shown) <= 200 else f"{shown[:200]}…", f"no such data ({first_line(error)[:200]})")


def read_table(path: Path, name: str | None = None) -> list[dict[str, Any]]:
    """Rows of a local file, in file order.

    Args:
        path: the file; its suffix says its format.
        name: what error messages call it (default: the path).

    Raises:
        DataError: no such file, a format that is not read, or content that is not of that format.
    """
    name = name or str(path)
    check_path(path)
    kind = _kind(path, name)
    try:
        raw = path.read_bytes()
    except OSError as error:
        fail(name, f"cannot be read ({error.strerror or error})")
    if raw[:1] == b"\x80" and raw[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        fail(
            name,
            "is a pickle under another name; pickles run code when opened and are never read",
        )
    if kind == "parquet":
        return _parquet(raw, name)
    text = _decode(raw, name)
    if not text.strip():
        fail(name, "is empty")
    return _csv(text, name) if kind == "csv" else _json(text, name)


def _kind(path: Path, name: str) -> str:
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        fail(
            name,
            f"{suffix} files may be pickles, which run code when opened; use {', '.join(SUFFIXES)}",
        )
    if suffix not in SUFFIXES:
        fail(name, f"the suffix {suffix!r} is unknown; expected one of {', '.join(SUFFIXES)}")
    if not path.exists():
        fail(name, "no such file")
    if not path.is_file():
        fail(name, "is not a regular file")
    return SUFFIXES[suffix]


def _decode(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")  # spreadsheets put a byte-order mark first
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fail(
            name,
            f"line {line} is not UTF-8 text (byte {raw[error.start]:#04x}); save the file as UTF-8",
        )


def _csv(text: str, name: str) -> list[dict[str, Any]]:
    """Rows of CSV text; refuses rows of another length than the header's, which some readers shift or cut."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows: list[dict[str, Any]] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = cells
                continue
            if len(cells) != len(header):
                expected = f"expected {len(header)} cells ({_listed(header)})"
                fail_at(
                    name, len(rows) + 1, None, f"{expected}, found {len(cells)}; put quotes around text with commas"
                )
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        fail_at(name, len(rows) + 1, None, f"not valid CSV ({error})")
    if not rows:
        fail(name, "holds no rows")
    twice = {column for column in header if header.count(column) > 1}
    if twice:
        fail_at(name, None, sorted(twice)[0][:60], "this column name occurs twice in the header")
    return rows


def _json(text: str, name: str) -> list[dict[str, Any]]:
    """Rows of a JSON list of objects, or of one object a line."""
    try:
        value = _parsed(text)
    except json.JSONDecodeError as whole:
        if text.lstrip().startswith("["):
            fail(name, f"line {whole.lineno}: not valid JSON ({whole.msg}); is the file truncated?")
        return _jsonl(text, name)
    except (ValueError, RecursionError) as error:
        fail(name, f"not valid JSON ({_why(error)})")
    if not isinstance(value, list | dict):
        fail(name, f"expected a list of objects or one object a line, found {type(value).__name__}")
    rows = value if isinstance(value, list) else [value]
    if not rows:
        fail(name, "holds no rows")
    return _even([_object(name, number, row) for number, row in enumerate(rows, start=1)])


def _jsonl(text: str, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in text.split("\n"):  # not splitlines: a text may hold other marks that end a line
        if not line.strip():
            continue
        try:
            rows.append(_object(name, len(rows) + 1, _parsed(line)))
        except json.JSONDecodeError as bad:
            fail_at(name, len(rows) + 1, None, f"not valid JSON ({bad.msg}); is the file truncated?")
        except (_UnfitError, RecursionError) as error:
            fail_at(name, len(rows) + 1, None, f"not valid JSON ({_why(error)})")
    return _even(rows)


def _even(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the same columns each; what one lacks is ``None``."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column) for column in columns} for row in rows]


class _UnfitError(ValueError):
    """JSON that Python's module takes, and that has no clear meaning."""


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_int=_whole)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _UnfitError(f"the name {twice[:60]!r} occurs twice in one object")
    return found


def _no_number(text: str) -> NoReturn:
    raise _UnfitError(f"{text} is no JSON number")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise _UnfitError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _why(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else first_line(error)


def _parquet(raw: bytes, name: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet

    if raw[:4] != b"PAR1" or raw[-4:] != b"PAR1":
        fail(name, "is not a complete Parquet file (truncated, or another format)")
    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(raw), use_threads=False, page_checksum_verification=True)
        twice = {column for column in table.column_names if table.column_names.count(column) > 1}
        if twice:
            fail_at(name, None, sorted(twice)[0][:60], "this column name occurs twice")
        table.validate(full=True)  # offsets and UTF-8: a damaged file may pass for a whole one until it is used
        rows: list[dict[str, Any]] = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        fail(name, f"cannot be read as parquet ({type(error).__name__}: {first_line(error)})")
    if not rows:
        fail(name, "holds no rows")
    return rows


def _object(name: str, number: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        fail_at(name, number, None, f"expected an object with named columns, found {type(row).__name__}")
    for column, value in row.items():
        for text in (column, value):
            if isinstance(text, str) and _HALF.search(text):
                fail_at(name, number, ascii(column)[1:-1], "half of a character (a lone surrogate), which is no text")
    return row


def _listed(names: list[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 300 else f"{text[:300]}…"


def first_line(error: BaseException) -> str:
    """The beginning of an error's message, for use inside another one."""
    return (str(error).strip().splitlines() or [""])[0][:300]


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, no log lines, and none of the counting requests sent even for a local file."""
    import datasets

    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    counts = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what goes wrong is raised, with the user's path
    try:
        yield
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
