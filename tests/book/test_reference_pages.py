"""The reference run's results on the pages: in tabs beside this run's, in place of what was not run, in a sentence."""

import json
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from reference_made import FRAME, SPEC, chapter, figure, put, table, written
from small_book import REPO, checkout

from book._make import build as book
from book._make.reference.run import ReferenceLayout, keep
from polinb.display.tables import numbered_table
from polinb.errors import ArtifactError
from polinb.runs.checkout import Layout
from polinb.wording import Interval
from polinb_book.outputs import Found, beside
from polinb_book.reference import value
from polinb_book.results import Reference

NASTY = (  # what a model may write
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=2><b>bold</b> **strong** _em_ `code` "
    "[link](https://evil.example/) ![](https://evil.example/x.png) {ref}`a` {{ 7*7 }} $x^2$ \\(y\\) \\[z\\] | cell | "
    "```{raw} html <svg onload=window.pwned=3> ``` </td></table><iframe src=https://evil.example></iframe> # head"
)


def here(far: bool) -> dict:
    """The chapters of a run; ``far``: as the reference run had them."""
    shift = [Interval(0.7, 0.6, 0.8), "–"] if far else [Interval(0.1, 0.0, 0.2), "0.3"]
    linked = "{numref}`tbl-gone`" if far else "none"
    one = [
        table(pd.DataFrame({"topic": ["race", NASTY], "shift": shift}), "tbl-near", "Near, $x^2$."),
        table(pd.DataFrame({"a": [NASTY], "b": ["$y$"]}), "tbl-same", markup=["b"]),
        table(pd.DataFrame({"n": [1 + far], "y": [linked]}), "tbl-marked", markup=["y"]),
        figure("fig-other", SPEC | {"description": 'Told by </script> & "quotes".', "width": 200 + far}),
    ]
    given = {"seed": 7} if far else {}
    three = [table(pd.DataFrame({"x": ["only there"], "n": [3]}), "tbl-gone", "Gone."), figure("fig-three")]
    return {
        "01_one": chapter("one", *one, first="Theirs | is **0.7**." if far else "Ours is **0.1**.", **given),
        "02_two": chapter("two", table(pd.DataFrame({"x": [1]}), "tbl-two"), **given),
        "03_three": chapter("three", *three, first="Three in the reference.", **given),
    }


def make(root: Path) -> None:
    """A checkout in which chapter 3 did not run, with results of a reference run that never came to chapter 2."""
    ours, theirs = here(False), here(True)
    files = [*(f"chapters/{name}" for name in ours), "reference_plan", "reference", "bibliography"]
    checkout(root, {"All": files}, **{name: written(made) for name, made in ours.items()})
    layout = ReferenceLayout(root)
    for name in ("01_one", "03_three"):
        put(layout.chapters, name, theirs[name])
    page = (REPO / "book" / "reference.md").read_text("utf-8")
    begin, end = page.index("## What it says"), page.index("## What was run")  # that is about the real run's tables
    (root / "book" / "reference.md").write_text(page[:begin] + page[end:], "utf-8")
    (root / "book" / "reference_notes").mkdir()
    note = "Race moved by {reference}`tbl-near | race | shift`; see {numref}`tbl-gone`.\n"
    (root / "book" / "reference_notes" / "01_one.md").write_text(note)
    (root / "book" / "reference_plan.md").write_text("(sec-plan)=\n# The plan\n")
    keep(layout)
    for name in ("01_one", "02_two"):
        put(root / "book" / "chapters", name, ours[name])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BeautifulSoup]:
    root = tmp_path_factory.mktemp("reference-book")
    make(root)
    page, absent = book.finish(Layout(root))  # every warning is an error
    assert absent == ["03_three"]
    paths = [*(page.parent / "chapters").glob("*.html"), page.parent / "reference.html"]
    return {path.stem: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in paths}


def texts(rows: object) -> list[list[str]]:
    return [[cell.get_text().strip() for cell in row.select("th, td")] for row in rows.select("tr")]


def test_a_table_has_the_reference_runs_columns_and_what_differs_otherwise_stands_in_a_tab(pages) -> None:
    one = pages["01_one"].select_one("article.bd-article")
    near = one.select_one("table#tbl-near")
    assert texts(near) == [
        ["topic", "shift", "shift (reference run)"],
        ["race", "0.10 [0.00,\u00a00.20]", "0.70 [0.60,\u00a00.80]"],  # whose ends stay on one line
        [NASTY, "0.3", "–"],
    ], "joined by the topic"
    assert "Table 1.1" in near.caption.get_text() and near.caption.select_one(".math")
    ids = [node["id"] for node in one.select("[id]")]
    assert len(ids) == len(set(ids))
    tabs = one.select(".sd-tab-set")
    names = [[label.get_text(strip=True) for label in each.select(".sd-tab-label")] for each in tabs]
    assert names == [["This run", "Reference run"]] * 2, "marked, other; what is the same is shown once"
    theirs = tabs[0].select(".sd-tab-content")[1]
    assert texts(theirs.table)[1] == ["2", "Table 3.1"] and not theirs.table.get("id")
    assert theirs.select_one("a.polinb-csv")["download"] == "tbl-marked-reference.csv"
    assert not pages["02_two"].select(".sd-tab-set")


