"""Executed notebooks without what changes from run to run, so that the same inputs give the same bytes."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import nbformat

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
# What the book writes on the two folded cells of parameters.
_PROMPTS = {"parameters": "All parameters and their meaning", "injected-parameters": "Parameters this run changed"}
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,16}")
_CELL_FILE = re.compile(r"\S*ipykernel_\d+/\d+\.py")
_WIDGET_ID = re.compile(r"[0-9a-f]{32}")


def normalise(notebook: nbformat.NotebookNode, root: Path) -> str:
    """The notebook as JSON: no times, random ids, memory addresses, progress bars or paths below ``root``."""
    notebook.metadata.pop("papermill", None)
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
    return _dump(_rename_widgets(notebook))


def strip_progress(text: str) -> str:
    """What remains of a terminal's text once carriage returns overwrote it; lines left blank by that go."""
    kept = []
    for line in text.split("\n"):
        shown = line.rstrip("\r").rsplit("\r", 1)[-1]
        if "\r" not in line.rstrip("\r") or shown.strip():
            kept.append(shown)
    return "\n".join(kept)


def _outputs(outputs: list[Any], root: Path) -> list[Any]:
    """Outputs with neighbouring pieces of one stream joined: where they break is a matter of timing."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last and last.output_type == "stream" and last.name == output.name:
            last["text"] += output.text
        else:
            joined.append(output)
    kept = []
    for output in joined:
        if output.output_type == "stream":
            output["text"] = _plain(strip_progress(output.text), root)
            if not output["text"].strip():
                continue
        data = output.get("data", {})
        if isinstance(data.get("text/plain"), str):
            data["text/plain"] = _plain(data["text/plain"], root)
        kept.append(output)
    return kept


def _plain(text: str, root: Path) -> str:
    text = _CELL_FILE.sub("cell", _ADDRESS.sub("", text))
    return text.replace(f"{root}/", "") if len(root.parts) > 1 else text


def _rename_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Widget ids are random: number them in the order in which the page shows them."""
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    names: dict[str, str] = {}

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            for key in sorted(node):
                visit(node[key])
        elif isinstance(node, list):
            for item in node:
                visit(item)
        elif isinstance(node, str):
            model = node.removeprefix("IPY_MODEL_")
            if model in state and model not in names:
                names[model] = uuid.uuid5(uuid.NAMESPACE_OID, f"widget-{len(names)}").hex
                visit(state[model])

    def renamed(text: str) -> str:
        return _WIDGET_ID.sub(lambda found: names.get(found[0], found[0]), text)

    def content(model: str) -> str:
        return _WIDGET_ID.sub("*", json.dumps(state[model], sort_keys=True))

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            visit(output.get("data", {}).get(WIDGET_VIEW, {}))
    for model in sorted(set(state) - set(names), key=content):
        visit(model)
    done: nbformat.NotebookNode = nbformat.from_dict(json.loads(renamed(json.dumps(notebook))))
    return done


def _dump(notebook: nbformat.NotebookNode) -> str:
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
