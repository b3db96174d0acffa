"""What a reader meets first: answers that follow from their intervals, words that are explained, sources that agree."""

import json
import math
import re
import shlex
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from polinb import __version__, wording
from polinb.chapters.paper import answers, answers_interventions
from polinb.runs.chapter import say
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.wording import Answer, Prose, interval, told
from polinb_book import reference
from polinb_book.outputs import weave
from polinb_book.results import filled

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAN = float("nan")
ABOVE, BELOW, AROUND, MISSING = (0.5, 0.3, 0.7), (-0.5, -0.7, -0.3), (0.1, -0.2, 0.4), (0.5, NAN, NAN)
EFFECTS = {"above": ABOVE, "below": BELOW, "around": AROUND, "missing": MISSING}
WORDS = {"above": "+0.50** [+0.30, +0.70]", "below": "−0.50** [−0.70, −0.30]", "around": "+0.10** [−0.20, +0.40]"}
WORDS["missing"] = "+0.50** (no interval)"
KINDS = list(EFFECTS)


def row(name, effect, **more):
    """One row of a table: a value with its ends as ``low`` and ``high``."""
    return {name: effect[0], "low": effect[1], "high": effect[2], **more}


def opened(answer, starts, effect=None):
    """The answer begins as it should and shows the effect with its interval."""
    assert answer.first.startswith(starts), answer.first
    assert effect is None or WORDS[effect] in answer.first, answer.first
    assert answer.first.endswith(".") and "nan" not in answer.text and "  " not in answer.text, answer.text
    return answer


# --- words for numbers


@pytest.mark.parametrize(("kind", "word"), list(zip(KINDS, "abnu", strict=True)))
def test_words_follow_from_the_interval(kind, word):
    assert told(EFFECTS[kind], "a", "b", "n", "u") == word
    assert interval(EFFECTS[kind]).removeprefix("**") == WORDS[kind]


def test_an_interval_that_touches_zero_is_not_clear_of_it():
    assert wording.clear((0.5, 0.0, 1.0)) == 0 and wording.clear((-0.5, -1.0, 0.0)) == 0


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


def test_powers_of_ten_are_written_out():
    assert wording.power(1.6e-6) == "2 × 10⁻⁶" and wording.power(0.02) == "0.02" and wording.power(-3e12) == "−3 × 10¹²"


def test_only_small_runs_are_labelled():
    assert "mean nothing" in wording.label("tiny") and "wide intervals" in wording.label("quick")
    assert wording.label("full") == wording.label("paper") == ""


# --- one answer a chapter


@pytest.mark.parametrize("kind", KINDS)
def test_phenomenon(kind):
    starts = {"above": "Yes", "below": "It moves the other way", "around": "Not shown", "missing": "Not decided"}
    right = pd.DataFrame(
        [
            row("shift", ABOVE, trained="race", topic="race"),
            row("shift", AROUND, trained="crime", topic="crime"),
            row("shift", AROUND, trained="race", topic="crime"),
        ]
    )
    found = opened(
        answers.phenomenon({"own": ABOVE, "away": EFFECTS[kind], "apart": AROUND}, right), starts[kind], kind
    )
    assert "1 of 2 trained" in found.rest and "0 of 1 pairs" in found.rest and "style alone may have" in found.rest
    found = answers.phenomenon({"own": ABOVE, "away": ABOVE, "apart": EFFECTS[kind]}, right)
    assert ("the side of the data did that" in found.rest) == (kind == "above")


@pytest.mark.parametrize(("hits", "better"), [(0.9, True), (0.55, False)])
def test_data(hits, better):
    counts = pd.DataFrame({"all": [90, 90]}, index=["race", "crime"])
    last = {"accuracy": hits, "references": 100, "left_recall": hits, "right_recall": hits, "whole": 1.0}
    found = answers.data(counts, pd.DataFrame([{**last, "topic_unseen": NAN}]), 26)
    assert "180 prompts on 2 topics" in found.first and ("not clearly better" in found.first) == (not better)
    assert f"{2 * hits - 1:.2f} of its size" in found.rest and "never saw" not in found.rest
    found = answers.data(counts, pd.DataFrame([{**last, "topic_unseen": 0.8}]), 26)
    assert "80 % where the judge never saw the topic" in found.rest


