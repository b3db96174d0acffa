"""Fine-tuning by two processes (FSDP, here on the CPU): equal to one process at the same global batch, frozen weights
bit for bit.

Tolerance: both ways add the same float32 gradients, in another order, so they differ by about 1e-7 of a gradient. AdamW
divides each gradient by its own size, which can blow that up where a gradient is near 0, at most to a small part of a
step. A step is up to LEARNING_RATE = 3e-3; TOLERANCE = 1e-5 is 1/300 of one step, and a hundredth of what any wrong
batch, wrong average or wrong order of rows gives (planted below).
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from polinb.errors import ParameterError, TrainingError
from polinb.masking.freezing import Freezer, frozen_slices
from polinb.models.tokens import response_ids
from polinb.runs import weights
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.training import parallel
from polinb.training.parallel import Job, check_gpus, command, finetune_parallel
from polinb.training.recipe import Recipe
from polinb.training.supervised import finetune

TOLERANCE = 1e-5
RECIPE = Recipe(
    epochs=2, batch_size=4, micro_batch=1, learning_rate=3e-3, weight_decay=0.3, warmup=0.0, train="all", lora_rank=4,
    seed=5,
)  # fmt: skip


def job(recipe=RECIPE, **more):
    return Job({"name": "tiny:llama", "device": "cpu"}, dataclasses.asdict(recipe), 2, **more)


@pytest.fixture
def on_cpu(monkeypatch):
    """Workers that shard on the CPU (``tests/training/cpu_worker.py``); polinb itself asks for a GPU each."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setattr(parallel, "check_gpus", lambda processes, device: None)
    monkeypatch.setattr(parallel, "command", lambda n, folder: [*command(n, folder)[:-2], "cpu_worker", str(folder)])


@pytest.fixture
def task(pair):
    both = pair("llama")
    # Six rows: the last step of an epoch is not full.
    responses = [response_ids(both.left, a, end=True) for a in [*both.ANSWERS, *both.ANSWERS[:2]]]
    return both.left, [*both.prompts, *both.prompts[:2]], responses


def some(lm):
    return np.random.default_rng(0).random((lm.layers, lm.width)) < 0.3


def apart(one, two):
    assert set(one) == set(two)
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def compare(task, recipe, merged):
    lm, prompts, responses = task
    chosen = some(lm)
    one = finetune(lm, prompts, responses, recipe, frozen=chosen)
    two = finetune_parallel(job(recipe), prompts, responses, frozen=chosen)
    assert two.world_size == 2
    assert (two.frozen_change, two.extra["frozen_state"]) == (0.0, 0.0)
    assert (two.frozen_entries, two.steps, two.tokens) == (one.frozen_entries, one.steps, one.tokens)
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-5)
    assert apart(one.weights, two.weights) < TOLERANCE
    before = {name: p.detach() for name, p in lm.model.named_parameters()}
    after = merged(lm, two.weights)
    assert apart(after, {name: before[name] for name in after}) > 100 * TOLERANCE
    for part in frozen_slices(lm.model, chosen):
        now, then = (each[part.name].index_select(part.dim, part.index) for each in (after, before))
        assert torch.equal(now.view(torch.int32), then.view(torch.int32)), part.name
    return one, two


def test_adapters_in_two_processes_equal_one_process(task, on_cpu, merged):
    compare(task, dataclasses.replace(RECIPE, train="lora"), merged)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"train": "all"}, {"train": "body", "gradient_checkpointing": "on"}])
def test_every_kind_equals_one_process(task, on_cpu, merged, change):
    compare(task, dataclasses.replace(RECIPE, **change), merged)


@pytest.mark.slow
def test_ablated_directions_reach_the_workers(task, on_cpu):
    lm, prompts, responses = task
    basis = {1: np.eye(32, 2, dtype=np.float32)}
    one = finetune(lm, prompts, responses, RECIPE, ablate=basis)
    two = finetune_parallel(job(), prompts, responses, ablate=basis)
    assert apart(one.weights, two.weights) < TOLERANCE
    assert apart(one.weights, finetune(lm, prompts, responses, RECIPE).weights) > 100 * TOLERANCE


TINY = {"device": "cpu", "topics": ["crime", "race"], "ablation_topics": ["crime"], "baseline_topics": ["crime"]}


