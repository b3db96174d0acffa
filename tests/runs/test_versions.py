"""Code that makes results has changed: did its numbers?

Keys of results hold a version number per stage, not the source: a refactoring keeps its results. So somebody has to
say, for each stage, that the version was raised or that the numbers are the same:

    python tests/runs/test_versions.py

writes each stage's version and the digest of the code that it reaches into ``versions.json`` here; the golden files
(``tests/golden``) show whether a number changed.
"""

import ast
import copy
import hashlib
import json
import re
from functools import cache
from pathlib import Path

import polinb

PACKAGE = Path(polinb.__file__).parent
KEPT = Path(__file__).with_name("versions.json")
# What a run gives to a stage that declares a group.
GIVEN = {"Model": ("models.loading", "load"), "Judge": ("stance.judges", "LocalJudge")}
# What says how far a stage is, or how a name is written, changes no number.
APART = ("display", "lab", "cluster", "labels", "wording", "progress", "trouble", "errors")


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
    base = PACKAGE.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def module(name):
    """Top-level symbols of a module, and what the names it imports stand for."""
    tree = ast.parse(path_of(name).read_text("utf-8"))
    symbols = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                symbols |= {each.id: node for each in ast.walk(target) if isinstance(each, ast.Name)}
    return symbols, dict(imported(tree.body))


def code(node):
    """A symbol's syntax tree without annotations and decorators, which compute nothing."""
    yield node
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list"):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.AST):
                    yield from code(each)


@cache
def uses(symbol):
    """Symbols of the package that a symbol names in its code."""
    home, name = symbol
    symbols, names = module(home)
    parts = list(code(symbols[name]))
    own = {each.arg for each in parts if isinstance(each, ast.arg)}
    names = names | dict(imported([each for each in parts if isinstance(each, ast.ImportFrom)]))
    marks = [mark for mark in getattr(symbols[name], "decorator_list", []) if isinstance(mark, ast.Call)]
    found = {GIVEN[each.id] for mark in marks for each in mark.args if isinstance(each, ast.Name) and each.id in GIVEN}
    for each in parts:
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            place, inner = names.get(each.value.id, ("", "no module"))
            found |= set() if inner else {(place, each.attr)}
        elif isinstance(each, ast.Name) and each.id not in own:
            found |= {(home, each.id)} if each.id in symbols else {names[each.id]} if each.id in names else set()
    return [s for s in found if s[1] in module(s[0])[0] and s[0].split(".")[0] not in APART]


def reached(symbol):
    seen, todo = set(), [symbol]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += uses(here)
    return seen


def meaning(node):
    """A symbol's code without comments and docstrings; the same on every Python."""
    node = copy.deepcopy(node)
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(each) is not None:
            each.body = each.body[1:] or [ast.Pass()]
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            each.value = each.value.encode("unicode-escape")  # else each Python shows the letters that it knows
    return re.sub(r"(, )?\w+=\[\]", "", ast.dump(node)).replace("(, ", "(")  # since 3.13 without empty lists


@cache
def told(symbol):
    return f"{symbol[0]}.{symbol[1]}\n{meaning(module(symbol[0])[0][symbol[1]])}"


def stages():
    """Kind → module and name of the function that makes it."""
    found = {}
    for path in PACKAGE.rglob("[!_]*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for symbol, node in module(name)[0].items():
            for mark in getattr(node, "decorator_list", []):
                match mark:
                    case ast.Call(func=ast.Name(id="stage"), args=[ast.Constant(value=kind), *_]):
                        found[kind] = (name, symbol)
    return found


def digests():
    texts = {kind: "\0".join(map(told, sorted(reached(symbol)))) for kind, symbol in sorted(stages().items())}
    return {kind: hashlib.sha256(text.encode()).hexdigest()[:16] for kind, text in texts.items()}


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
