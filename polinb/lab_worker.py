"""The live lab's one worker thread: it does everything heavy, so that the widgets always respond."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from polinb import progress


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


@contextmanager
def heard(told: Callable[[int, int, str], None]) -> Iterator[None]:
    """Within this block, progress bars of this thread call ``told(done, total, label)`` instead of being drawn.

    ``told`` may raise :class:`Stopped`, which ends the training or reading that the bar belongs to; the store keeps
    nothing half done. Bars of other threads stay as they are.
    """
    mine = threading.get_ident()

    class Bar:
        """The part of tqdm that polinb uses."""

        def __init__(self, total: int, label: str) -> None:
            self.done, self.total, self.label = 0, total, label
            told(0, total, label)

        def update(self, count: int = 1) -> None:
            self.done += count
            told(self.done, self.total, self.label)

        def close(self) -> None:
            pass

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def make(*, total: int, desc: str, **options: Any) -> Any:
        return Bar(total, desc) if threading.get_ident() == mine else tqdm(total=total, desc=desc, **options)

    before = progress.tqdm
    progress.tqdm = make  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        progress.tqdm = before  # type: ignore[misc]
