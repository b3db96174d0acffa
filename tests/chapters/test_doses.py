"""The run in two doses: reading changes nothing, grafts add up at both ends, claims are read by the plan's rule."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from oracles import same, state

from polinb.chapters.anatomy import dose_tables as tables
from polinb.chapters.anatomy import doses
from polinb.chapters.anatomy.dose_tables import Claim
from polinb.errors import DataError
from polinb.masking.grafting import grafted_attention
from polinb.resampling import equivalence, t_mean, t_test
from polinb.runs.conditions import Apart
from polinb.runs.weights import course
from polinb.stance.likelihood import MARGINS


@pytest.fixture(scope="module")
def small(tiny):
    both = ["crime", "race"]
    return partial(tiny, topics=both, ablation_topics=both, epochs=2.0, train="body", likelihood_questions=3)


@pytest.fixture(scope="module")
def run(small):
    return small()


def test_reading_a_training_changes_nothing_and_its_end_is_the_trained_model(run, small):
    texts, right = doses.references(run, 2), run.tuned("crime")
    weights, limit = run.weights(right), run.params.max_tokens
    found = course(run, condition=right, weights=Apart(weights), texts=texts, steps=[1, 2, 4], limit=limit)
    plain, table = small(), found.frame("course")
    np.testing.assert_equal(plain.weights(plain.tuned("crime")).arrays("weights"), weights.arrays("weights"))
    assert sorted(table["step"].unique()) == [1, 2, 4]
    last = table[table["step"] == 4]
    np.testing.assert_allclose(last["logp"], run.logp(right, texts).frame("logp")["logp"], atol=1e-5)


def test_of_attention_the_weights_of_its_layers_alone_are_carried_and_put_back(run):
    start = state(run.lm)
    with grafted_attention(run.lm, run.model(run.weights(run.tuned("crime")))):
        moved = {name for name, weight in state(run.lm).items() if not torch.equal(weight, start[name])}
    assert moved and all(".self_attn." in name for name in moved) and same(state(run.lm), start)


SPREAD = np.array([-0.02, -0.01, 0.0, 0.0, 0.01, 0.02])
FALLS, RISES = (partial(t_test, side=side) for side in ("less", "greater"))
SAME_R, SAME_OWN = (partial(equivalence, margin=MARGINS[name]) for name in ("r", "own"))
NOT_YET = Claim("C3", "x", np.empty(0), RISES, wanted=1)


def drop(mean, beside=None):
    near = None if beside is None else beside + 0.3 * SPREAD
    return Claim("C5", "x", mean + 0.3 * SPREAD, FALLS, SAME_R, -1, near)


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        (drop(-0.30, -0.28), "supported"),  # below zero and below the loud set
        (drop(-0.05, -0.03), tables.BOTH),  # and smaller than what counts
        (drop(-0.30, 0.0), "not decided"),  # large, not more than the most active set
        (drop(0.0), "refuted"),
        (Claim("C6", "x", 0.01 + SPREAD, SAME_OWN, wanted=0), "supported"),
        (Claim("C6", "x", -0.2 + SPREAD, SAME_OWN, wanted=0), "refuted"),
        (Claim("C3", "x", 0.02 + SPREAD / 4, RISES, wanted=1), "supported"),
        (Claim("C3", "x", SPREAD - 0.05, RISES, wanted=1), "refuted"),
        (NOT_YET, "not yet run"),
    ],
)
def test_a_claim_is_read_by_the_rule(claim, told):
    assert tables.readings([claim])["reading"].item() == told


def test_claims_are_corrected_together_and_none_is_tested_before_its_topics_are_there():
    early = tables.readings([drop(-0.30, 0.0)], planned=len(SPREAD) + 1).iloc[0]
    assert early["reading"] == "not yet complete" and np.isnan(early["p"]) and early["high"] < 0
    values = -0.02 + SPREAD
    many = tables.readings([*(Claim(str(k), "x", values, FALLS) for k in range(4)), NOT_YET])
    assert many["p_holm"].tolist() == pytest.approx([5 * FALLS(values)] * 4 + [np.nan], nan_ok=True)
    assert tuple(many[["value", "low", "high"]].iloc[0]) == pytest.approx(t_mean(values))


def test_training_less_is_read_on_the_questions_of_the_course():
    """As if the end had been asked no others, in whatever order the ids sort."""
    topics, rng = ["crime", "race", "science"], np.random.default_rng(0)
    keys = {"topic": topics, "id": ["q3", "q1", "q2"], "side": ["left", "right"]}
    asked = pd.MultiIndex.from_product(keys.values(), names=keys).to_frame(index=False)

    def likelihoods(right=0.0):
        return asked.assign(logp=rng.normal(0, 0.1, len(asked)) + right * (asked["side"] == "right"))

    whole = {"vanilla.logp": likelihoods()}
    for topic in topics:
        whole |= {f"{topic}.{name}.logp": likelihoods(x) for name, x in (("right", 3), ("inhibitft", 2), ("loud", 2))}
        whole |= {f"{topic}.interpolated.{share:g}": likelihoods(3 * share) for share in doses.INTERPOLATIONS}
        course = pd.concat([likelihoods(step).assign(step=step) for step in (1, 2, 3)], ignore_index=True)
        whole[f"{topic}.right.course"] = course.query("id != 'q2'")
    fewer = {name: table.query("id != 'q2'") for name, table in whole.items()}
    found, same_questions = (tables.claims(each.get, topics)[1].values for each in (whole, fewer))
    assert np.isfinite(found).all() and len(found) == 3
    np.testing.assert_allclose(found, same_questions, rtol=1e-12)
    whole |= {f"{topic}.interpolated.0.9": whole[f"{topic}.inhibitft.logp"] for topic in topics}
    assert not tables.claims(whole.get, topics)[1].values.any(), "an interpolation is training less, too"


def test_an_unfinished_dose_is_read_as_far_as_it_is_and_shares_by_hand(run, monkeypatch):
    monkeypatch.setattr(doses, "FEW", 2)
    monkeypatch.setattr(doses, "GRAFTED", 2)
    for name in ("vanilla.logp", "crime.right.logp", "crime.graft.G"):
        doses.results(run)[name].made()
    frames, topics, keys = doses.live(run), run.params.topics, ["topic", "id"]
    assert (tables.readings(tables.claims(frames, topics))["reading"] == "not yet run").all()
    with pytest.raises(DataError, match="answers"):
        tables.long(frames, "answers", topics)
    fewer = tables.sides(frames("crime.graft.G"))[keys]  # of each topic the first two of three questions asked
    assert fewer.groupby("topic").size().tolist() == [2, 2]

    def gap(name):
        frame = fewer.merge(tables.sides(frames(name)), on=keys)
        return (frame["logp_right"] - frame["logp_left"]).groupby(frame["topic"]).mean()

    full, part = (gap(name) - gap("vanilla.logp") for name in ("crime.right.logp", "crime.graft.G"))
    (row,) = tables.shares(frames, topics).itertuples()
    assert (row.trained, row.set) == ("crime", "G")
    assert (row.own, row.others) == pytest.approx(tuple((part / full)[["crime", "race"]]))