def test_what_a_model_wrote_stays_text(pages) -> None:
    one = pages["01_one"]
    for name in ("tbl-near", "tbl-same"):
        table = one.select_one(f"table#{name}.mathjax_ignore")
        (cell,) = [cell for cell in table.select("td") if cell.get_text().strip() == NASTY]
        assert not cell.select("a, img, script, code, strong, em, b, svg, iframe, .math"), name
    assert cell.find_next("td").select_one(".math"), "maths that is maths is set"
    assert "ignoreHtmlClass" not in str(one), "MathJax's own: mathjax_ignore"
    figure = one.select_one("figure#fig-other")
    assert figure.img["alt"] == 'Two "dots".'
    assert json.loads(figure.script.string)["description"] == 'Told by </script> & "quotes".'


def test_columns_are_joined_by_the_texts_that_name_a_row() -> None:
    def shown(**columns: list) -> Found:
        return numbered_table(pd.DataFrame(columns), "tbl-a", "A.").payload

    mine = shown(topic=["a", "b"], x=[1.0, 2.0])
    for theirs, joined in (
        (shown(topic=["b", "a"], x=[3.0, 4.0]), ["4", "3"]),
        (shown(topic=["b"], x=[3.0]), ["–", "3"]),
        (shown(topic=["a", "c"], x=[3.0, 4.0]), None),  # a row that this run does not have
        (shown(topic=["a", "a"], x=[3.0, 4.0]), None),  # rows that nothing tells apart
    ):
        both = beside(mine, theirs)
        assert (both and both["columns"][2]["text"]) == joined


def test_chapters_and_the_page_of_the_reference_run_tell_both_runs_answers(pages) -> None:
    one, three = (pages[name].select_one("article.bd-article") for name in ("01_one", "03_three"))
    told = one.select_one("div.admonition").get_text(" ", strip=True)
    assert "Theirs | is 0.7" in told and "tiny:llama" in told and "2025-06-15" in told
    assert "Race moved by 0.70 [0.60, 0.80]; see Table 3.1." in " ".join(one.get_text().split())
    (note,) = three.select("div.admonition")
    assert "make book CHAPTERS=03_three" in note.get_text() and "Three in the reference." in three.get_text()
    assert "Table 3.1" in three.select_one("table#tbl-gone caption").get_text()
    assert three.select_one("figure#fig-three img")["src"].startswith("data:image/png;base64,")
    assert one.select('a[href="03_three.html#tbl-gone"]'), "its labels resolve from other chapters"
    run, answers = map(texts, pages["reference"].select("article.bd-article table"))
    facts = dict(run[1:])
    assert facts["Data"] == "bundled (540 prompts)" and "seed = 7" in facts["Set apart from that"]
    assert answers[1:] == [
        ["Chapter one", "Theirs | is 0.7.", "Ours is 0.1."],
        ["Chapter two", "no answer", "It is so."],
        ["Chapter three", "Three in the reference.", "not run in this build"],
    ]


def test_a_sentence_takes_its_number_from_one_row_and_column() -> None:
    rows = [("G", "all", "x", 1), ("G, held out", "all", "x", 2)]
    rows += [("of", "mood", "gender", 3), ("on", "gender", "mood", 4)]
    tables = {"tbl-a": FRAME, "tbl-b": pd.DataFrame(rows, columns=["arm", "at", "by", "n"])}
    found = Reference(Path(), {}, {}, {k: numbered_table(frame, k, "A.").payload for k, frame in tables.items()})
    for text, shown in (
        ("tbl-a | crime | shift .1f", "0.1 [0.0, 0.2]"),
        ("tbl-a | cri | n", "3"),
        ("tbl-a | race | p", "–"),
        # by whole texts first, and from left to right
        ("tbl-b | G & all | n", "1"),
        ("tbl-b | gender & mood | n", "4"),
    ):
        assert value(found, text) == shown
    for text, told in (
        ("tbl-a | crime", r"label \| row \| column"),
        ("tbl-z | crime | n", "no table tbl-z"),
        ("tbl-b | all & G | n", "0 rows"),
        ("tbl-b | G & a | n", "2 rows"),
    ):
        with pytest.raises(ArtifactError, match=told):
            value(found, text)
