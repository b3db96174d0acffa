"""The reference run's tables and figures beside this run's, put into a chapter as Sphinx reads it.

The executed notebooks on disk stay as they are, so no chapter has to run again when the reference changes. A chapter
that was not run in this build shows the reference's results in their places.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from polinb.errors import PolinbError
from polinb.runs.params import Params
from polinb_book import front, reference_table, reference_words, unrun
from polinb_book import manifest as reference
from polinb_book.commands import declared, given_parameters
from polinb_book.manifest import SPEC, Reference, present
from polinb_book.run import FOLDER, chapter_of

OPEN = frozenset(
    {
        "fig-coupling-right",
        "fig-patch-general",
        "fig-paper-inhibit",
        "fig-gamma",
        "fig-beside",
        "fig-pareto",
        "fig-group-patching",
        "fig-caft",
    }
)
"""The main figures, whose counterparts are shown without a click."""
PICTURES = "_reference"  # folder of the pages with the pictures
NOTES = "reference_notes"  # folder of what is said about its results, a file a chapter
MARKED = '<span class="polinb-ref">{}</span>'
SUMMARY = "## Summary"
DISCUSSION = "reference-discussed"  # identity of the cell
DISCUSSED = "## What the reference run says"
_RUN = "```{admonition} This run"
_HIDDEN = {"remove-cell", "remove-output", "remove_cell", "remove_output"}


def connect(app: Any) -> None:
    """Register handlers, directive and style."""
    app.add_css_file("polinb-reference.css")
    app.add_directive("polinb-reference", Page)
    app.connect("builder-inited", prepare)
    app.connect("source-read", show)
    app.connect("build-finished", copy_pictures)


def prepare(app: Any) -> None:
    """Handler of ``builder-inited``: read the manifest, and find out which labels this build does not have."""
    app.polinb_reference = reference.read(Path(app.srcdir) / reference.FOLDER)
    chapters, notebooks = Path(app.srcdir) / FOLDER, Path(app.srcdir).parent / "notebooks"
    absent = [path for path in sorted(notebooks.glob("*.ipynb")) if not (chapters / path.name).is_file()]
    app.polinb_absent = {label for path in absent for label in unrun.labels(path)} if app.polinb_reference else set()


def show(app: Any, page: str, source: list[str]) -> None:
    """Handler of ``source-read``: the chapter's text with the reference run's note, columns, tables and figures."""
    found: Reference | None = app.polinb_reference
    name = chapter_of(app, page)
    if found is None or not name or app.builder.format != "html":
        return
    app.env.note_dependency(str(found.folder / reference.MANIFEST))
    executed = Path(app.srcdir) / FOLDER / f"{name}.ipynb"
    if executed.is_file() and is_reference(found, executed, Path(app.srcdir).parent):
        return
    told = Path(app.srcdir) / NOTES / f"{name}.md"
    said = told.read_text("utf-8") if told.is_file() and found.chapter(name)["state"] == "complete" else ""
    app.env.note_dependency(str(told))
    weave = Weave(found, app.polinb_absent, "../" * page.count("/"), said)
    source[0] = weave.notebook(name, source[0]) if executed.is_file() else weave.page(name, source[0])
    for file in weave.used:
        app.env.note_dependency(str(found.folder / file))


def copy_pictures(app: Any, failure: Exception | None) -> None:
    """Handler of ``build-finished``: the pictures that stand for figures where no script draws them."""
    found: Reference | None = app.polinb_reference
    if failure or found is None or app.builder.format != "html":
        return
    target = Path(app.outdir) / PICTURES
    for file in reference_words.listed(found):
        target.mkdir(exist_ok=True)
        (target / Path(file).name).write_bytes(found.read(file))


def is_reference(found: Reference, executed: Path, root: Path) -> bool:
    """Whether a chapter ran with the reference run's parameters and data: then there is nothing to compare."""
    try:
        given = Params.from_profile(**{"profile": "quick", **given_parameters(executed)}).model_dump(mode="json")
        theirs = present(found.manifest["parameters"])
        own = declared(executed)
        names = set(given) if own is None else own | set(given_parameters(executed))
        if any(given[name] != theirs.get(name) for name in names & set(given) - {"data"}):
            return False
        return _digest(given, root) == found.manifest["data"]["digest"]
    except PolinbError:
        return False  # of another version, or its data are gone


