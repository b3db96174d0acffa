"""One notebook: what decides its outputs, and its execution by papermill, without what changes from run to run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat

import polinb
from polinb.errors import BookError
from polinb.models.checkpoints import file_sha256
from polinb.runs.chapter import SELDOM_TURNED
from polinb.runs.checkout import Layout
from polinb.secrets import hide, texts
from polinb.trouble import UNFINISHED
from polinb_book.results import read_json, write

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("altair", "pandas", "numpy", "torch", "transformers", "nnsight", "trl", "scikit-learn", "papermill")
_APART = ("web", "reference")
"""Folders of resources on which no notebook's output depends: scripts of pages, cuts."""
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# What the book writes on the two folded cells of parameters.
_PROMPTS = {"parameters": "All parameters and their meaning", "injected-parameters": "Parameters this run changed"}
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,16}")
# Up to a line's last carriage return, and blanks left of it.
_OVERWRITTEN = re.compile(r"^[^\n]*\r([ \t]*(\n|\Z))?", re.MULTILINE)
_CELL_FILE = re.compile(r"\S*ipykernel_\d+/\d+\.py")


def fingerprint(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Hash of what decides a notebook's outputs: itself, parameters, the package, data files it names, libraries."""
    digest = hashlib.sha256()
    package = Path(polinb.__file__).parent
    apart = {package / "resources" / name for name in _APART}
    files = [p for p in package.rglob("*") if p.is_file() and not apart & set(p.parents)]
    read = [p for p in files if p.suffix not in (".md", ".pyc") and not p.name.startswith("LICENSE")]  # not by people
    for path, home in [(notebook, notebook.parent), *((path, package) for path in sorted(read))]:
        digest.update(f"{path.relative_to(home).as_posix()}\0{sha256(path)}\n".encode())
    parameters = own_parameters(notebook, parameters)
    root = notebook.resolve().parents[1]  # where notebooks run
    named = {text: _stand(text, root) for text in texts([*parameters.values()])}
    versions = {name: metadata.version(name) for name in _PACKAGES} | {"python": sys.version.split()[0]}
    digest.update(json.dumps([parameters, named, versions], sort_keys=True).encode())
    return digest.hexdigest()


def own_parameters(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters of a run those that a chapter declares."""
    names = declared(notebook)
    return {name: value for name, value in given.items() if name in names}


def declared(notebook: Path) -> set[str]:
    """Names that a notebook's parameters cell assigns, or tells to be accepted too; a BookError if there is none."""
    for cell in read_json(notebook).get("cells", []):
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            listed, _, seldom = "".join(cell["source"]).partition(SELDOM_TURNED)
            return set(re.findall(r"^(\w+) *=", listed, re.M)) | set(re.findall(r"\w+", seldom))
    raise BookError(f"notebooks/{notebook.name}: no cell has the tag 'parameters'")


def _stand(text: str, root: Path) -> str:
    """State of the file (hash) or folder (names, sizes, times) that a text names, ``path:label`` too; empty if none."""
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


def sha256(path: Path) -> str:
    """Of a file; empty where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError:
        return ""


def execute(layout: Layout, name: str, parameters: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Text of the executed, normalised notebook, and what it left undone.

    Raises:
        BookError: a cell failed, or the notebook's process died; ``layout.failed`` has what ran.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    class SavedOnce(NBClientEngine):  # papermill's writes the notebook twice a cell, which takes up to a fifth of it
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            with mock.patch.object(nb_man, "save"):
                return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("saved once", SavedOnce)
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it does not know parameters that a comment names

    source, left = layout.notebooks / f"{name}.ipynb", layout.failed / f"{name}.ipynb"
    left.parent.mkdir(parents=True, exist_ok=True)
    base = None if len(tempfile.gettempdir()) < 80 else "/tmp"  # a socket's path may have about 104 characters
    with tempfile.TemporaryDirectory(prefix="pb-", dir=base) as folder, mock.patch.dict(os.environ):
        os.environ |= {
            "PYTHONPATH": python_path(),
            "PYTHONHASHSEED": "0",
            "IPYTHONDIR": f"{folder}/ipython",  # nothing of the user's own
            "JUPYTER_PREFER_ENV_PATH": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            UNFINISHED: f"{folder}/unfinished",
        }
        # sockets in a folder of this run only: TCP ports can be taken between the choice and the start
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/k"}})
        config.NotebookClient.shutdown_kernel = "immediate"  # nothing is left to do but unloading libraries
        try:
            papermill.execute_notebook(
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (source, left)),  # it formats paths
                parameters=dict(parameters),
                engine_name="saved once",
                kernel_name="python3",
                cwd=str(layout.root),
                progress_bar=False,
                start_timeout=300,  # a busy machine
                stderr_file=sys.stderr,  # progress bars, while they move
                extra_arguments=["--log-level=CRITICAL"],  # its end is not an error to tell of
                config=config,
            )
        except BaseException as error:  # Ctrl-C too
            if left.is_file():  # keys of the environment do not stay in what it left
                write(left, hide(left.read_text("utf-8"), forms=False))
            if not isinstance(error, PapermillExecutionError | DeadKernelError):
                raise
            raise BookError(hide(_failure(name, error, left.relative_to(layout.root)))) from None
        noted = Path(folder) / "unfinished"
        undone = tuple(dict.fromkeys(noted.read_text("utf-8").splitlines())) if noted.is_file() else ()
    text = hide(normalise(nbformat.read(left, as_version=4), layout.root), forms=False)
    left.unlink()
    with contextlib.suppress(OSError):
        layout.failed.rmdir()  # stays while another chapter's remains are in it
    return text, undone


def _failure(name: str, error: Any, left: Path) -> str:
    if not hasattr(error, "traceback"):  # a dead kernel's
        return f"chapter {name}: its process died, most likely for want of memory. What ran is in {left}"
    told = f"chapter {name} failed in cell {error.cell_index} (In [{error.exec_count}]): {error.ename}: {error.evalue}"
    trace = [f"  | {line}" for part in error.traceback for line in part.splitlines()]
    return ANSI.sub("", "\n".join([told, *trace[-12:], f"  what ran is in {left}"]))


def python_path() -> str:
    """PYTHONPATH of notebooks, pages and jobs: this checkout first."""
    paths = [str(ROOT), str(ROOT / "book" / "_ext"), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, paths))


def normalise(notebook: nbformat.NotebookNode, root: Path) -> str:
    """The notebook as JSON: no times, random ids, widgets, addresses, progress bars or paths below ``root``."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for noted in ("papermill", "execution"):
            cell.metadata.pop(noted, None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell["id"] = "injected-parameters"
            cell.metadata["tags"] = ["injected-parameters", "hide-input"]
        for tag, prompt in _PROMPTS.items():
            if tag in tags:
                cell.metadata["mystnb"] = {"code_prompt_show": prompt, "code_prompt_hide": f"{prompt} (hide)"}
        if cell.cell_type == "code":
            cell["outputs"] = _outputs(cell["outputs"], root)
    notebook.metadata["papermill"] = {"parameters": notebook.metadata["papermill"]["parameters"]}
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def _outputs(outputs: list[Any], root: Path) -> list[Any]:
    """Outputs with the pieces of a stream joined, since timing parts them; its text as a terminal would show it."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1]["text"] += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output["text"] = _plain(_OVERWRITTEN.sub("", re.sub(r"\r+(?=\n|\Z)", "", output.text)), root)
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = _plain(output.data["text/plain"], root)
    return [output for output in joined if output.output_type != "stream" or output.text.strip()]


def _plain(text: str, root: Path) -> str:
    text = _CELL_FILE.sub("cell", _ADDRESS.sub("", text))
    return text.replace(f"{root}/", "") if len(root.parts) > 1 else text
