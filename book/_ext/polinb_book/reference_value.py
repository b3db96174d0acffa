"""Role ``reference``: one number of the reference run in a sentence, read from its table, never typed by hand.

``{reference}`tbl-claims | Patching G moves | effect``` gives the effect with its interval, from the row in which a text
begins like that. ``text & text`` names texts of several columns, from left to right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxRole

from polinb.errors import ArtifactError
from polinb.wording import typeset
from polinb_book.results import SUMS, Reference

NOTHING = "(no reference run)"


class Value(SphinxRole):
    """The role; what it names and the reference run lacks is an error of the page, unless there is no such run."""

    def run(self) -> tuple[list[nodes.Node], list[Any]]:
        """The number as text."""
        app: Any = self.env.app
        found: Reference | None = app.polinb_reference  # read once, as the build starts
        if found is None:
            return [nodes.Text(NOTHING)], []
        self.env.note_dependency(str(found.folder / SUMS))
        try:
            return [nodes.Text(value(found, self.text))], []
        except ArtifactError as error:
            told = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, told)], [told]


def value(found: Reference, text: str) -> str:
    """What ``label | row | column`` names, with its interval where the table has one.

    Args:
        text: the label of a table; texts of the row from left to right, joined by ``&`` (their beginnings will do where
            no row has them whole); the name of a column. Digits after the column (``effect .1f``)
            set the format of a number.

    Raises:
        ArtifactError: not of this form, no such table or column, or not exactly one such row.
    """
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 3 or not all(parts):
        raise ArtifactError(f"reference value {text!r}: write label | row | column")
    label, row, column = parts
    column, _, form = column.rpartition(" ") if column.rpartition(" ")[2].startswith(".") else (column, "", "")
    table = found.made.get(label)
    if table is None or table["kind"] != "table":
        raise ArtifactError(f"reference value {text!r}: the reference run has no table {label}")
    columns = {each["name"]: each for each in table["columns"]}
    if column not in columns:
        raise ArtifactError(f"reference value {text!r}: {label} has the columns {list(columns)}")
    shown = [[f"{v}".replace("$", "") for v in each[part]] for each in columns.values() for part in ("text", "values")]
    rows = list(zip(*shown, strict=True))
    wanted = [part.strip() for part in row.split("&")]
    chosen = [at for at, each in enumerate(rows) if _holds(each, wanted, str.__eq__)]
    chosen = chosen or [at for at, each in enumerate(rows) if _holds(each, wanted, str.startswith)]
    if len(chosen) != 1:
        raise ArtifactError(f"reference value {text!r}: {len(chosen)} rows of {label} begin like that; one must")
    return _told(columns[column], chosen[0], form)


def _holds(row: Sequence[str], wanted: list[str], like: Callable[[str, str], bool]) -> bool:
    cells = iter(row)  # each text is looked for to the right of the one before
    return all(any(like(cell, text) for cell in cells) for text in wanted)


def _told(column: Mapping[str, Any], at: int, form: str) -> str:
    """A cell as its table shows it, or its numbers in another format."""
    parts = [column[name][at] for name in ("values", "low", "high") if name in column]
    if not form or not all(isinstance(part, (int, float)) for part in parts):
        return str(column["text"][at])
    shown = [typeset(format(part, form)) for part in parts]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if len(shown) == 3 else shown[0]
