"""Which chapters a build runs, and the page of one that was not run."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell
from small_book import checkout, notebook

from book._make import build as book
from polinb.errors import ParameterError
from polinb.runs.checkout import Layout, chapter_names, chosen_chapters, core_names

REPO = Path(__file__).resolve().parents[2]
ROW = "{'topic': ['a'], 'condition': 'a', 'stance': 0.1, 'low': 0.0, 'high': 0.2}"
FIGURE = f"from polinb.display import charts\nimport pandas as pd\ncharts.stance_dots(pd.DataFrame({ROW}))"


def two_parts(tmp_path):
    """A chapter of the paper, and one beyond it with an equation, a figure and references."""
    beyond = notebook(
        new_markdown_cell('<a id="sec-more"></a>\n# More\n\n**Question.** Does it?'),
        new_markdown_cell("## Method\n\n$$\na = b\n$$ (eq-more)\n\nSee [Figure more](#fig-more), [(a)](#eq-more)."),
        new_code_cell(FIGURE, metadata={"mystnb": {"figure": {"name": "fig-more", "caption": "More."}}}),
        new_code_cell('1  # "tbl-more"'),
    )
    first = notebook(new_markdown_cell("# First\n\n[Chapter 2](02_more.ipynb), [(a)](#eq-more)."), new_code_cell("1"))
    layout = checkout(tmp_path, **{"01_first": first, "02_more": beyond})
    parts = [
        {"caption": "The paper", "chapters": [{"file": "chapters/01_first"}]},
        {"caption": "Beyond the paper", "chapters": [{"file": "chapters/02_more"}]},
        {"caption": "After", "numbered": False, "chapters": [{"file": "bibliography"}]},
    ]
    toc = {"format": "jb-book", "root": "index", "defaults": {"numbered": True}, "parts": parts}
    (layout.root / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    return layout


def test_what_is_run(tmp_path):
    layout = two_parts(tmp_path)
    every, core = chapter_names(layout), core_names(layout)
    asked = {"core": ["01_first"], "all": ["01_first", "02_more"], "02_more": ["02_more"]}
    assert {one: chosen_chapters(every, core, [one]) for one in asked} == asked
    assert chosen_chapters(every, core, None) == ["01_first"]
    with pytest.raises(ParameterError, match="core, all, or some of 01_first, 02_more"):
        book.make_book("quick", {}, ["all", "03"], layout)
    assert not layout.chapters.exists()
    core = core_names(Layout(REPO))
    assert core == [name for name in chapter_names(Layout(REPO)) if not "10" <= name < "17"]


def test_a_chapter_that_was_not_run_has_a_page_without_numbers(tmp_path, capsys, monkeypatch):
    layout = two_parts(tmp_path)
    start = book.make_book("quick", {}, None, layout)
    assert "results are shown: 02_more (CHAPTERS=all runs them)" in capsys.readouterr().out
    html = (start.parent / "chapters" / "02_more.html").read_text()
    text = " ".join(BeautifulSoup(html, "html.parser").get_text(" ").split())
    assert "This build did not run the chapter" in text and "make book CHAPTERS=02_more" in text and "Does it?" in text
    assert "(not run)" in text and "polinb-vega" not in html
    assert 'id="eq-more"' in html or "equation-eq-more" in html, "its equations can be referred to"

    book.make_book("quick", {}, ["all"], layout)
    html = (start.parent / "chapters" / "02_more.html").read_text()
    page = BeautifulSoup(html, "html.parser")
    assert "This build did not run" not in html and page.select_one("figure#fig-more .polinb-vega")
    assert page.select_one("figure#fig-more figcaption").get_text(" ").strip().startswith("Fig. 2.1 ")
    assert page.select_one('a.reference[href="#fig-more"]').text == "Fig. 2.1"

    monkeypatch.setattr(book, "build_pages", lambda layout, builder: start)
    book.make_book("quick", {}, ["core"], layout)  # what was run stays
    assert "not run" not in capsys.readouterr().out


def test_notebooks_read_as_plain_markdown():
    """No role, directive or label of MyST: JupyterLab shows those as they stand. Links to files lead somewhere."""
    for path in (REPO / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "markdown":
                found = re.search(r"\{[a-z:]+\}`|^[`:]{3,}\{|^\([\w-]+\)=$", cell.source, re.M)
                assert not found, f"{path.name}: {found}"
                for target in re.findall(r"\]\(([^)# \"]+)", cell.source):
                    assert (path.parent / target).is_file(), f"{path.name}: {target}"
