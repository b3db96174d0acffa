"""Rows of data, checked once: which columns they have, what a cell may hold, and errors that name file, row and column.

The first row of data is row 1; a CSV header and blank lines are not counted.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NoReturn, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo, field_validator

from polinb.errors import DataError
from polinb.trouble import notice

TOPIC_TITLES = {
    "crime": "Crime and Gun",
    "race": "Race",
    "economy": "Economy and Inequality",
    "immigration": "Immigration",
    "gender": "Gender and Sexuality",
    "science": "Science",
}
TOPICS = tuple(TOPIC_TITLES)
"""The paper's six, and the usual ones; data may have any others."""
LEANINGS = ("left", "right")
DIRECTIONS = ("left", "right", "none")
_HALF = re.compile("[\ud800-\udfff]")
_NOTHING = {"", "NA", "N/A", "NaN", "nan", "NULL", "#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!"}


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
    raise DataError(f"{file}: {problem}".encode("utf-8", "backslashreplace").decode())


def fail_at(file: str, row: int | None, column: str | None, problem: str) -> NoReturn:
    """Raise the DataError that names ``file``, ``row`` and ``column``."""
    place = f"{file}, row {row}" if row is not None else file
    fail(f"{place}, column {column[:60]!r}" if column is not None else place, problem)


# --- what a cell may hold


def show(value: object) -> str:
    """A wrong value, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def blank(value: object) -> bool:
    """Whether a cell holds nothing: None, NaN, white space, or what R, pandas and spreadsheets write instead."""
    return value is None or value != value or (isinstance(value, str) and value.strip() in _NOTHING)


def plain_text(value: object) -> str:
    """The text of a cell without surrounding white space; a whole number is taken as its digits.

    Raises:
        ValueError: something else, nothing, or half of a character (of an emoji cut in two, for one).
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {show(value)}")
    if not value.strip():
        raise ValueError("expected text, found an empty cell")
    if _HALF.search(value):
        raise ValueError(f"half of a character (a lone surrogate) in {show(value)}; cut texts between characters")
    return value.strip()


def text_of(value: object) -> str:
    """Text with a letter in it.

    Raises:
        ValueError: it is none.
    """
    text = plain_text(value)
    if not any(character.isalpha() for character in text):
        raise ValueError(f"expected text with words, found {show(text)}")
    return text


def _id(value: object) -> str:
    if isinstance(value, float) and value.is_integer():  # pandas makes floats of whole numbers with a gap
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected text or a whole number, found {show(value)}")
    return plain_text(value)


def topic_of(value: object) -> str:
    """A topic's name, such as ``health-advice``: its words in small letters, joined by hyphens.

    The six topics of the paper have short names; ``Crime and Gun`` and ``crime_and_gun`` are ``crime``.

    Raises:
        ValueError: no text, no letter in it, or more than 60 characters.
    """
    name = "-".join(re.findall(r"[^\W_]+", normalise(text_of(value))))
    if len(name) > 60:
        raise ValueError(f"expected a topic of at most 60 characters, found {show(value)}")
    return {"-".join(normalise(title).split()): topic for topic, title in TOPIC_TITLES.items()}.get(name, name)


def title_of(topic: str) -> str:
    """How a topic is called in a sentence: ``Crime and Gun``, ``Health advice``."""
    return TOPIC_TITLES.get(topic) or topic.replace("-", " ").capitalize()


def _direction(value: object) -> str:
    if (text := text_of(value).casefold()) not in DIRECTIONS:
        raise ValueError(f"expected one of {', '.join(DIRECTIONS)}; found {show(value)}")
    return text


Text = Annotated[str, BeforeValidator(plain_text)]
"""Any text, digits included."""
Words = Annotated[str, BeforeValidator(text_of)]
"""Text with at least one letter: where a column of numbers would be the wrong column."""
Topic = Annotated[str, BeforeValidator(topic_of)]
Id = Annotated[str, BeforeValidator(_id)]
Name = Annotated[str, BeforeValidator(str)]


# --- rows


class Row(BaseModel):
    """One row. Cells that hold nothing count as not given; columns that are not asked for are passed over.

    Attributes:
        columns: field → names that its column may have, the first that holds something counts; else the field's own.
        once: fields whose values may not repeat.
        public: from collections that their readers cannot mend: up to a tenth of wrong rows is left out and counted.
    """

    model_config = ConfigDict(frozen=True)
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    once: ClassVar[tuple[str, ...]] = ("id",)
    public: ClassVar[bool] = False

    id: Id = ""

    def named(self, what: str, text: str) -> Self:
        """The row with an id; one without is called by its text, which does not depend on the order of rows."""
        return self if self.id else self.model_copy(update={"id": f"{what}-{text_hash(text)[:12]}"})


