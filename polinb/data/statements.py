"""Lists of statements to agree or disagree with: two bundled ones with their contraries, or the user's own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polinb.data.reading import read
from polinb.data.rows import Statement

BUNDLED_STATEMENTS = {
    "compass": "Compass statements (polinb's own wording, in the manner of the Political Compass)",
    "ideologies": "Ideology statements (polinb's own wording, in the manner of the IDRlabs ideologies test)",
    "compass-mirror": "Compass statements turned round: each says the contrary of the one with its id",
    "ideologies-mirror": "Ideology statements turned round: each says the contrary of the one with its id",
}
MIRROR = "-mirror"
"""What the name of a set of contraries ends with."""


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
    """Load ``compass``, ``ideologies``, or a list from a place that :func:`polinb.data.reading.read` knows.

    Bundled are ``compass``, ``ideologies`` and their contraries, ``compass-mirror`` and ``ideologies-mirror``. A file
    needs a column ``statement`` (or ``text``); ``id`` and ``direction`` (``left``, ``right`` or ``none``) are optional.

    Raises:
        DataError: missing or malformed data, or the same statement twice; names file, row and column.
    """
    bundled = {name: f"statements/{name}.jsonl" for name in BUNDLED_STATEMENTS}
    cache = Path(cache_dir) if cache_dir else None
    rows, name, source = read(str(name_or_path), Statement, bundled, revision=revision, cache=cache)
    found = tuple(row.named("statement", row.text) for row in rows)
    return StatementSet(name, BUNDLED_STATEMENTS.get(str(name_or_path), name), found, source)
