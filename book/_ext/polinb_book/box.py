"""The box "Run this chapter yourself" on every chapter's page: notebook, commands, time, Binder and Colab."""

from __future__ import annotations

import json
import os
import re
import shlex
import zipfile
from pathlib import Path
from typing import Any

from sphinx.util import logging

from polinb.runs.checkout import parse_settings
from polinb.runs.params import PROFILES, Params, profile_values
from polinb_book.reference_words import took
from polinb_book.results import read_json, showable

ALL = "_downloads/notebooks.zip"  # the notebooks as written, beside the pages
_ADDRESS = re.compile(r"https://github\.com/(\w[\w.-]*/\w[\w.-]*?)(?:\.git)?/?", re.ASCII)


def prepare(app: Any) -> None:
    """Handler of ``builder-inited``: where the project can be had from; an address that cannot be used is a warning."""
    given = (app.config.polinb_repository or os.environ.get("POLINB_REPOSITORY", "")).strip()
    known = _ADDRESS.fullmatch(given)
    app.polinb_address = known[1] if known else ""
    if given and not known:  # the text itself is not repeated: it may hold a password
        told = "polinb_repository (or POLINB_REPOSITORY) cannot be used; allowed: https://github.com/OWNER/NAME"
        logging.getLogger(__name__).warning(told)


def pack_notebooks(app: Any, failure: Exception | None) -> None:
    """Handler of ``build-finished``: the notebooks as written, all in a zip; no times in it, so the same bytes."""
    folder = Path(app.srcdir).parent / "notebooks"
    if failure or app.builder.format != "html" or not folder.is_dir():
        return
    target = Path(app.outdir) / ALL
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.glob("*.ipynb")):
            packed.writestr(zipfile.ZipInfo(f"notebooks/{path.name}"), path.read_bytes())


def box(executed: Path, address: str = "") -> str:
    """The box as MyST.

    Args:
        executed: the chapter's notebook; its record with the seconds, if it ran, beside it.
        address: OWNER/NAME at GitHub; empty gives no links.
    """
    name, record = executed.stem, read_json(executed.with_suffix(".json"))
    given = read_json(executed).get("metadata", {}).get("papermill", {}).get("parameters", {}) if record else {}
    profile, settings, withheld = changed(given)
    time = f"It took **{took(record['seconds'])}** on the machine that built this book. " if "seconds" in record else ""
    more = f" Also set in this run, to a place that is not shown: {', '.join(f'`{n}`' for n in withheld)}."
    parts = [
        f"{time}What other chapters or earlier runs have computed is read from the store, so a first run on its own "
        "takes longer." if record else "This chapter was not run when this book was built.",
        f"{{download}}`Download the notebook <../../notebooks/{name}.ipynb>`, as written and without outputs. In a "
        "checkout of the project, with its environment active (`make setup`, then `. .venv/bin/activate`), this runs "
        f"it alone{' with the parameters of this page' if record else ''}:",
        _code(papermill_command(f"notebooks/{name}.ipynb", profile, settings)),
        f"And this runs it as a part of the book:{more if withheld else ''}",
        _code(book_command(name, profile, settings)),
        *(_elsewhere(f"notebooks/{name}.ipynb", address) if address else []),
    ]  # fmt: skip
    return "\n\n".join(["::::{dropdown} Run this chapter yourself", *parts, "::::"])


def changed(given: dict[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Of the parameters of a run: the profile, what differs from it, and names of those whose value is not shown."""
    profile = given.get("profile", "quick")
    if profile not in PROFILES:
        return "quick", {}, []
    usual = profile_values(profile)
    names = (set(given) & set(Params.model_fields)) - {"profile"}
    differs = {n: given[n] for n in sorted(names) if given[n] is not None and given[n] != usual.get(n)}
    settings = {name: value for name, value in differs.items() if showable(value)}
    return profile, settings, [name for name in differs if name not in settings]


def papermill_command(notebook: str, profile: str, settings: dict[str, Any]) -> str:
    """A papermill command, one parameter a line; lists are written as YAML."""
    parts = [f"papermill {shlex.quote(notebook)} out.ipynb", f"-p profile {profile}"]
    for name, value in settings.items():
        if isinstance(value, list):
            parts.append(f"-y {shlex.quote(f'{name}: {json.dumps(value, ensure_ascii=False)}')}")
        elif isinstance(value, str):  # -r: papermill does not guess that 1234 is a number
            parts.append(f"-r {name} {shlex.quote(value)}")
        else:
            parts.append(f"-p {name} {value!r}")
    return " \\\n  ".join(parts)


def book_command(chapter: str, profile: str, settings: dict[str, Any]) -> str:
    """``make book`` for one chapter, as the command behind it: some values would not pass through make."""
    sets = [f"--set {shlex.quote(setting(name, value))}" for name, value in settings.items()]
    return " \\\n  ".join([f"python -m book._make book --profile {profile} --chapters {chapter}", *sets])


def setting(name: str, value: Any) -> str:
    """``name=value`` as the command line reads it back."""
    plain = f"{name}={value}"
    if isinstance(value, str) and parse_settings([plain]) == {name: value}:
        return plain
    return f"{name}={json.dumps(value, ensure_ascii=False)}"


def _elsewhere(notebook: str, path: str) -> list[str]:
    """Links that start the notebook on other hosts."""
    binder = f"[Open in Binder](https://mybinder.org/v2/gh/{path}/HEAD?urlpath=lab/tree/{notebook})"
    colab = f"[Open in Colab](https://colab.research.google.com/github/{path}/blob/HEAD/{notebook})"
    told = (
        "These lead to other hosts, and have not been tried with this version. A Binder session has at most 2 GB of "
        'memory: set `profile = "tiny"` in the parameters cell there. Colab starts without polinb: run these two lines '
        "in a first cell, then restart the session."
    )
    raw = f"https://raw.githubusercontent.com/{path}/HEAD"
    install = (
        f'%pip install -c {raw}/requirements.lock "git+https://github.com/{path}"\n'
        f"%pip install --no-deps -r {raw}/requirements-nodeps.lock"
    )
    return [f"{binder} · {colab}", told, _code(install)]


def _code(text: str) -> str:
    """A block with the theme's copy button, whatever backticks the text holds."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}text\n{text}\n{fence}"
