"""Reading a local CSV, JSON, JSONL or Parquet file into plain rows.

All reading goes through the ``datasets`` library with its own fixed readers. Nothing here runs code that
comes with the
data: no pickle, no loading script. A local file is read without a single network request.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from polinb.rows import fail, fail_at

SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".dill"})


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_table(path: Path, name: str | None = None) -> list[dict[str, Any]]:
    """Rows of a local file, in file order.

    Args:
        path: the file; its suffix says its format.
        name: what error messages call it (default: the path).

    Raises:
        DataError: no such file, a format that is not read, or content that is not of that format.
    """
    name = name or str(path)
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
        if raw[:4] != b"PAR1" or raw[-4:] != b"PAR1":
            fail(name, "is not a complete Parquet file (truncated, or another format)")
        return _load(kind, raw, name)
    text = _decode(raw, name)
    if not text.strip():
        fail(name, "is empty")
    columns = _check_csv(text, name) if kind == "csv" else None
    return _load(kind, text.encode("utf-8"), name, columns)


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


def _check_csv(text: str, name: str) -> list[str]:
    """Column names; refuses rows of another length, which the CSV reader would shift or cut."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    number = 0
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = cells
                continue
            number += 1
            if len(cells) != len(header):
                expected = f"expected {len(header)} cells ({', '.join(header)})"
                fail_at(name, number, None, f"{expected}, found {len(cells)}; put quotes around text with commas")
    except csv.Error as error:
        fail_at(name, number + 1, None, f"not valid CSV ({error})")
    if not number:
        fail(name, "holds no rows")
    twice = {column for column in header if header.count(column) > 1}
    if twice:
        fail_at(name, None, sorted(twice)[0], "this column name occurs twice in the header")
    return header


def _load(kind: str, content: bytes, name: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    import datasets

    # A private copy under a plain name: datasets takes *, [ and :: in a path for patterns and chains, and its
    # cache tells files apart by path and time only.
    with tempfile.TemporaryDirectory(prefix="polinb-data-") as folder:
        copy = Path(folder) / f"rows.{kind}"
        try:
            copy.write_bytes(content)
        except OSError as error:
            fail(name, f"cannot be copied into {folder} ({error.strerror}); free space there or point TMPDIR elsewhere")
        options: dict[str, Any] = {}
        if columns is not None:
            text = datasets.Features({column: datasets.Value("string") for column in columns})
            options = {"features": text, "keep_default_na": False}  # "NA" and "5" stay the text that they are
        try:
            with quiet():
                table = datasets.load_dataset(
                    kind,
                    data_files=str(copy),
                    split="train",
                    cache_dir=str(Path(folder) / "cache"),
                    **options,
                )
                return list(table.to_list())
        except Exception as error:
            _explain(kind, content, name, error)


def _explain(kind: str, content: bytes, name: str, error: Exception) -> NoReturn:
    """Say where a file that ``datasets`` could not read is wrong."""
    cause = error.__cause__ or error
    if "corresponds to no data" in str(cause):
        fail(name, "holds no rows")
    if kind == "json":
        text = content.decode("utf-8")
        try:
            value = json.loads(text)
            if not isinstance(value, (list, dict)):
                fail(
                    name,
                    f"expected a list of objects or one object a line, found {type(value).__name__}",
                )
            for number, row in enumerate(value if isinstance(value, list) else [value], start=1):
                _need_object(name, number, row)
        except json.JSONDecodeError as whole:
            if text.lstrip().startswith("["):
                fail(
                    name,
                    f"line {whole.lineno}: not valid JSON ({whole.msg}); is the file truncated?",
                )
            for number, line in enumerate(filter(str.strip, text.splitlines()), start=1):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as bad:
                    fail_at(name, number, None, f"not valid JSON ({bad.msg}); is the file truncated?")
                _need_object(name, number, row)
    fail(name, f"cannot be read as {kind} ({type(cause).__name__}: {first_line(cause)})")


def _need_object(name: str, number: int, row: Any) -> None:
    if not isinstance(row, dict):
        fail_at(name, number, None, f"expected an object with named columns, found {type(row).__name__}")


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
