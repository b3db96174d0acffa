"""The decoding loop: what changes nothing, and what changes something against plain PyTorch hooks; half precision."""

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


def hooked(model, hooks, ids):
    """Logits of the last position, by PyTorch alone."""
    taps = [m.register_forward_pre_hook(hook) for m, hook in zip(down_modules(model), hooks, strict=True)]
    try:
        with torch.no_grad():
            return model(input_ids=torch.tensor([ids])).logits[0, -1]
    finally:
        for tap in taps:
            tap.remove()


def by_hooks(lm, chosen, change, prompt, donor=None, answer_only=False):
    """One answer: no cache, no batch, no nnsight; donor and recipient read the whole text at every step.

    ``change``: (layer, own, donor's activation) → what is written, all (1, T, F).
    """
    ids, start = list(prompt), len(prompt) - 1 if answer_only else 0
    masks = torch.from_numpy(chosen)
    for _ in range(STEPS):
        seen = {}
        if donor is not None:
            hooked(donor.model, [lambda _, a, k=k, s=seen: s.update({k: a[0]}) for k in range(lm.layers)], ids)

        def overwrite(_, args, k, seen=seen):
            own = args[0].clone()
            own[:, start:] = torch.where(masks[k], change(k, args[0], seen.get(k)), args[0])[:, start:]
            return (own,)

        hooks = [lambda m, a, k=k, write=overwrite: write(m, a, k) for k in range(lm.layers)]
        ids.append(int(hooked(lm.model, hooks, ids).argmax()))
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
    assert (
        changed_answers(lm, both.prompts, some, patch(0.0), lambda _: Reader(both.right, some).read, **limit) == plain
    )


@pytest.mark.parametrize("architecture", SOME)
@pytest.mark.parametrize("kind", ["half a patch", "mean", "scale"])
def test_eq_patch_changes_equal_hooks(pair, architecture, kind):
    both = pair(architecture)
    lm, donor = both.left, None
    chosen, factors, means = arrays(lm)
    factor, mean = torch.from_numpy(factors).float(), torch.from_numpy(means).float()
    if kind == "half a patch":
        donor = both.right
        change, oracle = patch(0.5), lambda k, own, other: own + 0.5 * (other - own)
    elif kind == "scale":
        change, oracle = scale(per_layer(lm, chosen, factors)), lambda k, own, _: own * factor[k]
    else:
        change, oracle = assign(per_layer(lm, chosen, means)), lambda k, own, _: mean[k].expand_as(own)
    source = (lambda rows: Reader(donor, chosen).read) if donor else None
    plain = generate(lm, both.prompts, max_new_tokens=STEPS)
    for answer_only, batch in ((False, 1), (True, 3)):
        expected = [by_hooks(lm, chosen, oracle, p, donor, answer_only) for p in both.prompts]
        options = {"max_new_tokens": STEPS, "answer_only": answer_only, "batch": batch}
        assert changed_answers(lm, both.prompts, chosen, change, source, **options) == expected
        assert expected != plain or answer_only  # the change does something
    assert generate(lm, both.prompts, max_new_tokens=STEPS) == plain  # and nothing is left behind


def test_patching_and_editing_are_the_loop(pair):
    """Each hands the loop its own change, source and place."""
    both = pair("gemma2")
    lm, (chosen, factors, means) = both.left, arrays(both.left)
    limit = {"max_new_tokens": STEPS}

    def made(change, source=None, **options):
        return changed_answers(lm, both.prompts, chosen, change, source, **limit, **options)

    lockstep = made(patch(), lambda _: Reader(both.right, chosen).read)
    assert patched_answers(lm, both.right, chosen, both.prompts, **limit) == lockstep
    edits = {"means": means, **limit}
    got = [edited_answers(lm, chosen, factors, both.prompts, mode=mode, **edits) for mode in ("scale", "mean")]
    assert got[0] == made(scale(per_layer(lm, chosen, factors)), answer_only=True)
    assert got[1] == made(assign(per_layer(lm, chosen, factors * means)), answer_only=True)


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
    every = everything(both.left)
    got = patched_answers(both.left, both.right, every, [prompt], max_new_tokens=STEPS, mode="mean")
    assert got == [by_hooks(both.left, every, lambda k, own, _: means[k].expand_as(own), prompt)]


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_batches_and_refusals(pair, mode):
    """bfloat16 models patch without a dtype error, and the mean is over all prompts whatever the batch."""
    both = pair("llama")
    given = (both.left, both.right, everything(both.left), both.prompts)
    if mode == "mean":
        one, all_at_once = (patched_answers(*given, max_new_tokens=4, mode=mode, batch=batch) for batch in (1, 4))
        assert one == all_at_once
    for lm in given[:2]:
        lm.model.to(torch.bfloat16)
    assert len(patched_answers(*given, max_new_tokens=4, mode=mode)) == len(both.prompts)
    with pytest.raises(ParameterError, match="'patch'"):
        patched_answers(*given, max_new_tokens=2, mode="swap")
    with pytest.raises(ParameterError, match="'chosen'"):
        patched_answers(both.left, both.right, np.ones((2, 2), bool), both.prompts, max_new_tokens=2, mode=mode)
