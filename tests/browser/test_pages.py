"""Every page of the whole book, opened once a mode (``tour.py``): offline, drawn, readable; search and the keyboard.

``POLINB_TEST_BOOK=_build/html`` looks at a book that is built already.
"""

import hashlib
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import tour
from bs4 import BeautifulSoup

PHONE = {"width": 390, "height": 844}
PAGE, SHARED = 3_000_000, 4_500_000  # bytes of a page and what it alone loads; of what all pages load together
LOADED = "script[src], img[src], source[src], link[rel~=stylesheet], link[rel~=preload]"
LINKS = "a[href], link[href], script[src], img[src], source[src], iframe[src], form[action]"


def none(found) -> None:
    lines = [f"{page}: {thing}" for page, thing in found]
    assert not lines, f"{len(lines)} findings\n" + "\n".join(lines)


@pytest.fixture(scope="module")
def names(built_book):
    paths = [path.relative_to(built_book.html) for path in sorted(built_book.html.rglob("*.html"))]
    found = [path.as_posix() for path in paths if path.parts[0] != "_static"]
    assert {"index.html", "search.html", "chapters/01_phenomenon.html"} <= set(found) and len(found) > 20
    return found


@pytest.fixture(scope="module")
def wide(chromium, book_address, names):
    """Over HTTP; of the API's pages, which are made alike, two."""
    api = [name for name in names if name.startswith("api/")]
    return tour.tour(chromium, book_address, [name for name in names if name not in api[2:]], "wide")


@pytest.fixture(scope="module")
def phone(chromium, built_book, names):
    return tour.tour(chromium, f"file://{built_book.html}", names, "phone", viewport=PHONE)


def each(tour_seen, *keys: str):
    """(page, thing) of every list that a tour found under ``keys``, one below the other."""
    for name, seen in tour_seen.items():
        here = seen.found
        for key in keys:
            here = here[key]
        yield from ((name, thing) for thing in here)


@pytest.mark.parametrize("mode", ["wide", "phone"])
def test_everything_is_drawn_and_nothing_leaves_the_book(built_book, mode: str, request) -> None:
    seen = request.getfixturevalue(mode)
    none((name, wrong) for name, s in seen.items() for wrong in s.wrong)
    charts, parts = list(each(seen, "charts")), list(each(seen, "parts"))
    assert len(charts) > 20
    none((name, c) for name, c in charts if c["state"] != "ready" or not c["marks"] or len(c["label"]) < 10)
    none((name, part) for name, part in parts if part["state"] != "ready" or not part["text"])
    for page, part in (("17_neuron_explorer", "explorer"), ("18_responses", "responses")):  # not lost on the way
        if (name := f"chapters/{page}.html") in seen or not built_book.given:
            assert part in [one["name"] for where, one in parts if where == name]
    maths = {name: s.found["maths"] for name, s in seen.items()}
    assert sum(one["places"] for one in maths.values()) > 20
    none((name, one) for name, one in maths.items() if one["without"] or one["raw"] or one["errors"])


def test_without_scripts_pictures_and_fallbacks_show(chromium, built_book, names) -> None:
    drawn = [name for name in names if b'class="polinb-' in (built_book.html / name).read_bytes()]
    bare = tour.tour(chromium, f"file://{built_book.html}", ["index.html", *drawn], "bare", java_script_enabled=False)
    none((name, wrong) for name, seen in bare.items() for wrong in seen.wrong if wrong.startswith("abroad"))
    pictures = list(each(bare, "pictures"))
    assert len(pictures) > 20
    none((n, p) for n, p in pictures if not (p["visible"] and p["drawn"] and len(p["alt"].strip()) > 10))
    none((name, part) for name, part in each(bare, "parts") if not part["fallback"])


def test_text_stands_out_from_its_ground_and_pages_have_structure(wide) -> None:
    """One h1, no level left out, alternative texts, a name for all that can be operated, unique ids."""
    for theme in ("light", "dark"):
        none((name, "hardly any text") for name, seen in wide.items() if seen.found[theme]["count"] < 10)
        none(each(wide, theme, "poor"))
    none(each(wide, "structure"))
    none(each(wide, "cut", "stops"))


def test_nothing_is_cut(wide, phone) -> None:
    """Neither on a wide page nor on a phone, where what scrolls shows it and can be reached."""
    for seen, *keys in ((wide, "cut", "equations"), (wide, "cut", "tables"), (phone, "narrow"), (phone, "cut", "heat")):
        none(each(seen, *keys))
    scrolling = [*each(phone, "cut", "equations"), *each(phone, "cut", "tables")]
    assert len(scrolling) > 5
    none((n, t) for n, t in scrolling if "right" not in t["shadow"] or not (t["reached"] and t["named"]))


@pytest.fixture(scope="module")
def soups(built_book, names):
    html = built_book.html.resolve()
    return {html / name: BeautifulSoup((html / name).read_bytes(), "html.parser") for name in names}


def test_internal_links_and_anchors_lead_somewhere(soups) -> None:
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


FAULTS = """<p style="color: #999; background: #fff">pale</p><h5>Too deep</h5><button></button><p>left raw: $x^2$</p>
<img src="https://example.org/x.png"><script>throw new Error("on purpose")</script>"""