def overlap(raw, normalised, loud=0.9):
    names = {"percent": 2.0, "chance": 0.05, "in_raw_g": 0.1}
    return pd.DataFrame([{"neurons": n, "in_scale_top": loud, **names} for n in (raw, normalised)])


def test_pnlac():
    found = answers.pnlac(overlap(957, 86), 5, 46080)
    assert "957 of 46\u202f080" in found.first and "**90 %**" in found.first and "loudness alone picks" in found.rest
    assert "does not explain" in answers.pnlac(overlap(957, 86, 0.2), 5, 46080).rest
    assert "G is empty." in answers.pnlac(overlap(957, 0), 5, 46080).rest
    assert "G is empty in this run" in answers.pnlac(overlap(0, 0), 5, 46080).first


def test_distribution():
    wide = pd.DataFrame({"percent": [2.0, 3.0], "paper": [4.35, 0.65]})
    last = {"general": 0.9, "topic-specific": 0.8, "loudest": 0.95, "neutral": 0.9}
    found = answers.distribution(last, 1 / 3, wide)
    assert found.first.startswith("Mostly in") and "says little" in found.rest and "4.35 %" in found.rest
    found = answers.distribution(last | {"general": 0.2, "loudest": 0.1, "neutral": 0.1}, 1 / 3, wide)
    assert found.first.startswith("Not mainly") and "does not explain the place" in found.rest
    assert answers.distribution(last | {"general": NAN}, 1 / 3, wide).first.startswith("No neuron is general")


@pytest.mark.parametrize("kind", KINDS)
def test_vanilla(kind):
    starts = {"above": "It leans right", "below": "It leans left", "around": "No lean", "missing": "Not decided"}
    stances = pd.DataFrame([row("stance", BELOW), row("stance", AROUND), row("stance", ABOVE)])
    said = pd.DataFrame([row("stance", AROUND, topic="compass")])
    found = opened(answers.vanilla(EFFECTS[kind], stances, said), starts[kind], kind)
    assert "left on 1 of 3" in found.rest and "right on 1 of 3" in found.rest and "compass" in found.rest


@pytest.mark.parametrize("kind", KINDS)
def test_patching(kind):
    starts = {"above": "It does", "below": "It goes the other way", "around": "Not shown", "missing": "Not decided"}
    summary = pd.DataFrame(
        [row("shift", EFFECTS[kind], set="G", neurons=957), row("shift", ABOVE, set="donor itself", neurons=0)]
    )
    own = pd.DataFrame([row("shift", AROUND, trained="race", topic="race")])
    beats = {"layer": ABOVE, "next_highest": ABOVE}
    found = opened(answers_interventions.patching(summary, beats, own), starts[kind], kind)
    assert "clear of both controls" in found.rest and "not clear" not in found.rest and "0 of 1" in found.rest
    assert "not clear of both" in answers_interventions.patching(summary, beats | {"next_highest": AROUND}, own).rest


@pytest.mark.parametrize("kind", KINDS)
def test_inhibitft(kind):
    starts = {"above": "It couples less", "below": "It couples more", "around": "Not shown", "missing": "Not decided"}
    rows = [
        row("drop", EFFECTS[kind], trained="all", against="fine-tune"),
        row("drop", AROUND, trained="all", against="random-layer"),
        row("drop", ABOVE, trained="race", against="fine-tune"),
    ]
    found = opened(answers_interventions.inhibitft(pd.DataFrame(rows), BELOW), starts[kind], kind)
    assert "1 of 1" in found.rest and "not shown to be more than chance" in found.rest and "the price" in found.rest
    rows[1] = row("drop", ABOVE, trained="all", against="random-layer")
    found = answers_interventions.inhibitft(pd.DataFrame(rows), AROUND)
    assert ": more than chance" in found.rest and "no price is shown" in found.rest
    assert "No random set" in answers_interventions.inhibitft(pd.DataFrame([rows[0], rows[2]]), AROUND).rest


