"""Markers: small files that say which artifacts a step made, so that a lost or damaged one is noticed before a run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polinb.errors import ArtifactError
from polinb.runs.artifacts import META, Artifact, Store

SMALL = 64 * 2**20
"""Files up to this many bytes are read and compared by digest; of larger ones only the size is looked at."""


class NotingStore(Store):
    """A store that remembers which artifacts were asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.used: dict[tuple[str, str], None] = {}

    def get(self, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any] | None]) -> Artifact:
        """As :meth:`Store.get`; the artifact counts as used once it is there."""
        found = super().get(kind, inputs, make)
        self.used[kind, found.path.name] = None
        return found

    def find(self, kind: str, inputs: Mapping[str, Any]) -> Artifact | None:
        """As :meth:`Store.find`."""
        found = super().find(kind, inputs)
        if found is not None:
            self.used[kind, found.path.name] = None
        return found


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a marker, or a plan, in one step: it is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    fresh.replace(path)


def read(path: Path) -> dict[str, Any]:
    """A marker's content; empty where it is missing or no marker."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def fault(path: Path, key: str, store: Store, thorough: bool = False) -> str:
    """Why a marker does not hold (any more); empty if it does.

    Args:
        key: the key that the plan gives the step now.
        thorough: compare digests of large files too.
    """
    found = read(path)
    if not found:
        return "no marker"
    if found.get("key") != key:
        return "its inputs changed"
    try:
        artifacts: Sequence[Any] = found["artifacts"]
        for kind, name in artifacts:
            wrong = damage(store.path(kind, name), thorough)
            if wrong:
                return f"artifact {kind}/{name}: {wrong}"
    except (KeyError, TypeError, ValueError, ArtifactError):
        return "no readable marker"
    return ""


def damage(folder: Path, thorough: bool = False) -> str:
    """What is wrong with the artifact in ``folder``; empty if nothing is."""
    try:
        files = json.loads((folder / META).read_text("utf-8"))["files"]
        for name, entry in files.items():
            file = folder / name
            size = file.stat().st_size
            if size != int(entry["bytes"]):
                return f"{name} has {size} bytes, not {entry['bytes']}"
            if (thorough or size <= SMALL) and _digest(file) != entry["sha256"]:
                return f"{name} was changed"
    except OSError as error:
        return f"{Path(str(error.filename)).name or folder.name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"no readable {META}"
    return ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
