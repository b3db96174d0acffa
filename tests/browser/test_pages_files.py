"""The files of the whole book: links and anchors, weight, and the same bytes from a second build."""

import hashlib
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import tour
from bs4 import BeautifulSoup

LIMIT = 3_000_000  # bytes of a page
SHARED = 4_500_000  # bytes of all scripts, styles and fonts together, without the search index
LINKS = "a[href], link[href], script[src], img[src], source[src], iframe[src], form[action]"


def test_internal_links_and_anchors_lead_somewhere(built_book) -> None:
    html = built_book.html.resolve()
    soups = {html / name: BeautifulSoup((html / name).read_bytes(), "html.parser") for name in tour.pages(html)}
    named = {page: soup.select("[id], a[name]") for page, soup in soups.items()}
    anchors = {page: {tag.get("id") or tag.get("name") for tag in tags} for page, tags in named.items()}
    wrong, count = set(), 0
    for page, soup in soups.items():
        for tag in soup.select(LINKS):
            target = str(tag.get("href") or tag.get("src") or tag.get("action"))
            parts = urlsplit(target[:2000])  # the rest of a data: address says nothing
            if parts.scheme or target.startswith("//"):
                continue
            count += 1
            path, place = (page.parent / unquote(parts.path)).resolve() if parts.path else page, unquote(parts.fragment)
            # what follows a colon is the state of an interactive part, not a place
            if not path.is_file() or (place and ":" not in place and place not in anchors.get(path, [place])):
                wrong.add(f"{page.name}: {target}")
    assert count > 1000 and not wrong, "\n".join(sorted(wrong))


def test_neither_a_page_nor_what_all_share_is_heavy(built_book) -> None:
    shared = {path: path.stat().st_size for path in (built_book.html / "_static").rglob("*.*")}
    assert {"vega-bundle.js", "tex-svg.js"} <= {path.name for path in shared}
    assert sum(size for path, size in shared.items() if path.suffix in (".js", ".css", ".woff2")) <= SHARED
    weights = {name: (built_book.html / name).stat().st_size for name in tour.pages(built_book.html)}
    assert {name: size for name, size in weights.items() if size > LIMIT} == {}


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path for path in files if folder / "model" not in path.parents]  # put beside the pages, not built
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_two_builds_are_identical(built_book, tmp_path: Path) -> None:
    """The same executed notebooks, built in another folder: every file has the same bytes."""
    if built_book.given:
        pytest.skip("POLINB_TEST_BOOK: only its pages are at hand")
    from book._make.build import build_pages
    from polinb.runs.checkout import Layout

    for name in ("book", "notebooks", "polinb"):
        shutil.copytree(built_book.root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(built_book.root / "_config.yml", tmp_path)
    build_pages(Layout(tmp_path))
    first, second = digests(built_book.html), digests(tmp_path / "_build" / "html")
    assert len(first) > 100
    assert {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)} == set()
