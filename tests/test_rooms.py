"""The house: a room imports only rooms above it, no module another's private name, and nothing goes in a circle."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import polinb

PACKAGE = Path(polinb.__file__).parent
ROOMS = (
    "models", "data", "scoring", "masking", "training", "stance", "runs", "chapters", "display", "lab", "cluster",
)  # fmt: skip
EVERYBODY = {"errors", "lazy", "progress", "trouble", "secrets", "wording", "labels", "resampling"}
"""Modules beside the rooms, which import each other at most."""


TREES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_bytes())
    for path in sorted(PACKAGE.rglob("*.py"))
    if "resources" not in path.parts
}


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What a module takes from the package anywhere: module and name, which is empty where the module itself is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "polinb":
            module = (node.module or "").removeprefix("polinb").removeprefix(".")
            yield from ((module, each.name) for each in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.name.removeprefix("polinb."), "") for a in node.names if a.name.startswith("polinb."))


def arrows() -> dict[str, set[str]]:
    """Module → the modules that it imports."""
    made = {}
    for name, tree in TREES.items():
        wholes = {f"{module}.{each}".strip("."): module for module, each in imports(tree)}
        made[name] = {whole if whole in TREES else module for whole, module in wholes.items()} - {"", name}
    return made


def test_nothing_of_the_package_needs_the_book_and_no_page_loads_data():
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"^\s*(?:from|import) (?:book|polinb_book)\b", path.read_text("utf-8"), re.M), path.name
    for path in (PACKAGE.parent / "book" / "_ext").rglob("*.py"):
        assert "polinb.data" not in path.read_text("utf-8"), f"{path.name}: a build of pages must fetch nothing"


def test_a_room_imports_only_rooms_above_it_and_nothing_goes_in_a_circle():
    wrong = []
    for name, targets in arrows().items():
        room = name.split(".")[0]
        for target in targets:
            there = target.split(".")[0]
            if name == "__main__" or there in EVERYBODY or name == "__init__":
                continue
            if room in EVERYBODY or ROOMS.index(there) > ROOMS.index(room):
                wrong.append(f"{name} imports {target}")
    assert not wrong
    list(TopologicalSorter(arrows()).static_order())  # a CycleError names the circle


def test_no_private_name_of_another_module():
    taken = [(name, module, each) for name, tree in TREES.items() for module, each in imports(tree)]
    assert not [each for each in taken if each[2].startswith("_") and not each[2].startswith("__")]


def test_no_room_is_overfull_and_no_module_too_long():
    for folder in [PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py"))]:
        found = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(found) <= 15, f"{folder.name}: {len(found)} modules"
    assert not [path for path in PACKAGE.rglob("*.py") if len(path.read_text("utf-8").splitlines()) > 400]


def test_the_thin_helper_needs_no_run_and_no_trainer():
    code = (
        "import sys, time; start = time.perf_counter(); import polinb; took = time.perf_counter() - start;"
        "assert 'torch' not in sys.modules and took < 0.3, took;"
        "polinb.contrast, polinb.neuron_sets, polinb.random_set, polinb.Freezer, polinb.patched_answers;"
        "assert not {'trl', 'accelerate'} & set(sys.modules), sorted(sys.modules);"
        "assert not any(name.startswith('polinb.runs') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_helper_alone_does_what_the_readme_shows():
    root = PACKAGE.parent
    block = re.search(r"```python\n(import polinb\n.*?)```", (root / "README.md").read_text("utf-8"), re.S)
    assert block and block[1] in (root / "book" / "notation.md").read_text("utf-8")
    space: dict[str, Any] = {}
    exec(compile(block[1], "README.md", "exec"), space)
    sets, control = space["sets"], space["control"]
    assert sets.general.sum() == control.sum() > 0 and not (sets.general & control).any()
    assert (sets.general.sum(1) == control.sum(1)).all() and len(space["patched"]) == 2
    assert space["freezer"].entries > 0
