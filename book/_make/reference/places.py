"""Places of a machine, kept out of what is committed: known ones are replaced, others refused."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

from polinb.errors import ArtifactError
from polinb.wording import escape

_ROOTS = "home|root|Users|work|workspace|tmp|var|private|mnt|media|srv|opt|scratch|gpfs|lustre|nfs"
PLACE = re.compile(rf"(?<![\w.])(?:/(?:{_ROOTS})/[\w.@~-]+|[A-Za-z]:[\\/](?:Users|Windows|Program)\b|~/[\w.-]+)")
# Whatever looks like an absolute path: for files of ours, in which no answer of a model stands.
ROOTED = re.compile(r"(?<![\w:/.~-])(?:~?/[\w.@+-]+/[\w.@+-]|[A-Za-z]:\\\\?[\w.])")


def named_place(text: str, known: Iterable[str], pattern: re.Pattern[str] | None = PLACE) -> str:
    """Where ``text`` names a place of a machine: the line from there on, at most 60 characters; empty if nowhere.

    Args:
        known: folders of this machine.
        pattern: what else is taken for one; None: nothing.
    """
    hit = next((each for each in known if each in text), "")
    match = pattern.search(text) if pattern and not hit else None
    begins = text.find(hit) if hit else match.start() if match else len(text)
    return text[begins : begins + 60].partition("\n")[0]


class Scrubber:
    """Replaces known places and refuses the others.

    Args:
        places: what stands for each known place; with an empty text what lies below keeps its relative path.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        known = {place.rstrip("/"): name for place, name in places.items()}
        known = {place: name for place, name in known.items() if place.count("/") > (place.startswith("/"))}
        self._places = sorted(known.items(), key=lambda each: -len(each[0]))

    def text(self, text: str, where: str) -> str:
        """``text``, plain or escaped as in a table, without known places.

        Raises:
            ArtifactError: another place of a machine is in it; ``where`` says in what.
        """
        for place, name in self._places:
            for old, new in ((place, name), (escape(place), escape(name))):
                if not name:
                    slash = escape("/") if old != place else "/"
                    text = text.replace(old + slash, "")
                text = text.replace(old, new)
        self.refuse(text, where)
        return text

    def values(self, node: Any, where: str) -> Any:
        """The same for every text in nested lists and mappings."""
        if isinstance(node, str):
            return self.text(node, where)
        if isinstance(node, list):
            return [self.values(each, where) for each in node]
        if isinstance(node, dict):
            return {self.text(key, where): self.values(value, where) for key, value in node.items()}
        return node

    def refuse(self, node: Any, where: str) -> None:
        """Look without replacing.

        Raises:
            ArtifactError: a place of a machine is in it.
        """
        if isinstance(node, dict):
            for key, value in node.items():
                self.refuse(key, where)
                self.refuse(value, where)
        elif isinstance(node, list):
            for each in node:
                self.refuse(each, where)
        elif isinstance(node, str):
            read = html.unescape(re.sub(r"</?span>", "", node))
            if shown := named_place(read, (place for place, _ in self._places)):
                raise ArtifactError(
                    f"reference run, {where}: a place of this machine stands in it: {shown!r}; nothing was written"
                )
