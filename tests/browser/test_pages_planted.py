"""A small book with planted trouble: text of a model that is full of markup."""

from __future__ import annotations

import nbformat
import pandas as pd
import tour
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from small_book import checkout, notebook

from book._make import build as book
from book._make.vendor import vendor
from polinb.display import charts, tables

NASTY = (
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=2><b>bold</b> **strong** _em_ `code` "
    "[link](https://evil.example/) ![](https://evil.example/x.png) {ref}`a` {{ 7*7 }} $x^2$ \\(y\\) \\[z\\] | cell | "
    "```{raw} html <svg onload=window.pwned=3> ``` </td></table><iframe src=https://evil.example></iframe> # head"
)


def display(data: dict[str, str]) -> nbformat.NotebookNode:
    """A cell that was executed and showed ``data``."""
    return new_code_cell("1", outputs=[new_output("display_data", data)])


def test_what_a_model_wrote_does_nothing(tmp_path, visit) -> None:
    said = pd.DataFrame({"topic": ["crime"], "prompt": [NASTY], "response": [NASTY], "label": ["left"]})
    dots = pd.DataFrame({"topic": [NASTY], "condition": "a", "stance": 0.1, "low": 0.0, "high": 0.2})
    chart, _ = charts.style.bundle(charts.stance_dots(dots).to_dict())
    table = tables.responses_table(said, "tbl-said", "Said.")._repr_mimebundle_()
    text = new_markdown_cell("# Planted\n\nMaths to compare with: $a^2$.")
    layout = checkout(tmp_path, **{"01_planted": notebook(text, display(chart), display(table))})
    layout.chapters.mkdir(parents=True)
    (layout.chapters / "01_planted.ipynb").write_text((layout.notebooks / "01_planted.ipynb").read_text("utf-8"))
    vendor(layout.vendor)
    planted = book.build_pages(layout).parent
    seen = visit(f"file://{planted}/chapters/01_planted.html", allowed=f"file://{planted}")
    page = seen.page
    tour.look(page, "settle")
    assert page.evaluate("window.pwned") is None
    assert seen.abroad == []
    assert " ".join(page.locator("#tbl-said td").nth(2).inner_text().split()) == " ".join(NASTY.split())
    inside = "#tbl-said td :is(a, img, script, code, strong, em, b, svg, iframe, mjx-container, .math)"
    assert page.locator(inside).count() == 0
    assert page.locator(".math mjx-container").count() == 1, "maths that is maths is set"
    figure = page.locator("div.polinb-vega").first
    assert figure.locator(":is(iframe, b, svg script)").count() == 0
    assert figure.locator("img:not(.polinb-fallback)").count() == 0
