"""The run in two doses on a tiny model: reading changes nothing, and weights carried over add up at both ends."""

import numpy as np
import pytest
import torch

from polinb.chapters.anatomy import doses
from polinb.masking.grafting import grafted_attention
from polinb.models.generation import log_likelihood
from polinb.runs.artifacts import Store
from polinb.runs.conditions import encode
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.runs.weights import Named, course

SMALL = {
    "topics": ["crime", "race"],
    "ablation_topics": ["crime", "race"],
    "baseline_topics": ["crime"],
    "train_examples": 8,
    "epochs": 2.0,
    "batch_size": 4,
    "micro_batch": 4,
    "train": "body",
    "localise_prompts": 2,
    "eval_questions": 3,
    "patch_questions": 2,
    "likelihood_questions": 2,
    "eval_tokens": 4,
    "controls": ["next_highest"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(Params.from_profile("tiny", **SMALL), Store(tmp_path_factory.mktemp("doses")))


def test_reading_a_training_changes_nothing_and_its_end_is_the_trained_model(run, tmp_path):
    texts, right = doses.references(run, 2), run.tuned("crime")
    weights = run.weights(right)
    found = course(
        run, condition=right, weights=Named(weights), texts=texts, steps=[1, 2, 4], limit=run.params.max_tokens
    )
    assert not weights.done()
    table = found.frame("course")
    assert weights.done() and sorted(table["step"].unique()) == [1, 2, 4]
    plain = Run(run.params, Store(tmp_path))
    alone = plain.weights(plain.tuned("crime")).arrays("weights")
    assert all((alone[name] == value).all() for name, value in weights.arrays("weights").items())
    end = run.logp(right, texts).frame("logp")
    last = table[table["step"] == 4].reset_index(drop=True)
    np.testing.assert_allclose(last["logp"], end["logp"], atol=1e-5)


def test_weights_carried_over_at_both_ends(run):
    texts, tuned = doses.references(run, 2), run.weights(run.tuned("crime"))

    def logp(chosen, way):
        return doses.graft(run, tuned=tuned, chosen=chosen, way=way, texts=texts, limit=200).frame("logp")["logp"]

    vanilla, end = (log_likelihood(lm, *encode(lm, texts, False, 200)) for lm in (run.lm, run.model(tuned)))
    everything = run.neurons("all")
    assert np.abs(vanilla - end).max() > 1e-3
    assert np.abs(logp(everything, "graft") - vanilla).max() > 1e-4
    both = run.model(tuned)
    with torch.no_grad():
        np.testing.assert_allclose(log_likelihood(run.lm, *encode(run.lm, texts, False, 200)), vanilla, atol=0)
    start = {name: weight.detach().clone() for name, weight in run.lm.model.named_parameters()}
    with grafted_attention(run.lm, both):
        moved = {name for name, weight in run.lm.model.named_parameters() if not torch.equal(weight, start[name])}
    assert moved and all(".self_attn." in name for name in moved)
    assert all(torch.equal(weight, start[name]) for name, weight in run.lm.model.named_parameters())


def test_the_plan_is_listed_before_anything_runs(tmp_path):
    fresh = Run(Params.from_profile("tiny", **SMALL), Store(tmp_path))
    listed = list(doses.results(fresh).values())
    kinds = [each.stage.kind for each in listed]
    assert (
        kinds.count("course") == 2 * 4 and kinds.count("graft") == 2 * 14 and len(set(map(str, listed))) == len(listed)
    )
    assert not any(tmp_path.iterdir())
    for dose in doses.DOSES:
        Params.from_profile("full", **doses.settings(dose))
