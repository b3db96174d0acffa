"""Text of the notebooks: plain Markdown that any viewer shows as a sentence, and the MyST that the book makes of it.

In a notebook a reference has words and leads to a file where there is one: ``[Table drops](#tbl-drops)``,
``[(eq-sets)](#eq-sets)``, ``[neurons](../book/glossary.md "neuron")``, ``[(Yang et al., 2025)](../book/references.bib
"yang2025dpo")``. The book puts numbers, entries and citations in their place; ``[crime](../book/try.md "set=crime")``
opens "Try the neurons" with that set.
"""

from __future__ import annotations

import re

LABEL = re.compile(r'<a id="(sec-[a-z-]+)"></a>')
_LINKS = (
    (LABEL, r"(\1)="),
    (re.compile(r"\[[^\]]+\]\(#((?:tbl|fig)-[\w-]+)\)"), r"{numref}`\1`"),
    (re.compile(r"\[[^\]]+\]\(#(eq-[\w-]+)\)"), r"{eq}`\1`"),
    (re.compile(r'\[[^\]]+\]\(\.\./book/references\.bib "([\w-]+)"\)'), r"{cite}`\1`"),
    (re.compile(r'\[([^\]]+)\]\(\.\./book/glossary\.md "([^"]+)"\)'), r"{term}`\1 <\2>`"),
    (re.compile(r"\[(?!glossary\])([^\]]+)\]\(\.\./book/glossary\.md\)"), r"{term}`\1`"),
    (re.compile(r"\]\(\.\./book/(\w+\.md)\)"), r"](../\1)"),
    (re.compile(r'\[([^\]]+)\]\(\.\./book/try\.md "([\w=&.-]+)"\)'), r'<a href="../try.html?\2">\1</a>'),
)
_NUMREF = re.compile(r"\{numref\}`([^`]+)`")
_ABOUT = re.compile(r"(^- |(?<=[.!?] ))\{numref\}`([^`]+)`.*?[.!?](?: |$)", re.M)  # a sentence on a table or figure


def myst(text: str) -> str:
    """A notebook's Markdown as the book's MyST."""
    for pattern, role in _LINKS:
        text = pattern.sub(role, text)
    return text


def without(text: str, there: set[str]) -> str:
    """MyST ``text`` whose references to tables and figures that this build does not have are replaced.

    A sentence that begins with one is about it, and left out.
    """
    kind = {"tbl": "Table", "fig": "Figure"}
    text = _ABOUT.sub(lambda m: m[0] if m[2] in there else m[1], text)
    text = re.sub(r"^- *(?:\n|\Z)", "", text, flags=re.M)
    return _NUMREF.sub(lambda m: m[0] if m[1] in there else f"*{kind.get(m[1][:3], '')} (not run)*", text)
