"""One maker an artifact at a time, and nothing left of makers that were killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polinb.trouble import explain, notice

_PATIENCE = 2.0  # seconds of waiting for another process before it is told


@contextmanager
def locked(path: Path, root: Path) -> Iterator[None]:
    """Only one process at a time makes the artifact ``path``; the lock ends with its process, however that ends.

    Raises:
        ArtifactError: the lock cannot be written under the store's ``root``.
    """
    from filelock import FileLock, Timeout

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
        explain(error, what, root)
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
    from filelock import FileLock, Timeout

    for left in path.parent.glob(".*-*"):
        key = left.name[1:].split("-")[0]
        lock = FileLock(lock_of(path.with_name(key)))
        if key == path.name:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with suppress(Timeout, OSError), lock.acquire(timeout=0):
            shutil.rmtree(left, ignore_errors=True)
