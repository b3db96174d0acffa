r"""CSV and LaTeX of what a table or a chart carries: the only place that writes them.

In LaTeX text is escaped, so it prints as it stands and cannot run a command. Mathematical signs get the names that
docutils has for them.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from docutils.utils.math.unichar2tex import uni2tex_table

FORMULA = re.compile(r"^[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20]")  # the last four: the same in full width
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
INFINITE = ("-inf", "inf")  # how a payload writes these numbers
LONG = 40  # a column with a longer text gets a width, so that it breaks into lines


def table_csv(payload: Mapping[str, Any]) -> str:
    """Values of a table under the names of its columns; an interval's ends in ``…_low`` and ``…_high``."""
    columns: dict[str, Sequence[Any]] = {}
    names = {column["name"] for column in payload["columns"]}
    for column in payload["columns"]:
        name, own = column["name"], column["values"]
        columns[name] = [re.sub(r"\$([^$]+)\$", r"\1", str(v)) for v in own] if column["markup"] else own
        ends = {f"{name}_{end}": column[end] for end in ("low", "high") if end in column}
        columns |= {end: values for end, values in ends.items() if end not in names}
    return _csv(list(columns), list(zip(*columns.values(), strict=True)))


def table_latex(payload: Mapping[str, Any]) -> str:
    """A table as shown."""
    columns = payload["columns"]
    cells = [[(from_myst if c["markup"] else escape)(text) for text in c["text"]] for c in columns]
    heads, right = [from_myst(c["header"]) for c in columns], [c["align"] == "right" for c in columns]
    return _tabular(heads, list(zip(*cells, strict=True)), right, payload["caption"], payload["label"])


def behind(spec: Mapping[str, Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Headers and rows of the data that a chart draws, each row once; which columns, its maker says (``usermeta``)."""
    columns = spec.get("usermeta", {}).get("polinb", {}).get("columns", [])
    sets = [rows for rows in spec.get("datasets", {}).values() if rows]
    if not columns:  # a chart that is none of ours
        first: dict[str, Any] = max(sets, key=len, default=[{}])[0]
        columns = [[name, name] for name, value in first.items() if not isinstance(value, (list, dict))]
    fields = [field for field, _ in columns]
    rows: list[dict[str, Any]] = next((each for each in sets if set(fields) <= set(each[0])), [])
    return [header for _, header in columns], list(dict.fromkeys(tuple(row.get(f) for f in fields) for row in rows))


def chart_csv(spec: Mapping[str, Any]) -> str:
    """The data behind a chart."""
    return _csv(*behind(spec))


def sorting(columns: Sequence[Mapping[str, Any]]) -> str:
    """For each column of numbers its values, None where one is missing; None for the others; as JSON."""
    known = [[float(v) if v in INFINITE else v for v in column["values"]] for column in columns]
    kept = [None if any(isinstance(v, str) for v in values) else values for values in known]
    return json.dumps(kept, separators=(",", ":")).replace("Infinity", "1e999")  # which JSON has no word for


def links(label: str, csv_text: str, latex_text: str = "", values: str = "") -> str:
    """Links that save a table's or chart's data without a script or a request; ``values``: what a script sorts by."""
    made = []
    files = [("CSV", "csv", "text/csv", csv_text), ("LaTeX", "tex", "text/x-tex", latex_text)]
    for text, ending, kind, content in files[: 1 + bool(latex_text)]:
        data = base64.b64encode(content.encode()).decode()
        name = html.escape(f"{label}.{ending}", quote=True)
        made.append(f'<a class="polinb-csv" download="{name}" href="data:{kind};base64,{data}">{text}</a>')
    data = f' data-values="{html.escape(values, quote=True)}"' if values else ""
    return f'<p class="polinb-links"{data}>{" ".join(made)}</p>'


def escape(text: str) -> str:
    """``text`` so that LaTeX prints it; control and formatting characters, which it cannot print, are left out."""
    text = re.sub(r"[^\S\u00a0]+", " ", text)
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    parts: list[str] = []
    for last, char in pairwise(f" {text}"):
        if char == last and char in "-'":  # two would join to a dash or a quotation mark
            parts.append("{}")
        if char in TEXT:
            parts.append(TEXT[char])
        elif sign := MATH.get(char) or uni2tex_table.get(ord(char), "").strip():
            parts.append(rf"\({sign}\)")
        else:
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
            parts.append(rf"\cite{{{key}}}" if role.startswith("cite") else rf"\ref{{{latex_label(key)}}}")
        elif bold:
            parts.append(rf"\textbf{{{escape(bold)}}}")
        else:
            parts.append(rf"\texttt{{{escape(code)}}}" if code else escape(link))
        at = found.end()
    return "".join(parts) + escape(text[at:])


def latex_label(name: str) -> str:
    """A label of the book as users of LaTeX write it: ``tab:drops`` for ``tbl-drops``, ``fig:types`` for its figure."""
    prefixes = {"tbl": "tab", "fig": "fig", "sec": "sec", "eq": "eq"}
    kind, _, rest = name.partition("-")
    return f"{prefixes[kind]}:{rest}" if rest and kind in prefixes else name


def _tabular(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], caption: str, name: str
) -> str:
    r"""A ``table`` with a booktabs ``tabular``: headers and cells are LaTeX already, the caption is MyST."""
    longest = [max((len(row[i]) for row in rows), default=0) for i in range(len(headers))]
    long = sum(size > LONG for size in longest)
    wide = rf"p{{{0.8 / long:.2f}\linewidth}}" if long else ""
    columns = ["r" if r else wide if size > LONG else "l" for r, size in zip(right, longest, strict=True)]
    look: dict[str, Any] = {"column_format": "".join(columns), "position_float": "centering", "hrules": True}
    table = pd.DataFrame(rows, columns=headers).style.hide(axis="index")
    made = table.to_latex(caption=from_myst(caption), label=latex_label(name), **look)
    return "% needs \\usepackage{booktabs}\n" + made


def _csv(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    for row in [headers, *rows]:  # a text that a spreadsheet would run as a formula gets an apostrophe in front
        formulas = [isinstance(v, str) and FORMULA.match(v) and v not in INFINITE for v in row]
        writer.writerow([f"'{v}" if formula else v for v, formula in zip(row, formulas, strict=True)])
    return out.getvalue()
