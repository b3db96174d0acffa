"""Rivals of InhibitFT on a tiny model: what each condition does to the weights, and what weights carry."""

import numpy as np
import pytest
import torch
from oracles import same, state

from polinb.chapters.anatomy.doses import references
from polinb.chapters.paper import baselines as rivals
from polinb.chapters.paper import carried
from polinb.masking.grafting import grafted
from polinb.models.generation import log_likelihood
from polinb.runs.conditions import encode
from polinb.runs.run import Run
from polinb.runs.weights import mask_of


@pytest.fixture(scope="module")
def run(tiny):
    topics = {"topics": ["crime", "race", "science"], "baseline_topics": ["crime", "race"]}
    return tiny(**topics, baseline_seeds=2, finetune_seeds=2, epochs=2.0, learning_rate=3e-3)


def weights(run, **changes):
    return state(run.model(run.weights(run.tuned("crime", **changes))))


def test_weaker_fine_tunes_move_less_and_interpolation_is_exact(run):
    start, end = state(run.lm), weights(run)
    for blend in (0.0, 0.3, 1.0):
        for name, value in weights(run, interpolation=blend).items():
            expected = start[name].double() + blend * (end[name].double() - start[name].double())
            torch.testing.assert_close(value.double(), expected, atol=1e-7, rtol=1e-6)

    def moved(model):
        return sum(float((w - start[n]).square().sum()) for n, w in model.items()) ** 0.5

    assert moved(weights(run, step_share=0.5)) < moved(end) and moved(weights(run, rate=0.1)) < 0.5 * moved(end)
    assert not same(end, weights(run, repeat=1)), "another seed"


def test_seeds_give_different_sets(run):
    sets = [mask_of(a.frozen) for a in rivals.conditions(run, "crime") if a.name == "random-layer"]
    assert len(sets) == 2 and not np.array_equal(*sets)


def test_carried_weights(run):
    topic, chosen = "crime", carried.sets(run, "crime")
    found = chosen[carried.ORACLE].inputs["scores"][topic].arrays("flow")
    others, own = (found[name] / found[name].sum() for name in ("others", "own"))
    for name, score in ((carried.ORACLE, others), (carried.SELECTIVE, others - own)):
        mask = mask_of(chosen[name])
        assert score[mask].min() >= score[~mask].max()
    texts, tuned = references(run, run.params.graft_questions), run.model(run.weights(run.tuned(topic)))
    read = encode(run.lm, texts, run.params.system_prompt, run.params.max_tokens)
    sign = texts.rows["side"].map({"right": 1, "left": -1}).to_numpy()

    def stance(lm, own):
        at = (texts.rows["topic"] == topic).to_numpy() == own
        return (sign * log_likelihood(lm, *read))[at].sum() / (at.sum() / 2)

    shares = []
    for own in (True, False):
        start, end = stance(run.lm, own), stance(tuned, own)
        with grafted(run.lm, tuned, run.general()):
            shares.append(100 * (stance(run.lm, own) - start) / (end - start))
        with grafted(tuned, run.lm, run.general()):
            shares.append(100 * (end - stance(tuned, own)) / (end - start))
    alone = carried.carried(Run(run.params.model_copy(update={"baseline_topics": [topic]}), run.store)).set_index("set")
    found = alone.loc["G", ["graft_own", "reset_own", "graft_others", "reset_others"]].astype(float)
    assert found.tolist() == pytest.approx(shares, rel=1e-3, abs=0.05)
