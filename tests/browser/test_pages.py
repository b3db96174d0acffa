"""Every page of the whole book in a browser: offline, drawn, readable.

On a wide window over HTTP in a subfolder, on a phone over file://, and without scripts: each page is opened once a mode
(``tour.py``); the tests judge what was seen. ``POLINB_TEST_BOOK=_build/html`` looks at a book that is built already.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import tour
from conftest import served

PHONE = {"width": 390, "height": 844}


def none(found) -> None:
    """Fails with a line for each (page, thing) that was found."""
    lines = [f"{page}: {thing}" for page, thing in found]
    assert not lines, f"{len(lines)} findings\n" + "\n".join(lines)


@pytest.fixture(scope="module")
def names(built_book):
    found = tour.pages(built_book.html)
    assert {"index.html", "search.html", "chapters/01_phenomenon.html"} <= set(found) and len(found) > 20
    return found


@pytest.fixture(scope="module")
def wide(chromium, book_address, names):
    """All but the API's pages, which are made alike: two of them."""
    api = [name for name in names if name.startswith("api/")]
    return tour.tour(chromium, book_address, [name for name in names if name not in api[2:]], "wide")


@pytest.fixture(scope="module")
def phone(chromium, built_book, names):
    return tour.tour(chromium, f"file://{built_book.html}", names, "phone", viewport=PHONE)


@pytest.fixture(scope="module")
def bare(chromium, built_book, names):
    """Pages with a chart or an interactive part; what the others show does not depend on scripts."""
    drawn = [name for name in names if b'class="polinb-' in (built_book.html / name).read_bytes()]
    return tour.tour(chromium, f"file://{built_book.html}", ["index.html", *drawn], "bare", java_script_enabled=False)


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
    none((name, wrong) for name, s in seen.items() for wrong in s.wrong())
    charts, parts = list(each(seen, "charts")), list(each(seen, "parts"))
    assert len(charts) > 20
    none((name, chart) for name, chart in charts if chart["state"] != "ready" or not chart["marks"])
    none((name, f"says nothing to a screen reader: {c}") for name, c in charts if len(c["label"]) < 10)
    none((name, part) for name, part in parts if part["state"] != "ready" or not part["text"])
    for page, part in (("17_neuron_explorer", "explorer"), ("18_responses", "responses")):  # not lost on the way
        if (name := f"chapters/{page}.html") in seen or not built_book.given:
            assert part in [one["name"] for where, one in parts if where == name]
    maths = {name: s.found["maths"] for name, s in seen.items()}
    assert sum(one["places"] for one in maths.values()) > 20
    none((name, one) for name, one in maths.items() if one["without"] or one["raw"] or one["errors"])


def test_without_scripts_pictures_and_fallbacks_show(bare) -> None:
    none((name, wrong) for name, seen in bare.items() for wrong in seen.abroad)
    pictures = list(each(bare, "pictures"))
    assert len(pictures) > 20
    none((n, p) for n, p in pictures if not (p["visible"] and p["drawn"] and len(p["alt"].strip()) > 10))
    none((name, part) for name, part in each(bare, "parts") if not part["fallback"])


def test_text_stands_out_from_its_ground(wide) -> None:
    for theme in ("light", "dark"):
        none((name, "hardly any text") for name, seen in wide.items() if seen.found[theme]["count"] < 10)
        none(each(wide, theme, "poor"))


def test_structure_of_pages(wide) -> None:
    """One h1, no level left out, alternative texts, a name for all that can be operated, unique ids."""
    none(each(wide, "structure"))
    none(each(wide, "cut", "stops"))


def test_nothing_is_cut(wide, phone) -> None:
    """Neither on a wide page nor on a phone, where what scrolls shows it and can be reached."""
    none(each(wide, "cut", "equations"))
    none(each(wide, "cut", "tables"))
    none(each(phone, "narrow"))
    none(each(phone, "cut", "heat"))
    scrolling = [*each(phone, "cut", "equations"), *each(phone, "cut", "tables")]
    assert len(scrolling) > 5
    none((n, t) for n, t in scrolling if "right" not in t["shadow"] or not (t["reached"] and t["named"]))


FAULTS = """<p style="color: #999; background: #fff">pale</p><p style="color: #444">dark on dark</p>
<h5>Too deep</h5><h1>Second</h1><button></button><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
<p>left raw: $x^2$</p>
<div class="polinb-vega" aria-label="planted"><script type="application/json" class="polinb-spec">
{"$schema":"https://vega.github.io/schema/vega-lite/v6.json","mark":"nonsense"}</script>
<img class="polinb-fallback" alt="planted"></div><div class="polinb-app" data-app="no-such-part"></div>
<script defer src="_static/vendor/vega-bundle.js"></script><script defer src="_static/polinb-charts.js"></script>
<script defer src="_static/vendor/responses.js"></script>
<img alt="abroad" src="https://example.org/x.png"><script src="no-such-file.js"></script>
<script>throw new Error("on purpose")</script>"""


def test_the_checks_find_planted_faults(chromium, built_book, tmp_path: Path) -> None:
    """A check that cannot fail proves nothing."""
    (tmp_path / "_static").symlink_to(built_book.html / "_static")
    sound = (built_book.html / "responsible_use.html").read_text("utf-8")
    assert sound.count("</article>") == 1
    pages = {"sound": "", "faults": FAULTS, "wide": '<div style="width: 900px">wide</div>'}
    for name, planted in pages.items():
        (tmp_path / f"{name}.html").write_text(sound.replace("</article>", f"{planted}</article>"), "utf-8")
    with served(tmp_path) as base:
        [seen] = tour.tour(chromium, base, ["faults.html"], "wide").values()
        small = tour.tour(chromium, base, ["sound.html", "wide.html"], "phone", viewport=PHONE)
    assert [bool(each.found["narrow"]) for each in small.values()] == [False, True]
    assert "example.org" in str(seen.abroad) and "no-such-file" in str(seen.failed) and "on purpose" in str(seen.errors)
    found = seen.found
    assert "pale" in str(found["light"]["poor"]) and "dark on dark" in str(found["dark"]["poor"])
    for part in ("2 h1", "h5 after h", "img without alt", "no name: <button"):
        assert part in str(found["structure"]), part
    assert "left raw" in str(found["maths"]["raw"])
    assert found["charts"][0]["state"] == found["parts"][0]["state"] == "error"
