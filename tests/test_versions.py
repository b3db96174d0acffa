"""Code that makes results has changed: did its numbers?

Keys of results hold a version number (``code`` among the inputs), not the source: a refactoring keeps its results. So
somebody has to say, for each module that makes results, that the version was raised or that the numbers are the same:

    python tests/test_versions.py

writes the digests of the code that each of them reaches into ``tests/versions.json``; the golden files
(``tests/golden``) show whether a number changed.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import tokenize
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "polinb"
KEPT = Path(__file__).with_name("versions.json")
# Rooms whose code computes nothing that is kept.
APART = ("display", "lab", "cluster", "labels", "wording", "progress", "trouble")


@cache
def meaning(path: Path) -> str:
    """A module's text without comments, docstrings and blank lines; the same on every Python."""
    text = path.read_text("utf-8")
    lines = text.splitlines()
    gone: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            gone |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    return "\n".join(s.rstrip() for number, s in enumerate(lines, 1) if number not in gone and s.strip())


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name.split(".")[0] not in (*APART, "__main__", "__init__"):
            found[name] = path
    return found


@cache
def imports(name: str) -> frozenset[str]:
    """Modules that a module imports when it runs, wherever the import stands."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("polinb"):
                home = (child.module or "").removeprefix("polinb").removeprefix(".")
                found.update(name for each in child.names for name in (home, f"{home}.{each.name}".strip(".")))
            walk(child)

    walk(ast.parse(modules()[name].read_text("utf-8")))
    return frozenset(found & set(modules()))


def reached(name: str) -> set[str]:
    seen: set[str] = set()
    todo = [name]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += imports(here)
    return seen


def digests() -> dict[str, str]:
    """Module that makes results → digest of all code it reaches."""
    out = {}
    for name, path in modules().items():
        if re.search(r"\bstore\.get\(", path.read_text("utf-8")):
            text = "\0".join(f"{each}\n{meaning(modules()[each])}" for each in sorted(reached(name)))
            out[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return out


def test_whoever_changed_what_makes_results_said_whether_the_numbers_did():
    known, now = json.loads(KEPT.read_text("utf-8")), digests()
    changed = sorted(name for name in known.keys() | now.keys() if known.get(name) != now.get(name))
    assert not changed, (
        f"code that makes the results of {', '.join(changed)} has changed. Where a number changes, raise the version "
        "('code') in its inputs; then run: python tests/test_versions.py"
    )


def test_comments_and_docstrings_are_no_change_and_code_is(tmp_path):
    path = tmp_path / "a.py"
    seen = []
    for text in (
        '"""A."""\n\n\ndef f(x):\n    """B."""\n    return x  # c\n',
        "def f(x):\n    return x\n",
        "def f(y):\n    return y\n",
    ):
        path.write_text(text)
        meaning.cache_clear()
        seen.append(meaning(path))
    meaning.cache_clear()
    assert seen[0] == seen[1] != seen[2]
    assert len(digests()) > 15 and "scoring.pnlac" in reached("runs.experiment")


if __name__ == "__main__":
    KEPT.write_text(json.dumps(digests(), indent=1) + "\n", "utf-8")
