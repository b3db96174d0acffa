"""Tables of numbers sort by a click or a key on a head: up, down, and back to our order; what is missing stays last."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from polinb.display.tables import Interval, numbered_table
from polinb.display.webdata import web_folder
from polinb_book.export import links, sorting

SCRIPT = Path(__file__).parents[2] / "book" / "_assets" / "polinb-tables.js"
FRAME = pd.DataFrame(
    {
        "set": ["G", "S, race", "random 10", "random 9", "none"],
        "effect": [Interval(-0.5, -0.7, -0.3, 2, True), Interval(0.25, 0.1, 0.4, 2, True), None, 1.5, -2.0],
        "p": [2e-6, 3e-5, 1.0, 0.5, 1e-7],
        "neurons": [1234, 99, 100000, 7, 0],
    }
)


def cells(values: list[str], tag: str, columns: list[dict]) -> str:
    each = (f'<{tag} class="text-{c["align"]}"><p>{v}</p></{tag}>' for v, c in zip(values, columns, strict=True))
    return f"<tr>{''.join(each)}</tr>"


@pytest.fixture
def page(visit, tmp_path):
    """A table as the book's pages hold one, with the text that they show."""
    columns = numbered_table(FRAME, "tbl-x", "A caption.", {"neurons": ","}).payload["columns"]
    rows = "".join(cells(list(row), "td", columns) for row in zip(*(c["text"] for c in columns), strict=True))
    head = cells([c["header"] for c in columns], "th", columns)
    for path in (SCRIPT, web_folder() / "dom.js"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "page.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><link rel="icon" href="data:,">'
        '<article class="bd-article"><div class="pst-scrollable-table-container"><table class="table mathjax_ignore">'
        f"<thead>{head}</thead><tbody>{rows}</tbody></table></div>"
        f"{links('tbl-x', {}, sorting(columns))}</article>"
        '<script defer src="dom.js"></script><script defer src="polinb-tables.js"></script>',
        "utf-8",
    )
    seen = visit((tmp_path / "page.html").as_uri())
    yield seen.page
    seen.assert_clean()


def order(page) -> list[str]:
    return page.locator("tbody tr td:first-child").all_text_contents()


@pytest.mark.parametrize(
    ("column", "rising"),
    [
        ("set", ["G", "none", "random 9", "random 10", "S, race"]),
        ("effect", ["none", "G", "S, race", "random 9", "random 10"]),  # its value is missing
        ("p", ["none", "G", "S, race", "random 9", "random 10"]),
        ("neurons", ["none", "random 9", "S, race", "G", "random 10"]),
    ],
)
def test_a_head_sorts_up_down_and_back(page, column: str, rising: list[str]) -> None:
    head = page.locator("th", has_text=column)
    assert order(page) == list(FRAME["set"]) and page.locator("[aria-sort]").count() == 0
    head.locator("button").click()
    assert order(page) == rising and head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")  # the focus is on the head
    falling = [*rising[-2::-1], rising[-1]] if column == "effect" else rising[::-1]
    assert order(page) == falling and head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert order(page) == list(FRAME["set"]) and page.locator("[aria-sort]").count() == 0


def test_one_head_at_a_time_is_sorted_and_each_is_reached_by_key(page) -> None:
    reached = []
    for _ in FRAME:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.closest('th')?.innerText.trim()"))
        page.keyboard.press("Enter")
    assert len(set(reached)) == len(FRAME.columns) and None not in reached
    assert page.locator("[aria-sort]").count() == 1
