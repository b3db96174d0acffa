"""The responses browser's data: they are the stages' own tables, packed so that they can be unpacked again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from polinb.chapters.browse import side_by_side
from polinb.chapters.browse.side_by_side import Column
from polinb.chapters.paper import judge_tables as judging
from polinb.chapters.paper import patch_tables, results
from polinb.display import responses
from polinb.display.webdata import packed
from polinb.errors import DataError
from polinb.runs.run import Run


def kept(run):
    return {path for path in run.store.root.glob("*/*") if not path.name.startswith(".")}


@pytest.fixture(scope="module")
def run(two_topics):
    """A tiny run after the chapters on coupling, the vanilla stance, patching and InhibitFT."""
    results.variant_shifts(two_topics)
    patch_tables.patching(two_topics)
    results.couplings(two_topics, results.inhibit_conditions(two_topics))
    judging.verdict(two_topics)
    return two_topics


@pytest.fixture(scope="module")
def cols(run):
    """The chapter trains and asks nothing new."""
    before = kept(run)
    found = side_by_side.columns(run)
    responses.browser(run, found), side_by_side.label_flips(run, found)
    assert kept(run) == before and before
    return found


def test_the_page_holds_the_questions_asked_for_and_no_place_of_this_machine(run, cols):
    """That it shows what the tables hold is tested in browser/test_responses.py."""
    assert [len(col.frame) for col in cols] == [4 if col.kind.startswith("patch") else 8 for col in cols]
    assert responses.browser_data(run, cols)["counts"] == {"a_topic": 4, "rows": 8, "of": 8}
    changed = run.params.model_copy(update={"browse_questions": 1, "model": "/home/me/mine"})
    data = responses.browser_data(Run(changed, run.store), cols)
    assert data["counts"] == {"a_topic": 1, "rows": 2, "of": 8} and data["about"]["model"] == "mine"


def questions(count, topics=("crime",)):
    rows = [(t, f"{t}-{i:03d}", f"Is {t} {i} good?", f"left {i}", f"right {i}") for t in topics for i in range(count)]
    return pd.DataFrame(rows, columns=["topic", "id", "prompt", "left", "right"])


def column(kind, trained, asked, **answers):
    """A made-up column; ``answers`` are values of its frame, one for all questions or one each."""
    rows = asked[["topic", "id"]].assign(**{"response": "text", "p_right": 0.25, "n_tokens": 80} | answers)
    return Column(kind, trained, kind, rows.assign(score=rows["label"].map({"left": -1, "right": 1}).fillna(0)))


def test_like_texts_are_kept_once_what_is_missing_stays_so_and_a_stance_is_of_the_whole_run():
    asked, answers = questions(3), {"response": "same", "p_right": [0.2, None, 0.9], "n_tokens": [1, None, 2]}
    col = column("vanilla", "", asked, label=["left", "left", "right"], **answers)
    data = responses.payload(asked, [col], 2, {}, 100, 0)
    (made,), texts = data["columns"], data["texts"]
    assert [texts[number] for number in made["text"]] == ["same", "same"] and len(texts) == len(set(texts))
    assert made["p"] == [2000, None] and made["tokens"] == [1, None]
    assert made["whole"]["all"][:2] == [3, pytest.approx(-1 / 3, abs=1e-6)]
    strange = column("vanilla", "", questions(1), label="centre")
    for count, told in ((1, "centre"), (0, "no question")):
        with pytest.raises(DataError, match=told):
            responses.payload(questions(count), [strange], 1, {}, 100, 0)


def test_a_heavy_run_carries_fewer_questions():
    """25 columns of 600 long answers would weigh more than 2 MB: questions are left out, none of the columns."""
    asked, rng = questions(100, list("abcdef")), np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("etaoinshrdlu"), rng.integers(2, 10))) for _ in range(3000)])
    texts = [[" ".join(rng.choice(words, 60)) for _ in range(600)] for _ in range(25)]
    cols = [column("right", f"{n}", asked, label="left", response=own) for n, own in enumerate(texts)]
    data = responses.fitted(lambda n: responses.payload(asked, cols, n, {"wanted": 100}, 100, 0), 100)
    assert 0.7 * responses.LIMIT < len(packed(data)) <= responses.LIMIT, "no more is left out than needed"
    assert len(data["columns"]) == 25 and data["counts"]["rows"] == 6 * data["counts"]["a_topic"]


def test_the_fallback_shows_markup_as_text(run, cols):
    planted = [replace(c, frame=c.frame.assign(response="<img src=x onerror=alert(1)> \u202e")) for c in cols]
    text = responses.fallback(run, planted)
    assert "<img" not in text and "&#60;img" in text and "⟨U&#43;202E⟩" in text
    assert text.count("<tr>") == 1 + 2 * 2


def test_flips_are_counted_by_their_new_label(run):
    """By hand: vanilla, a right and a left fine-tune on crime; two topics of four questions."""
    asked, left, right, other = questions(4, ["crime", "race"]), "left", "right", "other"
    columns = [
        column("vanilla", "", asked, label=[left, left, right, other, left, left, left, left]),
        column("right", "crime", asked, label=[right, right, right, right, right, left, left, other]),
        column("left", "crime", asked, label=left),
    ]
    table = side_by_side.label_flips(run, columns).set_index(["kind", "asked"])
    for kind, place, counts in (
        ("right", side_by_side.OWN, [4, 3, 3, 0, 0]),
        ("right", side_by_side.OTHER, [4, 2, 1, 0, 1]),
        ("left", side_by_side.OWN, [4, 2, 0, 2, 0]),
        ("left", side_by_side.OTHER, [4, 0, 0, 0, 0]),
    ):
        row = table.loc[(kind, place)]
        assert row[["n", "changed", "to_right", "to_left", "to_neither"]].tolist() == counts
        assert row["share"] == counts[1] / 4 and row["net"] == (counts[2] - counts[3]) / 4
    own, less = (table.loc[(kind, side_by_side.OWN)] for kind in ("right", "left"))
    assert own["share_low"] < 0.75 < own["share_high"] and own["apart"] == own["net"] - less["net"]
    # two right fine-tunes on the other topic, three questions: of the six answers one is not rated, and left out alone
    asked = questions(3, ["crime", "race", "tax"])
    first = [right, left, left, right, right, left, right, left, left]
    second = [right, left, left, left, left, left, right, "unrated", right]
    columns = [column("vanilla", "", asked, label=left), column("right", "crime", asked, label=first)]
    table = side_by_side.label_flips(run, [*columns, column("right", "race", asked, label=second)])
    row = table.set_index("asked").loc[side_by_side.OTHER]
    assert row[["n", "unrated", "changed"]].tolist() == [11, 1, 6]
    assert row["share"] == pytest.approx(np.mean([2 / 3, 1 / 3, np.mean([1, 0, 0.5])])), "questions' means"
