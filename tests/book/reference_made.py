"""Executed chapters made by hand, with the real tables and charts, for the tests of the reference run's results."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import small_book
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from book._make.reference.run import ReferenceLayout
from polinb.display.tables import numbered_table
from polinb.wording import ANSWER, LIVE, PAYLOAD, Interval, Prose

SHIFTS = [Interval(0.1, 0.0, 0.2), Interval(float("nan"), float("nan"), float("nan"))]
FRAME = pd.DataFrame({"topic": ["crime", "race"], "shift": SHIFTS, "n": [3, 4], "p": [0.123456789, None]})
MOMENT = 1_750_000_000.0
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SPEC = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "description": "Two dots.",
    "data": {"name": "d"},
    "datasets": {"d": [{"x": 1.0, "name": "a"}, {"x": 2.0, "name": "b"}]},
    "mark": {"type": "point", "tooltip": True},
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "name", "type": "nominal"}},
    "usermeta": {"polinb": {"columns": [["name", "name"], ["x", "x"]], "highlight": None, "fit": True}},
}


def table(frame: pd.DataFrame, label: str, caption: str = "A table.", **options: Any) -> Any:
    shown = new_output("display_data", data=numbered_table(frame, label, caption, **options)._repr_mimebundle_())
    return new_code_cell(f'1  # "{label}"', outputs=[shown], metadata={"tags": ["remove-input"]})


def figure(label: str, spec: dict[str, Any] | None = None, caption: str = "A figure.") -> Any:
    payload = {"kind": "chart", "alt": 'Two "dots".', "width": 300, "height": 200}
    shown = new_output("display_data", data={LIVE: spec or SPEC, PAYLOAD: payload, "image/png": PICTURE})
    metadata = {"mystnb": {"figure": {"name": label, "caption": caption}}, "tags": ["remove-input"]}
    return new_code_cell("2", outputs=[shown], metadata=metadata)


def chapter(name: str, *cells: Any, first: str = "It is so.", **more: Any) -> Any:
    """A whole executed chapter: question, parameters (``more`` than the profile), the cells, answer."""
    run = {"profile": "tiny", "model": "tiny:llama", "first": first}
    answer = new_output("display_data", data=Prose(f"{first} And more.", answer="answer", **run)._repr_mimebundle_())
    given = {"profile": "tiny", **more}
    settings = "\n".join(f"{parameter} = {value!r}" for parameter, value in given.items())
    made = small_book.notebook(
        new_code_cell(settings, metadata={"tags": ["injected-parameters", "hide-input"]}),
        *cells,
        new_code_cell("answer", outputs=[answer], metadata={"tags": ["remove-cell"]}),
        new_markdown_cell("## Summary\n\nThat was it."),
    )
    title = f'<a id="sec-{name}"></a>\n# Chapter {name}\n\n**Answer.** {ANSWER}'
    made.cells.insert(0, new_markdown_cell(title, id="title"))
    made.metadata["papermill"] = {"parameters": given}
    return made


def written(notebook: Any) -> Any:
    """The same as it was before it ran."""
    fresh = nbformat.from_dict(json.loads(json.dumps(notebook)))
    fresh.cells = [cell for cell in fresh.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell in fresh.cells:
        cell |= {"outputs": []} if cell.cell_type == "code" else {}
    return fresh


def put(folder: Path, name: str, notebook: Any) -> None:
    """Write an executed chapter and its record, at a fixed moment."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    path.write_text(nbformat.writes(notebook), "utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({"fingerprint": "f", "sha256": digest, "seconds": 12.5}))
    os.utime(path, (MOMENT, MOMENT))


def checkout(root: Path, **notebooks: Any) -> ReferenceLayout:
    """A checkout whose reference run ended with these chapters."""
    root.mkdir(parents=True)
    small_book.checkout(root, **{name: written(made) for name, made in notebooks.items()})
    layout = ReferenceLayout(root)
    for name, made in notebooks.items():
        put(layout.chapters, name, made)
    return layout


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
