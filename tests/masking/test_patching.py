"""What patching adds to the decoding loop: the donor's mean, half precision, refusals (the rest: test_decoding)."""

import numpy as np
import pytest
import torch
from oracles import seen

from polinb.errors import ParameterError
from polinb.masking.patching import MODES, patched_answers
from polinb.models.architectures import down_modules
from polinb.models.generation import generate

STEPS = 8


def everything(lm):
    return np.ones((lm.layers, lm.width), bool)


def test_mean_patch_writes_the_donors_mean(pair):
    """Against hooks: one constant vector, the donor's mean over its own answer, at every position."""
    both = pair("llama")
    prompt = both.prompts[0]
    answer = generate(both.right, [prompt], max_new_tokens=STEPS)[0]
    means = [
        read[len(prompt) :].mean(0) for read in seen(both.right.model, prompt + answer, down_modules(both.right.model))
    ]
    taps = [
        m.register_forward_pre_hook(lambda _, a, k=k: (means[k].expand_as(a[0]),))
        for k, m in enumerate(down_modules(both.left.model))
    ]
    expected = generate(both.left, [prompt], max_new_tokens=STEPS)
    for tap in taps:
        tap.remove()
    got = patched_answers(both.left, both.right, everything(both.left), [prompt], max_new_tokens=STEPS, mode="mean")
    assert got == expected


def test_wrong_arguments(pair):
    both = pair("llama")
    with pytest.raises(ParameterError, match="'patch'"):
        patched_answers(both.left, both.right, everything(both.left), both.prompts, max_new_tokens=2, mode="swap")
    with pytest.raises(ParameterError, match="'chosen'"):
        patched_answers(both.left, both.right, np.ones((2, 2), bool), both.prompts, max_new_tokens=2)


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_and_batches(pair, mode):
    """bfloat16 models patch without a dtype error, and the mean is over all prompts whatever the batch."""
    both = pair("llama")
    given = (both.left, both.right, everything(both.left), both.prompts)
    if mode == "mean":
        one, all_at_once = (patched_answers(*given, max_new_tokens=4, mode=mode, batch=batch) for batch in (1, 4))
        assert one == all_at_once
    for lm in given[:2]:
        lm.model.to(torch.bfloat16)
    assert len(patched_answers(*given, max_new_tokens=4, mode=mode)) == len(both.prompts)
