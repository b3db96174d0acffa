"""One door for all data: bundled, a file of the user's, or the Hugging Face hub; every row checked.

No type is guessed (a text that looks like a date or a number stays text) and no line filled. Nothing here runs code
that comes with the data: no pickle, no loading script. A local file is read without a single network request.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from polinb.data.rows import R, checked, fail
from polinb.errors import DataError, first_line
from polinb.models.checkpoints import file_sha256

SUFFIXES = (".csv", ".json", ".jsonl", ".parquet", ".yaml", ".yml")
_RESOURCES = Path(str(resources.files("polinb") / "resources"))
_GAP = re.compile(r"[ \t\r]*(?:\n[ \t\r\n]*|$)")
_DELIMITERS = (",", ";", "\t", "|")  # of spreadsheets, by the country they are set to, and of databases
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(\w[\w .+-]*))?(?:@(\w[\w./-]*))?", re.ASCII)


def read(given: str, kind: type[R], bundled: Mapping[str, str], also: str = "") -> tuple[list[R], str, dict[str, Any]]:
    """Checked rows of ``kind``, their name, and their source: origin, checksum or revision, columns, rows, wrong ones.

    Args:
        given: a bundled name, a CSV, JSON, JSONL, Parquet or YAML file, or ``hub:owner/name``, after which ``:config``
            and ``@revision`` may follow.
        bundled: names, and their files in the package's resources.
        also: what else the caller takes, for messages.

    Raises:
        DataError: no such data, out of reach, malformed; names file, row and column.
    """
    if given.startswith("hub:"):
        name = given.removeprefix("hub:").partition("@")[0]
        table, commit = _read_hub(given)
        source: dict[str, Any] = {"origin": f"https://huggingface.co/datasets/{name.split(':')[0]}", "revision": commit}
    else:
        path = _RESOURCES / bundled[given] if given in bundled else place(given)
        if not path.exists() and path.suffix.lower() not in SUFFIXES:
            others = "".join(f"{each}, " for each in bundled) + also
            fail(given[:200], f"no such data; expected {others}a file ({', '.join(SUFFIXES)}) or hub:owner/name")
        table = read_table(path, given, {name for field in kind.model_fields for name in kind.names(field)})
        name, source = path.stem, {"origin": "file", "file": path.name}
        if given in bundled:
            name, source = given, {"origin": "bundled with polinb", "licence": "CC BY 4.0"}
        source["sha256"] = file_sha256(path)
    rows = checked(table, kind, given)
    columns = [column.strip().casefold() for column in table[0]]
    return rows, name, source | {"columns": columns, "rows": len(table), "wrong": len(table) - len(rows)}


def _read_hub(given: str) -> tuple[list[dict[str, Any]], str]:
    """Rows of a hub data set (its ``train`` split, or its only one) and the commit they came from."""
    found = _HUB_ID.fullmatch(given.removeprefix("hub:"))
    if not found or ".." in given or len(given) > 200:
        fail(given[:200], "expected hub:owner/name, :config and @revision where wanted, as on the data set's page")
    repository, config, revision = found.groups()
    if Path(repository).exists():
        fail(given, "a local folder of this name hides the hub's data set; run from another folder")
    import datasets

    try:
        builder = datasets.load_dataset_builder(repository, config, revision=revision)
        if not {kind.__name__ for kind in type(builder).__mro__} & {"Csv", "Json", "Parquet"}:
            fail(given, f"only sets of CSV, JSON or Parquet files are read; it is one of {type(builder).__name__}")
        builder.download_and_prepare()
        splits = builder.as_dataset()
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{given}: cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:600]}). Check the "
            f"name, the revision and the network, or choose one of its configurations (hub:{repository}:NAME), or "
            "download a CSV, JSON or Parquet file of it and give its path"
        ) from error
    if len(names := list(map(str, splits))) > 1 and "train" not in names:
        fail(given, f"expected a split named train; it has {', '.join(names)}: download the file of one, and give that")
    return splits["train" if "train" in names else names[0]].to_list(), str(builder.hash or "unknown")


def resource(path: str) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file that comes with the package; they were checked when it was written."""
    return [json.loads(line) for line in (_RESOURCES / path).read_text("utf-8").splitlines()]


def place(given: str) -> Path:
    """The path that a user wrote, with ``~`` for the home folder; a DataError for what no file system takes as one."""
    try:
        path = Path(given).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        fail(given[:200], f"no such data ({first_line(error)[:200]})")
    return path


