"""The whole way of the data on a tiny model: deterministic, resumable, and every stage asks the store first."""

import numpy as np
import pandas as pd
import pytest

import polinb.experiment as module
from polinb import beside, judging, results
from polinb.artifacts import Store
from polinb.errors import DataError, ParameterError, TrainingError
from polinb.experiment import VANILLA, Arm, Experiment, finetuned
from polinb.params import Params

SMALL = {
    "topics": ["crime", "race", "science"],
    "ablation_topics": ["crime"],
    "train_examples": 4,
    "epochs": 1.0,
    "localise_prompts": 2,
    "eval_questions": 3,
    "likelihood_questions": 2,
    "eval_tokens": 4,
    "controls": ["layer"],
    "bootstrap": 100,
}


def experiment(root, **changes):
    return Experiment(Params.from_profile("tiny", **{**SMALL, **changes}), Store(root))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture
def exp(root):
    return experiment(root)


def test_sets_are_the_same_for_the_same_seed(root, exp, tmp_path):
    one, two = exp.sets(), experiment(tmp_path).sets()
    assert one.general.any()
    assert (one.general == two.general).all()
    for topic in exp.params.topics:
        assert (one.political[topic] == two.political[topic]).all()
        np.testing.assert_array_equal(
            exp.score_sums(topic).score, Experiment(exp.params, Store(root)).score_sums(topic).score
        )


def test_answers_are_byte_identical_in_a_fresh_store(exp, tmp_path):
    one, two = exp.answers(), experiment(tmp_path).answers()
    assert {n: f["sha256"] for n, f in one.meta["files"].items()} == {
        n: f["sha256"] for n, f in two.meta["files"].items()
    }


def test_a_second_run_computes_nothing(root, exp, monkeypatch):
    exp.sets()
    exp.stances(finetuned("crime", "right"))
    arm = exp.inhibit_arms("crime")[0]
    exp.stances(arm)

    def never(*args, **kwargs):
        raise AssertionError("loaded or computed again")

    monkeypatch.setattr(module, "load", never)
    again = Experiment(exp.params, Store(root))
    assert (again.sets().general == exp.sets().general).all()
    pd.testing.assert_frame_equal(again.stances(arm), exp.stances(arm))
    assert results.couplings(again, [finetuned("crime", "right")]).shape[0] == 1


def test_keys_follow_what_matters_and_nothing_else(root, exp):
    right = finetuned("crime", "right")
    base = exp.arm_inputs(right)
    changed = [
        {"learning_rate": 1e-4}, {"epochs": 2.0}, {"seed": 1}, {"train_examples": 5}, {"weight_decay": 0.1},
        {"model": "tiny:qwen2"}, {"train": "body"}, {"system_prompt": "x"}, {"max_tokens": 150}, {"batch_size": 8},
    ]  # fmt: skip
    keys = {module.key_of(experiment(root, **c).arm_inputs(right)) for c in changed}
    assert len(keys) == len(changed) and module.key_of(base) not in keys
    for harmless in ({"gamma": 40.0}, {"eval_questions": 2}, {"judge": "openai"}, {"freeze": "up"}, {"bootstrap": 300}):
        assert experiment(root, **harmless).arm_inputs(right) == base
    frozen = Arm("inhibitft", "crime", "right", exp.sets().general)
    assert experiment(root, freeze="up").arm_inputs(frozen) != exp.arm_inputs(frozen)


def test_splits_do_not_leak(exp):
    """No evaluation or localisation prompt was trained on."""
    for topic in exp.params.topics:
        prompts = {
            split: {p.prompt for p in exp.data.topic(topic, split)} for split in ("train", "localise", "evaluate")
        }
        assert not prompts["train"] & prompts["evaluate"] and not prompts["train"] & prompts["localise"]
        asked = set(exp.questions(topics=[topic])["prompt"])
        assert asked <= prompts["evaluate"]


def test_a_variant_is_what_was_saved(exp):
    lm = exp.load_variant("crime", "right")
    plain = dict(exp.lm.model.named_parameters())
    moved = [n for n, p in lm.model.named_parameters() if not np.array_equal(p.detach(), plain[n].detach())]
    assert len(moved) > 10
    with pytest.raises(Exception, match="do not belong to this model"):
        exp.tuned({"no.such.weight": plain[moved[0]]}, "x")


