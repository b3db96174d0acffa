"""What a reader meets first: answers that follow from their intervals, words that are explained, sources that agree."""

import math
from pathlib import Path

from polinb import wording
from polinb.chapters.paper import answers
from polinb.runs.chapter import facts, say
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.wording import Answer, interval, told

ROOT = Path(__file__).resolve().parents[2]
NAN = float("nan")


# --- words for numbers


def test_words_and_numbers_follow_from_the_interval():
    for effect, word, shown in (
        ((0.5, 0.3, 0.7), "a", "+0.50** [+0.30, +0.70]"),
        ((-0.5, -0.7, -0.3), "b", "−0.50** [−0.70, −0.30]"),
        ((0.1, -0.2, 0.4), "n", "+0.10** [−0.20, +0.40]"),
        ((0.5, NAN, NAN), "u", "+0.50** (no interval)"),
    ):
        assert told(effect, "a", "b", "n", "u") == word and interval(effect) == f"**{shown}"
    assert wording.number(-0.004) == "0.00" and wording.number(0.0) == "0.00" and wording.number(-0.5) == "−0.50"
    assert wording.number(math.inf) == "∞" and wording.number(NAN) == "–" and wording.number(0.25, sign=False) == "0.25"
    assert wording.percent((0.5, 0.25, 0.75)) == "**50 %** [25, 75]" and wording.thousands(46080) == "46\u202f080"
    assert wording.listed(["a", "b", "c"]) == "a, b and c" and wording.listed(["a"]) == "a" and not wording.listed([])


def test_prose_has_one_kind_of_minus_and_no_signed_zero():
    for text, shown in (
        ("by **-0.54** [-0.60, +0.10]", "by **−0.54** [−0.60, +0.10]"),
        ("-0.05, +0.050, -0 and +0.00.", "−0.05, +0.050, 0 and 0.00."),
        *[(kept, kept) for kept in ("`a-1 -2`", "$x -2$", "a-1, x1e-05 and 2024-05")],
        ("a gap of 4.1e-08", "a gap of 4.1 × 10⁻⁸"),
        ("47% of 100 %", "47 % of 100 %"),
    ):
        assert wording.typeset(text) == shown and say(text).text == shown


# --- from the chapter to the top of its page and to the opening page


def test_no_place_of_a_machine_is_told(monkeypatch):
    import IPython.display

    for place in ("/home/me/models/mine/", "~/mine", "../mine", "C:\\Users\\me\\mine"):
        assert wording.placeless(place) == "mine"
    for name in ("owner/name", "hub:owner/name", "tiny:llama"):
        assert wording.placeless(name) == name
    kept = []
    monkeypatch.setattr(IPython.display, "display", kept.append)
    run = Run(Params.from_profile("tiny", model="/planted/place/mine", data="/planted/place/rows.csv"))
    answers.show(run, Answer("First.", ""))
    said = [kept[0], facts(run)]
    assert "planted" not in str([each._repr_mimebundle_() for each in said]) and "`rows.csv`" in said[1].text
