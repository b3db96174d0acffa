"""Processes forked from one that has everything imported."""

import multiprocessing
import multiprocessing.forkserver
import os
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
    context.set_forkserver_preload(["small_run"])
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
