"""A small book with planted trouble: text of a model that is full of markup."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import tour
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book._make import build as book
from book._make.vendor import vendor
from polinb.display import charts, tables
from polinb.runs.checkout import Layout

ROOT = Path(__file__).resolve().parents[2]
NASTY = (
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=2><b>bold</b> **strong** _em_ `code` "
    "[link](https://evil.example/) ![](https://evil.example/x.png) {ref}`a` {{ 7*7 }} $x^2$ \\(y\\) \\[z\\] | cell | "
    "```{raw} html <svg onload=window.pwned=3> ``` </td></table><iframe src=https://evil.example></iframe> # head"
)


def display(data: dict[str, str], **metadata: object) -> nbformat.NotebookNode:
    """A cell that was executed and showed ``data``."""
    return new_code_cell("1", outputs=[new_output("display_data", data)], metadata={"mystnb": metadata})


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    """Folder of the pages."""
    root = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "_config.yml", root)
    shutil.copytree(ROOT / "book" / "_assets", root / "book" / "_assets", ignore=shutil.ignore_patterns("vendor"))
    shutil.copy(ROOT / "book" / "references.bib", root / "book")
    (root / "book" / "index.md").write_text(
        "# Small\n\n{cite:t}`zhang2026political`\n\n```{bibliography}\n```\n", "utf-8"
    )
    toc = {"format": "jb-book", "root": "index", "chapters": [{"file": "chapters/01_planted"}]}
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump(toc), "utf-8")
    layout = Layout(root)
    vendor(layout.vendor)
    said = pd.DataFrame({"topic": ["crime"], "prompt": [NASTY], "response": [NASTY], "label": ["left"]})
    dots = pd.DataFrame({"topic": [NASTY], "condition": "a", "stance": 0.1, "low": 0.0, "high": 0.2})
    chart, _ = charts.style.bundle(charts.stance_dots(dots).to_dict())
    cells = [
        new_markdown_cell("# Planted\n\nMaths to compare with: $a^2$."),
        display(chart),
        display(tables.responses_table(said, "tbl-said", "Said.")._repr_mimebundle_()),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"c{number}"
    layout.chapters.mkdir(parents=True)
    about = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    layout.notebooks.mkdir()
    for folder in (layout.chapters, layout.notebooks):
        nbformat.write(new_notebook(cells=cells, metadata=about), folder / "01_planted.ipynb")
    return book.build_pages(layout).parent


def test_what_a_model_wrote_does_nothing(planted, visit) -> None:
    page = visit(f"file://{planted}/chapters/01_planted.html", allowed=f"file://{planted}")
    tour.settle(page.page)
    assert page.page.evaluate("window.pwned") is None
    assert page.abroad == []
    cells = page.page.locator("#tbl-said td")
    assert " ".join(cells.nth(2).inner_text().split()) == " ".join(NASTY.split())
    inside = "#tbl-said td :is(a, img, script, code, strong, em, b, svg, iframe, mjx-container, .math)"
    assert page.page.locator(inside).count() == 0
    assert page.page.locator(".math mjx-container").count() == 1, "maths that is maths is set"
    chart = page.page.locator("div.polinb-vega").first
    assert chart.locator(":is(iframe, b, svg script)").count() == 0
    assert chart.locator("img:not(.polinb-fallback)").count() == 0
