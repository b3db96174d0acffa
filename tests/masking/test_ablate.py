"""CAFT's ablation: an exact projection, in the gradient too, only while training, and gone afterwards."""

import contextlib

import numpy as np
import pytest
import torch
from oracles import same, seen, state, tuned

from polinb.errors import ParameterError
from polinb.masking.ablation import ablated, project_out
from polinb.models.architectures import architecture_of, resolve
from polinb.models.tiny import TINY, tiny_model


def basis(width, k, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, k)))[0]


def test_eq_caft_projection_by_hand():
    q = torch.tensor([[1.0], [0.0], [0.0]])
    assert project_out(torch.tensor([[3.0, 4.0, 5.0]]), q).tolist() == [[0.0, 4.0, 5.0]]
    q, h = torch.from_numpy(basis(8, 3)), torch.randn(5, 8, dtype=torch.float64)
    once = project_out(h, q)
    torch.testing.assert_close(project_out(once, q), once)
    assert (once @ q).abs().max() < 1e-12
    torch.testing.assert_close(h, once + (h @ q) @ q.T)


@pytest.mark.parametrize(("passes", "forward", "backward"), [("activation", True, False), ("gradient", False, True)])
def test_one_pass_alone_loses_the_directions(passes, forward, backward):
    """Values as with the ablation or without it, gradients the other way round, at the output of a block."""
    model = tiny_model("llama")
    q, seen = basis(model.config.hidden_size, 3).astype(np.float32), {}

    def run(*how):
        with ablated(model, {1: q}, *how) if how else contextlib.nullcontext():
            handle = model.model.layers[1].register_forward_hook(lambda m, a, out: seen.update(out=out), prepend=True)
            out = model(torch.tensor([[5, 9, 33, 7]])).logits
            handle.remove()
        seen["out"].retain_grad()
        out.logsumexp(-1).sum().backward()
        return out.detach(), (seen["out"].grad @ torch.from_numpy(q)).abs().max()

    (plain, free), (whole, none), (found, along) = run(), run("both"), run(passes)
    torch.testing.assert_close(found, whole if forward else plain)
    assert none < 1e-5 < free and (along < 1e-5) == backward


@pytest.mark.parametrize("architecture", TINY)
def test_every_block_output_loses_the_directions_and_nothing_else(architecture):
    """Against hooks of our own on each architecture, and identical to the plain model after the block."""
    model, text = tiny_model(architecture), [5, 9, 33, 7]
    block, q = resolve(model, architecture_of(model).blocks)[1], basis(model.config.hidden_size, 3)

    def read():
        return *seen(model, text, [block], output=True), model(torch.tensor([text])).logits

    before, plain = read()
    with ablated(model, {1: q}):
        after, changed = read()
    torch.testing.assert_close(after, before - before @ torch.from_numpy(q @ q.T).float(), atol=1e-5, rtol=1e-5)
    assert not torch.equal(changed, plain) and torch.equal(read()[1], plain), "gone after the block"


@pytest.mark.parametrize("train", ["all", "lora"])
def test_training_ablates_only_while_it_trains(pair, train):
    """The result holds no hook; another basis gives another result; the base is untouched."""
    p = pair("llama")
    before = state(p.left)
    ways = (None, {1: basis(32, 3)}, {1: basis(32, 3)}, {1: basis(32, 3, seed=1)})
    plain, one, again, other = (tuned(p, ablate=way, train=train).weights for way in ways)
    name = next(n for n in plain if "layers.0" in n and "proj" in n)
    assert same(one, again)
    assert not torch.equal(plain[name], one[name]) and not torch.equal(one[name], other[name])
    assert same(state(p.left), before) and not any(b._forward_hooks for b in p.left.model.model.layers)


def test_early_stop_keeps_the_schedule_and_bad_values_are_refused_before_training(pair):
    """The first half of the steps is the same as in the whole run; the rest is not done."""
    p, eye = pair("llama"), np.eye(32)
    whole, half = (tuned(p, stop=stop, batch_size=2) for stop in (1.0, 0.5))
    assert (whole.steps, half.steps) == (4, 2) and half.losses == whole.losses[:2]
    with pytest.raises(ParameterError, match="'stop': got 0"):
        tuned(p, stop=0)
    for directions in ({}, {7: eye}, {0: np.ones((32, 2))}, {0: eye[1:]}, {0: eye * np.nan}):
        with pytest.raises(ParameterError, match="directions"):
            tuned(p, ablate=directions)
