"""CSV and LaTeX of what a table or a chart carries: the only place that writes them."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from polinb.wording import visible
from polinb_book import latex

FORMULA = re.compile(r"^[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20]")  # the last four: the same in full width


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
    cells = [[(latex.from_myst if c["markup"] else latex.escape)(text) for text in c["text"]] for c in columns]
    return latex.tabular(
        [latex.from_myst(c["header"]) for c in columns],
        list(zip(*cells, strict=True)),
        [c["align"] == "right" for c in columns],
        latex.from_myst(payload["caption"]),
        payload["label"],
    )


def behind(spec: Mapping[str, Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Headers and rows of the data that a chart draws, each row once; which columns, its maker says (``usermeta``)."""
    columns = spec.get("usermeta", {}).get("polinb", {}).get("columns", [])
    sets = [rows for rows in spec.get("datasets", {}).values() if rows]
    if not columns:
        first: dict[str, Any] = max(sets, key=len, default=[{}])[0]
        columns = [[name, name] for name, value in first.items() if not isinstance(value, (list, dict))]
    fields = [field for field, _ in columns]
    rows: list[dict[str, Any]] = next((each for each in sets if set(fields) <= set(each[0])), [])
    return [header for _, header in columns], list(dict.fromkeys(tuple(row.get(f) for f in fields) for row in rows))


def chart_csv(spec: Mapping[str, Any]) -> str:
    """The data behind a chart."""
    return _csv(*behind(spec))


def chart_latex(spec: Mapping[str, Any], label: str, caption: str) -> str:
    """The data behind a chart as a table."""
    headers, rows = behind(spec)
    right = [all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(headers))]
    cells = [[latex.escape(_number(value)) for value in row] for row in rows]
    return latex.tabular([latex.escape(h) for h in headers], cells, right, latex.from_myst(caption), label)


def sorting(columns: Sequence[Mapping[str, Any]]) -> str:
    """For each column of numbers its values, None where one is missing; None for the others; as JSON."""
    known = [[float(v) if _infinite(v) else v for v in column["values"]] for column in columns]
    kept = [None if any(isinstance(v, str) for v in values) else values for values in known]
    return json.dumps(kept, separators=(",", ":")).replace("Infinity", "1e999")  # which JSON has no word for


def links(label: str, csv_text: str, latex_text: str, values: str = "") -> str:
    """Links that save a table's or chart's data without a script or a request.

    Args:
        values: of a table, by which the page's script sorts it.
    """
    made = []
    files = [("CSV", "csv", "text/csv", csv_text), ("LaTeX", "tex", "text/x-tex", latex_text)]
    for text, ending, kind, content in files:
        data = base64.b64encode(content.encode()).decode()
        name = html.escape(f"{label}.{ending}", quote=True)
        made.append(f'<a class="polinb-csv" download="{name}" href="data:{kind};base64,{data}">{text}</a>')
    data = f' data-values="{html.escape(values, quote=True)}"' if values else ""
    return f'<p class="polinb-links"{data}>{" ".join(made)}</p>'


def _csv(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    writer.writerows([_harmless(value) for value in row] for row in [headers, *rows])
    return out.getvalue()


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay numbers."""
    if isinstance(value, (list, dict)):
        value = json.dumps(value)
    return "'" + value if isinstance(value, str) and FORMULA.match(value) and not _infinite(value) else value


def _infinite(value: Any) -> bool:
    return value in ("-inf", "inf")


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return visible(str(value)).replace("-", "−") if isinstance(value, int) else visible(str(value))
