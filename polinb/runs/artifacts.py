"""Where results live: content-addressed, checked, atomic, with provenance, and free of pickles.

An artifact is a folder ``<root>/<kind>/<key>/`` whose key is a hash of everything that determines it. It appears in
one rename, so a half-written one is never seen; the digests of its files and of its own record are checked when it is
read. A process that is killed leaves a hidden folder at most, which the next one to make something beside it removes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from polinb.errors import ArtifactError
from polinb.models.checkpoints import file_sha256
from polinb.trouble import explain, note_unfinished, notice

if TYPE_CHECKING:
    import numpy as np

META = "artifact.json"
Make = Callable[[Path], Mapping[str, Any] | None]
"""Fills a folder with files and returns a small JSON-able summary."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP}  # not what was written
ALLOWED = frozenset({".safetensors", ".parquet", ".csv", ".json", ".jsonl", ".txt"})
_PACKAGES = ("torch", "transformers", "nnsight", "trl", "peft", "datasets", "scikit-learn", "numpy", "pandas")
_PATIENCE = 2.0  # seconds of waiting for another process before it is told


class DamagedError(ArtifactError):
    """What is on disk is not what was written."""


def canonical(value: Any) -> str:
    """One JSON text for equal inputs, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(inputs: Mapping[str, Any]) -> str:
    """Short hash of everything that determines an artifact."""
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its folder and its record, ``kind, key, inputs, summary, files, provenance, seal``."""

    path: Path
    meta: dict[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        """The small facts its maker returned."""
        return dict(self.meta["summary"])

    def file(self, name: str) -> Path:
        """One of its files; ArtifactError if it has none of this name."""
        if name not in self.meta["files"]:  # an unlisted file was never checked
            raise ArtifactError(f"artifact {self.meta['kind']}/{self.path.name} has no file {name!r}")
        return self.path / name


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a safetensors file, however they lie in memory."""
    import numpy as np
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


class Store:
    """Artifacts under one root folder, which is made when the first is written."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: str) -> Path:
        """Folder of an artifact.

        Raises:
            ArtifactError: a name that would leave the store.
        """
        for part in (kind, key):
            if not re.fullmatch("[A-Za-z0-9_-]{1,100}", part):  # with what is added to it, a file system takes 255
                raise ArtifactError(f"artifact name {part[:100]!r}: at most 100 letters, digits, '-' and '_' only")
        return self.root / kind / key

    def look(self, kind: str, inputs: Mapping[str, Any]) -> Artifact | None:
        """The artifact, checked as :func:`check` does, or None; one that is damaged stays where it is."""
        path = self.path(kind, key_of(inputs))
        meta = check(path, inputs)
        return None if meta is None else Artifact(path, meta)

    def get(self, kind: str, inputs: Mapping[str, Any], make: Make) -> Artifact:
        """The artifact determined by ``inputs``; made by ``make`` if it is not there.

        A damaged one is set aside under a new name, reported and made again. Of two processes that want the same
        artifact one makes it and the other waits; if the first one dies, the other takes over.

        If ``make`` fails, nothing is left.

        Raises:
            ArtifactError: the folder cannot be written (read-only, disk full), or a forbidden file type.
            OutOfMemoryError: there was not enough memory to make it.
        """
        with suppress(DamagedError):
            if found := self.look(kind, inputs):
                return found
        path = self.path(kind, key_of(inputs))
        with locked(path):
            try:  # once more: another process may have made or mended it
                if found := self.look(kind, inputs):
                    return found
            except DamagedError as error:
                self._set_aside(path, error)
            return self._make(path, kind, inputs, make)

    def _set_aside(self, path: Path, error: DamagedError) -> None:
        aside = path.with_name(f"{path.name}-damaged-{time.time_ns()}")
        try:
            path.rename(aside)
        except OSError as reason:
            raise ArtifactError(
                f"{error}, and it cannot be set aside under {self.root}: {reason.strerror or reason}. Make that "
                "folder writable, or point POLINB_STORE at another one"
            ) from None
        notice(f"{error}; set aside as {aside.name}, making it again")

    def _make(self, path: Path, kind: str, inputs: Mapping[str, Any], make: Make) -> Artifact:
        work = None
        try:
            sweep(path)
            work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            _versions()  # before work of hours, beside which a package may be upgraded
            start = time.perf_counter()
            summary = dict(make(work) or {})
            made = {**provenance(), "seconds": round(time.perf_counter() - start, 3)}
            files = {p.name: {"bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in sorted(work.iterdir())}
            if bad := [name for name in files if Path(name).suffix not in ALLOWED]:
                raise ArtifactError(f"artifact {kind}: file type of {bad} is not allowed; use {sorted(ALLOWED)}")
            given = {"kind": kind, "key": path.name, "inputs": dict(inputs), "summary": summary}
            given |= {"files": files, "provenance": made}
            # as it will be read: a maker and a later reader must see the same summary
            meta: dict[str, Any] = json.loads(json.dumps(given, ensure_ascii=False, allow_nan=False))
            meta["seal"] = seal(meta)
            (work / META).write_text(json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False))
            _sync(*work.iterdir(), work)
            work.rename(path)
            _sync(path.parent)
        except BaseException as error:
            note_unfinished(f"{kind}: {error or type(error).__name__}")
            explain(error, f"artifact {kind}/{path.name}", self.root)
            raise
        finally:
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)
        return Artifact(path, meta)


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
        meta: dict[str, Any] = json.loads((path / META).read_text("utf-8"))
        if meta["seal"] != seal(meta):
            raise ValueError("its text was changed")
        if canonical(meta["inputs"]) != canonical(dict(inputs)) or (meta["kind"], meta["key"]) != path.parts[-2:]:
            raise DamagedError(f"{what} was made from other inputs")
        for name, entry in meta["files"].items():
            file = path / name
            if Path(name).name != name or not file.is_file():
                raise DamagedError(f"{what}: file {name!r} is missing")
            if file_sha256(file) != entry["sha256"]:
                raise DamagedError(f"{what}: {name} was changed (SHA-256 differs)")
    except OSError as error:  # not ours to read, too many open files: no reason to make it again
        kind = DamagedError if error.errno in _GONE else ArtifactError
        raise kind(f"{what} cannot be read: {error.strerror or error} ({error.filename or path})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{what} has no readable {META} ({error})") from None
    return meta


def seal(meta: Mapping[str, Any]) -> str:
    """Digest of a record, so that a changed summary is noticed as a changed file is."""
    return hashlib.sha256(canonical({k: v for k, v in meta.items() if k != "seal"}).encode()).hexdigest()


def _sync(*paths: Path) -> None:
    """Wait until files, and the names in folders, are on the disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def provenance() -> dict[str, Any]:
    """Versions, hardware and date; no user, host name or path."""
    from polinb import __version__

    facts: dict[str, Any] = {
        "polinb": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "packages": _versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["threads"] = torch.get_num_threads()  # another number: sums in another order, other last bits
        if torch.cuda.is_available():
            facts["gpu"] = torch.cuda.get_device_name(0)
    return facts


@cache
def _versions() -> dict[str, str]:
    """Of what this process loads: an upgrade beside a long run does not change it."""
    return {name: metadata.version(name) for name in _PACKAGES}


def store_root() -> Path:
    """Folder of the artifact store: ``POLINB_STORE``, or ``.polinb`` in the checkout or working folder."""
    if chosen := os.environ.get("POLINB_STORE"):
        return Path(chosen).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "notebooks").is_dir() else Path.cwd()) / ".polinb"


# --- one maker an artifact at a time, and nothing left of makers that were killed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time makes the artifact ``path``; the lock ends with its process, however that ends."""
    what = f"artifact {path.parent.name}/{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_of(path))
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            notice(f"waiting for another process, which is making {what}")
            lock.acquire()
    except OSError as error:
        explain(error, what, path.parents[1])
        raise
    try:
        yield
    finally:
        lock.release()


def lock_of(path: Path) -> Path:
    """The lock file of the artifact ``path``; it stays when the lock is released, for the next process."""
    return path.with_name(f".{path.name}.lock")


def sweep(path: Path) -> None:
    """Remove what killed makers left beside ``path``, whose lock the caller holds; what is being made has its lock."""
    for left in path.parent.glob(".*-*"):
        owner = path.with_name(left.name[1:].partition("-")[0])
        if owner == path:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with suppress(Timeout, OSError), FileLock(lock_of(owner), timeout=0):
            shutil.rmtree(left, ignore_errors=True)
