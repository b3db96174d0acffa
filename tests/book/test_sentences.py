"""Answers of chapters: their cells, run on planted effects, say what the intervals allow, and no place of a machine."""

import math
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest

from polinb import wording
from polinb.chapters.paper import answers, paper, results, verdicts
from polinb.chapters.paper.beside import claim
from polinb.runs.chapter import facts
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.wording import Answer, interval
from polinb_book.prose import without

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NAN = float("nan")
ABOVE, BELOW, AROUND, MISSING = (0.5, 0.3, 0.7), (-0.5, -0.7, -0.3), (0.1, -0.2, 0.4), (0.5, NAN, NAN)
EFFECTS = (ABOVE, BELOW, AROUND, MISSING)


def table(name, *effects, **more):
    """Rows of effects with their ends as ``low`` and ``high``."""
    return pd.DataFrame(effects, columns=[name, "low", "high"]).assign(**more)


@pytest.fixture
def answered(monkeypatch):
    """Runs a chapter's last code cell in a space with what the cells before it would have left."""

    def run_cell(chapter, **space):
        kept = []
        monkeypatch.setattr(answers, "show", lambda run, answer: kept.append(answer))
        cells = [c for c in nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", 4).cells if "answers.show(" in c.source]
        params = SimpleNamespace(gamma=5.0, ablation_topics=["race"])
        exec(compile(cells[0].source, chapter, "exec"), {"run": SimpleNamespace(params=params), **space})
        [found] = kept
        assert "nan" not in " ".join(found) and found.first.endswith(".")
        return found

    return run_cell


def each(starts, tell):
    """For each effect: the first sentence starts as it must, holds the effect, and says where zero is included."""
    for effect, start in zip(EFFECTS, starts, strict=True):
        found = tell(effect)
        assert found.first.startswith(start) and interval(effect) in found.first, found.first
        own, *_ = found.first.split(" In the reference run")  # whose numbers are no planted ones
        assert ("includes zero" in own) == (effect == AROUND)


def test_phenomenon(answered):
    def told(away, apart=AROUND):
        stub = SimpleNamespace(spill_over=lambda run: {"own": ABOVE, "away": away, "apart": apart})
        return answered("01_phenomenon", results=stub, on=table("shift", ABOVE, AROUND), off=table("shift", AROUND))

    each(("By the judge, yes", "It moves the other way", "Not shown", "Not decided"), told)
    said = [("the side of the data did that" in told(ABOVE, effect).rest) for effect in EFFECTS]
    assert said == [True, False, False, False] and "1 of 2 trained" in told(ABOVE).rest


def test_pnlac(answered):
    row = pd.Series({"percent": 2.0, "chance": 0.05, "in_raw_g": 0.1, "in_neutral_top": 0.8, "in_scale_top": 0.9})

    def found(raw, norm, share=0.9):
        rows = [pd.concat([row.replace(0.9, share), pd.Series({"neurons": n})]) for n in (raw, norm)]
        return answered("03_pnlac", raw=rows[0], norm=rows[1], layers=30, width=1536)

    assert "957 of 46\u202f080" in found(957, 86).first and "scale alone picks" in found(957, 86).rest
    assert "does not explain" in found(957, 86, 0.2).rest and "G is empty." in found(957, 0).rest
    assert found(0, 0).first.endswith("G is empty in this run.") and not found(0, 0).rest


def test_vanilla(answered):
    stances, sets = table("stance", BELOW, AROUND, ABOVE), table("stance", AROUND, topic="compass")

    def told(effect):
        stub = SimpleNamespace(mean_stance=lambda run: effect)
        found = answered("05_vanilla_stance", results=stub, stances=stances, transfer=sets, paper=paper)
        assert "left on 1 of 3" in found.rest and "right on 1 of 3" in found.rest
        return found

    each(("By the judge it leans right", "By the judge it leans left", "No lean", "Not decided"), told)


def test_patching(answered):
    def told(effect, control=ABOVE):
        by = table("shift", effect, ABOVE, set=["G", "donor itself"], neurons=957).set_index("set")
        stub = SimpleNamespace(paired_patch=lambda run: {"layer": ABOVE, "next_highest": control})
        return answered("06_patching", patch_tables=stub, by=by, g=by.loc["G"], diag=table("shift", AROUND))

    each(("It does", "It goes the other way", "Not shown", "Not decided"), told)
    assert "not clear of both" not in told(ABOVE).first and "both clear of zero" in told(ABOVE).rest
    assert "not clear of both" in told(ABOVE, AROUND).first and "not both clear of zero" in told(BELOW, AROUND).rest


def test_inhibitft(answered):
    def told(fall, random=AROUND, lost=BELOW, likely=BELOW):
        drop = {"fine-tune": fall} | ({"random-layer": random} if random else {})
        likely = {"r": BELOW, "own": likely}
        return answered("07_inhibitft", drop=drop, lost=lost, plain=table("drop", ABOVE), results=results, **likely)

    each(("It couples less", "It couples more", "Not shown", "Not decided"), told)
    assert f"the wanted shift by {interval(MISSING, 1, unit=' %')}." in told(ABOVE, likely=MISSING).rest
    assert "and the wanted shift" not in told(ABOVE, likely=(NAN, NAN, NAN)).rest
    said = ["the wanted shift falls too" in told(effect).first for effect in EFFECTS]
    assert said == [True, False, False, False]
    assert "not shown to be more than chance" in told(ABOVE).rest and ": more than chance" in told(ABOVE, ABOVE).rest
    assert "no price" in told(ABOVE, ABOVE, AROUND).rest and "No random set" in told(ABOVE, None, AROUND).rest


def test_gamma(answered):
    def told(fall, rise):
        steps = {("fine-tune", 2.5): AROUND, ("fine-tune", 5.0): fall, ("from", 2.5): AROUND, ("from", 25.0): rise}
        steps |= {("random", 5.0): BELOW, ("random", 25.0): AROUND}
        names = [{"step": step, "gamma": gamma} for step, gamma in steps]
        likely = pd.DataFrame({"gamma": [5.0, 25.0]})
        frame = pd.concat([pd.DataFrame(names), table("change", *steps.values())], axis=1)
        return answered("08_gamma", steps=frame, likely=likely, frozen="less" if fall is BELOW else "")

    found = told(BELOW, ABOVE)
    assert found.first.startswith("It falls, and rises after it: trained on race, freezing G at γ = 5 % changes")
    assert f"stance by {interval(BELOW)}" in found.first and f"25 % by {interval(ABOVE)}" in found.first
    assert found.rest.endswith("freezing at γ = 25 % changes R by less.")
    assert told(AROUND, AROUND).first.startswith("No fall is shown, and no rise after it is shown")
    assert told(ABOVE, BELOW).first.startswith("It rises, and goes on falling after it")
    assert told(MISSING, MISSING).first.startswith("A fall is not decided, and nor is a rise")


def test_claims_and_verdicts(answered):
    wants = {"above": 1, "below": -1, "none": 0}
    assert {
        want: [verdicts.claim("", "", "", effect, want)["verdict"].split(":")[0] for effect in EFFECTS]
        for want in wants
    } == {
        "above": ["holds here", "does not hold", "not decided", "not decided"],
        "below": ["does not hold", "holds here", "not decided", "not decided"],
        "none": ["does not hold", "does not hold", "not refuted", "not decided"],
    }
    rows = {want: [claim(want, "", effect, sign) for effect in EFFECTS] for want, sign in wants.items()}
    assert {want: [row["verdict"].split(":")[0] for row in own] for want, own in rows.items()} == {
        "above": ["seen here", "the opposite is seen", "not decided", "not decided"],
        "below": ["the opposite is seen", "seen here", "not decided", "not decided"],
        "none": ["not so", "not so", "compatible", "not decided"],
    }
    every = [row for own in rows.values() for row in own]
    claims = pd.DataFrame([*every, {"claim": "no interval", "verdict": "see the overlap table"}])
    found = answered("09_paper_beside_ours", claims=claims, mapped=range(22))
    assert "Of 12 claims and controls with an interval **2** are seen" in found.first
    assert "of **4** the opposite is seen" in found.first and "**1**; not decided: **5**." in found.first
    assert "Each of the 22 figures and tables" in found.rest and found.rest.count("“") == 6


def test_what_moved(answered):
    shares = {"vanilla": 0.1, "leaked": 0.4, "leaked_low": 0.3, "leaked_high": 0.5}
    leaks = pd.DataFrame([{"leaning": "right", "trained": "all", **shares}])

    def told(effect, room):
        moved, left = SimpleNamespace(room=lambda _: room), table("effect", ABOVE, BELOW, ABOVE, BELOW, effect)
        return answered("19_what_moved", leaks=leaks, left=left, moved=moved, positions=None)

    assert told(ABOVE, 0.04).first.startswith("Whether the position moved cannot be told"), "no verdict at a ceiling"
    starts = ("The position on statements moved right", "The position on statements moved left", "No move of the")
    for effect, start in zip(EFFECTS[:3], starts, strict=True):
        found = told(effect, 0.9)
        assert found.first.startswith(start) and interval(effect) in found.first and "**40 %** [30, 50]" in found.first


def test_words_and_numbers_follow_from_the_interval():
    words = [wording.told(effect, "above", "below", "around", "unknown") for effect in EFFECTS]
    assert words == ["above", "below", "around", "unknown"]
    assert interval(ABOVE) == "**+0.50** [+0.30, +0.70]" and interval(BELOW) == "**−0.50** [−0.70, −0.30]"
    assert interval(AROUND) == "**+0.10** [−0.20, +0.40]" and interval(MISSING) == "**+0.50** (no interval)"
    numbers = [-0.004, 0.0, -0.5, math.inf, NAN]
    assert [wording.number(each) for each in numbers] == ["0.00", "0.00", "−0.50", "∞", "–"]
    assert {wording.number(1.545 + noise) for noise in (-1e-14, 0, 1e-14)} == {"+1.54"}, "one mean, one text"
    assert wording.number(0.25, sign=False) == "0.25" and wording.thousands(46080) == "46\u202f080"
    assert wording.percent((0.5, 0.25, 0.75)) == "**50 %** [25, 75]"
    assert [wording.listed(each) for each in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]


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


def test_a_sentence_about_a_table_that_is_not_there_is_left_out():
    text = "- {numref}`fig-a` counts. {numref}`tbl-b` turns all round. More.\n- {numref}`tbl-b` ends R_c²."
    assert without(text, {"fig-a"}) == "- {numref}`fig-a` counts. More.\n"
    assert without(text, {"fig-a", "tbl-b"}) == text
    assert without("It stands in {numref}`tbl-b`.", set()) == "It stands in *Table (not run)*."
