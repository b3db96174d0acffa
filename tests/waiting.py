"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(done: Callable[[], object], seconds: float = 60, told: Callable[[], str] = lambda: "") -> None:
    """Returns once ``done()`` holds; fails with what ``told()`` says after ``seconds``."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited {seconds} s in vain\n{told()}"
        time.sleep(0.05)
