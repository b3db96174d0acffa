"""Executed notebooks without what changes from run to run, so that the same inputs give the same bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat

# What the book writes on the two folded cells of parameters.
_PROMPTS = {"parameters": "All parameters and their meaning", "injected-parameters": "Parameters this run changed"}
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,16}")
# Up to a line's last carriage return, and blanks left of it.
_OVERWRITTEN = re.compile(r"^[^\n]*\r([ \t]*(\n|\Z))?", re.MULTILINE)
_CELL_FILE = re.compile(r"\S*ipykernel_\d+/\d+\.py")


def normalise(notebook: nbformat.NotebookNode, root: Path) -> str:
    """The notebook as JSON: no times, random ids, widgets, addresses, progress bars or paths below ``root``."""
    about = notebook.metadata.pop("papermill", {})
    notebook.metadata.pop("widgets", None)
    notebook.metadata["papermill"] = {"parameters": about.get("parameters", {})}
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell["id"] = "injected-parameters"
            cell.metadata["tags"] = ["injected-parameters", "hide-input"]
        for tag, prompt in _PROMPTS.items():
            if tag in tags:
                cell.metadata["mystnb"] = {"code_prompt_show": prompt, "code_prompt_hide": f"{prompt} (hide)"}
        if cell.cell_type == "code":
            cell["outputs"] = _outputs(cell["outputs"], root)
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def strip_progress(text: str) -> str:
    """What remains of a terminal's text once carriage returns overwrote it; lines left blank by that go."""
    return _OVERWRITTEN.sub("", re.sub(r"\r+(?=\n|\Z)", "", text))


def _outputs(outputs: list[Any], root: Path) -> list[Any]:
    """Outputs with neighbouring pieces of one stream joined: where they break is a matter of timing."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1]["text"] += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output["text"] = _plain(strip_progress(output.text), root)
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = _plain(output.data["text/plain"], root)
    return [output for output in joined if output.output_type != "stream" or output.text.strip()]


def _plain(text: str, root: Path) -> str:
    text = _CELL_FILE.sub("cell", _ADDRESS.sub("", text))
    return text.replace(f"{root}/", "") if len(root.parts) > 1 else text
