"""The book as an EPUB: well-formed pages with formulas, tables and pictures, and nothing that needs a script."""

from __future__ import annotations

import zipfile
from xml.etree import ElementTree

import nbformat
from reference_made import FRAME, figure, table
from small_book import checkout, notebook

from book._make.build import read_book


def test_an_epub_holds_what_needs_no_script(tmp_path):
    chapter = notebook(nbformat.v4.new_markdown_cell("# One"), table(FRAME, "tbl-a"), figure("fig-a"))
    layout = checkout(tmp_path, **{"01_one": chapter})
    layout.chapters.mkdir(parents=True)
    nbformat.write(chapter, layout.chapters / "01_one.ipynb")
    with zipfile.ZipFile(read_book(layout, "epub")) as book:
        assert book.namelist()[0] == "mimetype" and book.read("mimetype") == b"application/epub+zip"
        pages = {name: book.read(name) for name in book.namelist() if name.endswith(".xhtml")}
    roots = {name: ElementTree.fromstring(page) for name, page in pages.items()}

    def count(name, tag):
        return len(roots[name].findall(f".//{{*}}{tag}"))

    assert count("index.xhtml", "math") == 1
    assert count("chapters/01_one.xhtml", "table") == 1 and count("chapters/01_one.xhtml", "img") == 1
    assert not sum(count(name, "script") for name in roots) and not any(
        b"polinb-links" in page for page in pages.values()
    )
