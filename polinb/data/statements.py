"""Lists of statements to agree or disagree with: two bundled ones with their contraries, or the user's own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from polinb.data.hub import read_hub
from polinb.data.rows import statement_rows
from polinb.data.sources import SUFFIXES, check_path, file_sha256, read_table
from polinb.errors import DataError

BUNDLED_STATEMENTS = {
    "compass": "Compass statements (polinb's own wording, in the manner of the Political Compass)",
    "ideologies": "Ideology statements (polinb's own wording, in the manner of the IDRlabs ideologies test)",
    "compass-mirror": "Compass statements turned round: each says the contrary of the one with its id",
    "ideologies-mirror": "Ideology statements turned round: each says the contrary of the one with its id",
}
MIRROR = "-mirror"
"""What the name of a set of contraries ends with."""


@dataclass(frozen=True)
class Statement:
    """One statement.

    ``direction`` is the leaning that agreement expresses: ``left``, ``right`` or ``none``; ``group`` is its
    axis or school of thought where the file gives one.
    """

    id: str
    text: str
    direction: str = "none"
    group: str = ""


@dataclass(frozen=True)
class StatementSet:
    """A statement list in file order, with its provenance in ``source``."""

    name: str
    title: str
    statements: tuple[Statement, ...]
    source: dict[str, Any] = field(default_factory=dict, compare=False)

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content; the order of the statements does not change it."""
        lines = sorted(json.dumps([s.id, s.text, s.direction, s.group]) for s in self.statements)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load_statements(
    name_or_path: str, *, revision: str | None = None, cache_dir: str | Path | None = None
) -> StatementSet:
    """Load a bundled list, a CSV, JSON, JSONL or Parquet file, or ``hub:owner/name``.

    Bundled are ``compass``, ``ideologies`` and their contraries, ``compass-mirror`` and ``ideologies-mirror``. A file
    needs a column ``statement`` (or ``text``); ``id`` and ``direction`` (``left``, ``right`` or ``none``) are optional.

    Raises:
        DataError: a missing or malformed file; names file, row and column.
    """
    given = str(name_or_path)
    if given in BUNDLED_STATEMENTS:
        place = resources.files("polinb") / "resources" / "statements" / f"{given}.jsonl"
        with resources.as_file(place) as path:
            rows = read_table(path, f"bundled statements/{given}.jsonl")
            source: dict[str, Any] = {
                "origin": "bundled with polinb",
                "licence": "CC BY 4.0",
                "sha256": file_sha256(path),
            }
        name, title = given, BUNDLED_STATEMENTS[given]
    elif given.startswith("hub:"):
        hub_id = given.removeprefix("hub:")
        rows, commit = read_hub(hub_id, revision, Path(cache_dir) if cache_dir else None)
        source = {"origin": f"https://huggingface.co/datasets/{hub_id}", "revision": commit}
        name = title = hub_id
    else:
        path = Path(given)
        check_path(path)
        if not path.exists() and path.suffix.lower() not in SUFFIXES:
            names, files = ", ".join(BUNDLED_STATEMENTS), ", ".join(SUFFIXES)
            raise DataError(f"{given}: no such statement list; expected {names}, a {files} file or hub:owner/name")
        rows = read_table(path)
        source = {"origin": "file", "file": path.name, "sha256": file_sha256(path)}
        name, title = path.stem, path.stem
    checked = statement_rows(rows, given)
    source["rows"] = len(checked)
    return StatementSet(name, title, tuple(Statement(**row) for row in checked), source)
