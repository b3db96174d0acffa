"""Where results live: content-addressed, checked, atomic, with provenance, and free of pickles.

An artifact is a folder ``<root>/<kind>/<key>/`` whose key is a hash of everything that determines it. It appears in
one rename, so a half-written one is never seen; its files' digests are checked when it is read.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polinb.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

META = "artifact.json"
ALLOWED = frozenset({".safetensors", ".parquet", ".csv", ".json", ".jsonl", ".txt"})
_PACKAGES = ("torch", "transformers", "nnsight", "trl", "peft", "datasets", "scikit-learn", "numpy", "pandas")


def canonical(value: Any) -> str:
    """One JSON text for equal inputs, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(inputs: Mapping[str, Any]) -> str:
    """Short hash of everything that determines an artifact."""
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()[:24]


def meaning(source: str) -> str:
    """Python source without comments, docstrings and layout: what decides what it does.

    A better comment must not cost hours of computing again.
    """
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


@cache
def code_version(*modules: str) -> str:
    """Hash of what package modules do, so that changed code never reuses an old result."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for name in sorted(modules):
        source = (folder / f"{name}.py").read_text("utf-8")
        digest.update(f"{name}\0{meaning(source)}".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk.

    Attributes:
        path: its folder.
        meta: ``kind, key, inputs, summary, files, provenance``.
    """

    path: Path
    meta: dict[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        """The small facts its maker returned."""
        return dict(self.meta["summary"])

    def frame(self, name: str) -> pd.DataFrame:
        """Table ``name``.parquet."""
        import pandas as pd

        return pd.read_parquet(self.path / f"{name}.parquet")

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of ``name``.safetensors."""
        from safetensors.numpy import load_file

        return dict(load_file(self.path / f"{name}.safetensors"))


class Store:
    """Artifacts under one root folder.

    Args:
        root: the folder; made when the first artifact is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: str) -> Path:
        """Folder of an artifact.

        Raises:
            ArtifactError: a name that would leave the store.
        """
        for part in (kind, key):
            plain = part.isascii() and part.replace("-", "").replace("_", "").isalnum()
            if not plain or len(part) > 100:  # with what is added to it, a file system takes 255
                raise ArtifactError(f"artifact name {part[:100]!r}: at most 100 letters, digits, '-' and '_' only")
        return self.root / kind / key

    def find(self, kind: str, inputs: Mapping[str, Any]) -> Artifact | None:
        """The checked artifact, or ``None``. A damaged one is set aside under a new name and reported."""
        path = self.path(kind, key_of(inputs))
        if not path.exists():
            return None
        try:
            return self._check(path, inputs)
        except ArtifactError as error:
            aside = path.with_name(f"{path.name}-damaged-{time.time_ns()}")
            try:
                path.rename(aside)
            except FileNotFoundError:  # another process set it aside first
                return None
            print(f"{error}; set aside as {aside.name}, making it again", file=sys.stderr)
            return None

    def get(self, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any] | None]) -> Artifact:
        """The artifact determined by ``inputs``; made by ``make`` if it is not there.

        Args:
            make: writes files into the folder it is given and returns a small JSON-able summary.

        Two processes that want the same artifact: one makes it, the other waits. If ``make`` fails, nothing is left.

        Raises:
            ArtifactError: the folder cannot be written (read-only, disk full), or a forbidden file type.
        """
        from filelock import FileLock

        found = self.find(kind, inputs)
        if found is not None:
            return found
        path = self.path(kind, key_of(inputs))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_name(f".{path.name}.lock"))
            with lock:
                found = self.find(kind, inputs)
                return found if found is not None else self._make(path, kind, inputs, make)
        except OSError as error:
            raise ArtifactError(
                f"cannot write artifact {kind}/{path.name} under {self.root}: {error.strerror or error}. Free space or "
                "point POLINB_STORE at a folder that can be written; what was finished before is kept."
            ) from error

    def _make(
        self,
        path: Path,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any] | None],
    ) -> Artifact:
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            start = time.perf_counter()
            summary = dict(make(work) or {})
            seconds = time.perf_counter() - start
            files = {p.name: {"bytes": p.stat().st_size, "sha256": _digest(p)} for p in sorted(work.iterdir())}
            bad = [name for name in files if Path(name).suffix not in ALLOWED]
            if bad:
                raise ArtifactError(f"artifact {kind}: file type of {bad} is not allowed; use {sorted(ALLOWED)}")
            meta = {
                "kind": kind,
                "key": path.name,
                "inputs": dict(inputs),
                "summary": summary,
                "files": files,
                "provenance": {**provenance(), "seconds": round(seconds, 3)},
            }
            (work / META).write_text(json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False))
            _sync(work)
            work.rename(path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return Artifact(path, meta)

    @staticmethod
    def _check(path: Path, inputs: Mapping[str, Any]) -> Artifact:
        try:
            meta = json.loads((path / META).read_text("utf-8"))
            stored = canonical(meta["inputs"])
            files = dict(meta["files"])
            sizes = {name: int(entry["bytes"]) for name, entry in files.items()}
            meta["summary"], meta["provenance"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"artifact {path.parent.name}/{path.name} has no readable {META} ({error})") from None
        if stored != canonical(dict(inputs)):
            raise ArtifactError(f"artifact {path.parent.name}/{path.name} was made from other inputs")
        for name, size in sizes.items():
            file = path / name
            if Path(name).name != name or not file.is_file():
                raise ArtifactError(f"artifact {path.parent.name}/{path.name}: file {name!r} is missing")
            if file.stat().st_size != size:
                raise ArtifactError(
                    f"artifact {path.parent.name}/{path.name}: {name} has {file.stat().st_size} bytes, not {size}"
                )
            if _digest(file) != files[name].get("sha256"):
                raise ArtifactError(f"artifact {path.parent.name}/{path.name}: {name} was changed (SHA-256 differs)")
        return Artifact(path, meta)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that compute; part of every key, because they change numbers."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def provenance() -> dict[str, Any]:
    """Versions, hardware and date; no user, host name or path."""
    facts: dict[str, Any] = {
        "polinb": metadata_version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "packages": package_versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name(0)
    return facts


def metadata_version() -> str:
    """Version of this package."""
    from polinb import __version__

    return __version__


def store_root() -> Path:
    """Folder of the artifact store: ``POLINB_STORE``, or ``.polinb`` in the checkout or working folder."""
    chosen = os.environ.get("POLINB_STORE")
    if chosen:
        return Path(chosen)
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "notebooks").is_dir() else Path.cwd()) / ".polinb"
