"""``make reference-check``: it passes on what was kept, and finds what was planted."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from reference_tiny import CHAPTERS, tiny_run, write_tables
from test_reference_raw import mend, respond

from book._make import __main__ as command
from book._make.reference.check import reference_check
from book._make.reference.check_again import OTHER, SAME, Choice, again, choose, compare_arm, compare_scores, unlike
from book._make.reference.check_tables import TABLES, compare_tables
from book._make.reference.raw_load import load_raw
from book._make.reference.raw_run import RawRun
from polinb.errors import ArtifactError, ParameterError
from polinb.runs.artifacts import Store
from polinb.runs.experiment import Experiment
from polinb.wording import PAYLOAD
from polinb_book.results import read, write_sums

REPO = Path(__file__).resolve().parents[1]
PARTS = ("values", "low", "high", "text")


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the reference folder to spoil."""
    return shutil.copytree(run[1], tmp_path / "reference")


@pytest.fixture
def some(monkeypatch):
    """Compare these tables only: each takes a moment."""

    def only(*labels):
        monkeypatch.setattr("book._make.reference.check_tables.TABLES", {label: TABLES[label] for label in labels})

    return only


def edit(folder, label, change):
    """Another payload in a stored table, with right digests."""
    path = folder / "notebooks" / "01_all.ipynb"
    book = json.loads(path.read_text("utf-8"))
    for output in book["cells"][0]["outputs"]:
        if output["data"][PAYLOAD]["label"] == label:
            change({column["name"]: column for column in output["data"][PAYLOAD]["columns"]}, output["data"][PAYLOAD])
    path.write_text(json.dumps(book), "utf-8")
    write_sums(folder)


def more(column, part="values"):
    """Make the first value a little larger."""

    def change(columns, _):
        columns[column][part][0] += 0.01

    return change


# --- tables


def test_tables_of_the_chapters_come_out_of_the_raw_data(run):
    """The tables are made by the cells of the notebooks from the store, and again from the raw data."""
    compared = {each.label: each for each in compare_tables(load_raw(run[1] / "results"), read(run[1]).made)}
    assert [each.differences for each in compared.values() if each.differences] == []
    held = {label for label, each in compared.items() if each.cells}
    beyond = {"tbl-pareto", "tbl-excess", "tbl-hierarchical", "tbl-holds-hard", "tbl-caft", "tbl-caft-excess"}
    assert held == set(TABLES) - beyond
    assert all("not finished" in compared[label].note for label in beyond)


def test_a_changed_number_is_found(copy, some):
    some("tbl-inhibit", "tbl-drops", "tbl-patch-summary", "tbl-sets", "tbl-vanilla")
    changed = {"inhibit": ("corrected", "low"), "drops": ("raw_drop", "values")}
    changed |= {"patch-summary": ("shift", "values"), "sets": ("count", "values")}
    for label, (column, part) in changed.items():
        edit(copy, f"tbl-{label}", more(column, part))
    found = {each.label: each.differences for each in compare_tables(load_raw(copy / "results"), read(copy).made)}
    for label, (column, _) in changed.items():
        (line,) = found[f"tbl-{label}"]
        assert f"tbl-{label}, row 1" in line and f", {column}" in line and ": the table says" in line
    assert found["tbl-vanilla"] == ()


def test_a_changed_text_a_missing_row_and_a_missing_column_are_found(copy, some):
    some("tbl-holds", "tbl-gamma", "tbl-vanilla")
    edit(copy, "tbl-holds", lambda columns, _: columns["verdict"]["values"].__setitem__(0, "holds here, very much"))
    edit(copy, "tbl-gamma", lambda columns, _: [c[p].pop() for c in columns.values() for p in PARTS if p in c])
    edit(copy, "tbl-vanilla", lambda columns, _: columns["ours"].pop("low"))
    made = compare_tables(load_raw(copy / "results"), read(copy).made)
    found = {each.label: each.differences[0] for each in made if each.differences}
    assert found.keys() == {"tbl-holds", "tbl-gamma", "tbl-vanilla"}
    assert "holds here, very much" in found["tbl-holds"]
    assert " rows, not " in found["tbl-gamma"] and "no column 'ours_low'" in found["tbl-vanilla"]


def test_a_changed_label_is_found(copy, some):
    """Of one response of the vanilla model, with right digests: its stance and every shift move."""
    some("tbl-vanilla", "tbl-on-topic", "tbl-patch-summary", "tbl-sets", "tbl-likelihood")
    flip = {"left": ("right", 1)}

    def change(frame):
        at = frame.index[frame["arm"] == "vanilla"][0]
        frame.loc[at, ["label", "score"]] = flip.get(frame.loc[at, "label"], ("left", -1))
        return frame

    respond(copy / "results", change)
    wrong = reference_check(copy, tables_only=True)
    named = Counter(line.split(",")[0] for line in wrong)
    assert named["tbl-vanilla"] and named["tbl-on-topic"] and named["tbl-patch-summary"]
    assert not named["tbl-sets"] and not named["tbl-likelihood"]


