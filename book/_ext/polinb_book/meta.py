"""What search engines and link previews show of a page: its first paragraph, as a description."""

from __future__ import annotations

import html
from typing import Any

SHORTEST, LONGEST = 50, 200  # characters


def describe(_app: Any, _page: str, _template: str, context: dict[str, Any], doctree: Any) -> None:
    """Handler of ``html-page-context``: a ``description`` tag, unless the page has one."""
    tags = context.get("metatags") or ""
    text = description(doctree) if doctree is not None else ""
    if text and 'name="description"' not in tags:
        context["metatags"] = f'{tags}\n<meta name="description" content="{html.escape(text)}" />'


def description(doctree: Any) -> str:
    """The first paragraph of some length on one line, cut at a word; empty for a page without prose."""
    from docutils import nodes

    texts = [
        " ".join(paragraph.astext().split()).removeprefix("Question. ")
        for paragraph in doctree.findall(nodes.paragraph)
        if isinstance(paragraph.parent, nodes.section)
    ]
    text = next((text for text in texts if len(text) >= SHORTEST), texts[0] if texts else "")
    if len(text) <= LONGEST:
        return text
    return text[:LONGEST].rsplit(" ", 1)[0].rstrip(" ,;:.") + "…"
