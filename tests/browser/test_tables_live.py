"""Tables of numbers sort by a click or a key on a head: up, down, and back to our order; what is missing stays last."""

from __future__ import annotations

import pandas as pd
from app_page import write

from polinb.display.tables import Interval, numbered_table
from polinb_book.export import links, sorting

FRAME = pd.DataFrame(
    {
        "set": ["G", "S, race", "random 10", "random 9", "none"],
        "effect": [Interval(-0.5, -0.7, -0.3, 2, True), Interval(0.25, 0.1, 0.4, 2, True), None, 1.5, -2.0],
        "p": [2e-6, 3e-5, 1.0, 0.5, 1e-7],
        "neurons": [1234, 99, 100000, 7, 0],
    }
)
RISING = {
    "set": ["G", "none", "random 9", "random 10", "S, race"],
    "effect": ["none", "G", "S, race", "random 9", "random 10"],  # its value is missing
    "p": ["none", "G", "S, race", "random 9", "random 10"],
    "neurons": ["none", "random 9", "S, race", "G", "random 10"],
}


def row(values: list[str], tag: str) -> str:
    cells = (f'<{tag} class="text-right"><p>{value}</p></{tag}>' for value in values)
    return f"<tr>{''.join(cells)}</tr>"


def test_a_head_sorts_up_down_and_back(visit, tmp_path) -> None:
    columns = numbered_table(FRAME, "tbl-x", "A caption.", {"neurons": ","}).payload["columns"]
    body = "".join(row(list(values), "td") for values in zip(*(c["text"] for c in columns), strict=True))
    made = (
        '<article class="bd-article"><div class="pst-scrollable-table-container"><table class="table mathjax_ignore">'
        f"<thead>{row([c['header'] for c in columns], 'th')}</thead><tbody>{body}</tbody></table></div>"
        f"{links('tbl-x', '', '', sorting(columns))}</article>"
    )
    page = visit(write(tmp_path, made, ["polinb-tables.js"]))

    def shown(column: str) -> tuple[list[str], str | None, int]:
        order = page.locator("tbody tr td:first-child").all_text_contents()
        head = page.locator("th", has_text=column)
        return order, head.get_attribute("aria-sort"), page.locator("[aria-sort]").count()

    for column, rising in RISING.items():
        falling = [*rising[-2::-1], rising[-1]] if column == "effect" else rising[::-1]
        page.keyboard.press("Tab")  # each head is reached by key
        assert page.evaluate("document.activeElement.closest('th').innerText.trim()") == column
        page.keyboard.press("Enter")
        assert shown(column) == (rising, "ascending", 1)
        page.keyboard.press("Enter")
        assert shown(column) == (falling, "descending", 1)
        page.keyboard.press("Space")
        assert shown(column) == (list(FRAME["set"]), None, 0)
    page.locator("th", has_text="p").first.locator("button").click()
    page.locator("th", has_text="neurons").locator("button").click()
    assert shown("neurons") == (RISING["neurons"], "ascending", 1), "one head at a time is sorted"
