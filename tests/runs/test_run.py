"""The whole way of the data on a tiny model: deterministic, resumable, and every stage asks the store first."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import polinb.runs.base as module
from polinb.chapters.paper import results
from polinb.errors import DataError, ParameterError, TrainingError
from polinb.models.generation import generate, log_likelihood
from polinb.models.tokens import prompt_ids
from polinb.runs.conditions import VANILLA
from polinb.runs.groups import Model
from polinb.runs.results import STAGES, MissingError, missing, stage
from polinb.runs.run import Run
from polinb.runs.stages import scale_of
from polinb.runs.weights import mask_of
from polinb.scoring.tracing import Contrast, contrast


@pytest.fixture
def run(experiment):
    return experiment()


def no_model(monkeypatch):
    monkeypatch.setattr(module, "load", lambda *a, **k: pytest.fail("a model was loaded"))


def test_stages_do_what_they_are_called(run):
    """Scores: right minus left on the stored texts; scale: of all tokens; heldout: without the topic; logp: vanilla."""
    read, sums = run.scores("crime").frame("responses"), run.score_sums("crime")
    texts = [[list(ids) for ids in read[name]] for name in ("prompt_ids", "response_ids")]
    left, tuned = (run.model(run.weights(run.tuned("crime", side))) for side in ("left", "right"))
    expected = contrast(left, tuned, run.lm, *texts)
    np.testing.assert_allclose(sums.difference, expected.difference, rtol=1e-5, atol=1e-6)
    two = [Contrast(*[np.full((1, 1), x)] * 4, tokens) for x, tokens in ((2.0, 1), (10.0, 5))]
    two[0].vanilla_squared = np.full((1, 1), 9.0)
    assert scale_of(two) == pytest.approx(np.sqrt(19 / 6))
    held = mask_of(run.neurons("heldout", topic="crime"))
    assert (held == run.sets().general_without("crime")).all() and held.sum() > run.sets().general.sum()
    answers = run.answers(run.tuned("crime")).frame("answers").dropna()
    asked = [prompt_ids(run.lm, prompt, run.params.system_prompt) for prompt in answers["prompt"]]
    said = generate(tuned, asked, max_new_tokens=run.params.eval_tokens)
    np.testing.assert_allclose(answers["vanilla_logp"], log_likelihood(run.lm, asked, said), rtol=1e-4)


def test_a_second_run_computes_nothing(experiment, run, monkeypatch):
    condition = run.inhibited("crime")[0]
    first = [run.stances(each) for each in (condition, VANILLA, run.tuned("crime"))]
    no_model(monkeypatch)
    again = experiment()
    assert (again.sets().general == run.sets().general).all()
    pd.testing.assert_frame_equal(again.stances(condition), first[0])
    assert results.couplings(again, [run.tuned("crime")]).shape[0] == 1


def test_keys_follow_what_matters_and_nothing_else(experiment, run):
    def key(one, **changes):
        return one.weights(one.tuned("crime", **changes)).key

    base = key(run)
    changed = [
        {"learning_rate": 1e-4}, {"epochs": 2.0}, {"seed": 1}, {"train_examples": 5}, {"weight_decay": 0.1},
        {"model": "tiny:qwen2"}, {"train": "body"}, {"system_prompt": "x"}, {"max_tokens": 150}, {"batch_size": 8},
    ]  # fmt: skip
    keys = {key(experiment(**c)) for c in changed}
    assert len(keys) == len(changed) and base not in keys
    for harmless in ({"gamma": 40.0}, {"eval_questions": 2}, {"judge": "openai"}, {"freeze": "up"}, {"bootstrap": 300}):
        assert key(experiment(**harmless)) == base
    frozen = run.neurons("general")
    assert key(experiment(freeze="up"), frozen=frozen) != key(run, frozen=frozen)
    raised = dataclasses.replace(frozen.stage, version=frozen.stage.version + 1)(run, **frozen.inputs)
    assert raised.key != frozen.key and raised.needs == frozen.needs


def test_a_name_is_known_before_anything_runs_and_tells_what_is_missing(experiment, tmp_path, monkeypatch):
    no_model(monkeypatch)
    one = experiment(tmp_path)
    wanted = one.answers(one.inhibited("crime")[0])
    todo = missing([wanted])
    assert not wanted.done() and todo[-1] is wanted
    assert [each.stage.kind for each in todo].count("weights") == 2 * 3 + 1
    place = {str(each): number for number, each in enumerate(todo)}
    assert all(place[str(need)] < place[str(each)] for each in todo for need in each.needs)
    with pytest.raises(MissingError, match="rated/"):
        Run(one.params, one.store, read_only=True).stances()
    for wrong, error in (({"data": str(tmp_path / "no.csv")}, DataError), ({"data_revision": "a"}, ParameterError)):
        with pytest.raises(error):
            experiment(tmp_path, **wrong).tuned("crime")
    assert not any(tmp_path.iterdir())


def test_a_stage_cannot_read_what_it_does_not_declare(run):
    @stage("peeking", Model)
    def peeking(run, folder):
        return {"gamma": run.params.gamma}

    with pytest.raises(AttributeError, match="'gamma' is not declared"):
        peeking(run).made()
    del STAGES["peeking"]


def test_what_pnlac_reads_can_be_turned_and_the_default_keeps_its_name(experiment, run):
    own = run.scores("crime")
    first = {topic: [pair.prompt for pair in run.data.topic(topic, "localise", 2)] for topic in run.params.topics}
    assert "positions" not in own.identity and list(own.inputs["asked"].rows["prompt"]) == first["crime"]
    others = experiment(score_prompts="others", localise_prompts=3).scores("crime").inputs["asked"].rows
    assert list(others["prompt"]) == [first["race"][0], first["science"][0], first["race"][1]]
    earlier = experiment(score_positions="generating").scores("crime")
    assert earlier.key != own.key and earlier.summary["tokens"] == own.summary["tokens"]
    assert not np.allclose(earlier.arrays("sums")["squared_difference"], own.arrays("sums")["squared_difference"])
    for source, sides in (("vanilla", {"vanilla"}), ("dataset", {"left", "right"}), ("both", {"left", "right"})):
        table = experiment(response_source=source).scores("crime").frame("responses")
        assert set(table["source"]) == sides and len(table) == 2 * len(sides)
        reference = run.data.topic("crime", "localise", 2)[0].left
        assert reference.startswith(table["response"].iloc[0][:5]) == (source == "dataset")


def test_what_cannot_be_trained_is_told(experiment, tmp_path):
    with pytest.raises(TrainingError, match="nothing to freeze or patch; raise gamma"):
        one = experiment(gamma=0.4)
        one.answers(one.inhibited("crime")[0]).made()
    broken = experiment(tmp_path)
    with torch.no_grad():
        broken.lm.model.lm_head.weight[0] = float("nan")
    with pytest.raises(TrainingError, match=r"fine-tune crime right: the loss is nan at step 1.*learning_rate"):
        broken.weights(broken.tuned("crime")).made()
