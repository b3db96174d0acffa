"""Tables: numbers as asked for, and text that cannot become markup."""

import csv
import html
import io
import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import example, given
from hypothesis import strategies as st

from polinb.display import tables
from polinb_book import export


def payload(frame: pd.DataFrame, **options: object) -> dict[str, Any]:
    return tables.numbered_table(frame, "tbl-x", "Caption.", **options).payload  # type: ignore[arg-type]


def saved(frame: pd.DataFrame) -> list[list[str]]:
    """Rows of the table's CSV."""
    return list(csv.reader(io.StringIO(export.table_csv(payload(frame)), newline="")))


def test_numbers_as_shown() -> None:
    columns = {"n": [3, -4], "x": [-0.12345, np.nan], "y": [np.inf, -0.001], "s": ["a", None], "ok": [True, False]}
    found = payload(pd.DataFrame(columns), formats={"x": ".2f", "y": ".2f"})["columns"]
    assert [(c["name"], *c["text"]) for c in found] == [
        ("n", "3", "−4"), ("x", "−0.12", "–"), ("y", "∞", "0.00"), ("s", "a", "–"), ("ok", "yes", "no"),
    ]  # fmt: skip
    frame = pd.DataFrame({"r": [0.5, np.nan, -0.25], "r_low": [0.25, 0, -np.inf], "r_high": [0.75, 0, np.nan]})
    assert [str(each) for each in tables.intervals(frame, "r")] == ["0.50 [0.25, 0.75]", "–", "−0.25 [−∞, ?]"]
    near = pd.DataFrame({"r": [-0.001], "low": [-0.004], "high": [0.101]})
    assert str(tables.intervals(near, "r")[0]) == "0.00 [0.00, 0.10]", "no signed zero"


def test_a_column_has_one_number_of_decimals() -> None:
    for values, shown in (
        ([-0.1081, 0.003786, 58.291], ["−0.108", "0.004", "58.291"]),
        ([0.5, np.nan, 12.25], ["0.50", "–", "12.25"]),
        ([1234.56789, 1.0], ["1235", "1"]),
        ([20.3, -9.25e-16], ["20.3", "0.0"]),
        ([0.0, -9.25e-16], ["0", "0"]),
        ([2e-6, -1e-9], ["2 × 10⁻⁶", "−1 × 10⁻⁹"]),
    ):
        assert payload(pd.DataFrame({"x": values}))["columns"][0]["text"] == shown


def test_values_are_kept_and_saved_at_full_precision() -> None:
    pair = pd.DataFrame({"x": [1 / 3, np.nan], "low": [-0.1, np.nan], "high": [0.7, np.nan]})
    frame = pd.DataFrame({"x": tables.intervals(pair, "x"), "y": [2 / 3, np.inf], "n": [1, 2], "s": ["a", None]})
    frame["noise"] = [20.3, -9.25e-16]
    json.dumps(payload(frame), allow_nan=False)
    assert payload(frame)["columns"][0]["text"] == ["0.33 [−0.10, 0.70]", "–"]
    assert saved(frame) == [
        ["x", "x_low", "x_high", "y", "n", "s", "noise"],
        [str(1 / 3), "-0.1", "0.7", str(2 / 3), "1", "a", "20.3"],
        ["", "", "", "inf", "2", "", "0"],
    ]
    long = "x" * 900 + "\n</a><script>"
    texts = pd.DataFrame({"topic": ["crime"], "prompt": ["?"], "response": [long], "label": ["left"], "other": [1]})
    shown = tables.responses_table(texts, "tbl-r", "Caption.").payload
    assert shown["columns"][2]["text"] == ["x" * 300 + " […]"] and long in export.table_csv(shown)


@pytest.mark.parametrize("start", ["=1+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers(start: str) -> None:
    frame = pd.DataFrame({start: [start, "plain"], "n": [-1.5, 2.0], "mixed": [-3, start]})
    guarded = "'" + start
    assert saved(frame) == [[guarded, "n", "mixed"], [guarded, "-1.5", "-3"], ["plain", "2", guarded]]


def test_a_notebook_shows_a_table_as_a_table() -> None:
    frame = pd.DataFrame({"a": ["<b>$x$ {ref}`y`</b>"], "b": ["{numref}`tbl-a` and **so**"]})
    shown = tables.numbered_table(frame, "tbl-x", "See {ref}`this <sec-a>`, $R$.", markup=["b"])._repr_mimebundle_()
    page = BeautifulSoup(shown["text/html"], "html.parser")
    assert page.caption.text == "Table x: See this, $R$." and page.find("b").text == "so"
    cells = [cell.text for cell in page.find_all("td")]
    assert cells == ["<b>$x$ {ref}`y`</b>", "Table a and so"]
    assert not page.find_all("td")[0].find("b") and "$x$" not in shown["text/html"]


@given(st.text())
def test_escaped_text_holds_nothing_that_starts_markup(text: str) -> None:
    escaped = tables.escape(text)
    assert not re.search(r"(?<!<span>)&#(36|92);", escaped), "maths could open: not in an element of its own"
    bare = re.sub(r"&#\d+;", "", re.sub(r"<span>&#(?:36|92);</span>", "", escaped))
    assert not set(bare) & set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\n\r\t")
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\u0000-\u001f]", bare)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_escaping_loses_nothing(text: str) -> None:
    assert html.unescape(re.sub("</?span>", "", tables.escape(text))) == text
    assert html.unescape(tables.escape("a\u202eb\u0000c\r\nd\te")) == "a⟨U+202E⟩b⟨U+0000⟩c ⏎ d e"


def test_latex_shows_what_the_page_shows() -> None:
    frame = pd.DataFrame({"gamma": [5.0, -2.5], "who_am_i": ["50 % & {x}", None], "see": ["{numref}`tbl-a`", "$R$"]})
    shown = tables.numbered_table(
        frame, "tbl-x", "Mean $R_c$ in %.", {"gamma": ".1f"}, {"gamma": r"$\gamma$"}, markup=["see"]
    )
    text = export.table_latex(shown.payload)
    for line in (
        r"\caption{Mean \(R_c\) in \%.}", r"\label{tab:x}", r"\begin{tabular}{rll}", r"\(\gamma\) & who am i & see \\",
        r"5.0 & 50 \% \& \{x\} & \ref{tab:a} \\", r"\(-\)2.5 & -- & \(R\) \\", r"\toprule", r"\bottomrule",
    ):  # fmt: skip
        assert line in text
    assert export.latex_label("fig-a-b") == "fig:a-b" and export.from_myst("{numref}`sec-x`") == r"\ref{sec:x}"


@given(st.text())
@example("--")
@example("-\uffef-")
def test_latex_of_any_text_is_inert(text: str) -> None:
    escaped = export.escape(text)
    bare = re.sub(r"\\\([^)]*\\\)|\\[a-z]+\{\}|\\[{}$&#%_]|\{\[\}|\{\]\}", "", escaped)
    bare = bare.replace("{}", "").replace("~", "")  # between two hyphens; a space that does not break
    assert not set(bare) & set('\\{}$&#%_^~<>|"`[]\n')
    assert not re.search(r"--(?!-)", escaped) or "–" in text or "—" in text
