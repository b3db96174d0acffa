"""What keeps a build of the book safe from kills: sockets that are cleaned up, pages that end with their builder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_SOCKET_PATH = 80  # a socket's path may have about 104 characters on macOS
_PREFIX, _ALIVE = "pb-", "alive.lock"
_YOUNG = 60.0  # seconds in which a folder may not have its lock yet

# Runs before the work of a process: when the one that started it is killed, it must not go on writing pages.
ENDS_WITH_PARENT = """
import os, threading, time
def watch(parent={parent}):
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
"""


def ends_with_parent(code: str) -> str:
    """Python ``code`` for a process of its own, which ends soon after this one, however this one ends."""
    return ENDS_WITH_PARENT.format(parent=os.getpid()) + code


@contextlib.contextmanager
def sockets() -> Iterator[str]:
    """A private folder for a kernel's sockets; those of builds that were killed are removed."""
    from filelock import FileLock

    base = tempfile.gettempdir()
    base = base if len(base) < _SOCKET_PATH else "/tmp"
    _sweep(Path(base))
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=base) as folder, FileLock(Path(folder) / _ALIVE):
        yield folder


def _sweep(base: Path) -> None:
    from filelock import FileLock, Timeout

    for lock in base.glob(f"{_PREFIX}*/{_ALIVE}"):
        with contextlib.suppress(OSError, Timeout):  # another user's, or in use
            if lock.stat().st_uid == os.getuid() and time.time() - lock.stat().st_mtime > _YOUNG:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(lock.parent, ignore_errors=True)


def set_aside(executed: Path, promised: str, found: str, folder: Path) -> str:
    """Move an executed notebook whose digest is not the promised one into ``folder``; what to tell, or nothing.

    Args:
        promised: SHA-256 in its record; empty: there is none to compare with.
        found: SHA-256 of what is there; empty: nothing is.
    """
    if not promised or not found or promised == found:
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{executed.stem}-damaged-{time.time_ns()}{executed.suffix}"
    executed.replace(aside)
    return f"{executed.name} is not what was written (SHA-256 differs); set aside as {folder.name}/{aside.name}"
