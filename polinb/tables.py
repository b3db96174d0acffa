"""Numbered tables for the book, in which text from a model or a user stays text.

Everything that comes out of a frame is written as numeric character references wherever a character could
start markup, so ``<script>``, ``$x$``, ``{role}`` and backticks show as they stand. Captions and headers
given by the author are MyST.

The cell that shows a table needs the metadata ``mystnb: {markdown_format: myst}``.

Below each table stand two links that work without a script: CSV with the values of the frame, LaTeX with the text as
shown. A text cell of the CSV that a spreadsheet would run as a formula (it starts with ``=``, ``+``, ``-``, ``@``, a
tab or a carriage return, as what a model wrote can) gets an apostrophe in front; numbers stay numbers.
"""

from __future__ import annotations

import base64
import html
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from polinb import latex
from polinb.errors import DataError, ParameterError

Format = str | Callable[[Any], str]
NEWLINE = " ⏎ "
FORMULA = re.compile(r"^[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20]")  # the last four: the same in full width


def numbered_table(
    frame: pd.DataFrame,
    name: str,
    caption: str,
    formats: Mapping[str, Format] | None = None,
    headers: Mapping[str, str] | None = None,
    markup: Sequence[str] = (),
) -> Markdown:
    r"""``frame`` as a numbered, captioned table with links that save it as CSV and as LaTeX.

    Args:
        frame: the rows in order; the index is not shown.
        name: label for ``{numref}``: lower-case letters, digits and hyphens.
        caption: one line of MyST.
        formats: per column a format specification such as ``.2f`` or a function from a value to text.
            Without one, numbers get up to four significant digits. Missing values show as an en dash.
        headers: per column a header in MyST, such as ``$\gamma$``; by default the column's name.
        markup: columns whose text is MyST by the author, such as references; never text of a model or a user.

    Raises:
        ParameterError: a wrong name, a caption of several lines, a format or header for a column that is
        not there.
    """
    formats, headers = dict(formats or {}), dict(headers or {})
    columns = [str(column) for column in frame.columns]
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ParameterError("name", name, "lower-case letters and digits, joined by hyphens")
    if not caption.strip() or "\n" in caption or "`" in caption:
        # a backtick would end the directive's opening line, and the table would silently lose its number
        raise ParameterError("caption", caption, "one line of text without backticks")
    for given in [*formats, *headers, *markup]:
        if given not in columns:
            raise ParameterError("formats, headers or markup", given, f"a column of the table: {columns}")
    if not columns or len(set(columns)) != len(columns):
        raise DataError(f"table {name}: needs columns with different names, has {columns}")
    marked = [column in markup for column in columns]
    shown = [
        [str(value) if free else _cell(value, formats.get(str(raw))) for value in frame[raw]]
        for raw, free in zip(frame, marked, strict=True)
    ]
    text = [[_myst(c) if free else escape(c) for c in cells] for cells, free in zip(shown, marked, strict=True)]
    numeric = [pd.api.types.is_numeric_dtype(frame[raw]) for raw in frame]
    lines = [
        _row([headers.get(column, escape(column)) for column in columns]),
        _row(["---:" if right else ":---" for right in numeric]),
        *(_row(list(cells)) for cells in zip(*text, strict=True)),
    ]
    fence = "`" * 4
    table = f"{fence}{{table}} {caption}\n:name: {name}\n\n" + "\n".join(lines) + f"\n{fence}\n"
    over = [latex.from_myst(headers[column]) if column in headers else latex.escape(column) for column in columns]
    cells = [list(map(latex.from_myst if free else _printed, part)) for part, free in zip(shown, marked, strict=True)]
    rows = list(zip(*cells, strict=True))
    printed = latex.tabular(over, rows, numeric, latex.from_myst(caption), name)
    links = [_link("CSV", f"{name}.csv", "text/csv", _csv(frame)), _link("LaTeX", f"{name}.tex", "text/x-tex", printed)]
    return Markdown(f"{table}\n{' '.join(links)}\n")


