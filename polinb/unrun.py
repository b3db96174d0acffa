"""A page for a chapter that was not run: its prose and equations, no numbers, and how to run it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_NUMREF = re.compile(r"\{numref\}`([^`]+)`")
_GLUED = re.compile(r"\{glue:[a-z]+\}`[^`]+`")
_LABEL = re.compile(r"\"(tbl-[a-z-]+)\"")


def page(notebook: Path, absent: Iterable[str]) -> str:
    """Markdown of a notebook's prose, with a note on top; what only a run could have made is replaced.

    Args:
        notebook: a chapter as written.
        absent: labels of figures and tables that this build does not have.
    """
    cells = [cell.source for cell in _read(notebook).cells if cell.cell_type == "markdown"]
    note = (
        "```{admonition} Not run in this build\n:class: warning\n"
        "Here are the question and the method; the figures, tables and numbers are made when the chapter runs. "
        f"`make book CHAPTERS=all` runs every chapter, `make book CHAPTERS={notebook.stem}` this one.\n```"
    )
    gone = set(absent)

    def shown(match: re.Match[str]) -> str:
        return "*(not run)*" if match[1] in gone else match[0]

    text = "\n\n".join([cells[0], note, *cells[1:]])
    return _GLUED.sub("*(not run in this build)*", _NUMREF.sub(shown, text)) + "\n"


def labels(notebook: Path) -> set[str]:
    """Labels of the figures and tables that a chapter makes when it runs."""
    found: set[str] = set()
    for cell in _read(notebook).cells:
        if cell.cell_type == "code":
            found |= set(_LABEL.findall(cell.source))
            figure = cell.metadata.get("mystnb", {}).get("figure")
            found |= {figure["name"]} if figure else set()
    return found


def _read(notebook: Path) -> Any:
    import nbformat

    return nbformat.read(notebook, as_version=4)
