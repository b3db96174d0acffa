"""The decoding loop: what changes nothing, and what changes something against plain PyTorch hooks; half precision."""

from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import torch
from oracles import seen

from polinb.errors import ParameterError
from polinb.masking.decoding import Reader, assign, changed_answers, patch, per_layer, scale
from polinb.masking.editing import edited_answers
from polinb.masking.patching import MODES, patched_answers
from polinb.models.architectures import down_modules
from polinb.models.generation import cut, generate, stop_ids
from polinb.models.tiny import TINY

STEPS = 6
SOME = ("llama", "gemma2", "gpt2")  # one of each kind of block


def arrays(lm, seed=3):
    """Some of the neurons, a factor and a value for each."""
    rng = np.random.default_rng(seed)
    shape = (lm.layers, lm.width)
    return rng.random(shape) < 0.4, rng.uniform(0.2, 2.0, shape), rng.normal(size=shape)


def reader_of(lm, chosen):
    """Its activations in lock step."""
    return lambda rows: Reader(lm, chosen).read


def by_hooks(lm, chosen, change, prompt, donor=None, answer_only=False):
    """One answer: no cache, no batch, no nnsight; donor and recipient read the whole text at every step.

    ``change``: (layer, own, donor's activation) → what is written, all (T, F) or with one more dimension in front.
    """
    ids, start = list(prompt), len(prompt) - 1 if answer_only else 0
    masks = torch.from_numpy(chosen)
    for _ in range(STEPS):
        given = seen(donor.model, ids, down_modules(donor.model)) if donor else [None] * lm.layers

        def overwrite(_, args, k, given=given):
            own = args[0].clone()
            own[:, start:] = torch.where(masks[k], change(k, args[0], given[k]), args[0])[:, start:]
            return (own,)

        with ExitStack() as taps, torch.no_grad():
            for k, module in enumerate(down_modules(lm.model)):
                taps.enter_context(module.register_forward_pre_hook(partial(overwrite, k=k)))
            ids.append(int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return cut(ids[len(prompt) :], stop_ids(lm))


@pytest.mark.parametrize("architecture", TINY)
def test_what_changes_nothing(pair, architecture):
    """Donor = recipient, the donor's share 0, scale 1, own values assigned to nobody: the plain answers."""
    both = pair(architecture)
    lm, (some, _, _) = both.left, arrays(both.left)
    every, none, limit = np.ones_like(some), np.zeros_like(some), {"max_new_tokens": STEPS}
    plain = generate(lm, both.prompts, **limit)
    for mode in ("lockstep", "recorded"):
        assert patched_answers(lm, lm, every, both.prompts, mode=mode, **limit) == plain
        assert patched_answers(lm, both.right, every, both.prompts, mode=mode, **limit) != plain  # another donor does
    for mode in ("lockstep", "recorded", "mean"):
        assert patched_answers(lm, both.right, none, both.prompts, mode=mode, **limit) == plain
    assert edited_answers(lm, some, np.ones(some.shape), both.prompts, mode="scale", **limit) == plain
    assert changed_answers(lm, both.prompts, none, assign(0.0), **limit) == plain
    assert changed_answers(lm, both.prompts, some, patch(0.0), reader_of(both.right, some), **limit) == plain


@pytest.mark.parametrize("architecture", SOME)
@pytest.mark.parametrize("kind", ["half a patch", "mean", "scale"])
def test_eq_patch_changes_equal_hooks(pair, architecture, kind):
    """Batches of the loop, and patching and editing, each of which hands it a change, a source and a place."""
    both = pair(architecture)
    lm, donor, source, limit = both.left, None, None, {"max_new_tokens": STEPS}
    chosen, factors, means = arrays(lm)
    factor, mean = (torch.from_numpy(values).float() for values in (factors, factors * means))
    if kind == "half a patch":
        donor, source = both.right, reader_of(both.right, chosen)
        change, oracle = patch(0.5), lambda k, own, other: own + 0.5 * (other - own)
    elif kind == "scale":
        change, oracle = scale(per_layer(lm, chosen, factors)), lambda k, own, _: own * factor[k]
    else:
        change, oracle = assign(per_layer(lm, chosen, factors * means)), lambda k, own, _: mean[k].expand_as(own)
    plain = generate(lm, both.prompts, **limit)
    for answer_only, batch in ((False, 1), (True, 3)):
        expected = [by_hooks(lm, chosen, oracle, p, donor, answer_only) for p in both.prompts]
        options = {"answer_only": answer_only, "batch": batch, **limit}
        assert changed_answers(lm, both.prompts, chosen, change, source, **options) == expected
        assert expected != plain or answer_only  # the change does something
    if donor:
        expected = [by_hooks(lm, chosen, lambda k, own, other: other, p, donor) for p in both.prompts]
        assert patched_answers(lm, donor, chosen, both.prompts, **limit) == expected
    else:
        assert edited_answers(lm, chosen, factors, both.prompts, mode=kind, means=means, **limit) == expected
    assert generate(lm, both.prompts, **limit) == plain  # and nothing is left behind


def test_mean_patch_writes_the_donors_mean(pair):
    """Against hooks: one constant vector, the donor's mean over its own answer, at every position."""
    both = pair("llama")
    prompt = both.prompts[0]
    answer = generate(both.right, [prompt], max_new_tokens=STEPS)[0]
    means = [
        read[len(prompt) :].mean(0) for read in seen(both.right.model, prompt + answer, down_modules(both.right.model))
    ]
    every = np.ones((both.left.layers, both.left.width), bool)
    got = patched_answers(both.left, both.right, every, [prompt], max_new_tokens=STEPS, mode="mean")
    assert got == [by_hooks(both.left, every, lambda k, own, _: means[k].expand_as(own), prompt)]


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_batches_and_refusals(pair, mode):
    """bfloat16 models patch without a dtype error, and the mean is over all prompts whatever the batch."""
    both = pair("llama")
    every = np.ones((both.left.layers, both.left.width), bool)
    given = (both.left, both.right, every, both.prompts)
    if mode == "mean":
        one, all_at_once = (patched_answers(*given, max_new_tokens=4, mode=mode, batch=batch) for batch in (1, 4))
        assert one == all_at_once
    for lm in given[:2]:
        lm.model.to(torch.bfloat16)
    assert len(patched_answers(*given, max_new_tokens=4, mode=mode)) == len(both.prompts)
    with pytest.raises(ParameterError, match="'patch'"):
        patched_answers(*given, max_new_tokens=2, mode="swap")
    with pytest.raises(ParameterError, match="'chosen'"):
        patched_answers(both.left, both.right, every[:2], both.prompts, max_new_tokens=2, mode=mode)
