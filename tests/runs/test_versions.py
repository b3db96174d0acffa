"""Code that makes results has changed: did its numbers?

Keys of results hold a version number per stage, not the source: a refactoring keeps its results. So somebody has to
say, for each stage, that the version was raised or that the numbers are the same:

    python tests/runs/test_versions.py

writes each stage's version and the digest of the code that it reaches into ``versions.json`` here; the golden files
(``tests/golden``) show whether a number changed.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

import polinb

PACKAGE = Path(polinb.__file__).parent
KEPT = Path(__file__).with_name("versions.json")
# What says how far a stage is, or how a name is written, changes no number.
APART = ("display", "lab", "cluster", "labels", "wording", "progress", "trouble", "errors")


class Module:
    """Top-level symbols of a module, and what its names stand for."""

    def __init__(self, path):
        self.symbols = {}
        tree = ast.parse(path.read_text("utf-8"))
        self.names = dict(imported(tree.body))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.symbols[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    self.symbols |= {each.id: node for each in ast.walk(target) if isinstance(each, ast.Name)}
            elif isinstance(node, ast.If):
                self.names |= dict(imported(node.body))


def imported(body):
    """Name → module of the package and symbol, or module and nothing."""
    for node in body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "polinb":
            home = (node.module or "").removeprefix("polinb").removeprefix(".")
            for each in node.names:
                inner = f"{home}.{each.name}".strip(".")
                yield each.asname or each.name, (inner, "") if path_of(inner) else (home, each.name)


@cache
def path_of(name):
    base = PACKAGE.joinpath(*name.split(".")) if name else PACKAGE
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def module(name):
    path = path_of(name)
    assert path is not None
    return Module(path)


@cache
def uses(symbol):
    """Symbols of the package that a symbol names in its code; annotations compute nothing."""
    home = module(symbol[0])
    node = home.symbols[symbol[1]]
    parts = list(code(node))
    own = {each.arg for each in parts if isinstance(each, ast.arg)}
    names = home.names | dict(imported([each for each in parts if isinstance(each, ast.ImportFrom)]))
    found = {GIVEN[each] for each in groups(node) if each in GIVEN}
    for each in parts:
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            target = names.get(each.value.id)
            if target and not target[1]:
                found.add((target[0], each.attr))
        if isinstance(each, ast.Name) and each.id not in own:
            if each.id in home.symbols:
                found.add((symbol[0], each.id))
            elif each.id in names:
                found.add(names[each.id])
    return frozenset(s for s in found if s[1] in module(s[0]).symbols and s[0].split(".")[0] not in APART)


def code(node):
    """A symbol's syntax tree without annotations and decorators."""
    yield node
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list"):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.AST):
                    yield from code(each)


# What a run gives to a stage that declares a group.
GIVEN = {"Model": ("models.loading", "load"), "Judge": ("stance.judges", "LocalJudge")}


def groups(node):
    """Names of the groups that a stage declares."""
    marks = [mark for mark in getattr(node, "decorator_list", []) if isinstance(mark, ast.Call)]
    return [each.id for mark in marks for each in mark.args if isinstance(each, ast.Name)]


def reached(symbol):
    seen = set()
    todo = [symbol]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += uses(here)
    return seen


@cache
def told(symbol):
    return f"{symbol[0]}.{symbol[1]}\n{meaning(module(symbol[0]).symbols[symbol[1]])}"


def meaning(node):
    """A symbol's code without comments and docstrings; the same on every Python."""
    node = ast.parse(ast.unparse(node)).body[0]
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(each) is not None:
            each.body = each.body[1:] or [ast.Pass()]
    return ast.unparse(node)


def stages():
    """Kind → the function that makes it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if "resources" in path.parts or path.name == "__init__.py":
            continue
        for symbol, node in module(name).symbols.items():
            for mark in getattr(node, "decorator_list", []):
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "stage":
                    found[ast.literal_eval(mark.args[0])] = (name, symbol)
    return found


def digests():
    out = {}
    for kind, symbol in sorted(stages().items()):
        text = "\0".join(map(told, sorted(reached(symbol))))
        out[kind] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return out


def test_whoever_changed_what_makes_results_said_whether_the_numbers_did():
    known, now = json.loads(KEPT.read_text("utf-8")), digests()
    changed = sorted(name for name in known.keys() | now.keys() if known.get(name) != now.get(name))
    assert not changed, (
        f"code that makes the results {', '.join(changed)} has changed. Where a number changes, raise the version of "
        "the stage; then run: python tests/runs/test_versions.py"
    )


def test_a_stage_reaches_what_it_calls_and_nothing_else():
    texts = ('def f(x):\n    """B."""\n    return x  # c\n', "def f(x):\n    return x\n", "def f(y):\n    return y\n")
    seen = [meaning(ast.parse(text).body[0]) for text in texts]
    assert seen[0] == seen[1] != seen[2]
    found = stages()
    assert len(found) > 20
    scores = reached(found["scores"])
    assert ("scoring.tracing", "contrast") in scores and ("models.generation", "generate") in scores
    assert ("training.supervised", "finetune") not in scores
    assert ("training.supervised", "finetune") in reached(found["weights"])
    assert ("masking.random_sets", "random_set") in reached(found["neurons"])


if __name__ == "__main__":
    KEPT.write_text(json.dumps(digests(), indent=1) + "\n", "utf-8")