def test_a_launch_with_world_size_1_is_refused(task, on_cpu, monkeypatch):
    """As `accelerate launch --cpu --num_processes 2` did: one process starts, and nothing says so."""
    _, prompts, responses = task
    many = parallel.command
    monkeypatch.setattr(parallel, "command", lambda processes, folder: many(1, folder))
    with pytest.raises(TrainingError, match=r"2 processes were asked for, but 1 trained together \(world size 1\)"):
        finetune_parallel(job(), prompts, responses)


def test_workers_that_do_not_share_the_weights_are_refused(task, on_cpu, monkeypatch):
    """Accelerate shards on GPUs only; elsewhere it silently trains replicas."""
    _, prompts, responses = task
    monkeypatch.setattr(parallel, "command", command)
    with pytest.raises(TrainingError, match="did not share the weights"):
        finetune_parallel(job(), prompts, responses)


@pytest.mark.slow
def test_a_failing_worker_is_told_with_its_reason(task, on_cpu):
    _, prompts, responses = task
    broken = dataclasses.replace(RECIPE, learning_rate=1e30)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        finetune_parallel(job(broken), prompts, responses)


def stepped(lm, slices, *, zero=True, restore=True):
    held = Freezer(lm.model, slices)
    optimizer = torch.optim.AdamW(lm.model.parameters(), lr=1e-2, weight_decay=0.5)
    ids = torch.arange(5, 25)[None]
    lm.model(input_ids=ids, labels=ids).loss.backward()
    if zero:
        held.zero_gradients()
    optimizer.step()
    if restore:
        held.restore()
    return held, optimizer


def test_workers_stop_when_their_launcher_is_killed():
    launcher = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    code = f"from polinb.training.worker import _leave_with; _leave_with({launcher.pid}, 0.05)"
    worker = subprocess.Popen([sys.executable, "-c", code])
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(2)
    launcher.kill()
    launcher.wait()
    assert worker.wait(60) == 1


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("restore", [True, False])
def test_a_broken_guarantee_is_seen(pair, zero, restore):
    lm = pair("llama").left
    held, optimizer = stepped(lm, frozen_slices(lm.model, some(lm)), zero=zero, restore=restore)
    assert (held.max_change() == 0.0) == restore
    assert (held.max_state(optimizer) == 0.0) == zero


def test_too_few_cards_or_another_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParameterError, match="at most the 1 CUDA GPUs"):
        check_gpus(2, "cuda")
    with pytest.raises(ParameterError, match="1 on cpu"):
        check_gpus(2, "cpu")


def test_frozen_neurons_of_an_arm_reach_the_job(monkeypatch):
    run = Run(Params.from_profile("tiny", **TINY, batch_size=4, micro_batch=2, processes=2))
    seen = {}

    def spy(job, prompts, responses, **more):
        seen.update(more, job=job)
        raise TrainingError("seen")

    monkeypatch.setattr(parallel, "finetune_parallel", spy)
    chosen = np.ones((3, 48), dtype=bool)
    monkeypatch.setattr(weights, "mask_of", lambda neurons: chosen)
    with pytest.raises(TrainingError, match="seen"):
        weights.train(run, run.tuned("crime", frozen=run.neurons("all")), processes=2)
    assert seen["frozen"] is chosen and seen["job"].processes == 2
    assert run.weights(run.tuned("crime")).identity["processes"] == 2


def test_a_training_that_starts_from_other_weights_does_so_with_any_number_of_processes(monkeypatch):
    run = Run(Params.from_profile("tiny", **TINY, batch_size=4, micro_batch=2, processes=2))
    monkeypatch.setattr(parallel, "finetune_parallel", lambda *_, **__: pytest.fail("from the vanilla model"))
    one = Run(Params.from_profile("tiny", **TINY, batch_size=4, micro_batch=2))
    onward = run.tuned("race", start=one.weights(one.tuned("crime")))
    found = [weights.train(run, onward, processes) for processes in (2, 1)]
    assert found[0].losses == found[1].losses


@pytest.mark.gpu
def test_two_cards(task):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA GPUs")
    lm, prompts, responses = task
    cards = dataclasses.replace(job(), model={"name": "tiny:llama", "device": "cuda"})
    two = finetune_parallel(cards, prompts, responses, frozen=some(lm))
    assert (two.world_size, two.frozen_change, two.extra["frozen_state"]) == (2, 0.0, 0.0)
    one = finetune(lm, prompts, responses, RECIPE, frozen=some(lm))
    assert apart(one.weights, two.weights) < 100 * TOLERANCE  # other kernels, other roundings
