"""Progress bars on standard error: plain text, so that notebooks keep no widget state of them."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def bar(total: int, label: str) -> tqdm[Any]:
    """A progress bar of ``total`` items that vanishes when done."""
    return tqdm(total=total, desc=label, leave=False, mininterval=1.0)
