"""Progress bars on standard error: plain text, so that notebooks keep no widget state of them.

A caller can listen to the bars of its own thread instead, as the live lab does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

Told = Callable[[int, int, str], None]
_listening = threading.local()


def bar(total: int, label: str) -> Any:
    """A progress bar of ``total`` items that vanishes when done."""
    told = getattr(_listening, "told", None)
    if told:
        return _Heard(total, label, told)
    return tqdm(total=total, desc=label, leave=False, mininterval=1.0)


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


class _Heard:
    """The part of tqdm that polinb uses."""

    def __init__(self, total: int, label: str, told: Told) -> None:
        self.done, self.total, self.label, self.told = 0, total, label, told
        told(0, total, label)

    def update(self, count: int = 1) -> None:
        self.done += count
        self.told(self.done, self.total, self.label)

    def close(self) -> None:
        pass

    def __enter__(self) -> _Heard:
        return self

    def __exit__(self, *_: object) -> None:
        pass
