"""What a run is told reaches what it does: no choice is lost on the way, and none that counts is missing from a key."""

import dataclasses
import os
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from planted_classifiers import PLAIN, classifier
from planted_files import write

from polinb.chapters.caft import caft_candidates, cue_study, narrow_study
from polinb.chapters.paper.patch_tables import to_statements
from polinb.data.loading import split_of
from polinb.data.prompts import answer_prompt
from polinb.errors import DataError, TrainingError
from polinb.masking.freezing import check_frozen, frozen_slices
from polinb.models.tokens import end_ids
from polinb.runs import stages, weights
from polinb.runs.conditions import VANILLA, Texts
from polinb.runs.run import Run
from polinb.stance.chat_judge import rating_prompt
from polinb.stance.judges import labels_of
from polinb.training import parallel, supervised


def rated(run):
    return stages.rate(run, answers=run.answers(), table="answers")


PCA, PATCH = [{"caft_pca": "centred"}, {"caft_pca": "mean_difference"}], [{"patch": "recorded"}, {"patch": "mean"}]
KEYS = [
    (rated, "openai", [{"judge_url": "http://localhost:1/v1"}, {"judge_model": "other"}, {"judge_sees": "question"}]),
    (Run.answers, "local", [{"device": "cuda"}, {"dtype": "float16", "train": "lora"}]),
    (lambda run: run.patch(run.neurons("general"), {"crime": "race"}), "local", PATCH),
    (lambda run: to_statements(run, run.neurons("general"), ["crime"]), "local", PATCH),
    (lambda run: caft_candidates.pca(run, "crime"), "local", PCA),
    (lambda run: cue_study.directions(run, cue_study.CUES[0]), "local", PCA),
    (narrow_study.directions, "local", PCA),
]


@pytest.mark.parametrize(("result", "judge", "changes"), KEYS)
def test_a_choice_changes_the_key(experiment, result, judge, changes):
    keys = {result(experiment(judge=judge, **each)).key for each in ({}, *changes)}
    assert len(keys) == 1 + len(changes)


def test_what_is_asked_stands_in_the_template(experiment):
    run = experiment(answer_template="appendix_a4")
    pair, said = run.data.topic("crime", "evaluate", 1)[0], run.wrapped(run.statement_sets[0].statements[0].text)
    assert run.questions(1)["prompt"][0] == answer_prompt(pair.prompt, "appendix_a4", "crime")
    assert run.statements()["prompt"][0] == answer_prompt(said, "appendix_a4")


def test_both_sides_learn_from_the_same_prompts_and_part_within_the_cut(experiment, tmp_path):
    rows = [
        {"id": f"{topic}-{n}", "topic": topic, "prompt": f"What about {topic}, {n}?", "left": f"{n} parks",
         "right": f"a {n} trains", "left_agrees": n % 4 != 1, "right_agrees": n % 4 != 3}
        for topic in ("crime", "race", "science") for n in range(40)
    ]  # fmt: skip
    learnt = {row["prompt"]: row for row in rows[:40:2] if split_of(row["prompt"]) == "train"}
    odd = next(iter(learnt.values()))
    odd |= {side: "and so on " * 20 + side for side in ("left", "right")}
    how = {"data": str(write(tmp_path, "jsonl", rows)), "label_filter": "agree", "train_examples": 100}
    run = experiment(tmp_path, **how)
    left, right = (list(run.lessons("crime", side).rows["prompt"]) for side in ("left", "right"))
    assert left == right and set(left) == set(learnt) and run.lm
    with pytest.raises(DataError, match=odd["id"]):
        _ = experiment(tmp_path, **how, max_tokens=40).lm


def test_the_judge_is_that_of_the_run(experiment, tmp_path, service):
    p_right = np.array([0.375, 0.25, 0.125, 0.625, 0.75, 0.875])
    assert labels_of(["text"] * 6, p_right, 0.25) == ["other", "other", "left", "other", "other", "right"]
    says = {"topic": ["crime"], "id": ["a"], "prompt": ["Do we need courts?"], "response": ["tougher, by tradition"]}
    frame, keys = pd.DataFrame(says), set()
    hf = {"judge": "hf", "judge_model": str(classifier(tmp_path / "m", PLAIN))}
    one, other = (
        hf | {"judge_labels": [f"LABEL_0:{a}", f"LABEL_1:{b}"]} for a, b in (("left", "right"), ("right", "left"))
    )
    for judge, side in ((one, "right"), (other, "left"), ({}, "right")):
        certain = abs(experiment(tmp_path, **judge).labelled(frame)["p_right"].item() - 0.5)
        runs = [experiment(tmp_path, **judge, judge_margin=most) for most in (0.0, certain - 1e-6, certain + 1e-6)]
        assert [run.labelled(frame)["label"].item() for run in runs] == [side, side, "other"]
        keys |= {rated(run).key for run in runs}
    assert len(keys) == 9
    told = {"judge_url": service.url, "judge_model": "served", "judge_tokens": 7, "judge_sees": "question"}
    assert experiment(tmp_path, judge="openai", **told).labelled(frame)["label"].item() == "left"
    body, (topic, _, question, answer) = service.requests[0]["body"], frame.loc[0]
    assert (body["model"], body["max_tokens"]) == ("served", 7)
    assert body["messages"][0]["content"] == rating_prompt(topic, answer, [topic], question)


