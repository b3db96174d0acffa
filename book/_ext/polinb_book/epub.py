"""The book as an EPUB: text, tables, formulas as MathML and pictures of the charts; nothing that needs a script."""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup
from docutils.utils.math.latex2mathml import tex2mathml

_TEX = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]", re.S)
_UNKNOWN = re.compile(r"\\[bB]ig[lr]?(?![a-z])|\\(?:begin|end)\{split\}")  # to docutils; brackets grow by themselves
_LEFT_OUT = "script, .polinb-links, .headerlink"
_NOWHERE = 'a[href*="_downloads/"], a[href*="try.html"]'  # links to what the file does not hold


def simplify(context: dict[str, Any]) -> None:
    """A page's text as well-formed XML that every reader shows."""
    soup = BeautifulSoup(context.get("body", ""), "html.parser")
    for node in soup.select(_LEFT_OUT):
        node.decompose()
    for link in soup.select(_NOWHERE):
        link.unwrap()
    for text in (text for node in soup.select(".math") for text in node.find_all(string=_TEX)):
        if found := _TEX.search(text):
            inline, display = found.groups()
            tex = _UNKNOWN.sub("", inline or display).replace("gathered", "aligned").strip()
            text.replace_with(BeautifulSoup(tex2mathml(tex, as_block=bool(display)), "html.parser"))
    context["body"] = str(soup)
    context["css_files"] = [f for f in context["css_files"] if not re.search("mystnb|vendor", str(f.filename))]
