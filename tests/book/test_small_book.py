"""A small book from its notebooks to pages and an EPUB: one story, for kernels and Sphinx take their time."""

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell
from small_book import checkout, notebook

from book._make import build as book
from polinb.errors import BookError, ParameterError
from polinb.runs.checkout import Layout, chosen_chapters

ROW = "{'topic': ['race'], 'condition': 'a', 'stance': 0.1, 'low': 0.0, 'high': 0.2}"
FIGURE = f"import pandas as pd\nfrom polinb.display import charts\ncharts.stance_dots(pd.DataFrame({ROW}))"
TABLE = """from polinb.display import tables
tables.numbered_table(pd.DataFrame({'a': ['x']}), 'tbl-said', 'What it said.')"""
VARYING = r"""import os, sys, time, warnings
print(profile, gamma, model, f"{os.getcwd()}/notebooks", object(), flush=True)
for text in ("\r 0 %", "\r 50 %", "\r      \r", "kept\n", "\n\r 0 %", "\r100 %\n"):
    print(text, end="", file=sys.stderr, flush=True)
    time.sleep(0.05)
warnings.warn("look")"""


def figure(name: str):
    return new_code_cell(FIGURE, metadata={"mystnb": {"figure": {"name": name, "caption": "Dots."}}})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A chapter of the paper, and one beyond it with an equation, a figure and references."""
    text = "# First\n\n{numref}`fig-dots`, {numref}`tbl-said`, [Chapter 2](02_more.ipynb), [(a)](#eq-more)."
    said = new_code_cell(TABLE, metadata={"mystnb": {"markdown_format": "myst"}})
    first = notebook(new_markdown_cell(text), new_code_cell(VARYING), figure("fig-dots"), said)
    beyond = notebook(
        new_markdown_cell('<a id="sec-more"></a>\n# More\n\n**Question.** Does it?'),
        new_markdown_cell("## Method\n\n$$\na = b\n$$ (eq-more)\n\nSee [Figure more](#fig-more), [(a)](#eq-more)."),
        figure("fig-more"),
        new_code_cell('1  # "tbl-more"'),
    )
    files = {"The paper": ["chapters/01_first"], "Beyond the paper": ["chapters/02_more"], "After": ["bibliography"]}
    return checkout(tmp_path, files, **{"01_first": first, "02_more": beyond})


def test_what_is_run(layout: Layout) -> None:
    for asked, names in (("core", ["01_first"]), ("all", ["01_first", "02_more"]), ("02_more", ["02_more"])):
        assert chosen_chapters(layout, [asked]) == names
    assert chosen_chapters(layout, None) == ["01_first"]
    with pytest.raises(ParameterError, match="core, all, or some of 01_first, 02_more"):
        book.make_book("quick", {}, ["all", "03"], layout)
    assert not layout.chapters.exists()
    (layout.notebooks / "02_more.ipynb").rename(layout.notebooks / "03_c.ipynb")
    with pytest.raises(BookError, match=r"02_more\.ipynb: book/_toc\.yml lists it"):
        chosen_chapters(layout, None)


def test_a_failing_chapter_says_where_and_keeps_what_ran(tmp_path: Path) -> None:
    bad = notebook(new_code_cell("print('before')"), new_code_cell("# comment\n1 / 0"))
    layout = checkout(tmp_path, **{"01_bad": bad})
    with pytest.raises(BookError, match=r"01_bad failed in cell .*ZeroDivisionError: division by zero") as told:
        book.run_chapter(layout, "01_bad", {"profile": "quick"})
    assert "book/chapters/failed/01_bad.ipynb" in str(told.value) and "\x1b" not in str(told.value)
    assert "before" in str(nbformat.read(layout.failed / "01_bad.ipynb", 4).cells)
    assert not (layout.chapters / "01_bad.ipynb").exists()


def test_from_notebooks_to_pages(layout: Layout, monkeypatch, capsys) -> None:
    def page(name: str) -> BeautifulSoup:
        return BeautifulSoup((start.parent / "chapters" / f"{name}.html").read_text(), "html.parser")

    start = book.make_book("quick", {"gamma": 7.5}, None, layout)
    assert start == layout.build / "html" / "index.html" and not layout.failed.exists()
    assert "results are shown: 02_more (CHAPTERS=all runs them)" in capsys.readouterr().out
    text = " ".join(page("02_more").get_text(" ").split())
    assert "make book CHAPTERS=02_more" in text and "Does it?" in text and "(not run)" in text
    assert page("02_more").select("#eq-more, #equation-eq-more"), "its equations can be referred to"

    # only the parameters that were given, nothing of this run alone, and a second run with the same bytes
    output = layout.chapters / "01_first.ipynb"
    first = output.read_bytes()
    shown = {each.name: each.text for each in nbformat.reads(first.decode(), 4).cells[3].outputs}
    assert shown["stderr"] == 'kept\n\n100 %\ncell:6: UserWarning: look\n  warnings.warn("look")\n'
    assert shown["stdout"] == "quick 7.5 None notebooks <object object>\n"
    assert str(layout.root).encode() not in first
    given, record = {"profile": "quick", "gamma": 7.5}, output.with_suffix(".json")
    told = json.loads(record.read_text())
    output.write_bytes(bytes([*first[:200], first[200] ^ 4, *first[201:]]))  # what was not written is made again
    assert not book.run_chapter(layout, "01_first", given).reused and output.read_bytes() == first
    assert "chapter 01_first.ipynb is not what was written" in capsys.readouterr().out
    assert {**json.loads(record.read_text()), "seconds": told["seconds"]} == told
    assert book.run_chapter(layout, "01_first", given).reused

    with monkeypatch.context() as patch:
        patch.setattr(book, "build_pages", lambda layout, builder: start)
        book.make_book("quick", {"gamma": 9}, ["02_more"], layout)
    assert "show an earlier run with other settings or code: 01_first" in capsys.readouterr().out
    book.make_book("quick", {"gamma": 7.5}, ["all"], layout)
    assert "earlier run" not in capsys.readouterr().out
    assert page("02_more").select_one("figure#fig-more .polinb-vega")
    assert page("02_more").select_one('a.reference[href="#fig-more"]').text == "Fig. 2.1"

    with zipfile.ZipFile(book.finish(layout, builder="epub")[0]) as epub:
        assert epub.namelist()[0] == "mimetype" and epub.read("mimetype") == b"application/epub+zip"
        pages = {name: epub.read(name) for name in epub.namelist() if name.endswith(".xhtml")}
    first = ElementTree.fromstring(pages["chapters/01_first.xhtml"])
    assert [len(first.findall(f".//{{*}}{tag}")) for tag in ("table", "img", "script")] == [1, 1, 0]
    assert ElementTree.fromstring(pages["index.xhtml"]).find(".//{*}math") is not None

    # warnings are errors, and so is a function that nobody knows
    wrong = "# Small book\n\n{numref}`no-such-figure` {py:func}`polinb.nobody` {py:class}`numpy.ndarray`\n"
    (layout.root / "book" / "index.md").write_text(wrong)
    with pytest.raises(BookError, match=r"(?s)no-such-figure.*polinb\.nobody.*numpy\.ndarray"):
        book.build_pages(layout)
    assert start.is_file(), "a build that fails leaves the book that stood there"
