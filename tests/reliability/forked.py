"""Processes forked from one that has everything imported, and what they note in a log."""

import multiprocessing
import multiprocessing.forkserver
import os
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

LIMIT = 180.0  # seconds; a process that takes longer hangs
HERE = Path(__file__).parent


@cache
def server():
    """Started once: in another folder and time zone, and with another hash seed, than the tests' own process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["small_run", "mishaps"])
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.chdir("/")
        paths = str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")
        given = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "123"}
        for name, value in (given | {"TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8"}).items():
            elsewhere.setenv(name, value)
        multiprocessing.forkserver.ensure_running()
    return context


def run(function, *arguments):
    """Its value or its error, from a process of its own."""
    with server().Pool(1) as own:
        return own.apply_async(function, arguments).get(LIMIT)


@contextmanager
def started(function, *arguments):
    """A process that runs it until it is killed, at the latest in the end."""
    process = server().Process(target=function, args=arguments, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def note(log, word):
    with log.open("a") as file:
        file.write(f"{word} {time.monotonic()}\n")


def noted(log):
    """Words of a log, and when each was written."""
    lines = log.read_text().split() if log.exists() else []
    return list(zip(lines[::2], map(float, lines[1::2]), strict=False))


def until(log, word, process, times=1):
    """Wait until a log holds ``word`` so many times, or ``process`` has ended."""
    limit = time.monotonic() + LIMIT
    while sum(each == word for each, _ in noted(log)) < times and process.is_alive():
        assert time.monotonic() < limit, f"hangs before {word!r}: {noted(log)}"
        time.sleep(0.005)
