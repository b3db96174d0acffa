"""Claims are read by the plan's rule, and shares are what the kept likelihoods say."""

import numpy as np
import pytest
from test_doses import SMALL

from polinb.chapters.anatomy import dose_tables as tables
from polinb.chapters.anatomy import doses
from polinb.chapters.anatomy.dose_tables import Claim
from polinb.errors import DataError
from polinb.resampling import equivalence, t_mean, t_test
from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.stance.likelihood import MARGINS

SPREAD = np.array([-0.02, -0.01, 0.0, 0.0, 0.01, 0.02])


def below(values):
    return t_test(values, 0.0, "less")


def drop(mean, beside=None, spread=0.3):
    values = mean + spread * SPREAD
    near = None if beside is None else beside + spread * SPREAD
    return Claim("C5", "x", values, below, lambda v: equivalence(v, MARGINS["r"]), -1, near)


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        (drop(-0.05, -0.03), "supported"),  # below zero and below the loud set
        (drop(-0.30, 0.0), "not decided"),  # large, not more than the loud set
        (drop(0.0), "refuted"),
        (Claim("C6", "x", 0.01 + SPREAD, lambda v: equivalence(v, MARGINS["own"]), wanted=0), "supported"),
        (Claim("C6", "x", -0.2 + SPREAD, lambda v: equivalence(v, MARGINS["own"]), wanted=0), "refuted"),
        (Claim("C3", "x", 0.02 + SPREAD / 4, lambda v: t_test(v, 0, "greater"), wanted=1), "supported"),
        (Claim("C3", "x", SPREAD - 0.05, lambda v: t_test(v, 0, "greater"), wanted=1), "refuted"),
    ],
)
def test_a_claim_is_read_by_the_rule(claim, told):
    assert tables.readings([claim])["reading"].item() == told


def test_five_tests_are_corrected_together():
    values = -0.02 + SPREAD
    alone = tables.readings([drop(0.0), Claim("a", "x", values, below)])
    many = tables.readings([Claim(str(k), "x", values, below) for k in range(5)])
    assert many["p_holm"].iloc[0] == pytest.approx(5 * many["p"].iloc[0])
    assert alone["p_holm"].iloc[1] == pytest.approx(2 * alone["p"].iloc[1])
    mean, low, high = t_mean(values)
    assert tuple(many[["value", "low", "high"]].iloc[0]) == pytest.approx((mean, low, high))


@pytest.fixture(scope="module", autouse=True)
def _few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doses, "FEW", 2)
        patch.setattr(doses, "GRAFTED", 2)
        yield


def test_an_unfinished_dose_is_read_as_far_as_it_is_and_shares_by_hand(tmp_path):
    fresh = Run(Params.from_profile("tiny", **SMALL), Store(tmp_path))
    for name in ("vanilla.logp", "crime.right.logp", "crime.graft.G"):
        doses.results(fresh)[name].made()
    frames, topics = doses.live(fresh), fresh.params.topics
    assert list(tables.models(frames, topics, "right")) == ["crime"]
    table = tables.readings(tables.claims(frames, topics))
    assert (table["topics"] == 0).all() and (table["reading"] == "not decided").all()
    assert tables.courses(frames, topics).empty and tables.parts(frames, topics, 100, 0).empty
    with pytest.raises(DataError, match="answers"):
        tables.long(frames, "answers", topics)
    plain = tables.sides(frames("vanilla.logp")).set_index(["topic", "id"])

    def gap(name):
        frame = tables.sides(frames(name)).set_index(["topic", "id"]).loc[plain.index]
        moved = (frame["logp_right"] - frame["logp_left"]) - (plain["logp_right"] - plain["logp_left"])
        return moved.groupby("topic").mean()

    full, part = gap("crime.right.logp"), gap("crime.graft.G")
    row = tables.shares(frames, topics).set_index(["trained", "set"]).loc[("crime", "G")]
    assert row["own"] == pytest.approx(part["crime"] / full["crime"])
    assert row["others"] == pytest.approx(part["race"] / full["race"])
