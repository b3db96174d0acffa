"""One GPU for each local job. Snakemake counts GPUs but assigns none; a scheduler's own assignment wins."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_WAIT = 1.0


def local_gpus() -> list[str]:
    """Numbers of the GPUs that jobs may take: ``POLINB_GPUS`` ("0 2"), ``CUDA_VISIBLE_DEVICES``, or all of them."""
    for name in ("POLINB_GPUS", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            return re.findall(r"[\w-]+", os.environ[name])
    found = [re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*")]
    return sorted(match[1] for match in found if match)


@contextlib.contextmanager
def one_gpu(gpus: Sequence[str], folder: Path | None = None) -> Iterator[str | None]:
    """Hold one of ``gpus`` and show only it to what runs inside; waits until one is free. None: nothing to hold.

    To be entered before torch is imported.
    """
    from filelock import FileLock, Timeout

    if not gpus:
        yield None
        return
    base = folder or Path(tempfile.gettempdir())
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    while True:
        for gpu in gpus:
            lock = FileLock(base / f"polinb-gpu-{gpu}.lock", timeout=0)
            with contextlib.suppress(Timeout):
                lock.acquire()
                try:
                    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                    yield gpu
                finally:
                    lock.release()
                    if before is None:
                        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
                    else:
                        os.environ["CUDA_VISIBLE_DEVICES"] = before
                return
        time.sleep(_WAIT)