def read_table(path: Path, name: str | None = None, columns: Collection[str] = ()) -> list[dict[str, Any]]:
    """Rows of a local file, in file order, with the same columns in each; a DataError tells why it cannot be read.

    Args:
        name: what error messages call it (default: the path).
        columns: names that columns may have; tell JSON written by column from JSON written by row label.
    """
    name, suffix = name or str(path), path.suffix.lower()
    if suffix not in SUFFIXES:
        allowed = f"expected one of {', '.join(SUFFIXES)}; pickles are never opened"
        fail(name, f"the suffix {path.suffix!r} is unknown; {allowed}")
    if not path.is_file():
        fail(name, "is not a regular file" if path.exists() else "no such file")
    if path.name.startswith("._"):
        fail(name, f"is what macOS leaves beside a file and holds no data; give {path.name[2:]!r}")
    try:
        if suffix == ".parquet":
            import pyarrow.parquet

            raw = pyarrow.BufferReader(path.read_bytes())
            table = pyarrow.parquet.read_table(raw, use_threads=False, page_checksum_verification=True)
            table.validate(full=True)  # offsets and UTF-8: a damaged file may pass for a whole one until it is used
            _once(table.column_names, name)
            rows = table.to_pylist()
        elif suffix == ".csv":
            rows = _csv(_text(path, name), name)
        else:
            parse = _json if suffix.startswith(".js") else yaml.safe_load
            rows = _records(parse(_text(path, name)), name, columns)
    except DataError:
        raise
    except Exception as error:  # of the file system, or of one of the parsers, which have errors of their own
        fail(name, f"cannot be read ({type(error).__name__}: {first_line(error)}); is the file truncated?")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            fail(name, f"expected an object with named columns, found {type(row).__name__}", number)
    if not rows:
        fail(name, "holds no rows")
    every = dict.fromkeys(column for row in rows for column in row)
    return [{str(column): row.get(column) for column in every} for row in rows]


def _text(path: Path, name: str) -> str:
    raw = path.read_bytes()
    # Spreadsheets put a byte-order mark first, and their "Unicode text" is UTF-16.
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fail(name, f"line {line} is not UTF-8 text (byte {raw[error.start]:#04x}); save the file as UTF-8")
    if "\0" in text:
        fail(name, "holds NUL characters, as UTF-16 text without a byte-order mark does; save the file as UTF-8")
    return text


def _csv(text: str, name: str) -> list[dict[str, str]]:
    """Rows of CSV text as spreadsheets write it: other delimiters, a ``sep=`` line, empty columns and rows."""
    said = re.match(r'"?sep=([^\r\n"])"?\r?\n', text, re.IGNORECASE)
    text = text[said.end() :] if said else text
    mark = said[1] if said else max(_DELIMITERS, key=lambda mark: len(next(_cells(text, mark), [])))
    lines: list[list[str]] = []
    try:
        lines.extend(_cells(text, mark, strict=True))  # keeps those before an error
    except csv.Error as error:
        fail(name, f"not valid CSV ({first_line(error)}); save it anew as CSV UTF-8", max(1, len(lines)))
    header = [column.strip() for column in lines[0]] if lines else []
    while header and not header[-1]:
        header.pop()
    _once(header, name)
    rows, width = lines[1:], len(header)
    for number, cells in enumerate(rows, start=1):
        cut = number == len(rows) and len(cells) < width and not text.endswith(("\n", "\r"))
        if cut or any(cell.strip() for cell in cells[width:]):  # spreadsheets leave out empty cells at a row's end
            advice = f"put quotes around text with {mark!r}, or remove what stands above the names of the columns"
            found = f"found {len(cells)}; {'is the file truncated?' if cut else advice}"
            fail(name, f"expected {width} cells ({', '.join(header)[:300]}), {found}", number)
    return [{c: cell for c, cell in zip_longest(header, cells[:width], fillvalue="") if c} for cells in rows]


def _cells(text: str, delimiter: str, strict: bool = False) -> Iterator[list[str]]:
    """The lines of CSV text that hold something."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=strict)
    return (cells for cells in lines if any(cell.strip() for cell in cells))


def _once(columns: Sequence[str], name: str) -> None:
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        fail(name, "this column name occurs twice", None, twice[0])


def _json(text: str) -> Any:
    """A JSON value, or a list of those that each begin a line; NaN is nothing."""
    decoder, values, at = json.JSONDecoder(parse_constant=lambda constant: None), [], 0
    text = text.strip(" \t\r\n")
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        values.append(value)
        gap = _GAP.match(text, end)
        if not gap:
            raise json.JSONDecodeError("Extra data", text, end)
        at = gap.end()
    return values[0] if len(values) == 1 else values


def _records(value: Any, name: str, known: Collection[str]) -> list[Any]:
    """The list of objects in a JSON value: itself, inside a wrapper, or a table as pandas and others write it."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        fail(name, f"expected a list of objects or one object a line, found {type(value).__name__}")
    lists = {key: each for key, each in value.items() if isinstance(each, list) and each and isinstance(each[0], dict)}
    tables = {key: each for key, each in lists.items() if not {"role", "from"} & set(each[0])}  # no turns of a chat
    if len(tables) > 1:
        fail(name, f"holds several tables ({', '.join(tables)}); put the one that is meant into a file of its own")
    if tables:
        return list(*tables.values())
    inner, columns, data = list(value.values()), value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list):  # pandas, orient="split"
        return [dict(zip(columns, cells, strict=False)) if isinstance(cells, list) else cells for cells in data]
    if inner and not lists and all(isinstance(each, list) for each in inner):
        if len({len(each) for each in inner}) > 1:
            fail(name, f"its columns have different lengths: {', '.join(f'{k} {len(v)}' for k, v in value.items())}")
        return [dict(zip(value, cells, strict=True)) for cells in zip(*inner, strict=True)]
    if not inner or not all(isinstance(each, dict) for each in inner):
        return [value]
    if not {str(key).strip().casefold() for key in value} & set(known):  # orient="index"
        return inner
    labels = dict.fromkeys(label for column in inner for label in column)
    return [{key: column.get(label) for key, column in value.items()} for label in labels]
