"""Fine-tuning by two processes (FSDP, here on the CPU): equal to one process at the same global batch.

Both ways add the same float32 gradients in another order, about 1e-7 apart; AdamW can blow that up where a gradient is
near 0, at most to a small part of a step of 3e-3. TOLERANCE is 1/300 of a step, and 1/100 of what a wrong batch gives.
What a launcher or accelerate leaves in the environment changes no number of a single process.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from oracles import RECIPE, some, state, tuned

from polinb.errors import ParameterError, TrainingError
from polinb.masking.freezing import Freezer, frozen_slices
from polinb.runs import weights
from polinb.runs.run import Run
from polinb.training import parallel
from polinb.training.parallel import Job, check_gpus, command, finetune_parallel
from polinb.training.trainer import alone

TOLERANCE = 1e-5


def job(processes=2, **changes):
    recipe = dataclasses.asdict(dataclasses.replace(RECIPE, micro_batch=1, **changes))
    return Job({"name": "tiny:llama", "device": "cpu"}, recipe, processes)


@pytest.fixture
def on_cpu(monkeypatch):
    """Workers that shard on the CPU (``tests/training/cpu_worker.py``); polinb itself asks for a GPU each."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setattr(parallel, "check_gpus", lambda processes, device: None)
    monkeypatch.setattr(parallel, "command", lambda n, folder: [*command(n, folder)[:-2], "cpu_worker", str(folder)])


@pytest.fixture
def task(pair):
    both = pair("llama")
    both.prompts, both.responses = ([*texts, *texts[:2]] for texts in (both.prompts, both.responses))
    return both  # six rows: the last step of an epoch is not full


def apart(one, two):
    assert set(one) == set(two)
    return max(float((one[name] - two[name]).abs().max()) for name in one)


SLOW = [{"train": "all"}, {"train": "body", "gradient_checkpointing": "on"}]


@pytest.mark.parametrize("changes", [{"train": "lora"}, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)])
def test_two_processes_equal_one(task, on_cpu, merged, changes):
    lm, chosen = task.left, some(task.left)
    one = tuned(task, chosen, micro_batch=1, **changes)
    two = finetune_parallel(job(**changes), task.prompts, task.responses, frozen=chosen)
    assert two.world_size == 2
    assert (two.frozen_change, two.extra["frozen_state"]) == (0.0, 0.0)
    assert (two.frozen_entries, two.steps, two.tokens) == (one.frozen_entries, one.steps, one.tokens)
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-5)
    assert apart(one.weights, two.weights) < TOLERANCE
    after = merged(lm, two.weights)
    before = {name: value for name, value in state(lm).items() if name in after}
    assert apart(after, before) > 100 * TOLERANCE
    for part in frozen_slices(lm.model, chosen):
        now, then = (each[part.name].index_select(part.dim, part.index) for each in (after, before))
        assert torch.equal(now.view(torch.int32), then.view(torch.int32)), part.name


def test_a_launch_without_sharing_is_refused(task, on_cpu, monkeypatch):
    """One process starts and nothing says so; or accelerate, off GPUs, silently trains without sharing."""

    class Here:
        """Does in this process what the only worker of torchrun does in its own."""

        def __init__(self, line, **_):
            monkeypatch.setattr(sys, "argv", line[-2:])

        def wait(self):
            return parallel.main()

    monkeypatch.setattr(parallel, "subprocess", SimpleNamespace(Popen=Here))
    monkeypatch.setattr(parallel, "_leave_with", lambda launcher: None)
    launched = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    few = r"2 processes were asked for, but 1 trained together \(world size 1\)"
    with alone():
        for processes, told in ((2, few), (1, "did not share the weights")):  # as many as asked, with a whole model
            os.environ.update(launched)
            with pytest.raises(TrainingError, match=told):
                finetune_parallel(job(processes), task.prompts, task.responses)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert not torch.distributed.is_initialized()


def test_workers_stop_when_their_launcher_is_killed():
    launcher = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    code = f"from polinb.training.parallel import _leave_with; _leave_with({launcher.pid}, 0.05)"
    started = subprocess.Popen([sys.executable, "-c", code])
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(2)
    launcher.kill()
    launcher.wait()
    assert started.wait(60) == 1


