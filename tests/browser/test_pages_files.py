"""The files of the whole book: links and anchors, weight, numbers as stored, and the same bytes from a second build."""

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


def ids(soup: BeautifulSoup) -> set[str]:
    return {str(tag.get("id") or tag.get("name")) for tag in soup.select("[id], a[name]")}


def test_internal_links_and_anchors_lead_somewhere(built_book, soups) -> None:
    anchors = {name: ids(soup) for name, soup in soups.items()}
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


def shown(soup: BeautifulSoup, name: str) -> list[list[str]]:
    """Rows of a numbered table as the page shows them, without the reference run's columns."""
    own = ["(reference run)" not in head.get_text() for head in soup.select(f"table#{name} thead th")]
    rows = [[cell.get_text().strip() for cell in row.select("td")] for row in soup.select(f"table#{name} tbody tr")]
    return [[cell for cell, mine in zip(row, own, strict=True) if mine] for row in rows]


def test_numbers_of_pages_are_those_of_the_results(built_book, soups, monkeypatch) -> None:
    """Tables and a sentence of two chapters, against frames made anew from the stored results."""
    if built_book.given:
        pytest.skip("POLINB_TEST_BOOK: the results behind that book are not at hand")
    from polinb.chapters.paper import results
    from polinb.runs.params import Params
    from polinb.runs.run import Run

    monkeypatch.setenv("POLINB_STORE", str(built_book.store))
    run = Run(Params.from_profile("tiny"))
    moves = results.variant_shifts(run)
    own = moves[(moves.leaning == "right") & (moves.trained == moves.topic)]
    page = soups["chapters/01_phenomenon.html"]
    rows = shown(page, "tbl-on-topic")
    assert len(rows) == len(run.params.topics) > 0
    for row, kept in zip(rows, own.to_dict("records"), strict=True):
        assert row[:2] == [kept["trained"], str(kept["n"])]
        assert [float(cell.replace("−", "-")) for cell in row[2:4]] == pytest.approx(
            [kept["vanilla"], kept["model"]], rel=1e-3
        )
        assert row[4] == interval(kept["shift"], kept["low"], kept["high"])
    text = " ".join(page.get_text().split())
    mean = f"{own['shift'].mean():+.2f}".replace("-", "−")
    assert f"On the trained topic the shift is {mean} on average" in text
    table = results.couplings(run, results.inhibit_conditions(run))
    rows = shown(soups["chapters/07_inhibitft.html"], "tbl-inhibit")
    for row, kept in zip(rows, table.to_dict("records"), strict=True):
        assert row[0] == kept["trained"] and int(row[2]) == kept["frozen"]
        assert row[3] == interval(kept["r"], kept["r_low"], kept["r_high"])


def interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


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
