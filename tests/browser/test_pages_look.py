"""What a reader of the whole book sees and reaches: nothing cut, few tab stops, names, icons, the search's order."""

from __future__ import annotations

import pytest
import tour
from test_pages import none

# What is wider than its box: equations, tables, heat maps; with whether a shadow and a tab stop say so.
CUT = """() => {
  const over = (e) => e.scrollWidth > e.clientWidth + 1;
  const about = (e, edge) => ({ what: e.textContent.trim().slice(0, 40), shadow: edge.dataset.more || "",
    reached: e.tabIndex === 0, named: !!e.getAttribute("aria-label") });
  const pick = (found, edge) => found.filter(over).map((e) => about(e, e.closest(edge)));
  return {
    equations: pick([...document.querySelectorAll("div.math mjx-container[display]")], "div.math"),
    tables: pick([...document.querySelectorAll(".pst-scrollable-table-container")], ".polinb-edge"),
    heat: [...document.querySelectorAll(".polinb-vega")]
      .filter((e) => /"step"/.test(e.querySelector(".polinb-spec").textContent.match(/"width":\\{[^}]*/) || ""))
      .map((e) => e.querySelector(".polinb-scroll")).filter((e) => e && over(e)).map((e) => about(e, e)),
    stops: [...document.querySelectorAll("mjx-container:not([display])")].filter((e) => e.tabIndex >= 0).length,
  };
}"""
FRAMES = """() => [...document.querySelectorAll(".cell_output :is(div.polinb-app, div.polinb-vega)")].map((e) => {
  const style = getComputedStyle(e.closest(".output, .sd-tab-content, .cell_output"));
  return [e.className, style.backgroundColor].join(" | ");
})"""
UNNAMED = """() => [...document.querySelectorAll("summary")]
  .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label"))).map((e) => e.outerHTML.slice(0, 90))"""
# An icon is drawn if its font is there and its box has a size; a missing glyph of another font would not be.
ICONS = """async () => {
  await document.fonts.load('900 16px "Font Awesome 6 Free"');
  const icons = [...document.querySelectorAll("i.fa-solid")].filter((e) => e.checkVisibility());
  return { font: document.fonts.check('900 16px "Font Awesome 6 Free"'), count: icons.length,
    empty: icons.filter((e) => e.getBoundingClientRect().width < 5
      || !/Font Awesome/.test(getComputedStyle(e).fontFamily)
      || getComputedStyle(e, "::before").content.length < 3).map((e) => e.className) };
}"""


@pytest.fixture(scope="module")
def seen(chromium, built_book):
    """Every page with maths, a chart or a wide table, at two widths and in the dark."""
    context = chromium.new_context(color_scheme="dark")
    page = context.new_page()
    found = {}
    names = [name for name in tour.pages(built_book.html) if name.startswith(("chapters/", "notation", "index"))]
    for name in names:
        page.set_viewport_size({"width": 1280, "height": 1000})
        page.goto(f"file://{built_book.html}/{name}")
        tour.settle(page)
        here = {"wide": page.evaluate(CUT), "frames": page.evaluate(FRAMES), "unnamed": page.evaluate(UNNAMED)}
        here["save"] = page.evaluate("[...document.querySelectorAll('.polinb-save')].map((e) => e.ariaLabel)")
        page.set_viewport_size({"width": 390, "height": 844})
        page.reload()
        tour.settle(page)
        found[name] = here | {"phone": page.evaluate(CUT)}
    context.close()
    return found


def each(found, *keys: str):
    for name, here in found.items():
        for key in keys:
            here = here[key]
        yield from ((name, thing) for thing in here)


def test_equations_fit_a_wide_page_and_tables_use_its_margin(seen) -> None:
    none(each(seen, "wide", "equations"))
    none(each(seen, "wide", "tables"))


def test_what_scrolls_on_a_phone_shows_it_and_can_be_reached(seen) -> None:
    scrolling = [*each(seen, "phone", "equations"), *each(seen, "phone", "tables")]
    assert len(scrolling) > 5
    none((n, t) for n, t in scrolling if "right" not in t["shadow"] or not (t["reached"] and t["named"]))


def test_heat_maps_fit_a_phone(seen) -> None:
    none(each(seen, "phone", "heat"))


def test_formulas_in_a_line_are_no_tab_stops(seen) -> None:
    assert {n: here["wide"]["stops"] for n, here in seen.items() if here["wide"]["stops"]} == {}


def test_no_frame_of_another_colour_in_the_dark(seen) -> None:
    frames = list(each(seen, "frames"))
    assert len(frames) > 20
    none((n, frame) for n, frame in frames if not frame.endswith("| rgba(0, 0, 0, 0)"))


def test_what_can_be_operated_has_a_name_for_a_screen_reader(seen) -> None:
    none(each(seen, "unnamed"))
    labels = [label for _, label in each(seen, "save")]
    assert len(labels) > 50 and "Save figure 3.1 as SVG" in labels
    assert [label for label in labels if not label.startswith("Save figure ")] == []


def test_icons_come_from_the_font(visit, built_book) -> None:
    base = f"file://{built_book.html}"
    page = visit(f"{base}/chapters/01_phenomenon.html", allowed=base).page
    found = page.evaluate(ICONS)
    assert found["font"] and found["count"] >= 5 and not found["empty"], found
    assert not list(built_book.html.rglob("fontawesome.js*")) and not list(built_book.html.rglob("*.map"))


@pytest.mark.parametrize(("word", "page", "most"), [("patching", "06_patching", 2), ("coupling", "07_inhibitft", 9)])
def test_search_lists_chapters_before_functions(visit, built_book, word: str, page: str, most: int) -> None:
    base = f"file://{built_book.html}"
    shown = visit(f"{base}/search.html?q={word}", allowed=base).page
    shown.wait_for_function("document.querySelector('#search-results .search-summary')?.textContent.includes('found')")
    links = [link.get_attribute("href").split("?")[0] for link in shown.locator("#search-results li a").all()]
    first_function = next((at for at, href in enumerate(links) if href.startswith("api/")), len(links))
    chapter = next(at for at, href in enumerate(links) if page in href)
    assert chapter < min(first_function, most), links[:12]
