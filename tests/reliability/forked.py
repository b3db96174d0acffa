"""Processes forked from one that has everything imported: started, listened to, killed."""

import importlib
import multiprocessing
import os
import signal
import tempfile
import time
from contextlib import suppress

LIMIT = 180.0  # seconds; a process that takes longer hangs
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["small_run", "mishaps"])


def child(name, talk, temporary, arguments):
    """Call ``module.function`` in a process group of its own; its end or its error goes through ``talk``."""
    os.setsid()
    tempfile.tempdir = temporary
    talk.send(("ready", os.getpid()))
    module, _, function = name.partition(".")
    try:
        told = getattr(importlib.import_module(module), function)(*arguments, talk.send)
    except Exception as error:
        from polinb.errors import PolinbError

        talk.send(("error", type(error).__name__, str(error), isinstance(error, PolinbError)))
    else:
        talk.send(("done", told))


class Process:
    """``module.function(*arguments, say)``, given by name, in a forked process and process group.

    ``stage``: what it said last to begin; ``begun``: when each began; ``ended``: ``("done", value)``, ``("error", …)``
    or, if it was killed, nothing.
    """

    def __init__(self, name, *arguments, temporary=None):
        self.stage, self.ended = "", None  # type: str, tuple[Any, ...] | None
        self.begun = {}
        self.pid = 0
        self._ear, mouth = _context.Pipe(duplex=False)
        given = (name, mouth, str(temporary or tempfile.gettempdir()), arguments)
        self._process = _context.Process(target=child, args=given, daemon=True)
        self._process.start()
        mouth.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, at):
        self.kill()

    def _hear(self, seconds, enough=lambda: False):
        """Listen for so long, or until it has said enough or ended; whether that came in time."""
        limit = time.monotonic() + seconds
        while not enough():
            if not self._ear.poll(max(0.0, limit - time.monotonic())):
                return False
            try:
                told = self._ear.recv()
            except (EOFError, OSError):
                return True
            if told[0] == "ready":
                self.pid = told[1]
            elif told[0] == "begin":
                self.stage = told[1]
                self.begun[told[1]] = time.monotonic()
            else:
                self.ended = told
        return True

    def until(self, stage):
        """Wait until it begins ``stage`` (or ended)."""
        assert self._hear(LIMIT, lambda: stage in self.begun), f"hangs in {self.stage!r} before {stage!r}"

    def pause(self, seconds):
        """Let it run for so long."""
        self._hear(seconds)

    def join(self):
        """Wait for its end."""
        assert self._hear(LIMIT), f"hangs in {self.stage!r}"
        self._process.join(30)
        return self.ended

    def kill(self):
        """Kill -9 its whole process group; whether it was still at work."""
        self._hear(0)
        with suppress(ProcessLookupError):
            if self.pid:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.join(30)
        return self.ended is None


def run(name, *arguments, temporary=None):
    """Its value, from a process of its own."""
    with Process(name, *arguments, temporary=temporary) as process:
        ended = process.join()
    assert ended is not None and ended[0] == "done", ended
    return ended[1]


def error_of(name, *arguments):
    """Class and text of the clear error that it ends with, in a process of its own."""
    with Process(name, *arguments) as process:
        ended = process.join()
    assert ended is not None and ended[0] == "error", f"no error: {ended}"
    assert ended[3], f"not one of polinb's own errors: {ended[1]}: {ended[2]}"
    return ended[1], ended[2]
