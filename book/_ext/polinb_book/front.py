"""The opening page's box: each chapter's answer in one line, out of the chapters as executed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polinb.chapters.paper.answers import KEY
from polinb.errors import ArtifactError
from polinb.wording import escape, label

NAME = "in_this_run.md"  # beside the executed chapters; book/index.md includes it
PLACE = f"{{glue:md}}`{KEY}:myst`"
"""What stands for the answer in a chapter's first cell."""
_PARTS = ("profile", "model", "first")
_REMEDY = "remove it from book/chapters and run make book again"
_LABEL = re.compile(r"^\((sec-[a-z]+)\)=$", re.M)


def page(notebooks: Path, executed: Path, names: Sequence[str]) -> str:
    """Markdown of the box: the run, then one line a chapter.

    Args:
        notebooks: folder of the chapters as written.
        executed: folder of the chapters as executed; one that is missing was not run.
        names: chapters in order; those whose first cell asks for no answer are left out.
    """
    heads = {name: _first(notebooks / f"{name}.ipynb") for name in names}
    asked = {name: first for name, first in heads.items() if PLACE in first}
    found = {name: answer(executed / f"{name}.ipynb") for name in asked}
    runs = list(dict.fromkeys((each["profile"], each["model"]) for each in found.values() if each))
    lines = []
    for name, first in asked.items():
        own = found[name]
        told = own["first"] if own else "*Not run in this build.*"
        if own and len(runs) > 1:
            told += f" ({escape(own['profile'])}, {escape(own['model'])})"
        section = _LABEL.search(first)
        title = f"{{ref}}`{section[1]}`" if section else f"{{doc}}`{name}`"
        lines.append(f"- {title}: {told}")
    return "\n\n".join([*_runs(runs), "\n".join(lines)]) + "\n"


def answer(executed: Path) -> dict[str, str] | None:
    """What an executed chapter answered: profile, model, first (sentence); None if it was not run or says nothing.

    Raises:
        ArtifactError: the file is no notebook, or its answer lacks a part.
    """
    if not executed.is_file():
        return None
    for cell in cells(executed):
        for output in _inside(cell, "outputs", list):
            meta = _inside(output, "metadata", dict)
            if _inside(meta, "scrapbook", dict).get("name") != KEY or "polinb" not in meta:
                continue
            told = _inside(meta, "polinb", dict)
            if not all(isinstance(told.get(name), str) for name in _PARTS):
                raise ArtifactError(f"executed chapter {executed.name}: its answer lacks one of {_PARTS}; {_REMEDY}")
            return dict(told)
    return None


def _runs(runs: Sequence[tuple[str, str]]) -> list[str]:
    """Which run the lines come from; several where chapters were run with different settings."""
    if not runs:
        return []
    if len(runs) == 1:
        profile, model = runs[0]
        start = f"Profile {escape(profile)}, model {escape(model)}."
    else:
        start = "The chapters come from **different runs**; each line names its own."
    notes = [f"*{note}*" for note in dict.fromkeys(label(profile) for profile, _ in runs) if note]
    return [" ".join([start, *notes])]


def _first(notebook: Path) -> str:
    for cell in cells(notebook):
        if isinstance(cell, dict) and cell.get("cell_type") == "markdown":
            source = cell.get("source")
            return "".join(map(str, source)) if isinstance(source, list) else str(source or "")
    return ""


def cells(notebook: Path) -> list[Any]:
    """The cells as they stand in the file: JSON, whatever else is damaged.

    Raises:
        ArtifactError: it is no notebook of this format.
    """
    try:
        content = json.loads(notebook.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise ArtifactError(f"executed chapter {notebook.name} is damaged ({why}); {_REMEDY}") from None
    cells = content.get("cells") if isinstance(content, dict) else None
    if not isinstance(cells, list):
        raise ArtifactError(f"executed chapter {notebook.name} is damaged (no list of cells); {_REMEDY}")
    return cells


def _inside(node: Any, name: str, kind: type) -> Any:
    """``node[name]`` if it is of that kind, else an empty one."""
    found = node.get(name) if isinstance(node, dict) else None
    return found if isinstance(found, kind) else kind()
