"""The responses browser's data: they are the stages' own tables, packed so that they can be unpacked again."""

import copy
import math

import numpy as np
import pandas as pd
import pytest

from polinb.chapters.paper import judge_tables as judging
from polinb.chapters.paper import patch_tables, results
from polinb.display import label_flips, responses
from polinb.display.responses import Column
from polinb.display.webdata import packed
from polinb.errors import DataError
from polinb.runs.artifacts import Store
from polinb.runs.conditions import VANILLA
from polinb.runs.params import Params
from polinb.runs.run import Run

TOPICS = ["crime", "race"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run with two topics, after the chapters on coupling, the vanilla stance, patching and InhibitFT."""
    run = Run(Params.from_profile("tiny", topics=TOPICS, controls=["layer"]), Store(tmp_path_factory.mktemp("store")))
    results.variant_shifts(run)
    patch_tables.patching(run)
    results.couplings(run, results.inhibit_conditions(run))
    judging.verdict(run)
    return run


@pytest.fixture(scope="module")
def cols(run):
    """The chapter trains and asks nothing new."""
    before = kept(run)
    found = responses.columns(run)
    responses.browser(run, found), label_flips.label_flips(run, found)
    assert kept(run) == before and {"answers", "weights", "patched", "rated"} <= {name.split("/")[0] for name in before}
    return found


def test_a_place_of_this_machine_is_not_carried_to_readers(run, cols):
    other = copy.copy(run)
    other.params = run.params.model_copy(update={"model": "/home/me/mine"})
    assert responses.browser_data(other, cols)["about"]["model"] == "mine"


def kept(run):
    return {f"{path.parent.name}/{path.name}" for path in run.store.root.glob("*/*") if not path.name.startswith(".")}


def unpacked(data, column):
    """A column of the page's data as a table again."""
    q, own = data["questions"], data["columns"][column]
    return pd.DataFrame(
        {
            "topic": [data["topics"][t] for t in q["topic"]],
            "id": q["id"],
            "prompt": [data["texts"][t] for t in q["prompt"]],
            "response": [None if t < 0 else data["texts"][t] for t in own["text"]],
            "label": [None if x < 0 else data["labels"][x] for x in own["label"]],
            "p_right": [None if p is None else p / data["steps"] for p in own["p"]],
            "n_tokens": own["tokens"],
        }
    )


def test_the_random_control_is_one_that_the_run_has(run):
    for controls, name in (
        (["uniform", "layer", "next_highest"], "random-layer"),
        (["uniform", "next_highest"], "random-next_highest"),
        (["uniform", "heldout"], "random-uniform"),
        (["heldout"], None),
    ):
        run = Run(run.params.model_copy(update={"controls": controls}), run.store)
        conditions = responses.frozen_conditions(run, "crime")
        assert conditions["inhibit"].name == "inhibitft"
        assert (conditions["random"].name if "random" in conditions else None) == name


def test_the_page_holds_what_the_tables_hold(run, cols):
    data = responses.browser_data(run, cols)
    assert data["counts"] == {"a_topic": 4, "rows": 8, "of": 8}
    asked = run.questions()
    for number, col in enumerate(cols):
        got = unpacked(data, number)
        assert list(zip(got["topic"], got["id"], got["prompt"], strict=True)) == list(
            zip(asked["topic"], asked["id"], asked["prompt"], strict=True)
        )
        known = got[got["label"].notna()].reset_index(drop=True)
        unasked = got[got["label"].isna()]
        assert unasked[["response", "p_right", "n_tokens"]].isna().all(axis=None)
        assert len(known) == len(col.frame) == (4 if col.kind.startswith("patch") else 8)
        both = known.merge(col.frame, on=["topic", "id"], suffixes=("", "_own"))
        assert len(both) == len(known)
        assert (both["response"] == both["response_own"]).all() and (both["label"] == both["label_own"]).all()
        np.testing.assert_allclose(both["p_right"].astype(float), both["p_right_own"], atol=0.5 / data["steps"])
        assert both["n_tokens"].astype(int).tolist() == both["n_tokens_own"].tolist()
    for side in ("left", "right"):
        assert [data["texts"][t] for t in data["questions"][side]] == asked[side].tolist()


def test_unfiltered_means_are_the_stances_of_the_results(run, cols):
    data = responses.browser_data(run, cols)
    conditions = {"vanilla": VANILLA, "right": run.tuned("race"), "left": run.tuned("race", "left")}
    conditions |= dict(zip(("inhibit", "random"), run.inhibited("race"), strict=True))
    for col, own in zip(cols, data["columns"], strict=True):
        if col.kind in conditions and col.trained in ("", "race"):
            for row in results.stances(run, conditions[col.kind]).itertuples():
                assert own["whole"][row.topic] == pytest.approx([row.n, row.stance, row.low, row.high], abs=1e-6)
    few = responses.browser_data(Run(run.params.model_copy(update={"browse_questions": 1}), run.store), cols)
    assert few["counts"] == {"a_topic": 1, "rows": 2, "of": 8}
    assert few["columns"][0]["whole"]["all"][0] == 8, "the whole run's stance is of the whole run"


# --- without a run


def frame(rows):
    names = ["topic", "id", "response", "label", "p_right", "n_tokens"]
    out = pd.DataFrame(rows, columns=names)
    return out.assign(score=out["label"].map({"left": -1, "right": 1}).fillna(0).astype(int))


def questions(count, topics=("crime",)):
    rows = [(t, f"{t}-{i:03d}", f"Is {t} {i} good?", f"left {i}", f"right {i}") for t in topics for i in range(count)]
    return pd.DataFrame(rows, columns=["topic", "id", "prompt", "left", "right"])


def test_like_texts_are_kept_once_and_what_is_missing_stays_so():
    rows = [("crime", "crime-000", "same", "left", 0.2, 1), ("crime", "crime-001", "same", "right", math.nan, math.nan)]
    data = responses.payload(questions(2), [Column("vanilla", "", "vanilla", frame(rows))], 5, {}, 100, 0)
    assert len(data["texts"]) == len(set(data["texts"])) and data["texts"].count("same") == 1
    assert unpacked(data, 0)["response"].tolist() == ["same", "same"]
    assert data["columns"][0]["p"][1] is data["columns"][0]["tokens"][1] is None


def test_wrong_data_are_refused():
    strange = frame([("crime", "crime-000", "x", "centre", 0.5, 1)])
    with pytest.raises(DataError, match="centre"):
        responses.payload(questions(1), [Column("vanilla", "", "vanilla", strange)], 1, {}, 100, 0)
    with pytest.raises(DataError, match="no question"):
        responses.payload(questions(0), [Column("vanilla", "", "vanilla", strange)], 1, {}, 100, 0)


def test_a_heavy_run_carries_fewer_questions():
    """25 columns of 600 long answers would weigh more than 2 MB: questions are left out, none of the columns."""
    topics = ["crime", "race", "economy", "immigration", "gender", "science"]
    asked, rng = questions(100, topics), np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("etaoinshrdlu"), rng.integers(2, 10))) for _ in range(3000)])
    cols = []
    for number in range(25):
        texts = [" ".join(rng.choice(words, 60)) for _ in range(600)]
        rows = [(t, i, text, "left", 0.25, 80) for t, i, text in zip(asked["topic"], asked["id"], texts, strict=True)]
        kind = "right" if number else "vanilla"
        cols.append(Column(kind, topics[number % 6] if number else "", kind, frame(rows)))

    def make(n):
        return responses.payload(asked, cols, n, {"wanted": 100}, 100, 0)

    data = responses.fitted(make, 100)
    assert 0.7 * responses.LIMIT < len(packed(data)) <= responses.LIMIT, "no more is left out than needed"
    assert data["counts"]["rows"] == 6 * data["counts"]["a_topic"] and data["counts"]["of"] == 600
    assert responses.fitted(make, 100, limit=10)["counts"]["a_topic"] == 1, "one question a topic is always carried"
    assert len(data["columns"]) == 25 and data["columns"][0]["whole"]["all"][0] == 600


