"""Numbered tables for the book, in which text from a model or a user stays text.

Everything that comes out of a frame is written as numeric character references wherever a character could
start markup, so ``<script>``, ``$x$``, ``{role}`` and backticks show as they stand. Captions and headers
given by the author are MyST.

The cell that shows a table needs the metadata ``mystnb: {markdown_format: myst}``.

Below each table stand two links that work without a script: CSV with the values of the frame under the names of its
columns, LaTeX with the text as shown. A column of intervals (``0.52 [0.30, 0.71]``) becomes three columns of numbers in
the CSV: the value, ``…_low`` and ``…_high``. A text cell of the CSV that a spreadsheet would run as a formula (it
starts with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, as what a model wrote can) gets an apostrophe in
front; numbers stay numbers.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from polinb import labels
from polinb.display import latex
from polinb.errors import DataError, ParameterError
from polinb.wording import NEWLINE, escape, power, raised
from polinb.wording import intervals as intervals  # what a chapter's tables need, in one import

Format = str | Callable[[Any], str]
NOISE = 1e-12  # smaller than this share of a column's largest value: what floating point leaves of a zero
BOUNDED = re.compile(r"([+−-]?(?:[\d.]+|∞))(?: \[([+−-]?(?:[\d.]+|∞)|\?|–), ([+−-]?(?:[\d.]+|∞)|\?|–)\])?")
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
            Without one, a column of numbers gets the decimals that suit it. Missing values show as an en dash.
        headers: per column a header in MyST, such as ``$\gamma$``; by default that of ``polinb.labels``.
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
    chosen = {column: formats.get(column) or decimals(frame[raw]) for column, raw in zip(columns, frame, strict=True)}
    shown = [
        [str(value) if free else _cell(value, chosen[str(raw)]) for value in frame[raw]]
        for raw, free in zip(frame, marked, strict=True)
    ]
    text = [[_myst(c) if free else escape(c) for c in cells] for cells, free in zip(shown, marked, strict=True)]
    numeric = [pd.api.types.is_numeric_dtype(frame[raw]) for raw in frame]
    lines = [
        _row([headers.get(column, escape(labels.header(column))) for column in columns]),
        _row(["---:" if right else ":---" for right in numeric]),
        *(_row(list(cells)) for cells in zip(*text, strict=True)),
    ]
    fence = "`" * 4
    table = f"{fence}{{table}} {caption}\n:name: {name}\n\n" + "\n".join(lines) + f"\n{fence}\n"
    over = [
        latex.from_myst(headers[column]) if column in headers else latex.escape(labels.header(column))
        for column in columns
    ]
    cells = [list(map(latex.from_myst if free else _printed, part)) for part, free in zip(shown, marked, strict=True)]
    rows = list(zip(*cells, strict=True))
    printed = latex.tabular(over, rows, numeric, latex.from_myst(caption), name)
    links = [
        _link("CSV", f"{name}.csv", "text/csv", _csv(unmarked(frame, markup))),
        _link("LaTeX", f"{name}.tex", "text/x-tex", printed),
    ]
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


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _myst(value: Any) -> str:
    return re.sub(r"\s+", " ", str(value)).replace("|", "\\|")


def decimals(column: pd.Series) -> Format | None:
    """One format for all numbers of a column, so that they stand under each other and can be compared.

    Three significant digits of the middle value, at least one of all but the smallest, none that are zero throughout.
    Columns of other things get none; those of very small or very large numbers get powers of ten.
    """
    if not pd.api.types.is_float_dtype(column):
        return None
    values = _without_noise(column.to_numpy(dtype=float, na_value=np.nan))
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    if not size.size or np.all(size == np.round(size)):
        return ".0f"
    if size.max() < 1e-4 or size.max() >= 1e7:
        return lambda value: power(float(value), 3)
    middle = float(np.quantile(size, 0.5, method="higher"))
    least = float(size[size >= middle / 1000].min())
    most = max(2 - _magnitude(middle), -_magnitude(least), 2 if middle < 100 else 0)
    most = min(most, 4 - min(_magnitude(middle), 0))
    known = values[np.isfinite(values)]
    for places in range(most):
        if np.allclose(known, np.round(known, places), rtol=0, atol=1e-9):
            return f".{places}f"
    return f".{most}f"


def _magnitude(value: float) -> int:
    return math.floor(math.log10(value))


def _without_noise(values: np.ndarray) -> np.ndarray:
    """Zeros where floating point left next to nothing."""
    size = np.abs(values[np.isfinite(values)])
    return np.where(np.abs(values) < NOISE * max(size.max(initial=0.0), 0.01), 0.0, values)


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
        return re.sub(r"^[+−](0\.?0*%?)$", r"\1", raised(text).replace("-", "−"))
    return format(value, form) if form else str(value)


def _printed(text: str) -> str:
    """A cell for LaTeX, with line breaks shown as in the book."""
    return latex.escape(re.sub(r"\r\n?|\n", NEWLINE, text))


def unmarked(frame: pd.DataFrame, markup: Sequence[str]) -> pd.DataFrame:
    """The author's formulas as plain text: ``N_t``, not ``$N_t$``."""
    return frame.assign(**{name: [re.sub(r"\$([^$]+)\$", r"\1", str(text)) for text in frame[name]] for name in markup})


def _csv(frame: pd.DataFrame) -> str:
    """The frame's values; intervals as numbers; text that a spreadsheet would run is made harmless."""
    out: dict[Any, Any] = {}
    for name in frame:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):
            out[_harmless(name)] = _plain(column)
        elif (parts := _ends(column)) is not None and not {f"{name}_low", f"{name}_high"} & set(map(str, frame)):
            out |= {_harmless(f"{name}{end}"): parts[end] for end in parts}
        else:
            out[_harmless(name)] = column.astype(object).map(_harmless)
    # RFC 4180; with "\n" a "\r" is not quoted
    text: str = pd.DataFrame(out, index=frame.index).to_csv(index=False, lineterminator="\r\n")
    return text


def _plain(column: pd.Series) -> pd.Series:
    """Numbers with no more digits than they carry: whole ones as integers, zeros without the noise of arithmetic."""
    if not pd.api.types.is_float_dtype(column):
        return column
    values = _without_noise(column.to_numpy(dtype=float, na_value=np.nan))
    known = values[~np.isnan(values)]
    if np.isfinite(known).all() and (known == np.round(known)).all() and (np.abs(known) < 2**53).all():
        return pd.Series(values, column.index).astype("Int64")
    return pd.Series([float(f"{value:.10g}") for value in values], column.index)


def _ends(column: pd.Series) -> dict[str, list[float]] | None:
    """Value and ends of a column of text as :func:`intervals` writes it, by ending of the name; None for other text."""
    texts = ["" if pd.isna(value) else str(value) for value in column]
    found = [BOUNDED.fullmatch(text) for text in texts]
    if any(match is None and text not in ("", "–") for match, text in zip(found, texts, strict=True)):
        return None
    if not any(match and match[2] for match in found):
        return None
    ends = ("", "_low", "_high")
    return {end: [_number(match[i]) if match else math.nan for match in found] for i, end in enumerate(ends, 1)}


def _number(text: str | None) -> float:
    return math.nan if text in (None, "?", "–") else float(text.replace("−", "-").replace("∞", "inf"))  # type: ignore[union-attr]


def _harmless(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and FORMULA.match(value) else value


def _link(text: str, file: str, kind: str, content: str) -> str:
    data = base64.b64encode(content.encode()).decode()
    name = html.escape(file, quote=True)
    return f'<a class="polinb-csv" download="{name}" href="data:{kind};base64,{data}">{text}</a>'
