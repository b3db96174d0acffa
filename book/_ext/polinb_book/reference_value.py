"""Role ``reference``: one number of the reference run in a sentence, read from its table, never typed by hand.

``{reference}`tbl-claims | Patching G moves | effect``` gives the effect with its interval, from the row in which a text
begins like that. ``text & text`` names texts of several columns, from left to right.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxRole

from polinb.display.tables import BOUNDED
from polinb.errors import ArtifactError
from polinb.wording import typeset
from polinb_book import manifest as reference
from polinb_book.manifest import Reference

NOTHING = "(no reference run)"


class Value(SphinxRole):
    """The role; what it names and the reference run lacks is an error of the page, unless there is no such run."""

    def run(self) -> tuple[list[nodes.Node], list[Any]]:
        """The number as text."""
        app: Any = self.env.app
        found: Reference | None = app.polinb_reference  # read once, as the build starts
        if found is None:
            return [nodes.Text(NOTHING)], []
        self.env.note_dependency(str(found.folder / reference.MANIFEST))
        try:
            return [nodes.Text(value(found, self.text))], []
        except ArtifactError as error:
            told = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, told)], [told]


def value(found: Reference, text: str) -> str:
    """What ``label | row | column`` names, with its interval where the table has one.

    Args:
        text: the label of a table; texts of the row from left to right, joined by ``&`` (their beginnings will do where
            no row has them whole); the name of a column in the table's CSV. Digits after the column (``effect .1f``)
            set the format of a number.

    Raises:
        ArtifactError: not of this form, no such table or column, or not exactly one such row.
    """
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 3 or not all(parts):
        raise ArtifactError(f"reference value {text!r}: write label | row | column")
    label, row, column = parts
    column, _, form = column.rpartition(" ") if column.rpartition(" ")[2].startswith(".") else (column, "", "")
    if not found.has(f"tables/{label}.csv"):
        raise ArtifactError(f"reference value {text!r}: the reference run has no table {label}")
    rows = list(csv.DictReader(io.StringIO(found.csv(label), newline="")))
    if not rows or column not in rows[0]:
        raise ArtifactError(f"reference value {text!r}: {label} has the columns {list(rows[0]) if rows else []}")
    wanted = [part.strip() for part in row.split("&")]
    chosen = [each for each in rows if _holds(each, wanted, str.__eq__)]
    chosen = chosen or [each for each in rows if _holds(each, wanted, str.startswith)]
    if len(chosen) != 1:
        raise ArtifactError(f"reference value {text!r}: {len(chosen)} rows of {label} begin like that; one must")
    return _told(chosen[0], column, form)


def _holds(row: Mapping[str, str], wanted: list[str], like: Callable[[str, str], bool]) -> bool:
    cells = iter(row.values())  # each text is looked for to the right of the one before
    return all(any(like(cell, text) for cell in cells) for text in wanted)


def _told(row: Mapping[str, str], column: str, form: str) -> str:
    given = row[column]
    ends = [row.get(f"{column}{end}", "") for end in ("_low", "_high")]
    if not given:
        return "–"
    try:
        numbers = [float(each) for each in (given, *ends) if each]
    except ValueError:
        return given if BOUNDED.fullmatch(given) else typeset(given)
    shown = [
        typeset(format(each, form or (".0f" if each == int(each) and len(numbers) == 1 else ".2f"))) for each in numbers
    ]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if len(shown) == 3 else shown[0]
