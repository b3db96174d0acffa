"""Code that makes results has changed: did its numbers?

Keys of results hold a version number per stage, not the source: a refactoring keeps its results. So somebody has to
say that the versions of the stages concerned were raised, or that the numbers are the same (``tests/golden`` shows it):

    python tests/runs/test_versions.py

writes a digest of every module that a stage reaches into ``versions.json`` here.
"""

import ast
import hashlib
import json
import re
from pathlib import Path

import polinb

PACKAGE = Path(polinb.__file__).parent
KEPT = Path(__file__).with_name("versions.json")
# What says how far a stage is, or how a name is written, changes no number.
APART = ("display", "lab", "cluster", "labels", "wording", "progress", "trouble", "errors", "secrets")


def meaning(text):
    """Code without comments and docstrings; the same on every Python."""
    tree = ast.parse(text)
    for each in ast.walk(tree):
        if isinstance(each, ast.Module | ast.FunctionDef | ast.ClassDef):
            each.body = [part for part in each.body if ast.get_docstring(ast.Module([part], [])) is None]
            each.body = each.body or [ast.Pass()]
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            each.value = each.value.encode("unicode-escape")  # else each Python shows the letters that it knows
    return re.sub(r"(, )?\w+=\[\]", "", ast.dump(tree)).replace("(, ", "(")  # since 3.13 without empty lists


def imported(text):
    """Files of the package that a module imports anywhere."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("polinb."):
            for name in (node.module, *(f"{node.module}.{each.name}" for each in node.names)):
                yield PACKAGE.parent / f"{name.replace('.', '/')}.py"


def digests():
    todo, found = [path for path in PACKAGE.rglob("*.py") if "\n@stage(" in path.read_text("utf-8")], {}
    while todo:
        path = todo.pop()
        name = path.relative_to(PACKAGE).as_posix()
        if path.is_file() and name not in found and not name.startswith(APART):
            text = path.read_text("utf-8")
            found[name] = hashlib.sha256(meaning(text).encode()).hexdigest()[:16]
            todo += imported(text)
    return dict(sorted(found.items()))


def test_whoever_changed_what_makes_results_said_whether_the_numbers_did():
    known, now = json.loads(KEPT.read_text("utf-8")), digests()
    changed = sorted(name for name in known.keys() | now.keys() if known.get(name) != now.get(name))
    assert not changed, (
        f"code that makes results has changed: {', '.join(changed)}. Where a number changes, raise the version of each "
        "stage that makes it; then run: python tests/runs/test_versions.py"
    )


def test_what_stages_reach_is_watched_and_words_about_it_are_not():
    assert digests().keys() >= {"runs/weights.py", "training/supervised.py", "masking/random_sets.py", "resampling.py"}
    told, plain, other = (
        'def f(x):\n    """B."""\n    return x  # c',
        "def f(x):\n    return x",
        "def f(y):\n    return y",
    )
    assert meaning(told) == meaning(plain) != meaning(other)


if __name__ == "__main__":
    KEPT.write_text(json.dumps(digests(), indent=1) + "\n", "utf-8")
