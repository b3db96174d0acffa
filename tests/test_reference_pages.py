"""The reference run's results on the pages: beside this run's, in place of what was not run, and not at all."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup
from reference_book import here, make
from reference_made import picture, put

from book._make import build as book
from polinb.data.loading import load_data
from polinb.errors import ArtifactError
from polinb.runs.checkout import Layout
from polinb.runs.params import Params
from polinb_book import manifest as reference
from polinb_book import reference as sphinx_reference
from polinb_book import reference_words, unrun
from polinb_book.reference import Weave

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BeautifulSoup]:
    root = tmp_path_factory.mktemp("reference-book")
    layout = make(root)
    before = (root / "book" / "chapters" / "01_one.ipynb").read_bytes()
    page, absent = book.finish(Layout(layout.root))  # every warning is an error
    assert page and absent == ["03_three"]
    assert (root / "book" / "chapters" / "01_one.ipynb").read_bytes() == before, "what was executed stays as it is"
    html = page.parent
    assert {path.name for path in (html / "_reference").iterdir()} == {
        f"fig-{name}.png" for name in ("gamma", "same", "shut", "three")
    }
    assert (html / "_reference" / "fig-three.png").read_bytes() == picture()
    found = {
        path.stem: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in (html / "chapters").glob("*.html")
    }
    return found | {"reference": BeautifulSoup((html / "reference.html").read_text("utf-8"), "html.parser")}


def texts(rows: object) -> list[list[str]]:
    return [[cell.get_text().strip() for cell in row.select("th, td")] for row in rows.select("tr")]


def test_columns_stand_beside_this_runs(pages: dict[str, BeautifulSoup]) -> None:
    one = pages["01_one"].select_one("article.bd-article")
    near = one.select_one("table#tbl-near")
    assert texts(near) == [
        ["topic", "shift", "shift, reference"],
        ["crime", "0.1 [0.0, 0.2]", "–"],
        ["race", "0.3", "0.7"],
    ]
    assert "Near," in near.caption.get_text() and "Table 1.1" in near.caption.get_text()
    assert [cell.get_text() for cell in near.select(".polinb-ref")] == ["shift, reference", "–", "0.7"]
    links = near.find_next("a", class_="polinb-csv").parent.select("a.polinb-csv")
    assert [link["download"] for link in links] == ["tbl-near.csv", "tbl-near.tex", "tbl-near-reference.csv"]


def test_boxes_hold_the_rest(pages: dict[str, BeautifulSoup]) -> None:
    one = pages["01_one"].select_one("article.bd-article")
    boxes = one.select("details.polinb-reference")
    summaries = [box.summary.get_text() for box in boxes]
    kinds = [text.split()[2] for text in summaries]
    assert kinds == ["table", "table", "figure", "figure"], "near (a row more), wide; the marked one has its columns"
    assert texts(boxes[0].table) == [["topic", "shift"], ["race", "0.7"], ["gender", "0.8"]], (
        "its row gender is not lost"
    )
    assert texts(boxes[1].table) == [["a", "b", "c", "d"], ["2.5", "3.5", "4.5", "5.5"]]
    for box in boxes[:2]:
        assert box.table.caption is None and not box.table.get("id")
    assert ["open" in box.attrs for box in boxes] == [False, False, True, False], "the main figure is shown at once"
    shown, shut = (box.select_one("figure > div") for box in boxes[2:])
    assert shown["class"] == ["polinb-vega"] and shut["class"] == ["polinb-later"]
    assert json.loads(shut.script.string)["description"] == 'Told by </script> & "quotes".'
    assert shut.img["alt"] == 'Reference run: Told by </script> & "quotes".' and shut.img["loading"] == "lazy"
    assert shown.img["src"] == "../_reference/fig-gamma.png" and "loading" not in shown.img.attrs
    ids = [node["id"] for node in one.select("[id]")]
    assert len(ids) == len(set(ids)) and "fig-shut-reference" in ids
    assert len(one.select("table[id^=tbl]")) == 4, "no table of the reference has a number"


def test_references_to_what_this_build_does_not_have(pages: dict[str, BeautifulSoup]) -> None:
    """A cell of the reference run may name a table of a chapter that did not run here."""
    marked = pages["01_one"].select_one("table#tbl-marked")
    assert texts(marked)[1] == ["see", "1", "2", "none", "(not run), Fig. 1.3"]


def test_the_note_tells_the_reference_runs_answer(pages: dict[str, BeautifulSoup]) -> None:
    notes = pages["01_one"].select("div.admonition")
    assert [note.p.get_text() for note in notes] == ["This run", "Reference run"]
    told = notes[1].get_text(" ", strip=True)
    assert "Theirs | is 0.7 ." in told and "tiny:llama" in told and "seed 7" in told and "2025-06-15" in told
    assert notes[1].select_one('a[href="../reference.html#sec-reference"]')
    missing = pages["02_two"].select("div.admonition")[1].get_text(" ", strip=True)
    assert "no results for this chapter" in missing
    assert not pages["02_two"].select("details.polinb-reference")


def test_a_chapter_that_was_not_run_shows_the_references_results(pages: dict[str, BeautifulSoup]) -> None:
    three = pages["03_three"].select_one("article.bd-article")
    titles = [note.p.get_text() for note in three.select("div.admonition")]
    assert titles == ["Not run in this build", "Reference run"]
    assert "Three in the reference." in three.get_text()
    boxes = three.select("details.polinb-reference[open]")
    assert [box.summary.get_text() for box in boxes] == [
        "A table of the reference run",
        "A figure of the reference run",
    ]
    assert "Gone." in boxes[0].get_text() and texts(boxes[0].table) == [["x", "n"], ["only there", "3"]]
    assert boxes[1].select_one("div.polinb-vega img")["src"] == "../_reference/fig-three.png"
    assert "makes:" not in three.get_text()


def test_what_is_said_about_the_reference_run(pages: dict[str, BeautifulSoup]) -> None:
    told = {}
    for name in ("01_one", "02_two", "03_three"):
        heads = [head for head in pages[name].select("h2") if "What the reference run says" in head.get_text()]
        told[name] = [" ".join(head.parent.get_text().split()) for head in heads]
    assert "Race moved by 0.70; see (not run)." in told["01_one"][0] and len(told["01_one"]) == 1
    assert told["02_two"] == [], "nothing is said about a chapter without results"
    assert "Three: 3 rows." in told["03_three"][0]


def test_the_discussion_stands_before_the_summary() -> None:
    def cell(text: str) -> dict:
        return {"cell_type": "markdown", "id": "x", "metadata": {}, "source": text}

    weave = Weave(SimpleNamespace(), set(), "", "Said.")
    cells = weave._discussed(cell("More.\n\n## Summary\n\n- a"))
    assert [c["source"] for c in cells] == [
        "More.\n\n",
        "## What the reference run says\n\nSaid.\n",
        "## Summary\n\n- a",
    ]
    assert len({c["id"] for c in cells}) == 3
    assert [c["source"] for c in weave._discussed(cell("## Summary\n- a"))][1:] == ["## Summary\n- a"]
    other = cell("No end.")
    assert weave._discussed(other) == [other]


def test_the_page_of_the_reference_run(pages: dict[str, BeautifulSoup]) -> None:
    page = pages["reference"].select_one("article.bd-article")
    run, chapters, answers = page.select("table")
    facts = dict(texts(run)[1:])
    assert facts["Data"] == "bundled (540 prompts)" and facts["Chapters"] == "2 of 3 complete"
    assert "seed = 7" in facts["Set apart from that"]
    assert facts["Time in the notebooks"].startswith("25 s when last executed")
    assert "Time to train and ask" not in facts  # it has no raw data
    assert [row[1:] for row in texts(chapters)[1:]] == [
        ["complete", "12 s", "4", "3"],
        ["missing", "–", "0", "0"],
        ["complete", "12 s", "1", "1"],
    ]
    assert texts(answers)[1:] == [
        ["Chapter 01_one".replace("01_", ""), "Theirs | is 0.7.", "Ours is 0.1."],
        ["Chapter two", "no answer", "It is so."],
        ["Chapter three", "Three in the reference.", "not run in this build"],
    ]
    assert "Nothing was cut" in page.get_text()


# --- without a build ---


def app(root: Path) -> SimpleNamespace:
    env = SimpleNamespace(note_dependency=lambda file: None)
    builder = SimpleNamespace(format="html")
    made = SimpleNamespace(srcdir=str(root / "book"), builder=builder, env=env)
    sphinx_reference.prepare(made)
    return made


def test_a_run_with_the_references_parameters_shows_nothing_more(tmp_path: Path) -> None:
    layout = make(tmp_path)
    chapters = tmp_path / "book" / "chapters"
    source = [(chapters / "01_one.ipynb").read_text("utf-8")]
    sphinx_reference.show(app(tmp_path), "chapters/01_one", source)
    assert "reference-note" in source[0]

    put(chapters, "01_one", here(True)["01_one"])
    before = (chapters / "01_one.ipynb").read_text("utf-8")
    source = [before]
    sphinx_reference.show(app(tmp_path), "chapters/01_one", source)
    assert source == [before]

    rows = [
        {"topic": p.topic, "prompt": p.prompt, "left": p.left, "right": p.right, "id": p.id}
        for p in load_data("bundled").pairs
    ]
    for kept, shown in ((rows, False), (rows[:-1], True)):  # the same data by another way, and other data
        (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, kept)), "utf-8")
        notebook = here(True)["01_one"]
        notebook.cells[2].source += '\ndata = "mine.jsonl"'
        path = put(chapters, "01_one", notebook)
        assert sphinx_reference.is_reference(reference.read(layout.reference), path, tmp_path) is not shown


def test_without_results_nothing_is_shown(tmp_path: Path) -> None:
    layout = make(tmp_path)
    before = (tmp_path / "book" / "chapters" / "01_one.ipynb").read_text("utf-8")
    for emptied in (lambda: (layout.reference / reference.MANIFEST).unlink(), lambda: shutil.rmtree(layout.reference)):
        emptied()
        source = [before]
        made = app(tmp_path)
        sphinx_reference.show(made, "chapters/01_one", source)
        assert source == [before] and made.polinb_reference is None
    assert "make reference" in reference_words.part(None, "run", {})


def test_damaged_results_end_the_build_and_are_named(tmp_path: Path) -> None:
    layout = make(tmp_path)
    path = layout.reference / "tables" / "tbl-near.csv"
    path.write_text(path.read_text("utf-8").replace("0.7", "0.9"), "utf-8")
    for build in (
        lambda: book.finish(Layout(tmp_path)),
        lambda: book.make_book("tiny", layout=Layout(tmp_path)),
    ):
        with pytest.raises(ArtifactError, match=r"book/reference/tables/tbl-near\.csv is damaged"):
            build()
    assert not (tmp_path / "_build" / "html").exists(), "told before anything heavy"


def test_labels_that_this_build_lacks_are_words(tmp_path: Path) -> None:
    layout = make(tmp_path)
    made = app(tmp_path)
    assert made.polinb_absent == {"tbl-gone", "fig-three"}
    found = reference.read(layout.reference)
    table_of = Weave(found, made.polinb_absent, "../")._table("tbl-marked")
    assert table_of.rows[0][2] == "*(not run)*, {numref}`fig-shut`"


def test_a_chapter_without_facts_gets_its_note_below_the_opening(tmp_path: Path) -> None:
    found = reference.read(make(tmp_path).reference)
    notebook = here(False)["01_one"]
    notebook.cells[3].outputs = []
    cells = json.loads(Weave(found, set(), "").notebook("01_one", nbformat.writes(notebook)))["cells"]
    assert [cell["id"] for cell in cells[:2]] == ["c0", "reference-note"]


def test_hidden_cells_stay_hidden(tmp_path: Path) -> None:
    found = reference.read(make(tmp_path).reference)
    notebook = here(False)["01_one"]
    for cell in notebook.cells[4:]:
        cell.metadata["tags"] = ["remove-cell"]
    woven = Weave(found, set(), "").notebook("01_one", nbformat.writes(notebook))
    assert "polinb-reference" not in re.sub("polinb-reference-note", "", woven) and "polinb-ref\\" not in woven


def test_the_words_for_a_cut_run() -> None:
    """The page of a run as it is planned: full, cut down."""
    from book._make.reference.run import cuts

    chosen = cuts()
    params = Params.from_profile("full", **{cut.name: cut.taken for cut in chosen}).model_dump(mode="json")
    manifest = {
        "profile": "full",
        "parameters": params,
        "cuts": [vars(cut) for cut in chosen],
        "data": {"name": "ideoinst", "digest": "d", "rows": 7000, "prompts": 6900},
        "plan": "0123456789abcdef",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T13:04:05+00:00",
        "seconds": 36000.0,
        "provenance": {"polinb": "0", "python": "3", "packages": {}, "platform": "Linux", "cpus": 2, "threads": 1},
        "chapters": {"01_phenomenon": {"state": "unfinished", "seconds": 5.0, "answer": {}, "files": []}},
        "files": {},
    }
    found = reference.Reference(Path(), manifest)
    note = reference_words.note(found, "01_phenomenon")
    assert f"{len(chosen)} parameters cut" in note and "not finished" in note and "learning rate 0.0005;" in note
    rows = reference_words.part(found, "cuts", {}).splitlines()[2:]
    assert len(rows) == len(chosen) and rows[0].startswith("| `system_prompt` | False | empty | an empty system turn")
    run = reference_words.part(found, "run", {})
    assert (
        "10 h 0 min" in run
        and "1 thread, no graphics card" in run
        and "commit `0123456789ab`" in run
        and "Set apart" not in run
        and "6 900 prompts" in run.replace("\u202f", " ").replace("\u2009", " ").replace("\u00a0", " ")
    )


def test_main_figures_exist() -> None:
    labels = {label for path in (REPO / "notebooks").glob("*.ipynb") for label in unrun.labels(path)}
    assert labels >= sphinx_reference.OPEN
