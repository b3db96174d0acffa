"""GPUs of this machine: each job of the workflow takes one of its own.

Snakemake counts the GPUs of a machine but assigns none; a scheduler's own assignment wins.
"""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Any

_HELD: list[Any] = []  # locks of GPUs end with their process


def local_gpus() -> list[str]:
    """Numbers of the GPUs that jobs may take: ``POLINB_GPUS`` ("0 2"), ``CUDA_VISIBLE_DEVICES``, or all of them."""
    for name in ("POLINB_GPUS", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            return [each for each in re.findall(r"[\w-]+", os.environ[name]) if each != "-1"]  # -1: none, for CUDA
    found = [re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*")]
    return sorted(match[1] for match in found if match)


def take_gpu() -> str | None:
    """Wait for a GPU that no other job of this user holds, and hold it until this process ends; None: there is none.

    Only this GPU is seen from then on, if torch has not been asked for devices before. The lock is in the user's own
    folder, so that another user's does not stop the job.
    """
    from filelock import FileLock, Timeout

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polinb"
    folder.mkdir(parents=True, exist_ok=True)
    gpus = local_gpus()
    while gpus:
        for gpu in gpus:
            lock = FileLock(folder / f"gpu-{socket.gethostname()}-{gpu}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            _HELD.append(lock)
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return gpu
        time.sleep(1)
    return None
