"""Which modules of the package a notebook can reach, so that an edit runs again only what it can change."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path


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
