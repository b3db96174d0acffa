"""Two models in step, a layer at a time: the sums of the way that reads all layers first, and errors from anywhere."""

import copy
import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from polinb.models.architectures import down_modules
from polinb.models.loading import LM
from polinb.models.tiny import TINY
from polinb.models.tokens import batches, pad
from polinb.scoring import tracing as neurons
from polinb.scoring.tracing import contrast, envoys, in_step, read

NAMES = ("squared_difference", "difference", "vanilla", "vanilla_squared")


def all_layers_first(left, right, vanilla, prompts, responses, batch=16):
    """Read every layer of each model, then subtract: what contrast() does without keeping the layers."""
    total = torch.zeros(4, left.layers, left.width, dtype=torch.float64)
    traced = [envoys(lm) for lm in (left, right, vanilla)]
    with torch.no_grad():
        for chunk in batches(left, prompts, responses, batch):
            low, high, plain = (torch.stack(read(*each, chunk)).double() for each in traced)
            for k, values in enumerate(((high - low) ** 2, high - low, plain, plain**2)):
                total[k] += values.sum(1)
    return total.numpy()


@pytest.mark.parametrize("architecture", TINY)
def test_same_sums_as_reading_all_layers_first(pair, architecture):
    """The same batches (one text each), so that only the sums' rounding differs: 1e-6 of each layer's largest."""
    both = pair(architecture)
    three = (both.left, both.right, both.vanilla)
    expected = all_layers_first(*three, both.prompts, both.responses, batch=1)
    found = contrast(*three, both.prompts, both.responses, batch=1)
    for name, exact in zip(NAMES, expected, strict=True):
        scale = np.abs(exact).max(axis=1, keepdims=True)
        assert (np.abs(getattr(found, name) - exact) <= 1e-6 * scale).all(), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_half_precision_is_reduced_in_float32(pair, dtype, batch):
    both = pair("llama")
    three = [
        LM(copy.deepcopy(each.model).to(dtype), each.tokenizer, "half", {})
        for each in vars(both).values()
        if isinstance(each, LM)
    ]
    # One text over and over: whatever the batch, nothing is padded.
    prompts, responses = [both.prompts[0]] * 7, [both.responses[0]] * 7
    expected = all_layers_first(*three, prompts[:1], responses[:1]) * 7
    found = contrast(*three, prompts, responses, batch=batch)
    tolerance = 0.05  # half precision rounds otherwise in batches of another size
    np.testing.assert_allclose(found.squared_difference.sum(), expected[0].sum(), rtol=tolerance)
    np.testing.assert_allclose(found.vanilla_squared.sum(), expected[3].sum(), rtol=tolerance)
    assert found.squared_difference.dtype == np.float64


def test_batches_without_any_response_are_left_out(pair):
    both = pair("llama")
    three = (both.left, both.right, both.vanilla)
    long = [[7] * 60] * 20  # longest first: the first batches have no response at all
    few = contrast(*three, [*long, *both.prompts], [*([[]] * 20), *both.responses], batch=4)
    alone = contrast(*three, both.prompts, both.responses, batch=4)
    assert few.tokens == alone.tokens
    np.testing.assert_allclose(few.score, alone.score, rtol=1e-5, atol=1e-7)


def test_the_models_go_on_as_before(pair):
    """Activations are read, never written; no hook and no thread stays; weights are those that were there."""
    both = pair("llama")
    three = [both.left, both.right, both.vanilla]
    chunk = pad(both.left, both.prompts, both.responses, range(4))

    def logits():
        with torch.no_grad():
            return [lm.model(**chunk.inputs).logits for lm in three]

    before, threads = logits(), threading.active_count()
    contrast(*three, both.prompts, both.responses)
    contrast(both.left, both.left, both.left, both.prompts, both.responses)
    for old, new in zip(before, logits(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)
    assert threading.active_count() == threads


class _Stop(BaseException):
    """Like KeyboardInterrupt: no ``except Exception`` sees it."""


def _failing(lm, layer, error, after=0):
    calls = []

    def fail(_module, _args):
        calls.append(1)
        if len(calls) > after:
            raise error

    return down_modules(lm.model)[layer].register_forward_pre_hook(fail)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, _Stop, torch.OutOfMemoryError])
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("side", ["left", "right", "vanilla"])
def test_an_error_in_the_middle_of_a_pass_reaches_the_caller(pair, side, layer, kind):
    both = pair("llama")
    three = (both.left, both.right, both.vanilla)
    error = kind("planted")
    hook = _failing(getattr(both, side), layer, error, after=1)
    with pytest.raises(kind, match="planted") as caught:
        contrast(*three, both.prompts, both.responses, batch=2)
    assert caught.value is error
    hook.remove()
    # Nothing hangs, and the next run is as if nothing had happened.
    again = contrast(*three, both.prompts, both.responses, batch=2)
    fresh = pair("llama")
    clean = contrast(fresh.left, fresh.right, fresh.vanilla, fresh.prompts, fresh.responses, batch=2)
    np.testing.assert_array_equal(again.squared_difference, clean.squared_difference)


def test_an_error_of_who_takes_the_layers_ends_both_passes(pair):
    both = pair("llama")
    chunk = pad(both.left, both.prompts, both.responses, range(4))
    reached = []

    def take(layer, low, high):
        reached.append((layer, low.shape, high.shape))
        if layer == 1:
            raise RuntimeError("planted")

    with torch.no_grad(), pytest.raises(RuntimeError, match="planted"):
        in_step(envoys(both.left), envoys(both.right), chunk, take)
    assert [layer for layer, *_ in reached] == [0, 1]


def test_layers_are_let_go_before_the_next_one(pair, monkeypatch):
    """At a layer no activation of an earlier layer is alive, in neither model."""
    both = pair("llama")
    seen, alive = [], []
    add = neurons._Sums.add_gap

    def watched(self, where, layer, low, high):
        gc.collect()
        alive.append(sum(each() is not None for each in seen))
        seen.extend(weakref.ref(each) for each in (low, high))
        add(self, where, layer, low, high)

    monkeypatch.setattr(neurons._Sums, "add_gap", watched)
    contrast(both.left, both.right, both.vanilla, both.prompts, both.responses, batch=4)
    assert len(alive) == 2 * both.left.layers  # two batches of two texts
    assert not any(alive)


@pytest.mark.parametrize("architecture", TINY)
def test_peak_memory_is_that_of_plain_passes_and_two_sums(pair, architecture, monkeypatch):
    """Several full batches: at most 2 × L × F × 8 bytes above plain passes, by PyTorch's own account."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    import measure

    both = pair(architecture)
    three = (both.left, both.right, both.vanilla)
    prompts, responses = [[7] * 20] * 8, [[9] * 40] * 8

    def plain():
        with torch.no_grad():
            for chunk in batches(both.left, prompts, responses, 4):
                for lm in three:
                    lm.model(**chunk.inputs, use_cache=False, logits_to_keep=1)

    base = measure.peak_bytes(plain)
    ours = measure.peak_bytes(lambda: contrast(*three, prompts, responses, batch=4))
    assert base > 50_000
    assert ours - base <= 2 * both.left.neurons * 8
