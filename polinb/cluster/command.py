"""``python -m polinb job NAME``: one job of the workflow, the results that it names, on a GPU of its own.

Snakemake counts the GPUs of a machine but assigns none; a scheduler's own assignment wins.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polinb.errors import ParameterError
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params

if TYPE_CHECKING:
    from polinb.cluster.jobs import Job

_HELD: list[Any] = []  # locks of GPUs end with their process


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that say which run and which chapters."""
    parser.add_argument("--profile", default="quick", help="tiny, quick (default), full or paper")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
    parser.add_argument("--chapters", metavar="A,B", type=names, help="core (default), all, or names without .ipynb")


def add(commands: Any, run: Callable[[argparse.Namespace], int] | None = None) -> None:
    """Add the command ``job`` to a parser; ``run``: what does it, by default :func:`make`."""
    job = commands.add_parser("job", help="one job of the workflow")
    add_settings(job)
    job.add_argument("name", help="as snakemake calls it, such as weights/fine-tune-crime-right-1a2b3c4d")
    job.add_argument("--one-gpu", action="store_true", help="take a free GPU of this machine, and wait for one")
    job.set_defaults(run=run or make)


def make(arguments: argparse.Namespace) -> int:
    """Make the results of a job that are missing."""
    if arguments.one_gpu and Params.from_profile(arguments.profile, **parse_settings(arguments.set)).device != "cpu":
        take_gpu()  # before anything asks torch for devices
    from polinb.cluster.jobs import lost
    from polinb.runs.chapter import quiet

    quiet()
    jobs = jobs_of(arguments)
    if not jobs[arguments.name].results:
        raise ParameterError("job", arguments.name, "one of results; python -m book._make job makes chapters and pages")
    jobs[arguments.name].make(lost(jobs))
    return 0


def jobs_of(arguments: argparse.Namespace) -> dict[str, Job]:
    """All jobs of the run that is meant; the one that is named is among them.

    Raises:
        ParameterError: it is not.
    """
    from polinb.cluster.jobs import Request

    jobs = Request(arguments.profile, parse_settings(arguments.set), arguments.chapters).jobs()
    if arguments.name not in jobs:
        raise ParameterError("job", arguments.name, f"one of {', '.join(list(jobs)[:8])}, …")
    return jobs


def names(text: str) -> list[str]:
    """Names parted by commas."""
    return [each.strip() for each in text.split(",")]


def local_gpus() -> list[str]:
    """Numbers of the GPUs that jobs may take: ``POLINB_GPUS`` ("0 2"), ``CUDA_VISIBLE_DEVICES``, or all of them."""
    for name in ("POLINB_GPUS", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            return re.findall(r"[\w-]+", os.environ[name])
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
