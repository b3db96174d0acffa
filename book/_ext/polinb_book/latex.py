r"""Tables as LaTeX source: text is escaped, so it prints as it stands and cannot run a command.

Mathematical signs get the names that docutils has for them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import pandas as pd
from docutils.utils.math.unichar2tex import uni2tex_table

MATH = {"·": r"\cdot", "²": "^{2}", "∖": r"\setminus"}  # what docutils' table of signs has not, or by a rarer name
# A bracket after a line's end would be its option, so brackets stand in braces.
TEXT = {
    "\\": r"\textbackslash{}",
    **{char: "\\" + char for char in "{}$&#%_"},
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "⏎": r"\(\hookleftarrow\)",
    **{char: "{" + char + "}" for char in "[]"},
    "\u00a0": "~",
}
MYST = re.compile(
    r"\$([^$]+)\$|\{(numref|ref|eq|cite(?::\w)?)\}`(?:[^`<]*<)?([^`>]+)>?`"
    r"|\[([^\]]+)\]\([^)]*\)|\*\*([^*]+)\*\*|`([^`]+)`"
)
LONG = 40  # a column with a longer text gets a width, so that it breaks into lines


def escape(text: str) -> str:
    """``text`` so that LaTeX prints it; control and formatting characters, which it cannot print, are left out."""
    parts: list[str] = []
    last = ""
    for char in re.sub(r"[^\S\u00a0]+", " ", text):
        if char == last and char in "-'":  # two would join to a dash or a quotation mark
            parts.append("{}")
        last = char
        if char in TEXT:
            parts.append(TEXT[char])
        elif sign := MATH.get(char) or uni2tex_table.get(ord(char), "").strip():
            parts.append(rf"\({sign}\)")
        elif unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn"):
            parts.append(char)
    return "".join(parts)


def from_myst(text: str) -> str:
    r"""One line of the author's MyST: formulas stay, references become ``\ref`` and ``\cite``, the rest is escaped."""
    parts, at = [], 0
    for found in MYST.finditer(text):
        parts.append(escape(text[at : found.start()]))
        formula, role, target, link, bold, code = found.groups()
        if formula:
            parts.append(rf"\({formula}\)")
        elif role:
            key = re.sub(r"[^\w:,.-]", "", target)
            parts.append(rf"\cite{{{key}}}" if role.startswith("cite") else rf"\ref{{{label(key)}}}")
        elif bold:
            parts.append(rf"\textbf{{{escape(bold)}}}")
        else:
            parts.append(rf"\texttt{{{escape(code)}}}" if code else escape(link))
        at = found.end()
    return "".join(parts) + escape(text[at:])


def label(name: str) -> str:
    """A label of the book as users of LaTeX write it: ``tab:drops`` for ``tbl-drops``, ``fig:types`` for its figure."""
    prefixes = {"tbl": "tab", "fig": "fig", "sec": "sec", "eq": "eq"}
    kind, _, rest = name.partition("-")
    return f"{prefixes[kind]}:{rest}" if rest and kind in prefixes else name


def tabular(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], caption: str, name: str
) -> str:
    r"""A ``table`` with a booktabs ``tabular``; headers, cells and caption are LaTeX already.

    Args:
        headers: one a column.
        rows: cells as shown.
        right: which columns are aligned to the right.
        caption: without its number.
        name: the book's label, from which ``\label`` is made.
    """
    longest = [max((len(row[i]) for row in rows), default=0) for i in range(len(headers))]
    long = sum(size > LONG for size in longest)
    wide = rf"p{{{0.8 / long:.2f}\linewidth}}" if long else ""
    columns = ["r" if r else wide if size > LONG else "l" for r, size in zip(right, longest, strict=True)]
    table = pd.DataFrame(rows, columns=headers).style.hide(axis="index")
    look = {"column_format": "".join(columns), "position_float": "centering", "hrules": True}
    return "% needs \\usepackage{booktabs}\n" + table.to_latex(caption=caption, label=label(name), **look)
