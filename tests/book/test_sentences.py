"""Answers of chapters: their cells, run on planted effects, say what the intervals allow, and no place of a machine."""

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


def test_vanilla(answered):
    def told(effect):
        stances, sets = table("stance", BELOW, AROUND, ABOVE), table("stance", AROUND, topic="compass")
        stub = SimpleNamespace(mean_stance=lambda run: effect)
        return answered("05_vanilla_stance", results=stub, stances=stances, transfer=sets, paper=paper)

    each(("By the judge it leans right", "By the judge it leans left", "No lean", "Not decided"), told)
    assert "to the left on 1 of 3 and to the right on 1 of 3" in told(ABOVE).rest


def test_patching(answered):
    def told(effect, control=ABOVE):
        by = table("shift", effect, ABOVE, set=["G", "donor itself"], neurons=957).set_index("set")
        stub = SimpleNamespace(paired_patch=lambda run: {"layer": ABOVE, "next_highest": control})
        return answered("06_patching", patch_tables=stub, by=by, g=by.loc["G"], diag=table("shift", AROUND))

    each(("It does", "It goes the other way", "Not shown", "Not decided"), told)
    assert "not clear of both" not in told(ABOVE).first and ": both clear of zero" in told(ABOVE).rest
    assert "not clear of both" in told(ABOVE, AROUND).first and "not both clear of zero" in told(ABOVE, AROUND).rest


def test_inhibitft(answered):
    def told(fall, random=AROUND, lost=BELOW):
        drop = {"fine-tune": fall} | ({"random-layer": random} if random else {})
        more = {"r": BELOW, "own": BELOW, "plain": table("drop", ABOVE), "results": results}
        return answered("07_inhibitft", drop=drop, lost=lost, **more)

    each(("It couples less", "It couples more", "Not shown", "Not decided"), told)
    assert ["the wanted shift falls too" in told(effect).first for effect in EFFECTS] == [True, False, False, False]
    assert "not shown to be more than chance" in told(ABOVE).rest and ": more than chance" in told(ABOVE, ABOVE).rest
    assert "no price" in told(ABOVE, ABOVE, AROUND).rest and "No random set" in told(ABOVE, None).rest


def test_gamma(answered):
    def told(fall, rise):
        effects = {("fine-tune", 2.5): AROUND, ("fine-tune", 5.0): fall, ("from", 25.0): rise, ("random", 5.0): BELOW}
        steps = table("change", *effects.values()).assign(step=[k for k, _ in effects], gamma=[g for _, g in effects])
        return answered("08_gamma", steps=steps, likely=None, frozen="").first

    assert told(BELOW, ABOVE).startswith("It falls, and rises after it: trained on race, freezing G at γ = 5 % changes")
    assert f"stance by {interval(BELOW)}" in told(BELOW, ABOVE) and f"25 % by {interval(ABOVE)}" in told(BELOW, ABOVE)
    assert told(AROUND, AROUND).startswith("No fall is shown, and no rise after it is shown")
    assert told(ABOVE, BELOW).startswith("It rises, and goes on falling after it")
    assert told(MISSING, MISSING).startswith("A fall is not decided, and nor is a rise")


def test_claims_and_verdicts(answered):
    every, unknown = [], "not decided"
    for want, sign, harder, ours in (
        ("above", 1, ["holds here", "does not hold", unknown], ["seen here", "the opposite is seen", unknown]),
        ("below", -1, ["does not hold", "holds here", unknown], ["the opposite is seen", "seen here", unknown]),
        ("none", 0, ["does not hold", "does not hold", "not refuted"], ["not so", "not so", "compatible"]),
    ):
        hard = [verdicts.claim("", "", "", effect, want) for effect in EFFECTS]
        rows = [claim(want, "", effect, sign) for effect in EFFECTS]
        assert [row["verdict"].split(":")[0] for row in hard] == [*harder, unknown]
        assert [row["verdict"].split(":")[0] for row in rows] == [*ours, unknown]
        every += rows
    claims = pd.DataFrame([*every, {"claim": "no interval", "verdict": "see the overlap table"}])
    found = answered("09_paper_beside_ours", claims=claims, mapped=range(22))
    assert "Of 12 claims and controls with an interval **2** are seen" in found.first
    assert "of **4** the opposite is seen" in found.first and "**1**; not decided: **5**." in found.first


def test_what_moved(answered):
    shares = {"vanilla": 0.1, "leaked": 0.4, "leaked_low": 0.3, "leaked_high": 0.5}
    leaks = pd.DataFrame([{"leaning": "right", "trained": "all", **shares}])

    def told(effect, room=0.9):
        moved, left = SimpleNamespace(room=lambda _: room), table("effect", ABOVE, BELOW, ABOVE, BELOW, effect)
        return answered("19_what_moved", leaks=leaks, left=left, moved=moved, positions=None).first

    assert told(ABOVE, 0.04).startswith("Whether the position moved cannot be told"), "no verdict at a ceiling"
    starts = ("The position on statements moved right", "The position on statements moved left", "No move of the")
    for effect, start in zip(EFFECTS[:3], starts, strict=True):
        assert told(effect).startswith(start) and interval(effect) in told(effect)
    assert "**40 %** [30, 50]" in told(ABOVE)


def test_words_follow_from_the_interval_and_numbers_have_no_noise():
    words = [wording.told(effect, "above", "below", "around", "unknown") for effect in EFFECTS]
    assert words == ["above", "below", "around", "unknown"]
    assert {wording.number(1.545 + noise) for noise in (-1e-14, 0, 1e-14)} == {"+1.54"}, "one mean, one text"


def test_no_place_of_a_machine_is_told(monkeypatch):
    import IPython.display

    for place in ("/home/me/models/mine/", "~/mine", "../mine", "C:\\Users\\me\\mine"):
        assert wording.placeless(place) == "mine"
    assert wording.placeless("hub:owner/name") == "hub:owner/name"
    kept = []
    monkeypatch.setattr(IPython.display, "display", kept.append)
    run = Run(Params.from_profile("tiny", model="/planted/place/mine", data="/planted/place/rows.csv"))
    answers.show(run, Answer("First.", ""))
    said = str([each._repr_mimebundle_() for each in (*kept, facts(run))])
    assert "planted" not in said and "`rows.csv`" in said


def test_a_sentence_about_a_table_that_is_not_there_is_left_out():
    text = "- {numref}`fig-a` counts. {numref}`tbl-b` turns all round. More.\n- {numref}`tbl-b` ends R_c²."
    assert without(text, {"fig-a"}) == "- {numref}`fig-a` counts. More.\n"
    assert without("It stands in {numref}`tbl-b`.", set()) == "It stands in *Table (not run)*."
