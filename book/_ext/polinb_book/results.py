"""The committed reference run (``book/reference``): its executed notebooks, and what it was.

``run.json`` says parameters, cuts, data, machine and times; ``notebooks`` holds the chapters as executed, ``results``
what the models said. ``SHA256SUMS`` names every file, so ``sha256sum -c`` checks it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polinb.errors import ArtifactError
from polinb.models.checkpoints import file_sha256
from polinb.secrets import hide
from polinb_book.outputs import Found, found, payloads

FOLDER = "reference"  # in the book's folder
_ANSWER = ("profile", "model", "first", "text")
RUN, SUMS = "run.json", "SHA256SUMS"
FRESH = ".{}.new"  # a file while it is written
_PLACE = re.compile(r"^[~/\\$]|^[A-Za-z]:[\\/]|^\.\.?([\\/]|$)|\\|://")
REMEDY = "take the committed one (git checkout book/reference), or make it again (make reference)"


@dataclass(frozen=True)
class Reference:
    """What the reference run left in a folder."""

    folder: Path
    run: dict[str, Any]  # profile, parameters, cuts, data, provenance, chapters and more: see book/_make/reference
    notebooks: dict[str, dict[str, Any]]  # as executed, by chapter
    made: dict[str, Found]  # label → table or figure


def read(folder: Path) -> Reference | None:
    """The reference results in ``folder``, every file compared with its digest; None if there are none.

    Raises:
        ArtifactError: naming the first file that is missing, not listed or not what was written.
    """
    if not (folder / SUMS).is_file():
        return None
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = _digests(folder)
    for name in sorted({RUN, *there, *listed}):
        if there.get(name) != listed.get(name, ""):
            why = f"{SUMS} does not list it" if name not in listed else "its SHA-256 differs or it is missing"
            raise ArtifactError(f"book/reference/{name or SUMS} is damaged ({why}); {REMEDY}")
    notebooks = {path.stem: json.loads(path.read_bytes()) for path in sorted((folder / "notebooks").glob("*.ipynb"))}
    made = {each["label"]: each for book in notebooks.values() for each in shown(book) if each["label"]}
    return Reference(folder, json.loads((folder / RUN).read_bytes()), notebooks, made)


def write_sums(folder: Path) -> None:
    """List every file of the folder with its SHA-256."""
    lines = [f"{digest}  {name}\n" for name, digest in _digests(folder).items()]
    write(folder / SUMS, "".join(lines))  # a cut list would be damage


def write(path: Path, text: str) -> None:
    """A file in one step: a kill leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(FRESH.format(path.name))
    fresh.write_text(text, "utf-8")
    fresh.replace(path)


def _digests(folder: Path) -> dict[str, str]:
    """File → SHA-256 of every file of the folder but the list itself, and what a kill left of it."""
    apart = (SUMS, FRESH.format(SUMS))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in apart)
    return {p.relative_to(folder).as_posix(): file_sha256(p) for p in files}


def filled(written: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook as written, with the outputs that the cells of the same id have in a stored one."""
    outputs = {cell["id"]: cell["outputs"] for cell in stored["cells"] if cell["cell_type"] == "code"}
    cells = [
        cell | {"outputs": outputs.get(cell["id"], [])} if cell["cell_type"] == "code" else cell
        for cell in written["cells"]
    ]
    return {**written, "cells": cells, "metadata": {**written["metadata"], "polinb": {"reference": True}}}


def is_filled(notebook: Mapping[str, Any]) -> bool:
    """Whether a notebook shows the reference run's outputs, for want of its own."""
    return bool(notebook.get("metadata", {}).get("polinb", {}).get("reference"))


def answer(notebook: Mapping[str, Any], name: str) -> dict[str, str] | None:
    """What a chapter answered: profile, model, first (sentence), text; None if it says nothing."""
    for cell in notebook["cells"]:
        for _, payload in payloads(cell):
            if payload.get("answer"):
                if not all(isinstance(payload.get(part), str) for part in _ANSWER):
                    told = f"its answer lacks one of {_ANSWER}; run it again"
                    raise ArtifactError(f"executed chapter {name}.ipynb: {told}")
                return {part: payload[part] for part in _ANSWER}
    return None


def shown(notebook: Mapping[str, Any]) -> list[Found]:
    """The tables and labelled figures of a notebook."""
    return [each for cell in notebook["cells"] for _, each in found(cell)]


def labels(notebook: Mapping[str, Any]) -> set[str]:
    """The labels of these."""
    return {each["label"] for each in shown(notebook)}


def as_json(value: Any) -> str:
    """A file's text: the same value gives the same bytes."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def showable(value: Any) -> bool:
    """Whether a value may stand on a page: plain, no place on a machine, no address, nothing like a secret."""
    if isinstance(value, list):
        return all(showable(item) and not isinstance(item, list) for item in value)
    if isinstance(value, str):
        return value.isprintable() and len(value) <= 300 and not _PLACE.search(value) and hide(value) == value
    return isinstance(value, (bool, int, float))


def parsed(text: str | bytes, name: str) -> dict[str, Any]:
    """A notebook's JSON; what is none is an ArtifactError."""
    import nbformat

    try:
        book: dict[str, Any] = json.loads(text)
        nbformat.validate(book)
    except Exception as error:  # nbformat fails in many ways on what is no notebook
        why = " ".join(str(error).split())[:200]
        raise ArtifactError(f"executed chapter {name} is damaged ({why}); remove it and run make book again") from None
    return book