def _digest(given: Mapping[str, Any], root: Path) -> str:
    from polinb.data.loading import load_data

    place = root / Path(given["data"]).expanduser()
    where = str(place) if place.exists() else given["data"]
    return load_data(where, label_filter=given["label_filter"], revision=given["data_revision"] or None).digest()


class Weave:
    """Puts the reference run's results into one chapter.

    Args:
        found: the results.
        absent: labels that this build does not have.
        top: way from the page to the pages' top folder.
        said: what people say about them, MyST, put before the chapter's summary.
    """

    def __init__(self, found: Reference, absent: set[str], top: str, said: str = "") -> None:
        self.found, self.absent, self.top = found, absent, top
        self.said = f"{DISCUSSED}\n\n{unrun.without(said.strip(), absent)}\n" if said.strip() else ""
        self.used: list[str] = []

    def notebook(self, name: str, text: str) -> str:
        """An executed notebook, as JSON, with them."""
        book = json.loads(text)
        cells: list[dict[str, Any]] = []
        noted = False
        for cell in book["cells"]:
            cells.append(cell)
            for more in self._after(cell):
                cells.append(_prose(more, f"reference-{len(cells)}"))
            if not noted and any(_RUN in front_text for front_text, _ in _markdown(cell)):
                noted = True
                cells.append(_prose(self._note(name), "reference-note"))
        if not noted:
            cells.insert(1, _prose(self._note(name), "reference-note"))
        if self.said:
            placed = [part for cell in cells for part in self._discussed(cell)]
            cells = placed if len(placed) > len(cells) else [*cells, _prose(self.said, DISCUSSION)]
        return json.dumps(book | {"cells": cells}, ensure_ascii=False)

    def page(self, name: str, text: str) -> str:
        """The page of a chapter that was not run, with them in the places of its own."""
        kept = []
        for line in text.splitlines():
            labels = line.removeprefix(unrun.MAKES).split() if line.startswith(unrun.MAKES) else []
            kept += [part for label in labels for part in self._instead(label)] or [line]
        if self.said:
            at = next((n for n, line in enumerate(kept) if line == SUMMARY), len(kept))
            kept[at:at] = [*self.said.splitlines(), ""]
        opening = kept.index("```", kept.index("```{admonition} Not run in this build")) + 1
        return "\n".join([*kept[:opening], "", self._note(name), "", *kept[opening:]]) + "\n"

    def _discussed(self, cell: dict[str, Any]) -> list[dict[str, Any]]:
        """A cell, with the discussion before the summary that it may hold."""
        text = "".join(cell["source"])
        before, found, after = text.partition(SUMMARY)
        if cell["cell_type"] != "markdown" or not found:
            return [cell]
        parts = [cell | {"source": before}] if before.strip() else []
        return [*parts, _prose(self.said, DISCUSSION), cell | {"source": found + after, "id": "summary"}]

    def _note(self, name: str) -> str:
        return unrun.without(reference_words.note(self.found, name), self.absent)

    def _after(self, cell: dict[str, Any]) -> list[str]:
        """What comes after a cell; its tables get their columns on the way."""
        if _HIDDEN & set(cell.get("metadata", {}).get("tags", [])):
            return []
        more = []
        for text, shown in _markdown(cell):
            made = reference_table.find(text)
            other = self._table(made[0].name) if made else None
            if made is None or other is None or reference_table.same(made[0], other):
                continue
            wide = reference_table.beside(made[0], other, MARKED)
            link = _link(other.name, self.found.csv(other.name))
            if wide:
                start, end = made[1]
                shown["text/markdown"] = f"{text[:start]}{wide.table.directive()}{text[end:].rstrip()} {link}\n"
            if wide is None or wide.left:
                more.append(_details("The same table in the reference run", f"\n{other.body()}\n{link}\n"))
        label = cell.get("metadata", {}).get("mystnb", {}).get("figure", {}).get("name", "")
        figure = self._figure(label, label in OPEN) if label else ""
        if figure and _drawn(cell) != (self.found.figure(label) or {})["spec"]:
            more.append(_details("The same figure in the reference run", figure, label in OPEN))
        return more

    def _instead(self, label: str) -> list[str]:
        """What stands for a table or figure that this build does not have."""
        table, figure = self._table(label), self._figure(label, True)
        if table:
            caption = unrun.without(table.caption, self.absent)
            inner = f"\n{caption}\n\n{table.body()}\n{_link(label, self.found.csv(label))}\n"
            return ["", _details("A table of the reference run", inner, True), ""]
        if figure:
            told = self.found.figure(label) or {}
            inner = f"\n{unrun.without(told['caption'], self.absent)}\n\n{figure}"
            return ["", _details("A figure of the reference run", inner, True), ""]
        return []

    def _table(self, label: str) -> reference_table.Table | None:
        text = self.found.table(label)
        made = reference_table.find(unrun.without(text, self.absent)) if text else None
        self.used += [f"tables/{label}.md", f"tables/{label}.csv"] if made else []
        return made[0] if made else None

    def _figure(self, label: str, shown: bool) -> str:
        """A figure as HTML on one line; one that is not shown yet is drawn when its box is opened."""
        figure = self.found.figure(label)
        if figure is None:
            return ""
        self.used.append(f"figures/{label}.json")
        spec = json.dumps(figure["spec"], separators=(",", ":"), sort_keys=True, allow_nan=False).replace(
            "<", "\\u003c"
        )
        kind = "polinb-vega" if shown else "polinb-later"
        alt = html.escape(f"Reference run: {figure['alt']}", quote=True).replace("\n", " ")
        return (
            f'<figure class="polinb-reference-figure" id="{label}-reference"><div class="{kind}">'
            f'<script type="application/json" class="polinb-spec">{spec}</script>'
            f'<img class="polinb-fallback" alt="{alt}" width="{figure["width"]}" height="{figure["height"]}" '
            f'{"" if shown else "loading=lazy "}src="{self.top}{PICTURES}/{label}.png"></div></figure>\n'
        )


