"""Places of a machine, kept out of what is committed: what looks like one is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ROOTS = "home|root|Users|work|workspace|tmp|var|private|mnt|media|srv|opt|scratch|gpfs|lustre|nfs"
PLACE = re.compile(rf"(?<![\w.])(?:/(?:{_ROOTS})/[\w.@~-]+|[A-Za-z]:[\\/](?:Users|Windows|Program)\b|~/[\w.-]+)")


def named_place(text: str, known: Iterable[str]) -> str:
    """Where ``text`` names a place of a machine: the line from there on, at most 60 characters; empty if nowhere.

    Args:
        known: folders of this machine.
    """
    hit = next((each for each in known if each in text), "")
    match = None if hit else PLACE.search(text)
    begins = text.find(hit) if hit else match.start() if match else len(text)
    return text[begins : begins + 60].partition("\n")[0]