@pytest.mark.parametrize("source", ["left", "right", "vanilla", "dataset", "both"])
def test_response_sources(root, source):
    one = experiment(root, response_source=source)
    table = one.scores("crime").frame("responses")
    expected = {"both": {"left", "right"}, "dataset": {"left", "right"}}.get(source, {source})
    assert set(table["source"]) == expected and len(table) == 2 * len(expected)
    if source == "dataset":
        reference = one.data.topic("crime", "localise", 2)[0].left
        assert reference.startswith(table["response"].iloc[0][:5])


def test_frozen_arms_report_their_guarantee(exp):
    arms = results.inhibit_arms(exp)
    report = results.freeze_report(exp, arms)
    assert (report["largest change"] == 0).all() and (report["weights"] > 0).all()
    assert set(report["arm"]) == {"InhibitFT (G)", "random, layer-matched"}


def test_an_empty_general_set_is_told(root):
    with pytest.raises(TrainingError, match="nothing to freeze; raise gamma"):
        experiment(root, gamma=0.4).inhibit_arms("crime")


def test_tables_have_their_columns_and_agree(exp):
    moves = results.variant_shifts(exp)
    assert len(moves) == 2 * 3 * 3
    table = results.couplings(exp, results.inhibit_arms(exp))
    right = moves[(moves["leaning"] == "right")]
    for row in table[table["arm"] == "fine-tune"].itertuples():
        own = right[right["trained"] == row.trained].set_index("topic")["shift"]
        others = own.drop(row.trained)
        assert row.r == pytest.approx(np.sqrt((others**2).mean()))
        assert row.shift == pytest.approx(own[row.trained])
    drop = results.drops(exp)
    for row in drop[(drop["trained"] != "all") & (drop["against"] == "fine-tune")].itertuples():
        r = table[table["trained"] == row.trained].set_index("arm")["r"]
        assert row.drop == pytest.approx(r["fine-tune"] - r["inhibitft"])
        assert row.low <= row.high
    every = drop[(drop["trained"] == "all") & (drop["against"] == "fine-tune")]["drop"].iloc[0]
    assert every == pytest.approx(drop[(drop["trained"] != "all") & (drop["against"] == "fine-tune")]["drop"].mean())


def test_patching_plan_and_tables(exp):
    table = results.patching(exp)
    assert set(table["group"]) == {"general", "topic-specific", "control", "upper bound", "donor"}
    sets = exp.sets()
    sizes = table.groupby("set")["neurons"].first()
    assert sizes["G"] == sets.general.sum() == sizes["random, layer-matched"] == sizes["random, scale-matched"]
    assert sizes["every neuron"] == sets.general.size
    summary = results.patch_summary(exp).set_index("set")
    assert summary.loc["G", "shift"] == pytest.approx(table[table["set"] == "G"]["shift"].mean())


def test_closing_page_covers_every_exhibit(exp):
    from polinb import paper

    assert set(beside.COUNTERPARTS) == set(paper.exhibits()["id"])
    assert len(beside.exhibit_map()) == 22
    table = beside.claims(exp)
    assert table["verdict"].str.len().min() > 0 and len(table) >= 10


def test_judge_report(exp):
    table = judging.accuracy(exp)
    assert list(table["topic"]) == ["crime", "race", "science", "all"]
    assert table["accuracy"].between(0, 1).all() and table["topic_unseen"].between(0, 1).all()
    assert "%" in judging.verdict(exp)


def test_per_question_averages_by_hand():
    got = results.per_question([{"a": np.array([1.0, 3.0])}, {"a": np.array([3.0, 5.0]), "b": np.array([2.0])}])
    assert [g.tolist() for g in got] == [[2.0, 4.0], [2.0]]
    mean, low, high = results.stratified_mean([np.array([1.0, 1.0]), np.array([3.0, 3.0])], 100, 0)
    assert (mean, low, high) == (2.0, 2.0, 2.0)


def test_bad_data_is_told_before_a_model_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load", lambda *a, **k: pytest.fail("a model was loaded"))
    with pytest.raises(DataError):
        experiment(tmp_path, data=str(tmp_path / "missing.csv")).variant("crime", "left")
    with pytest.raises(ParameterError):
        experiment(tmp_path, data_revision="abc").variant("crime", "left")


def test_vanilla_is_the_zero_of_all_shifts(exp):
    assert (results.shifts(exp, [VANILLA])["shift"] == 0).all()
    like = results.likelihood_stances(exp)
    assert (like["shift"] == 0).all()
