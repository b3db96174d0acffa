"""The opening page's box: each chapter's answer in one line, out of the chapters as executed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polinb.answers import KEY
from polinb.tables import escape
from polinb.wording import label

NAME = "in_this_run.md"  # beside the executed chapters; book/index.md includes it
PLACE = f"{{glue:md}}`{KEY}:myst`"
"""What stands for the answer in a chapter's first cell."""
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
    """What an executed chapter answered: profile, model, first (sentence); None if it was not run or says nothing."""
    if not executed.is_file():
        return None
    for cell in _read(executed).cells:
        for output in cell.get("outputs", []):
            meta = output.get("metadata", {})
            if meta.get("scrapbook", {}).get("name") == KEY and "polinb" in meta:
                return dict(meta["polinb"])
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
    cells = [cell.source for cell in _read(notebook).cells if cell.cell_type == "markdown"]
    return str(cells[0]) if cells else ""


def _read(notebook: Path) -> Any:
    import nbformat

    return nbformat.read(notebook, as_version=4)
