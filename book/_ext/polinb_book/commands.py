"""The commands that repeat a chapter: read from its executed notebook, quoted for a shell.

A value that names a place on the machine that built the book, or that could be a secret, is left out and named.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polinb.runs.chapter import SELDOM_TURNED
from polinb.runs.checkout import parse_settings
from polinb.runs.params import PROFILES, Params, profile_values

_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@+\[\]\"=-]*", re.ASCII)  # passes make and the shell unharmed in '…'
_PLACE = re.compile(r"^[~/\\$]|^[A-Za-z]:[\\/]|^\.\.?([\\/]|$)|\\|://")
_SECRET = re.compile(r"\b(?:sk-|hf_|ghp_|gho_|github_pat_|glpat-|xox[a-z]-|AKIA|eyJ)[A-Za-z0-9_.-]{8,}")


@dataclass(frozen=True)
class Run:
    """How a chapter was run.

    Attributes:
        profile: named set of defaults.
        settings: parameters that differ from the profile's.
        withheld: names of parameters whose values are not shown.
    """

    profile: str = "quick"
    settings: Mapping[str, Any] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()


def read_run(notebook: Path) -> Run:
    """The parameters with which an executed notebook ran; a notebook that has none ran with the defaults."""
    given = given_parameters(notebook)
    profile = given.pop("profile", "quick")
    if profile not in PROFILES:
        return Run()
    usual = profile_values(profile)
    differs = {
        name: value
        for name, value in given.items()
        if name in Params.model_fields and value is not None and value != usual.get(name)
    }
    settings = {name: value for name, value in sorted(differs.items()) if showable(value)}
    return Run(profile, settings, tuple(sorted(set(differs) - set(settings))))


def given_parameters(notebook: Path) -> dict[str, Any]:
    """Names and values that papermill wrote into an executed notebook; none if it cannot be read."""
    given: dict[str, Any] = {}
    try:
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    for cell in cells:
        if "injected-parameters" in cell.get("metadata", {}).get("tags", []):
            given |= _assigned("".join(cell["source"]))
    return given


def declared(notebook: Path) -> set[str] | None:
    """Names that a notebook's parameters cell assigns, or tells to be accepted too; None if it has no such cell."""
    for cell in read_json(notebook).get("cells", []):
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            listed, _, seldom = "".join(cell["source"]).partition(SELDOM_TURNED)
            return set(re.findall(r"^(\w+) *=", listed, re.M)) | set(re.findall(r"\w+", seldom))
    return None


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def papermill_command(notebook: str, run: Run) -> str:
    """A papermill command, one parameter a line; lists are written as YAML."""
    parts = [f"papermill {shlex.quote(notebook)} out.ipynb", f"-p profile {run.profile}"]
    for name, value in run.settings.items():
        if isinstance(value, list):
            parts.append(f"-y {shlex.quote(f'{name}: {json.dumps(value, ensure_ascii=False)}')}")
        elif isinstance(value, str):  # -r: papermill does not guess that 1234 is a number
            parts.append(f"-r {name} {shlex.quote(value)}")
        else:
            parts.append(f"-p {name} {value!r}")
    return " \\\n  ".join(parts)


def book_command(chapter: str, run: Run) -> str:
    """``make book`` for one chapter; ``python -m book._make book`` if a value would not pass through make."""
    texts = [_as_setting(name, value) for name, value in run.settings.items()]
    if all(_PLAIN.fullmatch(text) for text in texts):
        profile = [] if run.profile == "quick" else [f"PROFILE={run.profile}"]
        params = [f"PARAMS='{' '.join(texts)}'"] if texts else []
        return " ".join(["make book", *profile, f"CHAPTERS={chapter}", *params])
    sets = [f"--set {shlex.quote(text)}" for text in texts]
    return " \\\n  ".join([f"python -m book._make book --profile {run.profile} --chapters {chapter}", *sets])


def _as_setting(name: str, value: Any) -> str:
    """``name=value`` as ``book._make.build`` reads it back; no needless space, since make splits at spaces."""
    plain = f"{name}={value}"
    if isinstance(value, str) and parse_settings([plain]) == {name: value}:
        return plain
    return f"{name}={json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"


def _assigned(source: str) -> dict[str, Any]:
    """Names and literal values of a cell of assignments; anything else in it is passed over."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return {}
    found: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def showable(value: Any) -> bool:
    """Whether a value may stand on a page: plain, no place on a machine, no address, nothing like a secret."""
    if isinstance(value, list):
        return all(showable(item) and not isinstance(item, list) for item in value)
    if isinstance(value, str):
        return value.isprintable() and len(value) <= 300 and not (_PLACE.search(value) or _SECRET.search(value))
    return isinstance(value, (bool, int, float))