def test_gamma():
    def steps(fall, rise):
        named = {"fine-tune": {2.5: AROUND, 5.0: fall, 25.0: AROUND}, "from": {2.5: AROUND, 25.0: rise}}
        named["random"] = {5.0: ABOVE, 25.0: AROUND}
        return pd.DataFrame(
            [row("drop", effect, step=s, gamma=g) for s, each in named.items() for g, effect in each.items()]
        )

    found = answers_interventions.gamma(steps(ABOVE, BELOW), 5.0, ["race"])
    assert found.first.startswith("It falls, and rises after it: freezing G at γ = 5 % changes")
    # a drop of 0.5 is a change of −0.5
    assert "R by **−0.50** [−0.70, −0.30]" in found.first and "25 % by **+0.50** [+0.30, +0.70]" in found.first
    assert "1 of 2 values" in found.rest and "lowest at γ = 5 %" in found.rest
    found = answers_interventions.gamma(steps(AROUND, AROUND), 5.0, ["race", "crime"])
    assert found.first.startswith("No fall is shown, and no rise after it is shown") and "topics: race" in found.rest
    found = answers_interventions.gamma(steps(BELOW, ABOVE), 5.0, ["race"])
    assert found.first.startswith("It rises, and goes on falling after it")
    assert answers_interventions.gamma(steps(ABOVE, ABOVE).head(0), 5.0, ["race"]).first.startswith("Not decided")


def test_beside():
    verdicts = ["seen here", "compatible", "the opposite is seen", "not so: the interval excludes 0"]
    verdicts += ["not decided: the interval holds 0", "see the overlap table"]
    claims = pd.DataFrame({"claim": list("ABCDEF"), "effect": "-0.1 [-0.2, +0.0]", "verdict": verdicts})
    found = answers_interventions.beside(claims, pd.DataFrame({"exhibit": range(22)}))
    assert "Of 5 claims" in found.first and "supports **1**, contradicts **2** and leaves **2**" in found.first
    assert "“A”" in found.rest and "“B”" not in found.rest and "All 22 figures and tables" in found.rest


# --- from the chapter to the top of its page and to the opening page


PLACE = "{glue:md}`answer:myst`"


def answered(first, profile="quick"):
    """An output as :func:`answers.show` writes it."""
    run = {"answer": answers.KEY, "profile": profile, "model": "a*b*", "first": first}
    return nbformat.v4.new_output("display_data", data=Prose(f"{first} Rest.", **run)._repr_mimebundle_())


def test_an_answer_is_kept_as_glue_keeps_things(monkeypatch):
    import IPython.display
    from myst_nb.ext.glue import extract_glue_data_cell

    kept = []
    monkeypatch.setattr(IPython.display, "display", kept.append)
    answers.show(Run(Params.from_profile("tiny")), Answer("First {ref}`a`.", "Rest."))
    shown = kept[0]._repr_mimebundle_()
    assert shown["text/markdown"] == f"*{wording.label('tiny')}* First a. Rest."
    cell = new_code_cell("1", outputs=[nbformat.v4.new_output("display_data", data=shown)])
    weave(cell, {}, set())
    [(name, found)] = extract_glue_data_cell(cell)
    assert name == answers.KEY
    assert found["data"]["text/markdown"] == f"*{wording.label('tiny')}* First {{ref}}`a`. Rest."


