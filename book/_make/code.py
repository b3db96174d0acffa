"""What decides a notebook's outputs: modules of the package that it can reach, parameters, data files, packages."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import polinb
from polinb_book.commands import declared

_PACKAGES = ("altair", "pandas", "numpy", "torch", "transformers", "nnsight", "trl", "scikit-learn", "papermill")
_APART = ("web", "workflow", "reference")
"""Folders of resources on which no notebook's output depends: scripts of pages, rules of the workflow, cuts."""


def fingerprint(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Hash of what decides a notebook's outputs: itself, parameters, modules it reaches, data files it names."""
    digest = hashlib.sha256()
    package = Path(polinb.__file__).parent
    apart = {package / "resources" / name for name in _APART}
    data = [p for p in (package / "resources").rglob("*") if not apart & set(p.parents) and _read_by_code(p)]
    for path in [notebook, *sorted([*reachable(notebook, package), *data])]:
        relative = path.name if path == notebook else path.relative_to(package).as_posix()
        digest.update(f"{relative}\0{sha256(path)}\n".encode())
    parameters = own_parameters(notebook, parameters)
    root = notebook.resolve().parents[1]  # where notebooks run
    named = {text: _stand(text, root) for text in _texts(parameters)}
    versions = {name: _version(name) for name in _PACKAGES} | {"python": sys.version.split()[0]}
    digest.update(json.dumps([parameters, named, versions], sort_keys=True).encode())
    return digest.hexdigest()


def own_parameters(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters of a run those that a chapter declares."""
    names = declared(notebook)
    return {name: value for name, value in given.items() if names is None or name in names}


def reachable(notebook: Path, package: Path) -> list[Path]:
    """Modules of ``package`` that the code of ``notebook`` imports, directly or not; sorted.

    Imports inside functions count, those for type checkers alone do not. A notebook that cannot be parsed reaches
    everything, and so does one that imports nothing of the package.
    """
    every = {_name(path, package): path for path in sorted(package.rglob("*.py"))}
    try:
        start = set(_imported(ast.parse(_code(notebook)), every))
    except (OSError, ValueError, KeyError, SyntaxError):
        return list(every.values())
    if not start:
        return list(every.values())
    seen: set[str] = set()
    todo = list(start)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            imported = _imports_of(every[name], every[name].stat().st_mtime_ns, tuple(every.items()))
            todo += [*imported, *(above for above in (name.rpartition(".")[0],) if above in every)]
    return [every[name] for name in sorted(seen)]


def _name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _code(notebook: Path) -> str:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    plain = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith(("%", "!"))]
    return "\n".join(plain)


@lru_cache(maxsize=1024)
def _imports_of(path: Path, _changed: int, every: tuple[tuple[str, Path], ...]) -> list[str]:
    return sorted(set(_imported(ast.parse(path.read_text("utf-8")), dict(every))))


def _imported(tree: ast.AST, every: Mapping[str, Path]) -> Iterator[str]:
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name in every)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _walk(other)
        else:
            yield from _walk(child)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _read_by_code(path: Path) -> bool:
    """Whether it is a file, and not one that only people read."""
    return path.is_file() and path.suffix != ".md" and not path.name.startswith("LICENSE")


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


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def sha256(path: Path) -> str:
    """Of a file; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