class StanceRow(Row):
    """A prompt with its two responses."""

    topic: Topic
    prompt: Words
    left: Words
    right: Words

    @field_validator("right")
    @classmethod
    def _differs(cls, text: str, given: ValidationInfo) -> str:
        return differing(text, "left", given)


class Statement(Row):
    """One statement.

    ``direction`` is the leaning that agreement expresses: ``left``, ``right`` or ``none``; ``group`` is its
    axis or school of thought where the file gives one.
    """

    columns: ClassVar = {"text": ("statement", "text"), "group": ("axis", "ideology", "group")}
    once = ("id", "text")

    text: Words
    direction: Annotated[str, BeforeValidator(_direction)] = "none"
    group: Name = ""


def differing(text: str, other: str, given: Any) -> str:
    """A response that is not the same as the one in the column ``other``.

    Raises:
        ValueError: it is.
    """
    if other in given.data and normalise(given.data[other]) == normalise(text):
        raise ValueError(f"expected a text that differs from the one in {other!r}; both are {show(text)}")
    return text


R = TypeVar("R", bound=Row)


def checked(table: Sequence[Mapping[str, Any]], kind: type[R], name: str, public: bool = False) -> tuple[list[R], int]:
    """The rows of a table as ``kind`` wants them, and how many wrong ones were left out.

    Args:
        table: with the same columns in each row.
        name: what error messages call the table.
        public: leave out up to a tenth of wrong rows, as for kinds that are ``public``.

    Raises:
        DataError: a column is missing, or (too many) rows are wrong; names the first row and its column.
    """
    if not table:
        fail(name, "holds no rows")
    columns = list(table[0])
    known = {column.strip().casefold(): column for column in reversed(columns)}
    known |= {column: column for column in columns}
    fields = {
        field: [known[alias] for alias in kind.columns.get(field, (field,)) if alias in known]
        for field in kind.model_fields
    }
    seen: dict[tuple[str, str], int] = {}
    rows, wrong = [], []
    for number, cells in enumerate(table, start=1):
        try:
            row = kind.model_validate(
                {field: value for field, names in fields.items() if not blank(value := _first(cells, names))}
            )
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = str(problem["loc"][0]) if problem["loc"] else None
            column = None if field is None else (*fields[field], *kind.columns.get(field, ()), field)[0]
            told = str(problem["msg"]).replace("Input should be", "expected").removeprefix("Value error, ")
            if problem["type"] == "missing":
                cell = next((cells[name] for name in fields[str(field)]), None)
                empty = f"a cell without any: {cell!r}" if str(cell or "").strip() else "an empty cell"
                told = f"expected text, found {empty}" if fields[str(field)] else _missing(kind, columns)
            wrong.append((number, column, told))
        else:
            twice = [f for f in kind.once if getattr(row, f) and seen.setdefault(_key(row, f), number) != number]
            for field in twice[:1]:
                first = f"{show(getattr(row, field))} is already the {field} of row {seen[_key(row, field)]}"
                wrong.append((number, (*fields[field], field)[0], f"expected a new {field}; {first}"))
            if not twice:
                rows.append(row)
        if wrong and not (public or kind.public):
            fail_at(name, *wrong[0])
    if 10 * len(wrong) > len(table):
        fail_at(name, *wrong[0])
    if wrong:
        number, column, told = wrong[0]
        notice(f"{name}: {len(wrong)} of {len(table)} rows left out; the first: row {number}, {column!r}: {told}")
    return rows, len(wrong)


def _first(cells: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((value for name in names if not blank(value := cells[name])), None)


def _key(row: Row, field: str) -> tuple[str, str]:
    value = getattr(row, field)
    return field, value if field == "id" else normalise(value)


def _missing(kind: type[Row], columns: Iterable[str]) -> str:
    needed = [field for field, info in kind.model_fields.items() if info.is_required()]
    wanted = ", ".join(" or ".join(kind.columns.get(field, (field,))) for field in needed)
    found = ", ".join(sorted(columns)) or "none"
    return f"this column is missing; expected {wanted}, found {found if len(found) <= 300 else f'{found[:300]}…'}"