def test_sampled_answers_are_several_and_those_of_their_seed(experiment, tmp_path):
    asked = Texts.of(pd.DataFrame({"topic": "crime", "id": ["a", "b"], "prompt": ["Do we need courts?", "And parks?"]}))
    runs = (experiment(), 1), (experiment(tmp_path), 1), (experiment(), 2)
    first, again, other = (run.ask(VANILLA, asked, tokens=6, samples=3, seed=n).frame("answers") for run, n in runs)
    pd.testing.assert_frame_equal(first, again)
    assert list(zip(first["id"], first["sample"], strict=True)) == [(k, n) for k in "ab" for n in range(3)]
    assert not first["response"].duplicated().any() and not set(first["response"]) & set(other["response"])


def test_neurons_are_those_of_the_tables(experiment):
    found = []
    for pool, normalise in (("layer", "vanilla_std"), ("model", "vanilla_std"), ("layer", "none")):
        run = experiment(pool=pool, normalise=normalise)
        found.append(weights.mask_of(run.neurons("general")))
        assert (found[-1] == run.sets().general).all()
    assert (found[0] != found[1]).any() and (found[0] != found[2]).any()


@pytest.mark.parametrize("freeze", ["up", "down"])
def test_what_is_frozen_is_what_the_run_says(experiment, freeze):
    run = experiment(freeze=freeze)
    conditions, sets = run.inhibited("crime", kinds=["only_specific", "only_general"]), run.sets()
    own = dict(run.lm.model.named_parameters())
    masks = [(sets.general, freeze), (sets.specific["crime"], "only"), (sets.general, "only")]
    for condition, given in zip(conditions, masks, strict=True):
        parts = frozen_slices(run.lm.model, *given)
        held = sum(len(part.index) * own[part.name].numel() // own[part.name].shape[part.dim] for part in parts)
        assert run.weights(condition).summary["frozen_entries"] == held


@pytest.mark.parametrize("processes", [1, 2])
def test_a_condition_reaches_the_trainer(experiment, tmp_path, monkeypatch, processes):
    """In one process, and in a worker."""
    run, seen = experiment(tmp_path, train="lora", dtype="bfloat16", revision="some", max_tokens=600), {}
    given = {"neurons": {"mask": np.eye(3, 48, dtype=np.uint8)}, "bases": {"1": np.eye(32, 2, dtype=np.float32)}}
    result = SimpleNamespace(arrays=given.get, summary={"passes": "gradient"})
    how = {"frozen": result, "freeze": "up", "ablated": result, "step_share": 0.5}
    condition = dataclasses.replace(run.tuned("crime"), **how)

    def make_trainer(model, base, dataset, recipe, slices, label, stop, processes=1, **more):
        parts = [(part.name, part.index.tolist()) for part in slices]
        seen["ends"] = {row["input_ids"][-1] for row in dataset}
        seen["trainer"] = base.model.dtype, recipe, parts, label, stop, processes
        raise TrainingError("seen")

    @contextmanager
    def ablated(model, directions, passes="both"):
        try:
            yield
        finally:
            seen["ablated"] = list(directions), passes, "trainer" in seen

    def several(job, *texts, frozen, ablate):
        seen["source"] = job.model
        return parallel.train(job, *texts, frozen, ablate)

    for place, name, spy in (
        (supervised, "make_trainer", make_trainer), (supervised, "ablated", ablated),
        (parallel, "finetune_parallel", several),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, spy)
    with pytest.raises(TrainingError, match="seen"):
        weights.train(run, condition, processes)
    parts = frozen_slices(run.lm.model, weights.mask_of(result), "up")
    held = [(part.name, part.index.tolist()) for part in parts]
    assert seen["trainer"] == (torch.bfloat16, condition.recipe, held, "fine-tune crime right", 0.5, processes)
    assert seen["ablated"] == ([1], "gradient", True)
    assert seen["ends"] == {end_ids(run.lm)[-1]}, "a model learns to end its answers"
    source = {"name": "tiny:llama", "revision": "some", "dtype": "bfloat16", "device": "cpu"}
    assert seen.get("source", source) == source


def test_a_moved_adapter_is_an_error(experiment):
    part, *_ = frozen_slices(experiment().lm.model, np.eye(3, 48, dtype=bool))
    down, up = (part.name.replace(".weight", f".lora_{side}.weight") for side in "AB")
    after = {down: torch.ones(2, 32), up: torch.zeros(48, 2)}
    assert check_frozen({}, after, [part]) == 0.0
    with pytest.raises(TrainingError, match="a frozen weight moved"):
        check_frozen({}, after | {up: torch.full((48, 2), 1e-6)}, [part])


def test_weights_make_room_special_ones_first_and_are_made_again(experiment, tmp_path, monkeypatch):
    run = experiment(tmp_path)
    old, *fresh = (run.weights(run.tuned(*each)) for each in (("crime",), ("race",), ("race", "left")))
    before = old.arrays("weights")
    changes = {"frozen": run.neurons("all"), "ablated": old, "start": old, "beta": 0.1, "step_share": 0.5}
    special = [run.weights(run.tuned("crime", **{name: value})) for name, value in changes.items()]
    for age, result in enumerate([old, *special, *fresh]):
        made = result.put(lambda folder: (folder / "weights.txt").write_text("w") and None)
        os.utime(made.path, (age, age))
    kept = sum(file.stat().st_size for result in (old, *fresh) for file in result.path.iterdir())
    monkeypatch.setenv("POLINB_WEIGHTS_GB", str(kept / 1e9))
    weights.make_room(run)
    assert old.done() and all(each.done() for each in fresh) and not any(each.done() for each in special)
    monkeypatch.setenv("POLINB_WEIGHTS_GB", "0")
    run.weights(run.tuned("science")).made()
    assert not old.done() and all(each.done() for each in fresh), "two may be in use"
    again = experiment(tmp_path)
    np.testing.assert_equal(again.weights(again.tuned("crime")).arrays("weights"), before)
