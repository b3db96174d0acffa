"""The reference run's numbers beside this run's: which rows belong together, which columns, and when not."""

from __future__ import annotations

import pandas as pd
import pytest

from polinb.display.tables import numbered_table
from polinb_book import reference_table
from polinb_book.reference_table import Table, beside, find, plain, same


def made(frame: dict[str, list], name: str = "tbl-x", **options) -> Table:
    text = numbered_table(pd.DataFrame(frame), name, "A caption, $x^2$.", **options).data
    found = find(f"Before.\n\n{text}")
    assert found, text
    table, (start, end) = found
    assert f"Before.\n\n{text}"[start:end] == table.directive(), "what is read is what was written"
    return table


def shown(table: Table) -> list[list[str]]:
    return [[plain(cell) for cell in row] for row in (table.header, *table.rows)]


def test_values_get_a_neighbour_and_rows_are_matched_by_their_names() -> None:
    mine = made({"topic": ["a", "b", "c"], "r": [0.1, 0.2, 0.3], "drop": ["0.1 [0.0, 0.2]", "–", "0.3 [?, 0.4]"]})
    other = made({"topic": ["c", "d", "a"], "r": [0.9, 0.8, 0.7], "drop": ["−0.9 [−1.0, ∞]", "0.8", "0.7"]})
    found = beside(mine, other, "<i>{}</i>")
    assert found and found.left == 1, "the row d stands only there"
    assert shown(found.table) == [
        ["topic", "R", "R, reference", "drop", "drop, reference"],
        ["a", "0.1", "0.7", "0.1 [0.0, 0.2]", "0.7"],
        ["b", "0.2", "–", "–", "–"],
        ["c", "0.3", "0.9", "0.3 [?, 0.4]", "−0.9 [−1.0, ∞]"],
    ]
    assert found.table.align == (":---", "---:", "---:", ":---", ":---")
    assert found.table.rows[0][2] == "<i>0&#46;7</i>" and found.table.rows[0][0] == "a"
    again = find(found.table.directive())
    assert again and again[0] == found.table


def test_as_few_columns_name_a_row_as_can() -> None:
    """A verdict is a result, though it is text; a description left of the numbers is not."""
    mine = made({"claim": ["x", "y"], "measure": ["m 1", "n"], "effect": [0.1, 0.2], "verdict": ["no", "no"]})
    other = made({"claim": ["x", "y"], "measure": ["m 2", "n"], "effect": [0.3, 0.4], "verdict": ["yes", "no"]})
    found = beside(mine, other)
    assert found and shown(found.table)[:2] == [
        ["claim", "measure", "effect", "effect, reference", "verdict", "verdict, reference"],
        ["x", "m 1", "0.1", "0.3", "no", "yes"],
    ]
    two = {"trained": ["a", "a", "b"], "arm": ["i", "j", "i"]}
    found = beside(made({**two, "r": [1.5, 2.5, 3.5]}), made({**two, "r": [4.5, 5.5, 6.5]}))
    assert found and [row[2:] for row in shown(found.table)[1:]] == [["1.5", "4.5"], ["2.5", "5.5"], ["3.5", "6.5"]]


def test_rows_of_one_name_are_taken_in_order() -> None:
    mine = made({"arm": ["i", "i", "j"], "r": [1.5, 2.5, 3.5]})
    other = made({"arm": ["j", "i", "i", "i"], "r": [9.5, 4.5, 5.5, 6.5]})
    found = beside(mine, other)
    assert found and found.left == 1
    assert [row[1:] for row in shown(found.table)[1:]] == [["1.5", "4.5"], ["2.5", "5.5"], ["3.5", "9.5"]]


def test_columns_of_the_paper_get_none() -> None:
    mine = made({"type": ["g", "s"], "percent": [1.5, 2.5], "paper": [4.35, 0.65]})
    other = made({"type": ["g", "s"], "percent": [3.5, 4.5], "paper": [4.35, 0.65]})
    found = beside(mine, other)
    assert found and list(found.table.header) == [
        "type",
        "percent",
        "percent&#44; reference".replace("&#44;", ","),
        "paper",
    ]


@pytest.mark.parametrize(
    ("mine", "other", "why"),
    [
        ({"t": ["a"], "x": [1.5]}, {"t": ["a"], "y": [1.5]}, "other columns"),
        ({"t": ["a"], "x": [1.5]}, {"t": ["b"], "x": [2.5]}, "no row in common"),
        ({"t": ["a", "b", "c"], "x": [1.5] * 3}, {"t": ["a", "d", "e"], "x": [2.5] * 3}, "few rows in common"),
        ({"g": [2.5, 5.0], "x": [1.5, 2.5]}, {"g": [2.5, 5.0], "x": [3.5, 4.5]}, "numbers alone name no row"),
        ({"t": ["a"], **{n: [1.5] for n in "wxyz"}}, {"t": ["a"], **{n: [2.5] for n in "wxyz"}}, "four columns"),
        (
            {
                "t": ["a"],
                "x": [1.5],
                "paper a": [1],
                "paper b": [1],
                "paper c": [1],
                "paper d": [1],
                "paper e": [1],
                "paper f": [1],
            },
            {
                "t": ["a"],
                "x": [2.5],
                "paper a": [1],
                "paper b": [1],
                "paper c": [1],
                "paper d": [1],
                "paper e": [1],
                "paper f": [1],
            },
            "too wide",
        ),
        (
            {"t": ["a"], "p": [0.5], "text": ["long" * 20]},
            {"t": ["a"], "p": [0.5], "text": ["other" * 20]},
            "long text",
        ),
        ({"t": ["a"], "text": ["this"]}, {"t": ["a"], "text": ["that"]}, "no numbers"),
    ],
)
def test_tables_that_are_shown_apart(mine: dict, other: dict, why: str) -> None:
    assert beside(made(mine), made(other)) is None, why


def test_text_of_a_model_stays_in_its_cell() -> None:
    nasty = "| a | b |\n````\n<b>`x`$y$"
    mine = made({"t": [nasty, "b"], "x": [1.5, 2.5]})
    assert len(mine.rows) == 2 and len(mine.rows[0]) == 2
    found = beside(mine, made({"t": [nasty, "b"], "x": [3.5, 4.5]}))
    assert found and [row[1:] for row in shown(found.table)[1:]] == [["1.5", "3.5"], ["2.5", "4.5"]]
    marked = made({"t": ["a $|x|$", "b"], "x": [1.5, 2.5]}, markup=["t"])
    assert [len(row) for row in marked.rows] == [2, 2], "the author's own bars are escaped"


def test_what_is_no_table() -> None:
    assert find("| a |\n| --- |\n| b |\n") is None
    assert find("````{table} x\n:name: tbl-x\n\n| a | b |\n| --- |\n````\n") is None, "rows of different lengths"
    assert same(made({"a": ["x"], "b": [1]}), made({"a": ["x"], "b": [1]}))
    assert not same(made({"a": ["x"], "b": [1]}), made({"a": ["x"], "b": [2]}))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.5", 1),
        ("−0.5", 1),
        ("43 %", 1),
        ("0.1 [−0.2, ∞]", 1),
        ("−4.1 × 10⁻⁸", 1),
        ("46 080", 1),
        ("n/a", 0),
        ("γ = 5", 0),
        ("5 to 6", 0),
    ],
)
def test_numbers(text: str, number: int) -> None:
    assert bool(reference_table._VALUE.fullmatch(text)) == bool(number)
