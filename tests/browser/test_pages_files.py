"""The files of the whole book: links and anchors, weight, and the same bytes from a second build."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import tour
from bs4 import BeautifulSoup

LIMIT = 3_000_000  # bytes of a page and of what it alone loads
SHARED = 4_500_000  # bytes of all scripts, styles and fonts together, without the search index


@pytest.fixture(scope="module")
def soups(built_book) -> dict[str, BeautifulSoup]:
    return {n: BeautifulSoup((built_book.html / n).read_bytes(), "html.parser") for n in tour.pages(built_book.html)}


def test_internal_links_and_anchors_lead_somewhere(built_book, soups) -> None:
    named = {name: soup.select("[id], a[name]") for name, soup in soups.items()}
    anchors = {name: {tag.get("id") or tag.get("name") for tag in tags} for name, tags in named.items()}
    wrong, count = [], 0
    for name, soup in soups.items():
        for tag in soup.select("a[href], link[href], script[src], img[src], source[src], iframe[src], form[action]"):
            target = str(tag.get("href") or tag.get("src") or tag.get("action"))
            parts = urlsplit(target[:2000])  # the rest of a data: address says nothing
            if parts.scheme or target.startswith("//"):
                continue
            count += 1
            path = (built_book.html / name).parent / unquote(parts.path) if parts.path else built_book.html / name
            if not path.is_file():
                wrong.append(f"{name}: {target}: no such file")
            elif parts.fragment and path.suffix == ".html":
                page = path.resolve().relative_to(built_book.html.resolve()).as_posix()
                # what follows a colon is the state of an interactive part, not a place
                if ":" not in parts.fragment and unquote(parts.fragment) not in anchors[page]:
                    wrong.append(f"{name}: {target}: no such place")
    assert count > 1000
    assert not wrong, "\n".join(sorted(set(wrong)))


def files(html: Path, name: str, soup: BeautifulSoup) -> set[Path]:
    """The page and what it loads."""
    tags = soup.select("script[src], img[src], source[src], link[rel~=stylesheet], link[rel~=preload]")
    targets = [str(tag.get("src") or tag.get("href")) for tag in tags]
    loaded = {(html / name).parent / unquote(urlsplit(t).path) for t in targets if not t.startswith("data:")}
    return {path.resolve() for path in loaded if path.is_file()} | {(html / name).resolve()}


def test_neither_a_page_nor_the_shared_bundles_are_heavy(built_book, soups) -> None:
    """What lies under ``_static`` is loaded by all pages and kept by the browser: each file of it counts once."""
    html = built_book.html.resolve()
    loaded = {name: files(html, name, soup) for name, soup in soups.items()}
    shared = {path for each in loaded.values() for path in each if html / "_static" in path.parents}
    bundles = shared | {path for path in (html / "_static").rglob("*.woff2") if "solid" in path.name}
    assert {"vega-bundle.js", "tex-svg.js"} <= {path.name for path in bundles}
    assert sum(path.stat().st_size for path in bundles) <= SHARED
    own = {name: each - shared - {html / "searchindex.js"} for name, each in loaded.items()}
    weights = {name: sum(path.stat().st_size for path in each) for name, each in own.items()}
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
