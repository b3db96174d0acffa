"""Rows of data, checked once. Errors name file, row (of data, from 1; blank lines are not counted) and column."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import ValidationInfo as Info

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
_NOTHING = {"", "NA", "N/A", "NaN", "nan", "NULL", "#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!"}


def normalise(text: str) -> str:
    """``text`` with compatible characters, letter case and white space made alike: prompts alike so are one prompt."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_hash(text: str) -> str:
    """Hexadecimal SHA-256 of the normal form of ``text`` (64 characters)."""
    return hashlib.sha256(normalise(text).encode("utf-8")).hexdigest()


def fail(file: str, problem: str, row: int | None = None, column: str | None = None) -> NoReturn:
    """Raise the DataError that names ``file`` and, where the problem has one, ``row`` and ``column``."""
    place = file if file.isprintable() else ascii(file)[1:-1]
    place += "" if row is None else f", row {row}"
    place += "" if column is None else f", column {column[:60]!r}"
    raise DataError(f"{place}: {problem}".encode("utf-8", "backslashreplace").decode())


def blank(value: object) -> bool:
    """Whether a cell holds nothing: None, NaN, white space, or what R, pandas and spreadsheets write instead."""
    return value is None or value != value or (isinstance(value, str) and value.strip() in _NOTHING)


HALF = re.compile("[\ud800-\udfff]")  # of a character: a lone surrogate, which no file or hash can hold


def plain_text(value: object) -> str:
    """The text of a cell without surrounding white space, the digits of a whole number; a ValueError for all else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas makes floats of whole numbers with a gap
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected text, found {value!r:.60}")
    if HALF.search(value):
        raise ValueError(f"half of a character (a lone surrogate) in {value!r:.60}; cut texts between characters")
    return value.strip()


def _words(text: str) -> str:
    if not any(character.isalpha() for character in text):
        raise ValueError(f"expected text with words, found {text!r:.60}")
    return text


def topic_of(title: object) -> str:
    """A topic's name, such as ``health-advice``: its words in small letters, joined by hyphens.

    The six of the paper have short names: ``Crime and Gun`` and ``crime_and_gun`` are ``crime``. A ValueError tells
    that there is no letter in it, or that it has more than 60 characters.
    """
    name = "-".join(re.findall(r"[^\W_]+", normalise(_words(plain_text(title)))))
    if len(name) > 60:
        raise ValueError(f"expected a topic of at most 60 characters, found {title!r:.60}")
    short = {title.lower().replace(" ", "-"): topic for topic, title in TOPIC_TITLES.items()}
    return short.get(name, name)


def title_of(topic: str) -> str:
    """How a topic is called in a sentence: ``Crime and Gun``, ``Health advice``."""
    return TOPIC_TITLES.get(topic) or topic.replace("-", " ").capitalize()


def _new(value: str, given: Info) -> str:
    if given.context:
        key = given.field_name, value if given.field_name == "id" else normalise(value)
        first = given.context["seen"].setdefault(key, given.context["row"])
        if first != given.context["row"]:
            raise ValueError(f"expected a new {key[0]}; {value!r:.60} is already the {key[0]} of row {first}")
    return value


def unlike(other: str) -> AfterValidator:
    """What tells a response that is the same as the one in the field ``other``."""

    def check(text: str, given: Info) -> str:
        if other in given.data and normalise(given.data[other]) == normalise(text):
            raise ValueError(f"expected a text that differs from the one in {other!r}; both are {text!r:.60}")
        return text

    return AfterValidator(check)


Name = Annotated[str, BeforeValidator(str)]
Text = Annotated[str, BeforeValidator(plain_text)]
"""Any text, digits included."""
Topic = Annotated[str, BeforeValidator(topic_of)]
Words = Annotated[Text, AfterValidator(_words)]
"""Text with at least one letter: where a column of numbers would be the wrong column."""
New = AfterValidator(_new)
"""A value that no other row has: another id, or a text that differs in more than letter case and white space."""


def own_id(what: str, field: str) -> Any:
    """The default of a field ``id``: a row is called by its text, whatever the order of rows."""
    return Field(default_factory=lambda row: f"{row.get(what, what)}-{text_hash(row[field])[:12]}")


def columns(*names: str, **given: Any) -> Any:
    """A field that is read from the first of these columns that holds something; ``given`` as for pydantic's fields."""
    return Field(validation_alias=AliasChoices(*names), **given)


class Row(BaseModel):
    """One row; cells that hold nothing count as not given, and columns that are not asked for are passed over."""

    model_config = ConfigDict(frozen=True)
    public: ClassVar[bool] = False  # its readers cannot mend it: up to a tenth of wrong rows is left out and told

    @classmethod
    def names(cls, field: str) -> list[str]:
        """The names that a field's column may have."""
        alias = cls.model_fields[field].validation_alias
        return list(map(str, alias.choices)) if isinstance(alias, AliasChoices) else [field]


R = TypeVar("R", bound=Row)


def checked(table: Sequence[dict[str, Any]], kind: type[R], name: str) -> list[R]:
    """The rows of a table as ``kind`` wants them; error messages call it ``name``.

    Of the hub's, as of ``public`` kinds, up to a tenth of wrong rows is left out and told.

    Raises:
        DataError: a column is missing, or (too many) rows are wrong; names the first row and its column.
    """
    rows: list[R] = []
    wrong: list[tuple[str, str | None, int]] = []
    seen: dict[Any, int] = {}
    for number, cells in enumerate(table, start=1):
        # of columns that differ in case alone, the first
        given = {column.strip().casefold(): cell for column, cell in reversed(cells.items()) if not blank(cell)}
        try:
            rows.append(kind.model_validate(given, context={"row": number, "seen": seen}))
        except ValidationError as error:
            wrong.append((*_told(error, kind, cells), number))
            told, place, row = wrong[0]
            if not (kind.public or name.startswith("hub:")) or 10 * len(wrong) > len(table):
                fail(name, told, row, place)
    if wrong:
        notice(f"{name}: {len(wrong)} of {len(table)} rows left out; the first: row {row}, {place!r}: {told}")
    return rows


def _told(error: ValidationError, kind: type[Row], cells: Mapping[str, Any]) -> tuple[str, str | None]:
    """What is wrong with a row, and in which column."""
    problem = error.errors(include_url=False)[0]
    told = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    place = str(problem["loc"][0]) if problem["loc"] else None
    if problem["type"] != "missing":
        found = "" if problem["type"] == "value_error" else f"; found {problem['input']!r:.60}"
        return told + found, place
    needed = [kind.names(field) for field, info in kind.model_fields.items() if info.is_required()]
    own = next(names for names in needed if place in names)
    for column, cell in cells.items():
        if column.strip().casefold() in own:
            return f"expected text, found {cell!r}, which counts as empty", place
    expected, found = ", ".join(map(" or ".join, needed)), ", ".join(sorted(cells))[:300] or "none"
    return f"this column is missing; expected {expected}, found {found}", place