class Page(Directive):
    """``{polinb-reference} PART``: a part of the page on the reference run, from its manifest."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[Any]:
        """The part's nodes."""
        part = self.arguments[0]
        if part not in reference_words.PARTS:
            raise self.error(f"polinb-reference: got {part!r}; allowed: {', '.join(reference_words.PARTS)}")
        environment = self.state.document.settings.env
        found: Reference | None = environment.app.polinb_reference
        chapters = Path(environment.srcdir) / FOLDER
        ours = {}
        if found:
            environment.note_dependency(str(found.folder / reference.MANIFEST))
            told = {name: front.answer(chapters / f"{name}.ipynb") for name in found.manifest["chapters"]}
            ours = {name: each["first"] for name, each in told.items() if each}
        holder = nodes.container()
        lines = StringList(reference_words.part(found, part, ours).splitlines(), environment.docname)
        self.state.nested_parse(lines, 0, holder)
        return list(holder.children)


def _markdown(cell: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The Markdown outputs of a cell, each with the bundle it stands in."""
    bundles = [output.get("data", {}) for output in cell.get("outputs", [])]
    return [("".join(each["text/markdown"]), each) for each in bundles if "text/markdown" in each]


def _drawn(cell: dict[str, Any]) -> Any:
    """The specification of the chart that a cell shows; None if it shows none."""
    shown = ("".join(output.get("data", {}).get("text/html", "")) for output in cell.get("outputs", []))
    found = next(filter(None, map(SPEC.search, shown)), None)
    return json.loads(found[1]) if found else None


def _prose(text: str, identity: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": identity, "metadata": {}, "source": text}


def _details(summary: str, inner: str, shown: bool = False) -> str:
    opened = " open" if shown else ""
    return f'<details class="polinb-reference"{opened}><summary>{summary}</summary>\n{inner}\n</details>\n'


def _link(label: str, content: str) -> str:
    data = base64.b64encode(content.encode()).decode()
    name = f"{label}-reference.csv"
    return f'<a class="polinb-csv" download="{name}" href="data:text/csv;base64,{data}">CSV of the reference run</a>'
