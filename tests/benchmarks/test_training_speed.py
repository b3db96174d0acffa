"""Each stage of the pipeline over the model's own work in it; a step of InhibitFT and of CAFT over a plain one."""

import time
from contextlib import contextmanager
from functools import partial

import measure
import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, LlamaModel

from polinb.progress import heard
from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.scoring.directions import random_basis
from polinb.training.supervised import finetune
from polinb.training.trainer import Recipe

STEPS = 2


@pytest.fixture
def model(monkeypatch):
    """Processor seconds spent inside the model, its gradients and the optimiser; the outermost call counts."""
    spent, depth = [0.0], [0]

    @contextmanager
    def inside():
        begun = time.process_time()
        depth[0] += 1
        try:
            yield
        finally:
            depth[0] -= 1
            spent[0] += 0.0 if depth[0] else time.process_time() - begun

    parts = ((LlamaForCausalLM, "forward"), (LlamaModel, "forward"), (torch.Tensor, "backward"))
    for place, name in (*parts, (torch.optim.AdamW, "step")):
        monkeypatch.setattr(place, name, inside()(getattr(place, name)))
    return spent


@pytest.mark.slow
def test_stages_over_the_model(tmp_path, keep, model):
    measure.one_thread()
    # One topic at the sizes of the profile quick; two topics, so that there is another one to ask about.
    some = {"topics": ["science", "race"], "ablation_topics": ["science"], "baseline_topics": ["science"]}
    run = Run(Params.from_profile("quick", **some, device="cpu"), Store(tmp_path / "store"))
    _ = run.lm, run.data, run.questions(), run.judge
    import trl.trainer.sft_trainer  # noqa: F401  imported once a process, whatever it trains

    stages = {
        "fine-tuning": lambda: [run.weights(run.tuned("science", side)).made() for side in ("left", "right")],
        "scores": lambda: run.scores("science").made(),
        "answers": lambda: run.answers(run.tuned("science")).made(),
        "neurons": lambda: run.neurons("all").made(),  # of the other topic: not measured
        "patching": lambda: run.patched(run.neurons("all"), {"science": "science"}),
    }
    for name, work in stages.items():
        model[0] = 0.0
        seconds = measure.seconds(work)
        assert model[0], f"{name}: no call of the model was seen"
        if name != "neurons":
            what = f"whole stage “{name}” (files, judge and all) ÷ the model's own time in it"
            keep(f"stage {name}", what, [seconds / model[0]])


def steps(embedded, options):
    """Processor seconds of the optimiser steps of a training."""
    prompts, responses = measure.texts(4 * STEPS, 24, 80)  # about as long as the texts of the quick profile
    marks = []
    with heard(lambda *_: marks.append(time.process_time())):
        found = finetune(embedded, prompts, responses, Recipe(1.0, 4, 4, 1e-5, 0.01, 0.0, "body", 8, 0), **options)
    assert found.steps == STEPS == len(marks) - 1 and found.frozen_change == 0.0
    return marks[-1] - marks[0]


@pytest.mark.slow
def test_a_step_of_inhibitft_and_of_caft(embedded, keep):
    rng = np.random.default_rng(0)
    frozen = rng.random((embedded.layers, embedded.width)) < 0.05
    wide = embedded.model.config.hidden_size
    ablate = {block: random_basis(wide, 10, rng) for block in (7, 15, 24)}
    ways = {"plain": {}, "inhibit": {"frozen": frozen}, "caft": {"ablate": ablate}}
    found = measure.in_turns(clock=partial(steps, embedded), **ways)
    for name, title, most in (("inhibit", "InhibitFT", 1.02), ("caft", "CAFT", 1.05)):
        ratio = measure.over(found[name], found["plain"])
        keep(f"{name} step", f"{title} step ÷ plain fine-tuning step", ratio, at_most=most)
