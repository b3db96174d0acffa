"""A page for a chapter that was not run: its prose and equations, no numbers, and how to run it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_NUMREF = re.compile(r"\{numref\}`([^`]+)`")
_GLUED = re.compile(r"\{glue:[a-z]+\}`[^`]+`")
_LABEL = re.compile(r"\"(tbl-[a-z-]+)\"")
MAKES = "% makes: "  # a comment where a cell would have shown what has these labels


def page(notebook: Path, absent: Iterable[str]) -> str:
    """Markdown of a notebook's prose, with a note on top; what only a run could have made is replaced.

    Args:
        notebook: a chapter as written.
        absent: labels of figures and tables that this build does not have.
    """
    cells = [_standing(cell) for cell in _read(notebook).cells]
    cells = [text for text in cells if text]
    note = (
        "```{admonition} Not run in this build\n:class: warning\n"
        "Here are the question and the method; the figures, tables and numbers are made when the chapter runs. "
        f"`make book CHAPTERS=all` runs every chapter, `make book CHAPTERS={notebook.stem}` this one.\n```"
    )
    text = "\n\n".join([cells[0], note, *cells[1:]])
    return _GLUED.sub("*(not run in this build)*", without(text, absent)) + "\n"


def without(text: str, absent: Iterable[str]) -> str:
    """MyST ``text`` whose references to labels that this build does not have are replaced."""
    gone = set(absent)
    return _NUMREF.sub(lambda match: "*(not run)*" if match[1] in gone else match[0], text)


def labels(notebook: Path) -> set[str]:
    """Labels of the figures and tables that a chapter makes when it runs."""
    return {label for cell in _read(notebook).cells for label in _made(cell)}


def _made(cell: Any) -> list[str]:
    """Labels of what a cell shows."""
    if cell.cell_type != "code":
        return []
    figure = cell.metadata.get("mystnb", {}).get("figure")
    return [*dict.fromkeys(_LABEL.findall(cell.source)), *([figure["name"]] if figure else [])]


def _standing(cell: Any) -> str:
    """What stands for a cell: its prose, or a comment with the labels of what it would have shown."""
    if cell.cell_type == "markdown":
        return str(cell.source)
    made = _made(cell)
    return MAKES + " ".join(made) if made else ""


def _read(notebook: Path) -> Any:
    import nbformat

    return nbformat.read(notebook, as_version=4)