def responses_table(
    frame: pd.DataFrame,
    name: str,
    caption: str,
    columns: Sequence[str] = ("topic", "prompt", "response", "label"),
    limit: int = 600,
) -> Markdown:
    """What models wrote, shown as text whatever markup it holds; line breaks show as ``⏎``.

    Args:
        frame: has ``columns``; others are left out.
        name: label for ``{numref}``.
        caption: one line of MyST.
        columns: which columns, in which order.
        limit: characters shown of each text; a longer one ends in `` […]``. The CSV holds the whole text.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"table {name}: no column {missing[0]!r}, has {list(frame.columns)}")
    shown = frame[list(columns)]

    def cut(value: Any) -> str:
        whole = str(value)
        return whole if len(whole) <= limit else whole[:limit].rstrip() + " […]"

    return numbered_table(shown, name, caption, {c: cut for c in columns if shown[c].dtype.kind in "OTU"})


def escape(text: str) -> str:
    """``text`` so that no renderer of MyST, Markdown or HTML finds markup in it.

    Letters, digits, spaces and non-ASCII symbols stay; other ASCII becomes ``&#NN;``. Control and
    formatting characters (which could reorder or hide text) become ``⟨U+202E⟩``, a line break becomes ``⏎``. What could
    open maths stands in an element of its own: MathJax, as JupyterLab runs it, reads what entities have become.
    """
    parts = []
    for char in re.sub(r"\r\n?|\n", NEWLINE, text):
        if char == "\t":
            parts.append(" ")
        elif unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            parts.append(f"⟨U&#43;{ord(char):04X}⟩")
        elif char.isalnum() or char == " " or ord(char) > 127:
            parts.append(char)
        else:
            parts.append(f"<span>&#{ord(char)};</span>" if char in "$\\" else f"&#{ord(char)};")
    return "".join(parts)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _myst(value: Any) -> str:
    return re.sub(r"\s+", " ", str(value)).replace("|", "\\|")


def _cell(value: Any, form: Format | None) -> str:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if callable(form):
        return str(form(value))
    if isinstance(value, (float, np.floating)) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, float, np.number)):
        whole = isinstance(value, (int, np.integer))
        text = format(value, form or ("d" if whole else ".4g"))
        return re.sub(r"^−(0\.?0*)$", r"\1", text.replace("-", "−"))
    return format(value, form) if form else str(value)


def _printed(text: str) -> str:
    """A cell for LaTeX, with line breaks shown as in the book."""
    return latex.escape(re.sub(r"\r\n?|\n", NEWLINE, text))


def _csv(frame: pd.DataFrame) -> str:
    """The frame's values; text that a spreadsheet would run is made harmless."""
    numeric = pd.api.types.is_numeric_dtype
    safe = {_harmless(c): frame[c] if numeric(frame[c]) else frame[c].astype(object).map(_harmless) for c in frame}
    text: str = pd.DataFrame(safe).to_csv(
        index=False, lineterminator="\r\n"
    )  # RFC 4180; with "\n" a "\r" is not quoted
    return text


def _harmless(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and FORMULA.match(value) else value


def _link(text: str, file: str, kind: str, content: str) -> str:
    data = base64.b64encode(content.encode()).decode()
    name = html.escape(file, quote=True)
    return f'<a class="polinb-csv" download="{name}" href="data:{kind};base64,{data}">{text}</a>'


def intervals(frame: pd.DataFrame, value: str, digits: int = 2) -> list[str]:
    """A column as text with its interval, ``0.52 [0.30, 0.71]``.

    The ends are ``<value>_low`` and ``<value>_high``, or ``low`` and ``high`` where the frame has no such
    columns. A missing value shows as an en dash, a missing end as ``?``.
    """
    own = f"{value}_low" in frame.columns
    low, high = (f"{value}_low", f"{value}_high") if own else ("low", "high")
    out = []
    for middle, start, end in zip(frame[value], frame[low], frame[high], strict=True):
        if pd.isna(middle):
            out.append("–")
            continue
        ends = [
            "?" if pd.isna(x) else ("∞" if x > 0 else "−∞") if math.isinf(x) else f"{x:.{digits}f}"
            for x in (start, end)
        ]
        out.append(f"{middle:.{digits}f} [{ends[0]}, {ends[1]}]".replace("-", "−"))
    return out
