"""Checks on the rows of any stance set or statement list, and the normal form of a prompt.

A row is a dictionary as a reader returned it. Every complaint names the file, the row (the first row of data
is row 1; a CSV header is not counted) and the column, and says what was expected.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from polinb.errors import DataError

TOPICS = ("crime", "race", "economy", "immigration", "gender", "science")
LEANINGS = ("left", "right")
DIRECTIONS = ("left", "right", "none")


def normalise(text: str) -> str:
    """``text`` with compatible characters, letter case and white space made alike.

    Two prompts with the same normal form are the same prompt.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_hash(text: str) -> str:
    """Hexadecimal SHA-256 of the normal form of ``text`` (64 characters)."""
    return hashlib.sha256(normalise(text).encode("utf-8")).hexdigest()


def fail(file: str, problem: str) -> NoReturn:
    """Raise the DataError about a whole file."""
    raise DataError(f"{file}: {problem}")


def fail_at(file: str, row: int | None, column: str | None, problem: str) -> NoReturn:
    """Raise the DataError that names ``file``, ``row`` and ``column``."""
    place = file
    if row is not None:
        place += f", row {row}"
    if column is not None:
        place += f", column {column!r}"
    raise DataError(f"{place}: {problem}")


def require_columns(rows: Sequence[Mapping[str, Any]], columns: Iterable[str], file: str) -> None:
    """Refuse an empty file and one that lacks a column altogether."""
    columns = list(columns)
    wanted = ", ".join(columns)
    if not rows:
        fail(file, f"holds no rows; expected at least one with the columns {wanted}")
    found = set().union(*(row.keys() for row in rows))
    told = ", ".join(sorted(found)) or "none"
    for column in columns:
        if column not in found:
            told = told if len(told) <= 300 else f"{told[:300]}…"
            fail_at(file, 1, column, f"this column is missing; expected {wanted}, found {told}")


def text_cell(row: Mapping[str, Any], number: int, column: str, file: str) -> str:
    """The text in one cell, without surrounding white space; it must hold at least one letter."""
    value = row.get(column)
    if value is None:
        fail_at(file, number, column, "expected text, found nothing")
    if not isinstance(value, str):
        fail_at(file, number, column, f"expected text, found {_show(value)}")
    text = value.strip()
    if not text:
        fail_at(file, number, column, "expected text, found an empty cell")
    if not any(character.isalpha() for character in text):
        fail_at(file, number, column, f"expected text with words, found {_show(text)}")
    return text


def choice_cell(row: Mapping[str, Any], number: int, column: str, file: str, allowed: Sequence[str]) -> str:
    """The text in one cell, which must be one of ``allowed`` (letter case does not matter)."""
    text = text_cell(row, number, column, file).casefold()
    if text not in allowed:
        fail_at(file, number, column, f"expected one of {', '.join(allowed)}; found {_show(row[column])}")
    return text


def id_cell(row: Mapping[str, Any], number: int, file: str) -> str | None:
    """The identifier of a row: text or a whole number; ``None`` where the row has none."""
    value = row.get("id")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        fail_at(file, number, "id", f"expected text or a whole number, found {_show(value)}")
    text = str(value).strip()
    if not text:
        fail_at(file, number, "id", "expected text or a whole number, found an empty cell")
    return text


def require_unique(ids: Iterable[str | None], file: str) -> None:
    """Refuse an identifier that occurs twice, naming both rows; a row without one does not count."""
    first: dict[str, int] = {}
    for number, key in enumerate(ids, start=1):
        if key is None:
            continue
        if key in first:
            fail_at(file, number, "id", f"expected a new id; {_show(key)} is already the id of row {first[key]}")
        first[key] = number


def stance_rows(rows: Sequence[Mapping[str, Any]], file: str) -> list[dict[str, Any]]:
    """Checked rows of a stance set: ``id``, ``topic``, ``prompt``, ``left``, ``right``, all text.

    A row without an id gets one made of its topic and the hash of its prompt, so that it never depends on row
    order.

    Raises:
        DataError: a missing column, an empty or non-text cell, an unknown topic, an id used twice.
    """
    require_columns(rows, ("topic", "prompt", *LEANINGS), file)
    checked: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        topic = choice_cell(row, number, "topic", file, TOPICS)
        texts = {column: text_cell(row, number, column, file) for column in ("prompt", *LEANINGS)}
        checked.append({"id": id_cell(row, number, file), "topic": topic, **texts})
    require_unique((item["id"] for item in checked), file)
    for item in checked:
        item["id"] = item["id"] or f"{item['topic']}-{text_hash(item['prompt'])[:12]}"
    return checked


def statement_rows(rows: Sequence[Mapping[str, Any]], file: str) -> list[dict[str, str]]:
    """Checked rows of a statement list: ``id``, ``text``, ``direction``, ``group``, all text.

    The text stands in a column ``statement`` or ``text``. ``direction`` is ``none`` where the column is
    missing.

    Raises:
        DataError: as for :func:`stance_rows`, or the same statement twice.
    """
    columns = set().union(*(row.keys() for row in rows))
    name = "text" if "text" in columns and "statement" not in columns else "statement"
    require_columns(rows, (name,), file)
    directed = "direction" in columns
    checked: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        text = text_cell(row, number, name, file)
        earlier = seen.setdefault(normalise(text), number)
        if earlier != number:
            fail_at(file, number, name, f"expected a new statement; it repeats row {earlier}")
        direction = choice_cell(row, number, "direction", file, DIRECTIONS) if directed else "none"
        group = row.get("axis") or row.get("ideology") or row.get("group") or ""
        key = id_cell(row, number, file)
        checked.append({"id": key, "text": text, "direction": direction, "group": str(group)})
    require_unique((item["id"] for item in checked), file)
    for item in checked:
        item["id"] = item["id"] or f"statement-{text_hash(item['text'])[:12]}"
    return checked


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