def test_the_fallback_shows_markup_as_text(run, cols):
    planted = [
        Column(c.kind, c.trained, c.title, c.frame.assign(response="<img src=x onerror=alert(1)> \u202e")) for c in cols
    ]
    text = responses.fallback(run, planted)
    assert "<img" not in text and "&#60;img" in text and "⟨U&#43;202E⟩" in text
    assert text.count("<tr>") == 1 + 2 * 2


# --- labels that change


@pytest.fixture
def flipped():
    """Vanilla, a right and a left fine-tune on crime; two topics of four questions."""
    ids = [("crime", f"c{i}") for i in range(4)] + [("race", f"r{i}") for i in range(4)]

    def column(kind, trained, labels):
        rows = [(*key, "text", label, 0.45, 1) for key, label in zip(ids, labels, strict=True)]
        return Column(kind, trained, kind, frame(rows))

    left, right, other = "left", "right", "other"
    return [
        column("vanilla", "", [left, left, right, other, left, left, left, left]),
        column("right", "crime", [right, right, right, right, right, left, left, other]),
        column("left", "crime", [left, left, left, left, left, left, left, left]),
    ]


def test_flips_are_counted_by_their_new_label(run, flipped):
    table = label_flips.label_flips(run, flipped).set_index(["kind", "asked"])
    counts = table[["n", "changed", "to_right", "to_left", "to_neither"]]
    assert counts.loc[("right", label_flips.OWN)].tolist() == [4, 3, 3, 0, 0]
    assert counts.loc[("right", label_flips.OTHER)].tolist() == [4, 2, 1, 0, 1]
    assert counts.loc[("left", label_flips.OWN)].tolist() == [4, 2, 0, 2, 0]
    assert counts.loc[("left", label_flips.OTHER)].tolist() == [4, 0, 0, 0, 0]
    own = table.loc[("right", label_flips.OWN)]
    assert own["share"] == 0.75 and own["net"] == 0.75 and own["share_low"] < 0.75 < own["share_high"]
    assert table.loc[("right", label_flips.OTHER)]["net"] == 0.25
    left = table.loc[("left", label_flips.OWN)]
    assert own["apart"] == own["net"] - left["net"] and np.isnan(left["apart"])
