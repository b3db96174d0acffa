"""What a killed controller leaves behind: processes on this machine, jobs in SLURM's queue. Both are ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from polinb.errors import PolinbError

TAG = "POLINB_RUN"
"""Environment variable that everything a controller starts inherits; kernels too, which leave its process group."""


def run_name(folder: Path) -> str:
    """Name of all runs in a build folder, for processes and SLURM jobs: letters and digits."""
    return f"polinb{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"


def left_over(name: str) -> list[int]:
    """Process ids on this machine that a run of this name started, this process and its parents excepted."""
    import psutil

    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in own and process.environ().get(TAG) == name:
                found.append(process.pid)
    return found


def end_left_over(name: str, patience: float = 10.0) -> int:
    """End what a run of this name left behind, at first gently; how many processes there were."""
    import psutil

    processes = []
    for pid in left_over(name):
        with contextlib.suppress(psutil.Error):
            processes.append(psutil.Process(pid))
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=patience)
    return len(processes)


def cancel_slurm(name: str, patience: float = 60.0) -> int:
    """Cancel this user's SLURM jobs whose name begins with ``name`` and wait until they are gone; how many there were.

    A controller that starts again would submit them a second time.

    Raises:
        PolinbError: SLURM does not answer, or the jobs do not end.
    """
    first = jobs = _queued(name)
    end = time.monotonic() + patience
    while jobs:
        _slurm("scancel", *jobs)
        if time.monotonic() > end:
            raise PolinbError(f"SLURM jobs of an earlier run do not end: {' '.join(jobs)}; scancel them by hand")
        time.sleep(0.5)
        jobs = _queued(name)
    return len(first)


def _queued(name: str) -> list[str]:
    lines = _slurm("squeue", "--me", "--noheader", "--format=%i %j").splitlines()
    return [line.split()[0] for line in lines if line.split()[1:] and line.split()[1].startswith(name)]


def _slurm(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise PolinbError(f"{command[0]} is not there: run this on a machine that submits SLURM jobs")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and command[0] != "scancel":  # a job may have ended by itself
        raise PolinbError(f"{command[0]} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout
