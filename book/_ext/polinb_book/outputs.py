"""What a cell shows, out of the data that its output carries: numbered tables and figures, sentences, downloads.

An output with a payload (:data:`polinb.wording.PAYLOAD`) becomes, as Sphinx reads a chapter, a directive that holds the
payload as JSON; the directive builds nodes from it. Text of a model or a user goes into text nodes and nowhere else.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from polinb.wording import LIVE, PAYLOAD
from polinb_book.export import chart_csv, links, sorting, table_csv, table_latex
from polinb_book.prose import without

_LISTS = ("text", "values", "low", "high")
WIDEST = 4
"""Columns of numbers of a table that has room for as many of the reference run."""
Found = dict[str, Any]
"""What is shown: a payload with ``kind`` and ``label``; a figure's has ``spec``, ``caption`` and ``picture`` too."""


def payloads(cell: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The outputs of a cell that carry data, each with its payload."""
    for output in cell.get("outputs", []):
        if payload := output.get("data", {}).get(PAYLOAD):
            yield output, payload


def found(cell: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Found]]:
    """The tables and labelled figures of a cell, each with its output."""
    about = cell.get("metadata", {}).get("mystnb", {}).get("figure") or {}
    for output, payload in payloads(cell):
        if payload["kind"] == "table":
            yield output, payload
        elif payload["kind"] == "chart":
            made = {"label": about.get("name", ""), "caption": about.get("caption", ""), "spec": output["data"][LIVE]}
            picture = {"picture": output["data"]["image/png"]} if "image/png" in output["data"] else {}
            yield output, {**payload, **made, **picture}


def weave(cell: dict[str, Any], others: Mapping[str, Found], there: set[str]) -> None:
    """Put directives in the place of a cell's payloads.

    Args:
        others: by label, what another run made; where it differs, it stands beside in a tab.
        there: labels of the tables and figures of this build.
    """
    for output, payload in payloads(cell):
        if payload["kind"] == "text":
            text, title = payload["text"], payload["title"]
            text = f"```{{admonition}} {title}\n:class: note\n{text}\n```" if title else text
            output["data"] = {"text/markdown": without(text, there)}
    for output, mine in list(found(cell)):
        other = others.get(mine["label"])
        text = _directive(_known(mine, there), _known(other, there) if other else None)
        output["data"] = {"text/markdown": text}
    if any("text/markdown" in output.get("data", {}) for output in cell.get("outputs", [])):
        cell["metadata"]["mystnb"] = {"markdown_format": "myst"}  # a figure is numbered here, not by MyST-NB


def _directive(mine: Found, other: Found | None = None) -> str:
    """MyST of a table or figure; its counterpart, where that shows something else, in columns of it or in a tab."""
    if other is None or _content(mine) == _content(other):
        return _fenced(mine)
    if mine["kind"] == "table" and (both := beside(mine, other)):
        return _fenced(both)
    tabs = [("This run", mine), ("Reference run", other | {"label": "", "file": f"{mine['label']}-reference"})]
    items = "".join(f"````{{tab-item}} {title}\n{_fenced(each)}\n````\n" for title, each in tabs)
    return f"`````{{tab-set}}\n{items}`````"


def beside(mine: Found, other: Found) -> Found | None:
    """A table with the reference run's numbers in columns beside its own.

    Rows are joined by their keys: the texts before the first column of numbers, such as topic and condition. None where
    these do not name each row once, the tables have other columns or too many, or the reference has rows of its own.
    """
    keys, names = _keys(mine), [column["name"] for column in mine["columns"]]
    same = names == [column["name"] for column in other["columns"]] and keys == _keys(other)
    if not keys or not same or not 0 < len(names) - keys <= WIDEST:
        return None
    own, theirs = ([*zip(*(c["text"] for c in each["columns"][:keys]), strict=True)] for each in (mine, other))
    if len(set(own)) < len(own) or len(set(theirs)) < len(theirs) or not set(theirs) <= set(own):
        return None
    rows = [theirs.index(key) if key in theirs else None for key in own]
    columns = list(mine["columns"][:keys])
    for ours, column in zip(mine["columns"][keys:], other["columns"][keys:], strict=True):
        lists = {n: [None if at is None else column[n][at] for at in rows] for n in _LISTS if n in column}
        lists["text"] = ["–" if text is None else text for text in lists["text"]]
        told = {"name": f"{column['name']}_reference", "header": f"{column['header']} (reference run)"}
        columns += [ours, {**column, **told, **lists}]
    return {**mine, "columns": columns}


def _keys(table: Found) -> int:
    """How many columns of texts a table begins with."""
    texts = [all(isinstance(v, str) for v in c["values"]) and "low" not in c for c in table["columns"]]
    return [*texts, False].index(False)


def _known(what: Found, there: set[str]) -> Found:
    """A table or figure whose author's text names nothing that is not there."""
    columns = [
        {**each, "text": [without(text, there) for text in each["text"]]} if each["markup"] else each
        for each in what.get("columns", [])
    ]
    return {**what, "caption": without(what["caption"], there), **({"columns": columns} if columns else {})}


def _content(what: Found) -> Any:
    return what["columns"] if what["kind"] == "table" else {**what["spec"], "usermeta": None}


def _fenced(what: Found) -> str:
    text = json.dumps(what, separators=(",", ":"), sort_keys=True).replace("`", "\\u0060")
    return f"```{{polinb-{what['kind']}}}\n{text}\n```"


class Shown(SphinxDirective):
    """``{polinb-table}`` and ``{polinb-chart}``: a table or figure with its caption and downloads, from a payload.

    It has a number where it has a label.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The nodes: the table or figure, links below, and the caption above where there is no number."""
        what = json.loads("".join(self.content))
        label, caption = what["label"], self._inline(what["caption"])
        node: Any
        if what["kind"] == "table":
            columns = what["columns"]
            node, titled = self._table(columns), nodes.title
            saved = [table_csv(what), table_latex(what), sorting(columns)]
        else:
            drawn = nodes.raw("", chart_html(what), format="html")
            node, titled = nodes.figure("", drawn, align="default") if label else drawn, nodes.caption
            saved = [chart_csv(what["spec"])]
        below = nodes.raw("", links(what.get("file") or label or "chart", *saved), format="html")
        if not label:
            return [*([nodes.paragraph("", "", *caption)] if caption else []), node, below]
        node.insert(0 if what["kind"] == "table" else 1, titled("", "", *caption))
        self.options["name"] = label
        self.add_name(node)
        return [node, below]

    def _table(self, columns: list[dict[str, Any]]) -> nodes.table:
        long = [max(map(len, column["text"]), default=0) > 100 for column in columns]
        classes = [[f"text-{c['align']}", *["polinb-long"] * wide] for c, wide in zip(columns, long, strict=True)]

        def row(cells: Sequence[list[nodes.Node]]) -> nodes.row:
            made = zip(cells, classes, strict=True)
            return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell), classes=own) for cell, own in made))

        heads = row([self._inline(column["header"]) for column in columns])
        cells = [[self._inline(x) if c["markup"] else [nodes.Text(x)] for x in c["text"]] for c in columns]
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in columns), cols=len(columns))
        group += [nodes.thead("", heads), nodes.tbody("", *map(row, zip(*cells, strict=True)))]
        return nodes.table("", group, classes=["colwidths-auto", "mathjax_ignore"])  # no text of a model is a formula

    def _inline(self, text: str) -> list[nodes.Node]:
        """The author's MyST on one line."""
        made, messages = self.state.inline_text(text, self.lineno)
        return [*made, *messages]


def chart_html(what: Found) -> str:
    """A chart for the page's script; ``<`` is escaped, so data cannot end its element. The picture stands for it."""
    from polinb.display.charts import png

    text = json.dumps(what["spec"], separators=(",", ":"), sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    picture = what.get("picture") or base64.b64encode(png(what["spec"])).decode()
    name = html.escape(what.get("file") or what.get("label") or "chart", quote=True)
    return (
        f'<div class="polinb-vega" data-name="{name}">'
        f'<script type="application/json" class="polinb-spec">{text}</script>'
        f'<img class="polinb-fallback" alt="{html.escape(what["alt"], quote=True)}" width="{what["width"]}" '
        f'height="{what["height"]}" src="data:image/png;base64,{"".join(picture.split())}"></div>'
    )
