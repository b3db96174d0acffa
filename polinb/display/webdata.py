"""Data for the book's interactive parts, carried inside the page: no kernel, no request, no server needed.

A part is an element with compressed data and a fallback that stays where no script runs. The script of its name in
``resources/web`` draws it; ``vendor.py`` puts those scripts beside the pages.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.display import HTML

EXPLORER_SCRIPTS = ("explorer_model.js", "explorer_map.js", "explorer_card.js", "explorer.js")
APPS = {
    "explorer": (("app.js", *EXPLORER_SCRIPTS), ("parts.css", "explorer.css")),
    "responses": (("app.js", "responses.js"), ("parts.css", "responses.css")),
    "try": (("try.js",), ("parts.css", "try.css")),
}
"""Scripts and styles of each part, in their order; the page that holds it loads each of the two as one file."""
ALONE = ("dom.js", "try_engine.js")  # what every page loads first, and a worker's script


def web_folder() -> Path:
    """Folder of the scripts and styles that the package ships."""
    return Path(str(resources.files("polinb") / "resources" / "web"))


def joined(names: Sequence[str]) -> str:
    """Scripts or styles as one."""
    return "\n".join((web_folder() / name).read_text("utf-8") for name in names)


def part_script(app: str) -> str:
    """The scripts of one of :data:`APPS` as one function: they know each other's names, and none leaks."""
    return f'(function () {{\n"use strict";\n{joined(APPS[app][0])}}})();\n'


def embed(
    app: str, payload: Mapping[str, Any], label: str, fallback: str, blobs: Mapping[str, bytes] | None = None
) -> HTML:
    """One interactive part of a page.

    Args:
        app: one of :data:`APPS`, such as ``explorer``.
        payload: JSON values; NaN and infinities are refused. Text in it is data: scripts show it as text only.
        label: what a screen reader says the part is.
        fallback: HTML by us, shown where no script runs; text of models or users in it must be escaped.
        blobs: arrays as bytes, apart from the JSON because they compress better.

    Raises:
        ValueError: a number in ``payload`` that is not finite.
    """
    from IPython.display import HTML

    parts: dict[str, Any] = {"payload": payload, **(blobs or {})}
    data = "".join(
        f'<script type="application/gzip;base64" class="polinb-data" data-name="{html.escape(name)}">'
        f"{packed(content)}</script>"
        for name, content in parts.items()
    )
    name = html.escape(label, quote=True)
    return HTML(
        f'<div class="polinb-app" data-app="{app}" role="region" aria-label="{name}">{data}'
        f'<div class="polinb-app-fallback">{fallback}</div></div>'
    )


def packed(content: bytes | Mapping[str, Any]) -> str:
    """Bytes or JSON values as base64 of gzip; the same content gives the same text (no time stamp)."""
    if not isinstance(content, bytes):
        content = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
