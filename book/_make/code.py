"""What decides a notebook's outputs: the package, parameters, data files, versions of libraries."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import polinb
from polinb.errors import BookError
from polinb.runs.chapter import SELDOM_TURNED
from polinb_book.results import read_json

_PACKAGES = ("altair", "pandas", "numpy", "torch", "transformers", "nnsight", "trl", "scikit-learn", "papermill")
_APART = ("web", "reference")
"""Folders of resources on which no notebook's output depends: scripts of pages, cuts."""


def fingerprint(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Hash of what decides a notebook's outputs: itself, parameters, the package, data files it names."""
    digest = hashlib.sha256()
    package = Path(polinb.__file__).parent
    apart = {package / "resources" / name for name in _APART}
    files = [p for p in package.rglob("*") if not apart & set(p.parents) and _read_by_code(p)]
    for path in [notebook, *sorted(files)]:
        relative = path.name if path == notebook else path.relative_to(package).as_posix()
        digest.update(f"{relative}\0{sha256(path)}\n".encode())
    parameters = own_parameters(notebook, parameters)
    root = notebook.resolve().parents[1]  # where notebooks run
    named = {text: _stand(text, root) for text in texts(parameters)}
    versions = {name: metadata.version(name) for name in _PACKAGES} | {"python": sys.version.split()[0]}
    digest.update(json.dumps([parameters, named, versions], sort_keys=True).encode())
    return digest.hexdigest()


def own_parameters(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters of a run those that a chapter declares."""
    names = declared(notebook)
    return {name: value for name, value in given.items() if name in names}


def declared(notebook: Path) -> set[str]:
    """Names that a notebook's parameters cell assigns, or tells to be accepted too.

    Raises:
        BookError: it has no such cell.
    """
    for cell in read_json(notebook).get("cells", []):
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            listed, _, seldom = "".join(cell["source"]).partition(SELDOM_TURNED)
            return set(re.findall(r"^(\w+) *=", listed, re.M)) | set(re.findall(r"\w+", seldom))
    raise BookError(f"notebooks/{notebook.name}: no cell has the tag 'parameters'")


def texts(value: Any) -> Iterator[str]:
    """The texts in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)


def _read_by_code(path: Path) -> bool:
    """Whether it is a file, and not one that only people read."""
    return path.is_file() and path.suffix not in (".md", ".pyc") and not path.name.startswith("LICENSE")


def _stand(text: str, root: Path) -> str:
    """State of the file (hash) or folder (names, sizes, times: it may hold gigabytes) that a text names; empty if none.

    Read as the package reads it: ``~`` is the home folder, and a label may follow, ``folder:label``.
    """
    for named in filter(None, (text, text.rpartition(":")[0])):
        try:
            path = root / Path(named).expanduser()
            if path.is_file():
                return sha256(path)
            if path.is_dir():
                files = sorted(p for p in path.rglob("*") if p.is_file())
                parts = [f"{p.relative_to(path)}\0{p.stat().st_size}\0{p.stat().st_mtime_ns}" for p in files]
                return hashlib.sha256("\n".join(parts).encode()).hexdigest()
        except (OSError, ValueError, RuntimeError):  # no path at all, or the home of nobody
            continue
    return ""


def sha256(path: Path) -> str:
    """Of a file; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
