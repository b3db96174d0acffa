"""Progress bars: plain text on standard error; in a notebook one line a cell, which leaves no trace.

A caller can listen to the bars of its own thread instead, as the live lab does.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from polinb.trouble import UNFINISHED

Told = Callable[[int, int, str], None]
_listening = threading.local()
_lines = threading.local()


def bar(total: int, label: str) -> Any:
    """A progress bar of ``total`` items that vanishes when done."""
    told = getattr(_listening, "told", None)
    if told:
        return _Heard(total, label, told)
    return tqdm(total=total, desc=label, leave=False, mininterval=1.0, file=_line())


def _line() -> Any:
    """Where a bar is drawn; what builds the book (it sets ``UNFINISHED``) passes standard error on to its terminal."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel") or UNFINISHED in os.environ:
        return None
    if getattr(_lines, "count", None) != shell.execution_count:
        _lines.count, _lines.line = shell.execution_count, _Line()
    return _lines.line


class _Line:
    """A stream that shows its last line as one output of a cell, empty in the end."""

    def __init__(self) -> None:
        from IPython.display import display

        self.handle: Any = display({}, raw=True, display_id=True)

    def write(self, text: str) -> None:
        shown = text.strip("\r").rstrip()
        self.handle.update({"text/plain": shown} if shown else {}, raw=True)

    def flush(self) -> None:
        pass


@contextmanager
def heard(told: Told) -> Iterator[None]:
    """Within this block, progress bars of this thread call ``told(done, total, label)`` instead of being drawn.

    ``told`` may raise, which ends the training or reading that the bar belongs to; the store keeps nothing half done.
    """
    before = getattr(_listening, "told", None)
    _listening.told = told
    try:
        yield
    finally:
        _listening.told = before


class _Heard(tqdm):  # type: ignore[type-arg]
    """A bar that calls ``told`` where another is drawn."""

    def __init__(self, total: int, label: str, told: Told) -> None:
        super().__init__(total=total, disable=True)
        self.label, self.told = label, told
        told(0, total, label)

    def update(self, n: float | None = 1) -> None:
        self.n += n or 0
        self.told(self.n, self.total, self.label)
