"""Lock-step patching against plain greedy decoding and against hooks that recompute everything at every step."""

import numpy as np
import pytest
import torch

from polinb.errors import ParameterError
from polinb.masking.patching import MODES, patched_answers
from polinb.models.architectures import down_modules
from polinb.models.generation import cut, greedy, stop_ids
from polinb.models.tiny import TINY

STEPS = 8


def everything(lm):
    return np.ones((lm.layers, lm.width), bool)


def by_hooks(recipient, donor, chosen, prompt):
    """One answer: no cache, no batch, no nnsight; the donor reads the whole text, hooks overwrite the recipient."""
    ids = list(prompt)
    for _ in range(STEPS):
        seen = []
        taps = [
            m.register_forward_pre_hook(lambda _, a, seen=seen: seen.append(a[0].detach()))
            for m in down_modules(donor.model)
        ]
        with torch.no_grad():
            donor.model(input_ids=torch.tensor([ids]))
        for tap in taps:
            tap.remove()

        def overwrite(layer, seen=seen):
            mask = torch.from_numpy(chosen[layer])
            return lambda _, args: (torch.where(mask, seen[layer], args[0]),)

        taps = [m.register_forward_pre_hook(overwrite(k)) for k, m in enumerate(down_modules(recipient.model))]
        with torch.no_grad():
            ids.append(int(recipient.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        for tap in taps:
            tap.remove()
    return cut(ids[len(prompt) :], stop_ids(recipient))


@pytest.mark.parametrize("architecture", TINY)
def test_eq_patch_own_donor_changes_nothing(pair, architecture):
    both = pair(architecture)
    plain = greedy(both.left, both.prompts, max_new_tokens=STEPS)
    for mode in ("lockstep", "recorded"):
        got = patched_answers(
            both.left, both.left, everything(both.left), both.prompts, max_new_tokens=STEPS, mode=mode
        )
        assert got == plain


@pytest.mark.parametrize("architecture", TINY)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_lockstep_equals_hooks(pair, architecture, share):
    """With every neuron patched this says: all FFN outputs are those of the donor's activations."""
    both = pair(architecture)
    chosen = np.random.default_rng(3).random((both.left.layers, both.left.width)) < share
    plain = greedy(both.left, both.prompts, max_new_tokens=STEPS)
    expected = [by_hooks(both.left, both.right, chosen, prompt) for prompt in both.prompts]
    for batch in (1, 4):
        got = patched_answers(both.left, both.right, chosen, both.prompts, max_new_tokens=STEPS, batch=batch)
        assert got == expected
    assert share < 1 or expected != plain  # the patch does something


@pytest.mark.parametrize("mode", MODES)
def test_no_neuron_is_no_patch(pair, mode):
    both = pair("llama")
    none = ~everything(both.left)
    plain = greedy(both.left, both.prompts, max_new_tokens=STEPS)
    assert patched_answers(both.left, both.right, none, both.prompts, max_new_tokens=STEPS, mode=mode) == plain


def test_mean_patch_writes_the_donors_mean(pair):
    """Against hooks: one constant vector, the donor's mean over its own answer, at every position."""
    both = pair("llama")
    prompt = both.prompts[0]
    answer = greedy(both.right, [prompt], max_new_tokens=STEPS)[0]
    seen = []
    taps = [
        m.register_forward_pre_hook(lambda _, a: seen.append(a[0][0, len(prompt) :].mean(0)))
        for m in down_modules(both.right.model)
    ]
    with torch.no_grad():
        both.right.model(input_ids=torch.tensor([prompt + answer]))
    for tap in taps:
        tap.remove()
    taps = [
        m.register_forward_pre_hook(lambda _, a, k=k: (seen[k].expand_as(a[0]),))
        for k, m in enumerate(down_modules(both.left.model))
    ]
    expected = greedy(both.left, [prompt], max_new_tokens=STEPS)
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


def test_models_keep_no_hooks(pair):
    both = pair("llama")
    patched_answers(both.left, both.right, everything(both.left), both.prompts, max_new_tokens=2)
    for lm in (both.left, both.right):
        plain = type(lm.model)(lm.model.config)
        plain.load_state_dict(lm.model.state_dict())
        ids = torch.tensor([both.prompts[0]])
        with torch.no_grad():
            torch.testing.assert_close(lm.model(input_ids=ids).logits, plain.eval()(input_ids=ids).logits)


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_and_batches(pair, mode):
    """bfloat16 models patch without a dtype error, and the mean is over all prompts whatever the batch."""
    both = pair("llama")
    if mode == "mean":
        one, all_at_once = (
            patched_answers(
                both.left, both.right, everything(both.left), both.prompts, max_new_tokens=4, mode=mode, batch=batch
            )
            for batch in (1, 4)
        )
        assert one == all_at_once
    both.left.model.to(torch.bfloat16)
    both.right.model.to(torch.bfloat16)
    made = patched_answers(both.left, both.right, everything(both.left), both.prompts, max_new_tokens=4, mode=mode)
    assert len(made) == len(both.prompts)
