"""Numbered tables: what a notebook shows, and the same as data for the book.

A table's output is plain HTML, in which text of a model or a user stays text, and a payload
(:data:`polinb.wording.PAYLOAD`) of columns: values, the low and high ends where a cell is an interval, and the text as
shown. The book makes its table, the CSV and the LaTeX from the payload. Captions and headers are the author's MyST.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb import labels
from polinb.errors import DataError, ParameterError
from polinb.wording import PAYLOAD, Interval, escape, power, raised, readable, titled, visible
from polinb.wording import intervals as intervals  # what a chapter's tables need, in one import

Format = str | Callable[[Any], str]
NOISE = 1e-12  # smaller than this share of a column's largest value: what floating point leaves of a zero


class Table:
    """A table as a notebook shows it.

    Attributes:
        payload: ``kind`` (table), ``label``, ``caption``, ``columns``: each with ``name``, ``header``, ``align``,
            ``markup`` (whether its cells are MyST), ``values``, ``text`` and, with intervals, ``low`` and ``high``.
    """

    def __init__(self, payload: dict[str, Any]) -> None:
        self.payload = payload

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            "text/html": page(self.payload),
            "text/plain": f"<table: {self.payload['label']}>",
            PAYLOAD: self.payload,
        }


def page(payload: Mapping[str, Any]) -> str:
    """A table's payload as HTML for a notebook."""
    columns = payload["columns"]

    def row(tag: str, cells: list[str]) -> str:
        styles = [f"text-align: {column['align']}; white-space: normal" for column in columns]
        made = (f'<{tag} style="{style}">{cell}</{tag}>' for style, cell in zip(styles, cells, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    cells = [[(author if c["markup"] else escape)(text) for text in c["text"]] for c in columns]
    body = "".join(row("td", list(line)) for line in zip(*cells, strict=True))
    head = row("th", [author(c["header"]) for c in columns])
    caption = f'<caption style="text-align: left">{titled(payload["label"])}: {author(payload["caption"])}</caption>'
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def author(myst: str) -> str:
    """The author's MyST on one line as HTML: formulas stay for MathJax, references give way to their text."""
    text = html.escape(readable(myst), quote=False)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text))


def numbered_table(
    frame: pd.DataFrame,
    name: str,
    caption: str,
    formats: Mapping[str, Format] | None = None,
    headers: Mapping[str, str] | None = None,
    markup: Sequence[str] = (),
) -> Table:
    r"""``frame`` as a numbered, captioned table.

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
    formats, headers = formats or {}, headers or {}
    columns = [str(column) for column in frame.columns]
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ParameterError("name", name, "lower-case letters and digits, joined by hyphens")
    if not caption.strip() or "\n" in caption:
        raise ParameterError("caption", caption, "one line of text")
    for given in [*formats, *headers, *markup]:
        if given not in columns:
            raise ParameterError("formats, headers or markup", given, f"a column of the table: {columns}")
    if not columns or len(set(columns)) != len(columns):
        raise DataError(f"table {name}: needs columns with different names, has {columns}")
    made: list[dict[str, Any]] = []
    for column, (_, values) in zip(columns, frame.items(), strict=True):
        free, form = column in markup, formats.get(column) or decimals(values)
        literal = re.sub(r"([\\`*_$<>{}\[\]|])", r"\\\1", labels.header(column))  # MyST shows it as it stands
        made.append(
            {
                "name": column,
                "header": headers.get(column) or literal,
                "align": "right" if pd.api.types.is_numeric_dtype(values) else "left",
                "markup": free,
                "text": [" ".join(str(each).split()) if free else visible(_cell(each, form)) for each in values],
                **_values(values),
            }
        )
    if any(end is not None for each in made for end in each.get("low", [])) and "95 %" not in caption:
        caption += " In brackets: 95 % intervals."
    return Table({"kind": "table", "label": name, "caption": caption, "columns": made})


def responses_table(
    frame: pd.DataFrame,
    name: str,
    caption: str,
    columns: Sequence[str] = ("topic", "prompt", "response", "label"),
    limit: int = 300,
) -> Table:
    """What models wrote, shown as text whatever markup it holds; line breaks show as ``⏎``.

    Args:
        name, caption: as of :func:`numbered_table`.
        limit: characters shown of each text; a longer one ends in `` […]``. The CSV holds the whole text.
    """
    shown = frame[list(columns)]

    def cut(value: Any) -> str:
        whole = str(value)
        return whole if len(whole) <= limit else f"{whole[:limit].rpartition(' ')[0] or whole[:limit]} […]"

    return numbered_table(shown, name, caption, {c: cut for c in columns if shown[c].dtype.kind in "OTU"})


def _values(column: pd.Series) -> dict[str, list[Any]]:
    """Plain JSON values of a column at full precision; intervals as three lists."""
    if pd.api.types.is_float_dtype(column):
        column = pd.Series(_without_noise(column.to_numpy(dtype=float, na_value=np.nan)))
    if not any(isinstance(value, Interval) for value in column):
        return {"values": [_plain(value) for value in column]}
    parts = [(v.value, v.low, v.high) if isinstance(v, Interval) else (v, None, None) for v in column]
    return {name: [_plain(part[i]) for part in parts] for i, name in enumerate(("values", "low", "high"))}


def _unknown(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _plain(value: Any) -> Any:
    if _unknown(value):
        return None
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value if isinstance(value, bool | int) else str(value)


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
    if _unknown(value):
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
