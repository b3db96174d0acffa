"""Our docstrings as reStructuredText: sections become fields, entries with several names stay one entry.

Sphinx's napoleon would read the first word before a colon as a type (``Returns:``, attributes) or split a pair of names
(``ids, mask: …``); types are in our signatures, and a section here is prose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from polinb import errors

TITLES = {
    "Args:": "Parameters",
    "Attributes:": "Attributes",
    "Raises:": "Raises",
    "Returns:": "Returns",
    "Yields:": "Yields",
}
_ENTRY = re.compile(r"([A-Za-z_*][\w.*]*(?:, [A-Za-z_*][\w.*]*)*): +(.+)")
_LITERAL = re.compile(r"(``.+?``|:[a-z:]+:`.+?`)")


def restructured(lines: Sequence[str]) -> list[str]:
    """Lines of a docstring, already dedented, as reStructuredText."""
    made: list[str] = []
    rest = [_bars(line) for line in lines]
    while rest:
        line = rest.pop(0)
        if line.strip() not in TITLES or line.startswith(" "):
            made.append(line)
            continue
        body = []
        while rest and (not rest[0].strip() or rest[0].startswith(" ")):
            body.append(rest.pop(0))
        made += ["", f":{TITLES[line.strip()]}:", *_section(line.strip(), body), ""]
    return made


def field_list(entries: Sequence[tuple[str, str]]) -> list[str]:
    """Names with their descriptions, given as plain text, under the title *Attributes*."""
    return ["", ":Attributes:", *(f"    - **{plain(name)}** – {plain(text)}" for name, text in entries), ""]


def plain(text: str) -> str:
    """Text that reStructuredText shows as it is."""
    return "".join(f"\\{mark}" if mark in "\\*`|_" else mark for mark in text)


def _section(title: str, body: Sequence[str]) -> list[str]:
    """A section's body, indented below its field: a list of entries, or prose where it has none."""
    if title in ("Returns:", "Yields:"):
        return [f"    {line.strip()}" if line.strip() else "" for line in body]
    depth = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    made: list[str] = []
    for line in body:
        entry = _ENTRY.fullmatch(line[depth:].rstrip()) if line[:depth].isspace() and line[depth:][:1] != " " else None
        if entry:
            names = [_error(name) if title == "Raises:" else f"**{plain(name)}**" for name in entry[1].split(", ")]
            made.append(f"    - {', '.join(names)} – {entry[2]}")
        elif line.strip():
            made.append(f"      {line.strip()}" if made else f"    - {line.strip()}")
    return made


def _error(name: str) -> str:
    """An error as a link to its entry; the page of ``polinb.errors`` has one for each of ours."""
    return f":exc:`~polinb.errors.{name}`" if hasattr(errors, name) else f":exc:`{name}`"


def _bars(line: str) -> str:
    """Vertical bars are absolute values here, not substitutions."""
    parts = _LITERAL.split(line)
    return "".join(part if index % 2 else part.replace("|", r"\|") for index, part in enumerate(parts))
