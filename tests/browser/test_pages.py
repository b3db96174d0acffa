"""Every page of the whole book in a browser: offline, drawn, readable; over HTTP in a subfolder and over file://.

Each page is opened once a mode (``tour.py``); the tests judge what was seen. ``POLINB_TEST_BOOK=_build/html`` looks at
a book that is built already.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import tour
from conftest import Visit, served


def none(found) -> None:
    """Fails with a line for each (page, thing) that was found."""
    lines = [f"{page}: {thing}" for page, thing in found]
    assert not lines, f"{len(lines)} findings\n" + "\n".join(lines)


@pytest.fixture(scope="package")
def names(built_book):
    found = tour.pages(built_book.html)
    assert {"index.html", "search.html", "chapters/01_phenomenon.html"} <= set(found) and len(found) > 20
    return found


@pytest.fixture(scope="package")
def http(chromium, built_book, names):
    with served(built_book.html) as base:
        yield tour.tour(chromium, Visit, base, names, tour.full)


@pytest.fixture(scope="package")
def file(chromium, built_book, names):
    return tour.tour(chromium, Visit, f"file://{built_book.html}", names, tour.brief)


@pytest.fixture(scope="package")
def bare(chromium, built_book, names):
    """Pages with a chart or an interactive part; what the others show does not depend on scripts."""
    drawn = [name for name in names if b'class="polinb-' in (built_book.html / name).read_bytes()]
    names = ["index.html", *drawn]
    return tour.tour(chromium, Visit, f"file://{built_book.html}", names, tour.bare, java_script_enabled=False)


@pytest.fixture(params=["http", "file"])
def scripted(request):
    """The tours with scripts, one after the other."""
    return request.getfixturevalue(request.param)


def each(tour_seen, key: str):
    """(page, thing) of every list that a tour found under ``key``."""
    return [(name, thing) for name, seen in tour_seen.items() for thing in seen.found[key]]


def test_nothing_leaves_the_book_and_nothing_fails(scripted) -> None:
    none((name, wrong) for name, s in scripted.items() for wrong in (*s.abroad, *s.failed, *s.errors))


def test_without_scripts_nothing_leaves_the_book(bare) -> None:
    none((name, wrong) for name, seen in bare.items() for wrong in seen.abroad)


def test_every_chart_is_drawn(scripted) -> None:
    charts = each(scripted, "charts")
    assert len(charts) > 20
    none((name, chart) for name, chart in charts if chart["state"] != "ready" or not chart["marks"])
    none((name, f"says nothing to a screen reader: {c}") for name, c in charts if len(c["label"]) < 10)


def test_every_interactive_part_is_ready(scripted) -> None:
    none((n, part) for n, part in each(scripted, "parts") if part["state"] != "ready" or not part["text"])


def test_the_explore_part_has_its_interactive_parts(built_book, scripted) -> None:
    """The explorer and the responses browser are on their pages, not lost on the way."""
    made = {name: [part["name"] for part in seen.found["parts"]] for name, seen in scripted.items()}
    for page, part in (("17_neuron_explorer", "explorer"), ("18_responses", "responses")):
        name = f"chapters/{page}.html"
        if name in made or not built_book.given:
            assert part in made[name]


def test_maths_is_set(scripted) -> None:
    seen = {name: s.found["maths"] for name, s in scripted.items()}
    assert sum(maths["places"] for maths in seen.values()) > 100
    none((name, maths) for name, maths in seen.items() if maths["without"] or maths["raw"] or maths["errors"])


def test_without_scripts_pictures_and_fallbacks_show(bare) -> None:
    pictures = each(bare, "pictures")
    assert len(pictures) > 20
    none((n, p) for n, p in pictures if not (p["visible"] and p["drawn"] and len(p["alt"].strip()) > 10))
    none((name, part) for name, part in each(bare, "parts") if not part["fallback"])


def test_the_page_is_not_wider_than_a_phone(http) -> None:
    none(each(http, "narrow"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(http, theme: str) -> None:
    none((name, "hardly any text") for name, seen in http.items() if seen.found[theme]["count"] < 10)
    none((name, poor) for name, seen in http.items() for poor in seen.found[theme]["poor"])


def test_structure_of_pages(http) -> None:
    """One h1, no level left out, a language, alternative texts, a name for all that can be operated, unique ids."""
    none(each(http, "structure"))


FAULTS = {
    "narrow": '<div style="width: 900px">wide</div>',
    "light": '<p style="color: #999; background: #fff">pale</p>',
    "dark": '<p style="color: #444">dark on dark</p>',
    "structure": "<h5>Too deep</h5><h1>Second</h1><button></button>"
    '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "maths": "<p>left raw: $x^2$</p>",
    "charts": '<div class="polinb-vega" aria-label="planted"><script type="application/json" class="polinb-spec">'
    '{"$schema":"https://vega.github.io/schema/vega-lite/v6.json","mark":"nonsense"}</script></div>',
    "parts": '<script defer src="_static/vendor/responses.js"></script>'
    '<div class="polinb-app" data-app="no-such-part"></div>',
    "abroad": '<img alt="abroad" src="https://example.org/x.png">',
    "failed": '<script src="no-such-file.js"></script>',
    "errors": "<script>throw new Error('planted')</script>",
}


def test_the_checks_find_planted_faults(chromium, built_book, tmp_path: Path) -> None:
    """A page holding one fault of each kind: a check that cannot fail proves nothing."""
    (tmp_path / "_static").symlink_to(built_book.html / "_static")
    sound = (built_book.html / "responsible_use.html").read_text("utf-8")
    assert sound.count("</article>") == 1
    for name, fault in FAULTS.items():
        (tmp_path / f"{name}.html").write_text(sound.replace("</article>", f"{fault}</article>"), "utf-8")
    with served(tmp_path) as base:
        seen = tour.tour(chromium, Visit, base, [f"{name}.html" for name in FAULTS], tour.full)
    assert [name for name in ("abroad", "failed", "errors") if not getattr(seen[f"{name}.html"], name)] == []
    found = {name: seen[f"{name}.html"].found for name in FAULTS}
    assert found["narrow"]["narrow"] and not found["light"]["narrow"]
    assert "pale" in str(found["light"]["light"]["poor"]) and "dark on dark" in str(found["dark"]["dark"]["poor"])
    for part in ("2 h1", "h5 after h", "img without alt", "no name: <button"):
        assert part in str(found["structure"]["structure"]), part
    assert "left raw" in str(found["maths"]["maths"]["raw"])
    assert found["charts"]["charts"][0]["state"] == "error" and found["parts"]["parts"][0]["state"] == "error"