def test_the_checks_find_planted_faults(chromium, built_book, tmp_path) -> None:
    sound = (built_book.html / "responsible_use.html").read_text("utf-8")
    (tmp_path / "faults.html").write_text(sound.replace("</article>", f"{FAULTS}</article>"), "utf-8")
    [seen] = tour.tour(chromium, tmp_path.as_uri(), ["faults.html"], "wide").values()
    faults = ("abroad: ", "on purpose", "pale", "h5 after h", "img without alt", "no name: <button", "left raw")
    assert [fault for fault in faults if fault not in f"{seen.wrong} {seen.found}"] == []


# What has the focus, and whether that can be seen: something on it or in it looks different without.
FOCUS = """() => {
  const e = document.activeElement, all = [e, ...e.children];
  const boxes = all.map((x) => x.getBoundingClientRect());
  const seen = boxes.some((box) => Math.min(box.width, box.height) > 1);
  const look = () => all.map((x) => { const s = getComputedStyle(x);
    return [s.outline, s.boxShadow, s.backgroundColor, s.borderColor, s.textDecorationLine, s.color].join() }).join();
  const focused = look();
  e.blur();
  const ring = look() !== focused;
  e.focus();
  return { name: [e.tagName, e.className, e.getAttribute("href") || ""].join(" "), seen, ring };
}"""
SAID = "word => document.querySelector('#search-results .search-summary')?.textContent.includes(word)"


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_finds_words_and_lists_chapters_before_functions(visit, built_book, book_address, scheme: str) -> None:
    base = book_address if scheme == "http" else f"file://{built_book.html}"
    page = visit(f"{base}/chapters/01_phenomenon.html", allowed=base)
    for word, name, most in (("patching", "06_patching", 2), ("coupling", "07_inhibitft", 9)):
        page.locator("button.search-button-field, button.search-button__button").first.click()
        field = page.locator("dialog input[type=search], .search-button__search-container input[type=search]").first
        field.fill(word)
        field.press("Enter")
        page.wait_for_url(f"**/search.html?q={word}*")
        page.wait_for_function(SAID, arg="found")
        links = [link.get_attribute("href") for link in page.locator("#search-results li a").all()]
        function = next((at for at, href in enumerate(links) if href.startswith("api/")), len(links))
        assert next(at for at, href in enumerate(links) if name in href) < min(function, most), links[:12]
        page.locator("#search-results li a").first.click()
        page.wait_for_selector("article h1")
        assert "search.html" not in page.url
    page.goto(f"{base}/search.html?q=zzxqj")
    page.wait_for_function(SAID, arg="did not match")


def test_the_keyboard_reaches_everything(visit, built_book) -> None:
    base = f"file://{built_book.html}"
    page = visit(f"{base}/chapters/01_phenomenon.html", allowed=base, reduced_motion="reduce")
    tour.look(page, "settle")
    reached = []
    for _ in range(400):
        page.keyboard.press("Tab")
        place = page.evaluate(FOCUS)
        if place["name"].startswith("BODY") or place in reached[:1]:
            break
        reached.append(place)
    assert "#main-content" in reached[0]["name"], "the first Tab shows the link that skips to the text"
    text = " ".join(place["name"] for place in reached)
    for wanted in ("search-button", "theme-switch-button", "02_data.html", "sidebar-toggle"):
        assert wanted in text, wanted
    assert [place["name"] for place in reached if not (place["ring"] and place["seen"])] == [], "no visible focus"
    page.locator("a[href='#main-content']").press("Enter")
    page.wait_for_url("**#main-content")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('main')"), "and the next Tab goes on in the text"


def test_neither_a_page_nor_the_shared_bundles_are_heavy(built_book, soups) -> None:
    """What lies under ``_static`` is loaded by all pages and kept by the browser: each file of it counts once."""
    html, loaded = built_book.html.resolve(), {}
    for page, soup in soups.items():
        targets = (tag.get("src") or tag["href"] for tag in soup.select(LOADED))
        paths = {(page.parent / unquote(urlsplit(t).path)).resolve() for t in targets if not t.startswith("data:")}
        loaded[page] = {path for path in paths if path.is_file()} | {page}
    shared = {path for each in loaded.values() for path in each if html / "_static" in path.parents}
    shared |= {path for path in (html / "_static").rglob("*.woff2") if "solid" in path.name}
    assert {"vega-bundle.js", "tex-svg.js"} <= {path.name for path in shared}
    assert sum(path.stat().st_size for path in shared) <= SHARED
    own = {
        page: sum(p.stat().st_size for p in each - shared - {html / "searchindex.js"}) for page, each in loaded.items()
    }
    none((page.name, size) for page, size in own.items() if size > PAGE)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and folder / "model" not in path.parents]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_two_builds_are_identical(built_book, tmp_path: Path) -> None:
    """The same executed notebooks, built in another folder: every file has the same bytes."""
    from book._make.build import build_pages
    from polinb.runs.checkout import Layout

    for name in ("book", "notebooks", "polinb"):
        shutil.copytree(built_book.root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(built_book.root / "_config.yml", tmp_path)
    build_pages(Layout(tmp_path))
    first, second = digests(built_book.html), digests(tmp_path / "_build" / "html")
    assert len(first) > 100 and first == second
