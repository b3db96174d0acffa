"""Chapters as Sphinx reads them: outputs made from their data, the reference run's beside or in the place of a run's.

The executed notebooks on disk stay as they are, so no chapter has to run again when the reference changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective, SphinxRole

from polinb.errors import ArtifactError
from polinb.wording import ANSWER, typeset
from polinb_book import reference_words, results
from polinb_book.box import box
from polinb_book.outputs import payloads, weave
from polinb_book.prose import myst, without
from polinb_book.results import Reference, is_filled

FOLDER = "chapters"  # of the executed notebooks, in the book's
NOTES = "reference_notes"  # folder of what is said about its results, a file a chapter
SUMMARY, DISCUSSED = "## Summary", "## What the reference run says"
_HIDDEN = {"remove-cell", "remove-output", "remove_cell", "remove_output"}


def prepare(app: Any) -> None:
    """Handler of ``builder-inited``: read the reference run and the chapters; which labels this build has."""
    app.polinb_reference = results.read(Path(app.srcdir) / results.FOLDER)
    paths = sorted((Path(app.srcdir) / FOLDER).glob("*.ipynb"))
    app.polinb_chapters = {path.stem: results.parsed(path.read_bytes(), path.name) for path in paths}
    app.polinb_labels = {each for book in app.polinb_chapters.values() for each in results.labels(book)}


def show(app: Any, page: str, source: list[str]) -> None:
    """Handler of ``source-read``: a chapter with its tables and figures, and the reference run's."""
    if not str(app.env.doc2path(page)).endswith(".ipynb"):
        return
    name = page.rpartition("/")[2]
    reference: Reference | None = app.polinb_reference
    told = Path(app.srcdir) / NOTES / f"{name}.md"
    app.env.note_dependency(str(told))
    if reference:
        app.env.note_dependency(str(reference.folder / results.SUMS))
    said = told.read_text("utf-8") if reference and told.is_file() else ""
    shown = _chapter(json.loads(source[0]), name, reference, app.polinb_labels, said)
    shown["cells"].insert(1, _prose(box(Path(app.srcdir) / FOLDER / f"{name}.ipynb", app.polinb_address), "run-it"))
    source[0] = json.dumps(shown)


def _chapter(
    notebook: dict[str, Any], name: str, reference: Reference | None, there: set[str], said: str
) -> dict[str, Any]:
    """A notebook as the book shows it.

    Args:
        notebook: as executed, or as filled from the reference run.
        there: labels of the tables and figures of this build.
        said: what people say about the reference run's results, MyST, put before the summary.
    """
    own = not is_filled(notebook)
    others = reference.made if reference and own else {}
    answer = results.answer(notebook, name)
    cells: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            tags = set(cell["metadata"].get("tags", []))
            if not own:  # a box that says which run this is stands on top
                boxes = [output for output, payload in payloads(cell) if payload.get("title")]
                cell = cell | {"outputs": [output for output in cell["outputs"] if output not in boxes]}
            if not cell["outputs"] and tags & {"remove-input", "remove-cell"}:
                continue  # nothing of it would be seen but a gap
            weave(cell, {} if _HIDDEN & tags else others, there)
        elif cell["cell_type"] == "markdown":
            text = without(myst("".join(cell["source"])), there)
            text = text.replace(ANSWER, without(answer["text"], there) if answer else "*(not run)*")
            before, summary, after = text.partition(SUMMARY)
            if summary and said.strip():
                cells.append(_prose(f"{before}{DISCUSSED}\n\n{without(said.strip(), there)}", "reference-discussed"))
                text, said = summary + after, ""
            cell = cell | {"source": text}
        cells.append(cell)
    if note := reference_words.note(reference, name, own):
        cells.insert(1, _prose(note, "reference-note"))
    return notebook | {"cells": cells}


class Page(SphinxDirective):
    """``{polinb-reference} PART``: a part of the page on the reference run, or what the chapters answer here."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The part's nodes."""
        app: Any = self.env.app
        pages = {name: book for name, book in app.polinb_chapters.items() if f"{FOLDER}/{name}" in self.env.found_docs}
        return self.parse_text_to_nodes(reference_words.part(app.polinb_reference, self.arguments[0], pages))


def _prose(text: str, identity: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": identity, "metadata": {}, "source": text}


class Value(SphinxRole):
    """Role ``reference``: one number of the reference run in a sentence, read from its table, never typed by hand.

    ``{reference}`tbl-claims | Patching G moves | effect``` gives the effect with its interval, from the row in which a
    text begins like that. ``text & text`` names texts of several columns, from left to right.
    """

    def run(self) -> tuple[list[nodes.Node], list[Any]]:
        """The number as text."""
        app: Any = self.env.app
        found: Reference | None = app.polinb_reference
        if found is None:
            return [nodes.Text("(no reference run)")], []
        self.env.note_dependency(str(found.folder / results.SUMS))
        try:
            return [nodes.Text(value(found, self.text))], []
        except ArtifactError as error:
            told = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, told)], [told]


def value(found: Reference, text: str) -> str:
    """What ``label | row | column`` names, with its interval where the table has one.

    Args:
        text: the label of a table; texts of the row from left to right, joined by ``&`` (their beginnings will do where
            no row has them whole); the name of a column. Digits after it (``effect .1f``) set the format of a number.

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

    def holds(row: Sequence[str], like: Callable[[str, str], bool]) -> bool:
        cells = iter(row)  # each text is looked for to the right of the one before
        return all(any(like(cell, text) for cell in cells) for text in wanted)

    chosen = [at for at, each in enumerate(rows) if holds(each, str.__eq__)]
    chosen = chosen or [at for at, each in enumerate(rows) if holds(each, str.startswith)]
    if len(chosen) != 1:
        raise ArtifactError(f"reference value {text!r}: {len(chosen)} rows of {label} begin like that; one must")
    chosen_column, at = columns[column], chosen[0]
    numbers = [chosen_column[name][at] for name in ("values", "low", "high") if name in chosen_column]
    if not form or not all(isinstance(part, (int, float)) for part in numbers):
        return str(chosen_column["text"][at])
    own, *ends = (typeset(format(part, form)) for part in numbers)
    return f"{own} [{', '.join(ends)}]" if ends else own
