"""What a reader meets first: answers that follow from their intervals, words that are explained, sources that agree."""

import math
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from polinb import __version__, wording
from polinb.chapters.paper import answers
from polinb.runs.chapter import facts, say
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.wording import ANSWER, Answer, Prose, interval, told
from polinb_book import reference
from polinb_book.results import filled

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAN = float("nan")
ABOVE, BELOW, AROUND, MISSING = (0.5, 0.3, 0.7), (-0.5, -0.7, -0.3), (0.1, -0.2, 0.4), (0.5, NAN, NAN)
EFFECTS = {"above": ABOVE, "below": BELOW, "around": AROUND, "missing": MISSING}
WORDS = {"above": "+0.50** [+0.30, +0.70]", "below": "−0.50** [−0.70, −0.30]", "around": "+0.10** [−0.20, +0.40]"}
WORDS["missing"] = "+0.50** (no interval)"
KINDS = list(EFFECTS)


# --- words for numbers


@pytest.mark.parametrize(("kind", "word"), list(zip(KINDS, "abnu", strict=True)))
def test_words_follow_from_the_interval(kind, word):
    assert told(EFFECTS[kind], "a", "b", "n", "u") == word
    assert interval(EFFECTS[kind]).removeprefix("**") == WORDS[kind]


def test_numbers_are_printed_as_numbers():
    assert wording.number(-0.004) == "0.00" and wording.number(0.0) == "0.00" and wording.number(-0.5) == "−0.50"
    assert wording.number(math.inf) == "∞" and wording.number(NAN) == "–" and wording.number(0.25, sign=False) == "0.25"
    assert wording.percent((0.5, 0.25, 0.75)) == "**50 %** [25, 75]" and wording.thousands(46080) == "46\u202f080"
    assert wording.listed(["a", "b", "c"]) == "a, b and c" and wording.listed(["a"]) == "a" and not wording.listed([])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("by **-0.54** [-0.60, +0.10]", "by **−0.54** [−0.60, +0.10]"),
        ("+0.00 [-0.00, +0.01]", "0.00 [0.00, +0.01]"),
        ("-0.05, +0.050, -0 and +0.00.", "−0.05, +0.050, 0 and 0.00."),
        *[(kept, kept) for kept in ("`a-1 -2`", "$x -2$", "a-1, x1e-05 and 2024-05")],
        ("a gap of 4.1e-08", "a gap of 4.1 × 10⁻⁸"),
        ("47% of 100 %", "47 % of 100 %"),
    ],
)
def test_prose_has_one_kind_of_minus_and_no_signed_zero(text, shown):
    assert wording.typeset(text) == shown and say(text).text == shown


# --- from the chapter to the top of its page and to the opening page


def answered(first, profile="quick"):
    """An output as :func:`answers.show` writes it."""
    run = {"answer": answers.KEY, "profile": profile, "model": "a*b*", "first": first}
    return nbformat.v4.new_output("display_data", data=Prose(f"{first} Rest.", **run)._repr_mimebundle_())


def test_an_answer_is_printed_and_carried_for_the_top_of_the_page(monkeypatch):
    import IPython.display

    kept = []
    monkeypatch.setattr(IPython.display, "display", kept.append)
    answers.show(Run(Params.from_profile("tiny")), Answer("First {ref}`a`.", "Rest."))
    shown = kept[0]._repr_mimebundle_()
    assert shown["text/markdown"] == f"*{wording.label('tiny')}* First a. Rest."
    cell = new_code_cell("1", outputs=[nbformat.v4.new_output("display_data", data=shown)])
    first = new_markdown_cell(f"# A\n\n**Answer.** {ANSWER}")
    page = reference.chapter(new_notebook(cells=[first, cell]), "a", None, set())
    assert f"**Answer.** *{wording.label('tiny')}* First {{ref}}`a`. Rest." in page["cells"][0]["source"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/me/models/mine/", "mine"),
        ("~/mine.csv", "mine.csv"),
        ("../mine", "mine"),
        ("C:\\Users\\me\\mine", "mine"),
        ("owner/name", "owner/name"),
        ("hub:owner/name", "hub:owner/name"),
        ("tiny:llama", "tiny:llama"),
    ],
)
def test_no_place_of_a_machine_is_told(given, shown):
    assert wording.placeless(given) == shown


