"""Using the book's pages: search, the keyboard, the theme's button; over HTTP and over file://."""

from __future__ import annotations

import pytest
import tour

# What has the focus, and whether that can be seen: an outline, or a change of ring, ground, edge or colour, on it or
# what is in it.
FOCUS = """() => {
  const e = document.activeElement, all = [e, ...e.children];
  const boxes = all.map((x) => x.getBoundingClientRect());
  const seen = boxes.some((box) => Math.min(box.width, box.height) > 1);
  const look = () => all.map((x) => { const s = getComputedStyle(x);
    return [s.boxShadow, s.backgroundColor, s.borderColor, s.textDecorationLine, s.color].join() }).join();
  let ring = all.some((x) => { const s = getComputedStyle(x);
    return s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1 });
  if (!ring) {
    const focused = look();
    e.blur();
    ring = look() !== focused;
    e.focus();
  }
  return { name: [e.tagName, e.className, e.getAttribute("href") || ""].join(" "), seen, ring };
}"""
SAID = "word => document.querySelector('#search-results .search-summary')?.textContent.includes(word)"


def found(page, base: str, word: str, said: str = "found") -> list[str]:
    """What the search leads to, in its order."""
    page.goto(f"{base}/search.html?q={word}")
    page.wait_for_function(SAID, arg=said)
    links = page.locator("#search-results li a").all()
    return [link.get_attribute("href").split("?")[0] for link in links]


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_finds_words_and_lists_chapters_before_functions(visit, built_book, book_address, scheme: str) -> None:
    base = book_address if scheme == "http" else f"file://{built_book.html}"
    page = visit(f"{base}/search.html", allowed=base)
    for word, name, most in (("patching", "06_patching", 2), ("coupling", "07_inhibitft", 9)):
        links = found(page, base, word)
        function = next((at for at, href in enumerate(links) if href.startswith("api/")), len(links))
        assert next(at for at, href in enumerate(links) if name in href) < min(function, most), links[:12]
    assert found(page, base, "zzxqj", "did not match") == []


@pytest.fixture
def opened(visit, built_book):
    """Factory: a page of the book over file://."""
    base = f"file://{built_book.html}"
    return lambda name, **options: visit(f"{base}/{name}.html", allowed=base, **options)


def test_search_starts_from_the_field_of_any_page(opened) -> None:
    page = opened("chapters/07_inhibitft")
    page.locator("button.search-button-field, button.search-button__button").first.click()
    field = page.locator("dialog input[type=search], .search-button__search-container input[type=search]").first
    field.fill("coupling")
    field.press("Enter")
    page.wait_for_url("**/search.html?q=coupling*")
    page.locator("#search-results li a").first.click()
    page.wait_for_selector("article h1")
    assert "search.html" not in page.url


def test_the_keyboard_reaches_everything(opened) -> None:
    page = opened("chapters/01_phenomenon", reduced_motion="reduce")
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
    assert [place["name"] for place in reached if not place["ring"]] == [], "no visible focus"
    assert [place["name"] for place in reached if not place["seen"]] == [], "focus on what is not seen"
    page.locator("a[href='#main-content']").press("Enter")
    page.wait_for_url("**#main-content")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('main')"), "and the next Tab goes on in the text"


def test_the_themes_button_lasts_and_a_reader_who_prefers_dark_gets_dark(visit, book_address, opened) -> None:
    theme = "document.documentElement.dataset.theme"
    assert opened("index", color_scheme="dark").evaluate(theme) == "dark"
    page = visit(f"{book_address}/index.html", color_scheme="light")
    assert page.evaluate(theme) == "light"
    for _ in range(3):
        if page.evaluate(theme) != "dark":
            page.locator("button.theme-switch-button").locator("visible=true").first.click()
    page.goto(f"{book_address}/notation.html")
    assert page.evaluate(theme) == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"


def test_the_sidebar_opens_on_a_phone(opened) -> None:
    page = opened("index", viewport={"width": 390, "height": 844})
    link = page.locator(":is(#pst-primary-sidebar, dialog) a[href='chapters/03_pnlac.html']").first
    assert not link.is_visible()
    page.locator(":is(button, label).primary-toggle").locator("visible=true").first.click()
    link.click()
    page.wait_for_url("**/03_pnlac.html")
