"""What a reader meets first: words that follow from their intervals, and no place of a machine."""

import math

from polinb import wording
from polinb.chapters.paper import answers
from polinb.runs.chapter import facts
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.wording import Answer, interval, told

NAN = float("nan")


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