def test_neither_the_note_nor_the_answer_tells_a_place(monkeypatch):
    import IPython.display

    kept = []
    monkeypatch.setattr(IPython.display, "display", kept.append)
    run = Run(Params.from_profile("tiny", model="/planted/place/mine", data="/planted/place/rows.csv"))
    answers.show(run, Answer("First.", ""))
    said = [kept[0], facts(run)]
    assert "planted" not in str([each._repr_mimebundle_() for each in said]) and "`rows.csv`" in said[1].text


def chapter(folder, name, first=None, profile="quick", stored=False):
    """A chapter as the pages show it: executed, or filled from the reference run."""
    cells = [
        new_markdown_cell(f'<a id="sec-{name}"></a>\n# {name}\n\n**Question.** Q?\n\n**Answer.** {ANSWER}'),
        new_code_cell("1", outputs=[answered(first, profile)] if first else []),
    ]
    book = new_notebook(cells=cells)
    if stored:
        book = nbformat.from_dict(filled(book, book))
    nbformat.write(book, folder / f"{name}.ipynb")


def test_the_opening_page_takes_each_answer_from_its_chapter(tmp_path):
    chapter(tmp_path, "one", "Yes: 0.5.")
    chapter(tmp_path, "two", "No: 0.", stored=True)
    chapter(tmp_path, "three")
    text = reference.in_this_run(tmp_path, ["one", "two", "three"])
    assert "- {ref}`sec-one`: Yes: 0.5.\n" in text and "- {ref}`sec-two`: No: 0. *(Reference run.)*" in text
    assert "sec-three" not in text
    assert text.startswith("Profile quick, model a&#42;b&#42;. *Quick run") and "different runs" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_every_chapter_opens_with_its_answer(path):
    book = nbformat.read(path, 4)
    first = book.cells[0].source
    order = [first.index(part) for part in ("**Question.**", f"**Answer.** {ANSWER}", "**What you will see.**")]
    assert order == sorted(order)
    [made] = [cell for cell in book.cells if "answers.show(" in cell.source]
    assert "remove-cell" in made.metadata["tags"], "the page shows it on top"


# --- glossary, sources


def fields(entry):
    return dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.M))


def test_how_to_cite_agrees_with_the_bibliography_and_the_citation_file():
    page = (ROOT / "book" / "cite.md").read_text("utf-8")
    bib = (ROOT / "book" / "references.bib").read_text("utf-8")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    shown = {}
    for begin, end in re.findall(r':start-at: "([^"]+)"\n:end-before: "([^"]+)"', page):
        assert bib.count(begin) == bib.count(end) == 1
        entry = bib[bib.index(begin) : bib.index(end)]
        assert entry.count("@") == 1, "one entry, whole"
        shown[begin.partition("{")[2]] = fields(entry)
    assert set(shown) == {"zhang2026political", "yang2025dpo", "casademunt2025caft"}

    paper, reference = shown["zhang2026political"], cited["references"][0]
    assert paper["title"] == reference["title"] and paper["year"] == str(reference["year"])
    assert paper["author"].split(" and ") == [f"{a['family-names']}, {a['given-names']}" for a in reference["authors"]]
    assert paper["booktitle"] == reference["collection-title"]
    for identifier in reference["identifiers"]:
        assert identifier["value"] in paper["note"]

    own = fields(page[page.index("@software") :])
    assert own["title"] == cited["title"] and own["version"].strip("{}") == str(cited["version"]) == __version__
    assert own["author"].strip("{}") == cited["authors"][0]["name"] and own["license"] == " AND ".join(cited["license"])
