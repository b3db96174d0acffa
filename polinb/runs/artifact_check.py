"""Is an artifact on disk what was written, to the last bit? Its files' digests and its record's own say so."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polinb.data.reading import file_sha256
from polinb.errors import ArtifactError

META = "artifact.json"
_META_KEYS = frozenset({"kind", "key", "inputs", "summary", "files", "provenance"})
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP}  # not what was written


class DamagedError(ArtifactError):
    """What is on disk is not what was written."""


def canonical(value: Any) -> str:
    """One JSON text for equal inputs, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def check(path: Path, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the artifact at ``path`` if every byte of it is what was written, ``None`` if there is none.

    Raises:
        DamagedError: it is not what was written, or was made from other inputs.
        ArtifactError: it cannot be read.
    """
    what = f"artifact {path.parent.name}/{path.name}"
    try:
        if not os.path.lexists(path):
            return None
        meta, files = _read_meta(path, what)
        if canonical(meta["inputs"]) != canonical(dict(inputs)) or (meta["kind"], meta["key"]) != path.parts[-2:]:
            raise DamagedError(f"{what} was made from other inputs")
        for name, (size, digest) in files.items():
            file = path / name
            if Path(name).name != name or not file.is_file():
                raise DamagedError(f"{what}: file {name!r} is missing")
            if file.stat().st_size != size:
                raise DamagedError(f"{what}: {name} has {file.stat().st_size} bytes, not {size}")
            if file_sha256(file) != digest:
                raise DamagedError(f"{what}: {name} was changed (SHA-256 differs)")
    except OSError as error:  # not ours to read, too many open files: no reason to make it again
        kind = DamagedError if error.errno in _GONE else ArtifactError
        raise kind(f"{what} cannot be read: {error.strerror or error} ({error.filename or path})") from error
    return meta


def _read_meta(path: Path, what: str) -> tuple[dict[str, Any], dict[str, tuple[int, str]]]:
    """The record of an artifact, and of each file its size and digest."""
    try:
        meta = json.loads((path / META).read_text("utf-8"))
        files = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in meta["files"].items()}
        if set(meta) - {"seal"} != _META_KEYS:  # artifacts of early versions have no seal
            raise ValueError("its entries are not those of an artifact")
        if "seal" in meta and meta["seal"] != seal(meta):
            raise ValueError("its text was changed")
        canonical(meta["inputs"]), dict(meta["summary"])
    except OSError as error:
        if error.errno not in _GONE:
            raise
        raise DamagedError(f"{what} has no readable {META} ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedError(f"{what} has no readable {META} ({error})") from None
    return meta, files


def seal(meta: Mapping[str, Any]) -> str:
    """Digest of a record, so that a changed summary is noticed as a changed file is."""
    return hashlib.sha256(canonical({k: v for k, v in meta.items() if k != "seal"}).encode()).hexdigest()


def sync(*paths: Path) -> None:
    """Wait until files, and the names in folders, are on the disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
