"""A step of InhibitFT and of CAFT over a plain fine-tuning step, through the trainer that the chapters use."""

import time
from functools import partial

import measure
import numpy as np
import pytest

from polinb.progress import heard
from polinb.scoring.directions import random_basis
from polinb.training.supervised import finetune
from polinb.training.trainer import Recipe

STEPS = 2


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
