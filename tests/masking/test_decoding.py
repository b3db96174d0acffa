"""The decoding loop: what changes nothing, and what changes something against plain PyTorch hooks; half precision."""

from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import torch
from oracles import seen, some

from polinb.errors import ParameterError
from polinb.masking.decoding import Reader, assign, changed_answers, patch, per_layer, scale
from polinb.masking.editing import edited_answers
from polinb.masking.patching import MODES, patched_answers
from polinb.models.architectures import down_modules
from polinb.models.generation import cut, generate, stop_ids
from polinb.models.tiny import TINY

STEPS = 6
LIMIT = {"max_new_tokens": STEPS}


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
    lm, donor, chosen, prompts = both.left, both.right, some(both.left), both.prompts
    every, none = np.ones_like(chosen), np.zeros_like(chosen)
    plain = generate(lm, prompts, **LIMIT)
    for mode in ("lockstep", "recorded"):
        assert patched_answers(lm, lm, every, prompts, mode=mode, **LIMIT) == plain
        assert patched_answers(lm, donor, every, prompts, mode=mode, **LIMIT) != plain  # another donor does
    for mode in MODES:
        assert patched_answers(lm, donor, none, prompts, mode=mode, **LIMIT) == plain
    assert edited_answers(lm, chosen, np.ones(chosen.shape), prompts, mode="scale", **LIMIT) == plain
    assert changed_answers(lm, prompts, none, assign(0.0), **LIMIT) == plain
    assert changed_answers(lm, prompts, chosen, patch(0.0), lambda _: Reader(donor, chosen).read, **LIMIT) == plain


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])  # one of each kind of block
@pytest.mark.parametrize("kind", ["half a patch", "mean", "scale"])
def test_eq_patch_changes_equal_hooks(pair, architecture, kind):
    """Batches of the loop, and patching and editing, each of which hands it a change, a source and a place."""
    both = pair(architecture)
    lm, donor, source = both.left, None, None
    rng, chosen = np.random.default_rng(3), some(both.left, 0.4)
    factors, means = rng.uniform(0.2, 2.0, chosen.shape), rng.normal(size=chosen.shape)
    factor, mean = (torch.from_numpy(values).float() for values in (factors, factors * means))
    if kind == "half a patch":
        donor, source = both.right, lambda _: Reader(both.right, chosen).read  # in lock step
        change, oracle = patch(0.5), lambda k, own, other: own + 0.5 * (other - own)
    elif kind == "scale":
        change, oracle = scale(per_layer(lm, chosen, factors)), lambda k, own, _: own * factor[k]
    else:
        change, oracle = assign(per_layer(lm, chosen, factors * means)), lambda k, own, _: mean[k].expand_as(own)
    plain = generate(lm, both.prompts, **LIMIT)
    for answer_only, batch in ((False, 1), (True, 3)):
        expected = [by_hooks(lm, chosen, oracle, p, donor, answer_only) for p in both.prompts]
        options = {"answer_only": answer_only, "batch": batch, **LIMIT}
        assert changed_answers(lm, both.prompts, chosen, change, source, **options) == expected
        assert expected != plain or answer_only  # the change does something
    if donor:
        expected = [by_hooks(lm, chosen, lambda k, own, other: other, p, donor) for p in both.prompts]
        assert patched_answers(lm, donor, chosen, both.prompts, **LIMIT) == expected
    else:
        assert edited_answers(lm, chosen, factors, both.prompts, mode=kind, means=means, **LIMIT) == expected
    assert generate(lm, both.prompts, **LIMIT) == plain  # and nothing is left behind


def test_mean_patch_writes_the_donors_mean(pair):
    """Against hooks: one constant vector, the donor's mean over its own answers, at every position."""
    both = pair("llama")
    lm, donor, every = both.left, both.right, some(both.left, 1.0)
    prompt, downs = both.prompts[0], down_modules(both.right.model)
    [answer] = generate(donor, [prompt], **LIMIT)
    means = [read[len(prompt) :].mean(0) for read in seen(donor.model, prompt + answer, downs)]
    got = patched_answers(lm, donor, every, [prompt], **LIMIT, mode="mean")
    assert got == [by_hooks(lm, every, lambda k, own, _: means[k].expand_as(own), prompt)]
    one, four = (patched_answers(lm, donor, every, both.prompts, **LIMIT, mode="mean", batch=n) for n in (1, 4))
    assert one == four


def test_half_precision_and_refusals(pair):
    """bfloat16 models patch without a dtype error."""
    both = pair("llama")
    for lm in (both.left, both.right):
        lm.model.to(torch.bfloat16)
    given, every = (both.left, both.right), some(both.left, 1.0)
    for mode in MODES:
        assert len(patched_answers(*given, every, both.prompts, mode=mode, **LIMIT)) == len(both.prompts)
        with pytest.raises(ParameterError, match="'chosen'"):
            patched_answers(*given, every[:2], both.prompts, mode=mode, **LIMIT)
    with pytest.raises(ParameterError, match="'patch'"):
        patched_answers(*given, every, both.prompts, mode="swap", **LIMIT)