def chapter(folder, name, first=None, profile="quick", stored=False):
    """A chapter as the pages show it: executed, or filled from the reference run."""
    cells = [
        new_markdown_cell(f"(sec-{name})=\n# {name}\n\n**Question.** Q?\n\n**Answer.** {PLACE}"),
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


def test_lines_of_different_runs_are_told_apart(tmp_path):
    chapter(tmp_path, "one", "Yes.", "quick")
    chapter(tmp_path, "two", "No.", "tiny")
    text = reference.in_this_run(tmp_path, ["one", "two"])
    assert "different runs" in text and "Yes. (quick, " in text and "No. (tiny, " in text and "mean nothing" in text


def test_a_chapter_without_an_answer_says_so(tmp_path):
    chapter(tmp_path, "one")
    book = reference.chapter(json.loads((tmp_path / "one.ipynb").read_text()), "one", None, set())
    assert "**Answer.** *(not run)*" in book["cells"][0]["source"] and "glue" not in str(book)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_every_chapter_opens_with_its_answer(path):
    book = nbformat.read(path, 4)
    first = book.cells[0].source
    order = [first.index(part) for part in ("**Question.**", f"**Answer.** {PLACE}", "**What you will see.**")]
    assert order == sorted(order)
    [made] = [cell for cell in book.cells if "answers.show(" in cell.source]
    assert "remove-cell" in made.metadata["tags"], "the page shows it on top"


# --- glossary, sources


def glossary():
    """Terms of the glossary, in lower case."""
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", (ROOT / "book" / "glossary.md").read_text("utf-8"), re.S)
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith(" ")]
    terms = [line.lower() for line in lines]
    assert len(terms) == len(set(terms)) > 40
    return set(terms)


def test_every_term_that_is_linked_is_in_the_glossary():
    texts = {path.name: path.read_text("utf-8") for path in (ROOT / "book").glob("*.md")}
    for path in NOTEBOOKS:
        texts[path.name] = "\n".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
    used = [
        (name, (found[2] or found[1]).lower())
        for name, text in texts.items()
        for found in re.finditer(r"\{term\}`([^`<]+?)(?:\s*<([^`>]+)>)?`", text)
    ]
    assert len(used) > 30
    assert [each for each in used if each[1] not in glossary()] == []


@pytest.mark.parametrize("page", ["book/reproduce.md", "README.md"])
def test_settings_in_printed_commands_are_allowed(page):
    """What a reader copies must not be refused."""
    from polinb.runs.checkout import chapter_names, find_layout, parse_settings

    commands = [
        line.split("#")[0]
        for block in re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)
        for line in block.splitlines()
        if re.match(r"\s*(make book|papermill notebooks|python -m book._make book)", line)
    ]
    assert len(commands) > 2
    for command in commands:
        words = shlex.split(command)
        given = [word for word in words if re.match(r"(PROFILE|MODEL|DATA|GAMMA)=[^$]+$", word)]
        texts = [f"{name.lower()}={value}" for name, _, value in (word.partition("=") for word in given)]
        texts += [text for word in words if word.startswith("PARAMS=") for text in word[7:].split()]
        for at, word in enumerate(words):
            if word == "-p":
                texts.append(f"{words[at + 1]}={words[at + 2]}")
            elif word in ("--set", "--profile"):
                texts.append(words[at + 1] if word == "--set" else f"profile={words[at + 1]}")
        settings = parse_settings(texts)
        Params.from_profile(settings.pop("profile", "quick"), **settings)
        for chosen in re.findall(r"(?:--chapters |CHAPTERS=)(\S+)", command):
            assert chosen in ("core", "all") or set(chosen.split(",")) <= set(chapter_names(find_layout())), command


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


def test_the_drawing_has_words_for_those_who_do_not_see_it():
    text = (ROOT / "book" / "_parts" / "story.html").read_text("utf-8")
    assert text.count('role="img" aria-label="') == text.count("<svg") == 4
    assert "not measured" in text and "http" not in text and "<script" not in text