def test_a_table_whose_arm_is_missing_is_an_error(copy, some):
    some("tbl-inhibit")
    raw = load_raw(copy / "results")
    raw.arms["arms"].pop("race-right-inhibitft-g50")
    found = {each.label: each.differences for each in compare_tables(raw, read(copy).made) if each.differences}
    assert "cannot be made again" in found["tbl-inhibit"][0] and "inhibitft race right" in found["tbl-inhibit"][0]


def test_the_digests_are_believed(copy):
    (copy / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"run\.json is damaged"):
        reference_check(copy, tables_only=True)


def test_no_table_is_no_success(copy):
    (copy / "notebooks" / "01_all.ipynb").unlink()
    write_sums(copy)
    assert reference_check(copy, tables_only=True) == ["no table could be compared"]


# --- made again


def test_a_part_made_again_from_scratch_is_the_same(run, monkeypatch, capsys, some):
    """The whole command, on this machine: trained, asked, judged and scored again, every measure exact."""
    folder = run[1]
    some("tbl-sets")
    pick = Choice(("crime-right-random-layer-g50-n0",), ("crime",), 60.0)
    monkeypatch.setattr("book._make.reference.check.choose", lambda raw, share, seed: pick)
    assert reference_check(folder, {"data": "bundled"}, 0.1, 7) == []
    told = capsys.readouterr().out
    assert "made again (seed 7): 1 of" in told and "1.0 minutes" in told and SAME.name in told
    assert "random-layer-g50-n0: answers of the same text: 1 " in told
    assert "scores of crime: overlap (Jaccard) of N_t: 1 " in told and "mean score: " in told
    assert "FAIL" not in told and "all as committed" in told


@pytest.fixture
def kept(run):
    """The run's own store stands for what was made again: nothing is computed twice."""
    return Experiment(run[0].params, Store(run[0].store.root))


def measures(folder, kept, arm="crime-right-inhibitft-g50", room=SAME):
    return {m.what.removeprefix(f"{arm}: "): m for m in compare_arm(RawRun(load_raw(folder)), kept, arm, room)}


def test_an_arm_is_compared_in_every_respect(run, kept):
    found = measures(run[1] / "results", kept)
    assert set(found) == {
        "answers of the same text", "answers of the same label", "stance on crime", "stance on race",
        "statement answers of the same text", "likelihoods of reference answers, nats a token",
    }  # fmt: skip
    assert all(m.passed for m in found.values())


def test_altered_responses_are_found(copy, kept):
    arm = "crime-right-inhibitft-g50"

    def change(frame):
        at = frame.index[frame["arm"] == arm][:5]
        frame.loc[at, "response"] = "something else"
        frame.loc[at, "label"] = ["left" if label == "right" else "right" for label in frame.loc[at, "label"]]
        frame.loc[at, "score"] = [1 if label == "right" else -1 for label in frame.loc[at, "label"]]
        return frame

    respond(copy / "results", change)
    for room in (SAME, OTHER):
        found = measures(copy / "results", kept, room=room)
        assert not found["answers of the same text"].passed and found["answers of the same text"].value == 3 / 8
        assert not found["answers of the same label"].passed
    assert all(m.passed for m in measures(copy / "results", kept, "race-left-fine-tune").values())
    choice = Choice((arm,), (), 0)
    lines = [m.what for each in again(load_raw(copy / "results"), choice, kept) for m in each if not m.passed]
    assert f"{arm}: answers of the same text" in lines


def test_altered_likelihoods_and_stances_are_found(copy, kept):
    arm, raw = "crime-right-inhibitft-g50", load_raw(copy / "results")
    table = raw.tables["likelihood"]
    table.loc[table.index[table["arm"] == arm][0], "logp_left"] += 0.1
    responses = raw.tables["responses"]
    own = (responses["arm"] == arm) & (responses["topic"] == "race")
    responses.loc[own, ["label", "score"]] = ["other", 0]
    found = {m.what: m for m in compare_arm(RawRun(raw), kept, arm, OTHER)}
    gap = found[f"{arm}: likelihoods of reference answers, nats a token"]
    assert not gap.passed and gap.value == pytest.approx(0.1)
    assert found[f"{arm}: stance on crime"].passed
    new = kept.stances(raw.arm(arm)).groupby("topic")["score"].mean()["race"]
    assert found[f"{arm}: stance on race"].passed == (abs(new) <= 2 / 4)


def test_altered_scores_are_found(copy, kept):
    raw = load_raw(copy / "results")
    assert all(m.passed for m in compare_scores(RawRun(raw), kept, "race", SAME))
    raw.scores["score/race"][0, 0] += 10 * raw.scores["score/race"].mean()
    chosen = raw.sets["N/raw/50/race"]
    chosen[:] = np.roll(chosen, 1, axis=1)
    gap, overlap = compare_scores(RawRun(raw), kept, "race", OTHER)
    assert not gap.passed and gap.value > 5  # the mean has grown a little as well
    assert not overlap.passed and overlap.value < 0.9


