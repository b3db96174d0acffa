"""The package's source opens no pickle, runs no code of a model and unpacks no archive.

Calls of ``eval``, shells, unsafe YAML and unverified connections are ruff's to find (rules S in ``pyproject.toml``).
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SOURCES = [*sorted((REPO / "polinb").rglob("*.py")), *sorted((REPO / ".ci").rglob("*.py"))]
MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "zipfile", "tarfile", "xmlrpc",
    "torch.load", "torch.hub",
}  # fmt: skip
# what unpickles, unpacks, or runs what a name says
CALLS = re.compile(
    r"(^|\.)(torch\.load|hub\.load|np\.load|numpy\.load|read_pickle|to_pickle|extractall|unpack_archive|run_path"
    r"|getoutput|popen|import_module|__import__)$"
)
FLAGS = {  # the only value that each may have; one that is not a plain constant nobody can see
    "trust_remote_code": False, "allow_pickle": False, "weights_only": True, "use_safetensors": True,
    "safe_serialization": True, "shell": False, "verify": True,
}  # fmt: skip
ALLOWED = {("polinb/__init__.py", "import_module")}  # of our own modules, from a table


def dangers(source: str) -> list[str]:
    """Everything dangerous in Python source."""
    found, flags = [], []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            found += [home] if home.split(".")[0] in MODULES else []
            found += [name for each in node.names if (name := f"{home}.{each.name}") in MODULES]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if CALLS.search(name) else []
            flags += [(word.arg, word.value) for word in node.keywords]
        elif isinstance(node, ast.Dict):
            flags += [(k.value, v) for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)]
    wrong = [(k, v) for k, v in flags if k in FLAGS and not (isinstance(v, ast.Constant) and v.value is FLAGS[k])]
    return found + [f"{name}={ast.unparse(value)}" for name, value in wrong]


def test_nothing_dangerous_is_called() -> None:
    for path in SOURCES:
        name = path.relative_to(REPO).as_posix()
        assert not [what for what in dangers(path.read_text("utf-8")) if (name, what) not in ALLOWED], name
    for path in sorted((REPO / "notebooks").rglob("*.ipynb")):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            assert cell["cell_type"] != "code" or not dangers("".join(cell["source"])), path.name


def test_the_scan_finds_what_is_planted_and_leaves_the_rest_alone() -> None:
    for planted in (
        "import pickle", "from pickle import loads", "import torch\ntorch.load('x')", "from torch import load",
        "np.load(f, allow_pickle=True)", "f(trust_remote_code=flag)", "x = {'trust_remote_code': True}",
        "subprocess.run(c, shell=flag)", "import zipfile", "a.extractall(p)", "importlib.import_module(n)",
    ):  # fmt: skip
        assert dangers(planted), planted
    good = "f(trust_remote_code=False); re.compile(x); model.eval(); x = {'trust_remote_code': False}; load_file(p)"
    assert not dangers(good)