@pytest.mark.parametrize(("zero", "restore"), [(True, False), (False, True)])
def test_a_broken_guarantee_is_seen(pair, zero, restore):
    lm, ids = pair("llama").left, torch.arange(5, 25)[None]
    held = Freezer(lm.model, frozen_slices(lm.model, some(lm)))
    optimizer = torch.optim.AdamW(lm.model.parameters(), lr=1e-2, weight_decay=0.5)
    lm.model(input_ids=ids, labels=ids).loss.backward()
    if zero:
        held.zero_gradients()
    optimizer.step()
    if restore:
        held.restore()
    assert (held.max_change() == 0.0) == restore
    assert (held.max_state(optimizer) == 0.0) == zero


def test_too_few_cards_or_another_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParameterError, match="at most the 1 CUDA GPUs"):
        check_gpus(2, "cuda")
    with pytest.raises(ParameterError, match="1 on cpu"):
        check_gpus(2, "cpu")


def test_what_reaches_several_processes_and_what_one_does_in_their_place(two_topics, monkeypatch):
    run = Run(two_topics.params.model_copy(update={"processes": 2, "device": "cpu"}), two_topics.store)
    chosen, seen = np.ones((3, 48), dtype=bool), {}

    def spy(job, prompts, responses, **more):
        seen.update(more, job=job)
        raise TrainingError("seen")

    monkeypatch.setattr(parallel, "finetune_parallel", spy)
    monkeypatch.setattr(weights, "mask_of", lambda neurons: chosen)
    with pytest.raises(TrainingError, match="seen"):
        weights.train(run, run.tuned("crime", frozen=run.neurons("all")), processes=2)
    assert seen["frozen"] is chosen and seen["job"].processes == 2
    assert run.weights(run.tuned("crime")).identity["processes"] == 2
    monkeypatch.setattr(parallel, "finetune_parallel", lambda *_, **__: pytest.fail("from the vanilla model"))
    onward = run.tuned("race", start=two_topics.weights(two_topics.tuned("crime")))
    found = [weights.train(run, onward, processes) for processes in (2, 1)]
    assert found[0].losses == found[1].losses


@pytest.mark.gpu
def test_two_cards(task):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA GPUs")
    cards = dataclasses.replace(job(), model={"name": "tiny:llama", "device": "cuda"})
    two = finetune_parallel(cards, task.prompts, task.responses, frozen=some(task.left))
    assert (two.world_size, two.frozen_change, two.extra["frozen_state"]) == (2, 0.0, 0.0)
    one = tuned(task, some(task.left), micro_batch=1)
    assert apart(one.weights, two.weights) < 100 * TOLERANCE  # other kernels, other roundings


LEFT = {
    "ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "3", "ACCELERATE_USE_FSDP": "true",
    "RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
    "OMPI_COMM_WORLD_SIZE": "2", "PMI_SIZE": "2", "MV2_COMM_WORLD_SIZE": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "2",
}  # fmt: skip

PROGRAM = """
import hashlib, os
from oracles import RECIPE
from polinb.models.loading import load
from polinb.training.preference import prefer
from polinb.training.supervised import finetune

lm, before = load("tiny:llama"), dict(os.environ)
prompts, chosen, rejected = [[5, 6], [7, 8, 9]], [[10, 11], [12]], [[13], [14, 15]]
for each in (finetune(lm, prompts, chosen, RECIPE), prefer(lm, prompts, chosen, rejected, RECIPE)):
    weights = b"".join(weight.numpy().tobytes() for _, weight in sorted(each.weights.items()))
    print(hashlib.sha256(repr(each.losses).encode() + weights).hexdigest())
assert dict(os.environ) == before
"""


def test_the_environment_changes_nothing(capsys):
    """From the start, in a process of its own: libraries read some of it while they are imported."""
    exec(PROGRAM, {})
    here = capsys.readouterr().out.split()[-2:]
    tests = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    given = {"env": os.environ | LEFT | {"PYTHONPATH": tests}, "stdout": subprocess.PIPE, "text": True}
    done = subprocess.run([sys.executable, "-c", PROGRAM], **given, check=True)
    assert done.stdout.split()[-2:] == here
