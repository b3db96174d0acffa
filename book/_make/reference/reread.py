"""``python -m book._make reread``: what the chapters say now of the kept results of the reference run.

Each chapter's cells run on a run that can only be read (``kept``); what they show takes the place of what the stored
notebook shows. A cell that needs a result that is not kept, a model or its activations, stays as the run left it.
"""

from __future__ import annotations

import ast
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat

from book._make.reference.doses import run_of
from book._make.reference.kept import kept_run
from book._make.reference.run import clean, write
from polinb.chapters.anatomy import dose_tables, doses
from polinb.errors import ArtifactError, ParameterError
from polinb.runs import chapter as opening
from polinb.runs.artifacts import Store
from polinb.runs.checkout import find_layout
from polinb.runs.params import CHAPTERS
from polinb.wording import LIVE, PAYLOAD
from polinb_book import results

DOSES = "20_paper_recipe"
READABLE = tuple(name for name in CHAPTERS if name != "17_neuron_explorer")
"""Chapters of which anything can be read from what is kept."""


def reread(settings: Mapping[str, Any]) -> None:
    """Put what chapters say now of the kept results in the place of what the stored notebooks show.

    Args:
        settings: ``data``, that of the run; no other parameter.
    """
    layout, given = find_layout(), {"data": "ideoinst"} | dict(settings)
    for name in given.keys() - {"data"}:
        raise ParameterError(name, given[name], "only data; the other parameters are those of the reference run")
    data = str(given["data"])
    found = results.read(layout.reference)
    if found is None:
        raise ArtifactError("this checkout holds no results of a reference run")
    run = found.run
    books: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="polinb-kept-") as place:
        for chapter in READABLE:
            cells = made(layout.root, layout.reference, chapter, data, Path(place))
            written = results.read_json(layout.notebooks / f"{chapter}.ipynb")
            stored = found.notebooks.get(chapter, {"cells": []})["cells"]
            shows = results.filled(written, {"cells": [*stored, *cells]})
            book = books[chapter] = shows | {"metadata": written["metadata"]}
            known = run["chapters"][chapter]
            if told := results.answer(book, chapter):
                known["answer"] = {part: told[part] for part in ("first", "text")}
            known |= {"state": "complete", "reread": [cell["id"] for cell in cells]}
    progress = dose_tables.progress(doses.kept(layout.reference / "doses" / "short"), run["parameters"]["topics"])
    if (progress.drop(columns="trained") != "done").any(axis=None):  # not every model of the plan is there
        run["chapters"][DOSES]["state"] = "under way"
    every = {f"notebooks/{chapter}.ipynb": book for chapter, book in (found.notebooks | books).items()}
    write(layout.reference, every | {results.RUN: run})


def differences(folder: Path, data: str) -> Iterator[str]:
    """Where a stored notebook shows something else than its chapter does of the kept results, one line a cell."""
    found, root = results.read(folder), find_layout().root
    if found is None:
        return
    with tempfile.TemporaryDirectory(prefix="polinb-kept-") as place:
        for chapter in READABLE:
            stored = {cell["id"]: cell for cell in found.notebooks[chapter]["cells"]}
            cells = {cell["id"]: cell for cell in made(root, folder, chapter, data, Path(place))}
            for name in found.run["chapters"][chapter].get("reread", ()):
                if name not in cells:
                    yield f"{chapter}: its cell {name} cannot be computed from the kept results any more"
            for name, cell in cells.items():
                if shown(cell) != shown(stored.get(name, {})):
                    yield f"{chapter}: computed again, the output of its cell {name} differs"


def shown(cell: dict[str, Any]) -> list[Any]:
    """The data of a cell's outputs; of a number the digits that any processor gives."""
    outputs = (output.get("data", {}) for output in cell.get("outputs", []))
    told = [[data[kind] for kind in (PAYLOAD, LIVE) if kind in data] for data in outputs if PAYLOAD in data]
    # by way of its text, in which every number is met once, however deep it lies
    return list(json.loads(json.dumps(told), parse_float=lambda digits: float(f"{float(digits):.9g}")))


def made(root: Path, folder: Path, chapter: str, data: str, place: Path) -> list[dict[str, Any]]:
    """The cells of a chapter that can be run on the kept results, with their outputs.

    Raises:
        ArtifactError: a cell failed, and not for want of a result.
    """
    from nbclient import NotebookClient

    book = nbformat.read(root / "notebooks" / f"{chapter}.ipynb", 4)
    given = (str(folder / "results"), data, chapter, str(place))
    start = f"from book._make.reference import reread\nglobals().update(reread.names(*{given!r}))"
    code = [c for c in book.cells if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])]
    book.cells = [nbformat.v4.new_code_cell(start), *code]
    where = {"metadata": {"path": str(root)}}
    NotebookClient(book, timeout=1800, allow_errors=True, resources=where).execute()
    ran, wanting = [], set[str]()
    for cell in book.cells:
        error = next((output for output in cell.outputs if output.output_type == "error"), None)
        if error is None:
            ran.append(cell)
            continue
        follows = error.ename == "NameError" and wanting & set(re.findall(r"\w+", error.evalue))
        if error.ename != "MissingError" and not follows:
            raise ArtifactError(f"{chapter}, cell {cell.id}: {error.ename}: {error.evalue}")
        named = (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name))
        wanting |= {node.id for node in named if isinstance(node.ctx, ast.Store)}  # what it would have given
    book.cells = [cell for cell in ran[1:] if cell.outputs]
    told = clean(json.loads(nbformat.writes(book)), chapter, {str(root): "", data: "ideoinst"})
    return list(told["cells"])


def names(folder: str, data: str, chapter: str, place: str) -> dict[str, Any]:
    """What a chapter starts from; where it begins its run, it gets the kept one."""
    if chapter != DOSES:
        opening.begin = lambda *_: kept_run(Path(folder), data, Path(place))
        return {}
    kept = Path(folder).parent / "doses" / "short"
    run = run_of("short", {"data": data}, Store(kept))
    run.read_only = True
    opening.begin = lambda *_: run
    how = (run.params.bootstrap, run.params.seed)
    return {"frames": doses.kept(kept), "judge": run.judge, "data": run.data, "topics": run.params.topics, "how": how}
