"""What a folder with model weights may hold: safetensors of its own, no code, nothing that leads elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from polinb.errors import ModelError

_READ = frozenset({".safetensors", ".json", ".jinja", ".model", ".txt"})
_MASK = re.compile(r"\.(attn|attention)\.(masked_)?bias$")  # GPT-2's causal mask and its like


def check_folder(folder: Path) -> None:
    """Refuse a local model folder that is not what it seems, before anything in it is loaded.

    Raises:
        ModelError: settings that need the model's own code or another model (adapters), an index or a link that leads
            out of the folder, or a settings file that is not a JSON object. Names the file.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    home = folder.resolve()
    if home.parent.name == "snapshots" and (home.parents[1] / "blobs").is_dir():
        home = home.parents[1]  # the hub's cache: a snapshot's files are links to blobs beside it
    for path in sorted(folder.iterdir()):
        if path.suffix in _READ and not _inside(path, home):
            raise ModelError(f"{path}: leads outside the model's folder, or to nothing; put the file itself there")
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds an adapter (adapter_config.json), which loads another model beneath it; merge the two "
            "with peft's merge_and_unload, save them as safetensors, and give that folder"
        )
    if not (folder / "config.json").exists():
        raise ModelError(f"{folder} holds no config.json. {instead(folder)}".strip())
    kind = _settings(folder / "config.json").get("model_type")
    if not isinstance(kind, str):
        raise ModelError(f"{folder / 'config.json'}: has no model_type, so the architecture is unknown")
    with_code = [folder / "tokenizer_config.json"] + [folder / "config.json"] * (kind not in CONFIG_MAPPING_NAMES)
    for path in with_code:
        if path.exists() and _settings(path).get("auto_map"):
            raise ModelError(
                f"{path}: asks for code of its own (auto_map), which is never run; take a model whose architecture is "
                "part of transformers, or a version of it that does not need the code"
            )
    for index in sorted(folder.glob("*.safetensors.index.json")):
        shards = _settings(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelError(f"{index}: has no weight_map, so it is unknown which file holds which weights")
        for shard in sorted({str(value) for value in shards.values()}):
            plain = "\0" not in shard and Path(shard).name == shard and shard.endswith(".safetensors")
            if not plain or not _inside(index.parent / shard, home):
                raise ModelError(f"{index}: names {shard[:200]!r}; expected a .safetensors file in the same folder")


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def instead(place: Path) -> str:
    """What to give instead of a place that is no folder of a model; empty if nothing is known."""
    name = str(place)
    if "huggingface.co" in name:
        return "Give the model's id alone, owner/name"
    inner = [
        path.parent for path in sorted(place.glob("snapshots/*/config.json")) + sorted(place.glob("*/config.json"))
    ]
    if place.name.startswith("models--") and place.name.count("--") >= 2:  # the hub's cache
        snapshot = f", or its folder {inner[0]}" if inner else ""
        return f"Give the id {place.name.removeprefix('models--').replace('--', '/')}{snapshot}"
    if inner:
        return f"Give the folder inside it that holds the model, such as {inner[0]}"
    if place.suffix == ".gguf" or any(place.glob("*.gguf")):
        return (
            "A GGUF file holds rounded weights, which cannot be fine-tuned: give the id or the folder of the model "
            "that it was made from"
        )
    if place.is_file():
        return "Give the folder that holds config.json, the tokenizer's files and the weights as safetensors"
    return ""


def check_complete(name: str, notes: dict[str, Any]) -> None:
    """Refuse weights that transformers had to invent: it fills missing ones at random and only warns.

    ``notes`` is the loading information of ``from_pretrained``. The ModelError names the first missing, mismatched or
    unknown tensors.
    """
    for kind, told in (
        ("missing_keys", "lacks weights"),
        ("mismatched_keys", "has weights of another shape"),
        ("unexpected_keys", "has weights that its architecture does not use"),
    ):
        found = [str(key[0] if isinstance(key, tuple) else key) for key in notes.get(kind) or ()]
        if kind == "unexpected_keys":  # constants that older checkpoints stored are no loss
            found = [key for key in found if key.endswith((".weight", ".bias")) and not _MASK.search(key)]
        if found:
            first = ", ".join(sorted(found)[:3])
            raise ModelError(f"model {name!r} {told} ({len(found)}): {first}{_wrapped(notes)}")


def _wrapped(notes: dict[str, Any]) -> str:
    """What to do about names that a wrapper around the model left in its checkpoint; empty if there is none."""
    missing = {str(key) for key in notes.get("missing_keys") or ()}
    for key in sorted(map(str, notes.get("unexpected_keys") or ())):
        for at in (at for at, letter in enumerate(key) if letter == "."):
            # module.model.norm, model._orig_mod.norm: without one part it is a name that the model has
            start = key.rfind(".", 0, at) + 1
            for part in (key[start : at + 1], key[: at + 1]):
                if key.replace(part, "") in missing:
                    return (
                        f". Its weights' names hold {part!r}, which a wrapper of the training left in them ({key}): "
                        f"save the model inside that wrapper, or take {part!r} out of the names"
                    )
    return ""


def _inside(path: Path, home: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(home)
    except (OSError, RuntimeError, ValueError):  # a link to nothing, or to itself; a name with NUL
        return False


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({type(error).__name__}); is it truncated?") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found