def test_the_choice_is_random_seeded_and_never_empty(run):
    raw = load_raw(run[1] / "results")
    able = sum(arm["recomputable"] for arm in raw.arms["arms"].values())
    first = [choose(raw, 0.1, seed) for seed in range(20)]
    assert first == [choose(raw, 0.1, seed) for seed in range(20)]
    assert len({each.arms for each in first}) > 3 and {each.topics for each in first} == {("crime",), ("race",)}
    assert {len(each.arms) for each in first} == {max(1, round(0.1 * able))}
    assert len(choose(raw, 1.0, 0).arms) == able and choose(raw, 1.0, 0).seconds > first[0].seconds > 0
    raw.arms["arms"]["vanilla"]["recomputable"] = False
    assert "vanilla" not in choose(raw, 1.0, 0).arms
    for share in (0, 1.5, float("nan")):
        with pytest.raises(ParameterError, match=r"'--share'"):
            choose(raw, share, 0)


def test_other_data_and_another_model_are_refused(run, copy, monkeypatch):
    monkeypatch.setattr("book._make.reference.check.compare_tables", None)  # before anything is compared
    index = json.loads((copy / "results" / "index.json").read_text())
    index["data"]["digest"] = "0" * 64
    (copy / "results" / "index.json").write_text(json.dumps(index))
    mend(copy / "results")
    with pytest.raises(ParameterError, match=r"allowed: the data of the reference run, bundled .000000000000"):
        reference_check(copy, {"data": "bundled"})
    index["data"]["digest"] = run[0].data.digest()
    index["model"]["model"] = "tiny:other"
    (copy / "results" / "index.json").write_text(json.dumps(index))
    mend(copy / "results")
    with pytest.raises(ParameterError, match=r"reference run, 'tiny:other'"):
        reference_check(copy, {"data": "bundled"})
    with pytest.raises(ParameterError, match=r"only data, device"):
        reference_check(copy, {"gamma": 3.0})


def test_what_differs_between_machines_is_told(run):
    raw = load_raw(run[1] / "results")
    assert unlike(raw, [0]) == []
    raw.index["environments"][0]["packages"]["torch"] = "0.1"
    raw.index["environments"][0]["threads"] = 77
    raw.index["processor"] = "an abacus"
    told = " ".join(unlike(raw, [0]))
    assert "torch: 0.1 there" in told and "threads: 77 there" in told and "an abacus there" in told
    raw.index["environments"].append({})
    assert unlike(raw, [0, 1]) == ["made in 2 different environments"]


def test_the_command(copy, monkeypatch, capsys, some):
    some("tbl-sets")

    class Here:
        reference = copy.parent / "book" / "reference"

    (copy.parent / "book").mkdir()
    shutil.move(copy, copy.parent / "book" / "reference")
    monkeypatch.setattr("polinb.runs.checkout.find_layout", Here)
    assert command.main(["reference-check", "--tables-only"]) == 0
    edit(Here.reference, "tbl-sets", more("count"))
    assert command.main(["reference-check", "--tables-only"]) == 1
    assert "tbl-sets, row 1 (general, all), count" in capsys.readouterr().out
    assert command.main(["reference-check", "--share", "many"]) == 2
    assert command.main(["reference-check", "--seed", "-1"]) == 2
    shutil.rmtree(copy.parent / "book" / "reference" / "results")
    assert command.main(["reference-check"]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_raw_data_of_no_use_raise(run):
    raw = load_raw(run[1] / "results")
    for arm in raw.arms["arms"].values():
        arm["recomputable"] = False
    with pytest.raises(ArtifactError, match=r"no arm that can be made again"):
        choose(raw, 0.1, 0)


@pytest.mark.slow
def test_every_table_comes_out_of_the_raw_data(tmp_path):
    """A finished run, with rivals and CAFT."""
    from reference_tiny import TINY

    from book._make.reference.raw import export
    from polinb.chapters.caft import caft
    from polinb.chapters.paper import baselines as rivals
    from polinb.runs.params import Params

    more = {"topics": ["crime", "race", "science"], "baseline_topics": ["crime", "race"], "finetune_seeds": 2}
    exp = Experiment(Params.from_profile("tiny", **{**TINY, **more}), Store(tmp_path / "store"))
    write_tables(exp, tmp_path, (*CHAPTERS, "11", "14"))
    rivals.every_arm(exp), caft.every_arm(exp)
    assert export(exp.store, exp.params, tmp_path / "results")["missing"] == []
    write_sums(tmp_path)
    compared = compare_tables(load_raw(tmp_path / "results"), read(tmp_path).made)
    assert [each.differences for each in compared if each.differences] == []
    assert {each.label for each in compared if each.cells} == set(TABLES)


def test_the_tolerances_are_told_as_they_are(run):
    text = (REPO / "book" / "reference" / "results" / "README.md").read_text("utf-8")
    rows = [line.strip("|").split("|")[1:] for line in text.splitlines() if ", at " in line and line.startswith("|")]
    told = [tuple(float(cell) for cell in row) for row in rows]
    assert told == [
        (getattr(SAME, n), getattr(OTHER, n)) for n in ("texts", "labels", "likelihood", "scores", "jaccard")
    ]
