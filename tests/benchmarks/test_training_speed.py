"""A step of InhibitFT and of CAFT over a plain fine-tuning step, through the trainer that the chapters use."""

import time
from types import SimpleNamespace

import measure
import numpy as np
import pytest

from polinb.scoring.directions import random_basis
from polinb.training import supervised as finetune
from polinb.training import trainer

STEPS = 2


@pytest.fixture
def steps(embedded, monkeypatch):
    """Options of ``finetune`` → processor seconds of its optimiser steps."""
    prompts, responses = measure.texts(4 * STEPS, 24, 80)  # about as long as the texts of the quick profile
    recipe = finetune.Recipe(1.0, 4, 4, 1e-5, 0.01, 0.0, "body", 8, 0)
    marks = []
    told = SimpleNamespace(update=lambda _n: marks.append(time.process_time()), close=lambda: None)

    def bar(_total, _label):
        marks.append(time.process_time())
        return told

    monkeypatch.setattr(trainer, "bar", bar)

    def run(options):
        marks.clear()
        found = finetune.finetune(embedded, prompts, responses, recipe, **options)
        assert found.steps == STEPS and found.frozen_change == 0.0
        return marks[-1] - marks[0]

    return run


@pytest.mark.slow
def test_a_step_of_inhibitft_and_of_caft(embedded, steps, keep):
    rng = np.random.default_rng(0)
    frozen = rng.random((embedded.layers, embedded.width)) < 0.05
    wide = embedded.model.config.hidden_size
    ablate = {block: random_basis(wide, 10, rng) for block in (7, 15, 24)}
    found = measure.in_turns(clock=steps, plain={}, inhibit={"frozen": frozen}, caft={"ablate": ablate})
    for name, title, most in (("inhibit", "InhibitFT", 1.02), ("caft", "CAFT", 1.05)):
        ratio = measure.over(found[name], found["plain"])
        keep(f"{name} step", f"{title} step ÷ plain fine-tuning step", ratio, at_most=most)
