"""The live lab's one worker thread: it does everything heavy, so that the widgets always respond."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Stopped(Exception):
    """The user stopped the work."""


class Worker:
    """Runs one job at a time in a thread of its own; a job that comes while one runs is refused.

    Attributes:
        stop: set to ask the running job to end soon; cleared when the next one starts.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._busy.locked()

    @property
    def alive(self) -> bool:
        """Whether the thread lives; it starts with the first job."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, job: Callable[[], None]) -> bool:
        """Start ``job``; False if one runs already or the worker is closed. The job handles its own errors."""
        if self._closed or not self._busy.acquire(blocking=False):
            return False
        self.stop.clear()
        if not self.alive:
            self._thread = threading.Thread(target=self._work, name="polinb-lab", daemon=True)
            self._thread.start()
        self._jobs.put(job)
        return True

    def close(self, timeout: float = 0.0) -> None:
        """End the thread: at once if it is idle, else as soon as its job heeds ``stop``."""
        self._closed = True
        self.stop.set()
        self._jobs.put(None)
        if timeout and self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            finally:
                self._busy.release()
