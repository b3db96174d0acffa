"""Variants with adapters: the numbers of merged float32 weights around one base; and what lets larger models learn."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import RECIPE, same, some, tuned

from polinb.errors import ModelError, ParameterError
from polinb.masking.decoding import Reader, assign
from polinb.masking.freezing import frozen_slices
from polinb.models.architectures import value_vectors
from polinb.models.lm import LM
from polinb.models.tiny import TINY
from polinb.models.tokens import batches
from polinb.models.variants import adapters, has_adapters, load_variant, save_variant, variant
from polinb.training.preference import prefer
from polinb.training.supervised import trainable
from polinb.training.trainer import checkpointed

SOME = ("gpt2", "phi3")  # weights the other way round, and rows of several neurons in one matrix
ROUNDING = dict(rtol=1e-4, atol=1e-5)  # both ways add the same float32 numbers in another order


def named(model, lm):
    return LM(model, lm.tokenizer, "", {})


def learnt(lm, seed=0, size=0.1):
    """Adapters as after a training, with random values; and the trainer's model that they are from."""
    model = trainable(copy.deepcopy(lm.model), replace(RECIPE, train="lora"))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.normal_(0.0, size)
    return adapters(model), model.eval()


def as_merged(lm, weights, merged, kind=torch.float32):
    """A model of its own with the merged weights, added up in ``kind``."""
    model = copy.deepcopy(lm.model).to(kind)
    model.load_state_dict(merged(lm, weights, kind), strict=False)
    return named(model, lm)


def chunk(both):
    return next(batches(both.left, both.prompts, both.responses, 8))


def inputs_of_ffn(lm, both):
    texts = chunk(both)
    with torch.no_grad():
        return torch.stack([a[texts.response] for a in Reader(lm, some(lm, 1.0)).read(texts)])


def logits(lm, both):
    texts = chunk(both)
    with torch.no_grad():
        return lm.model(**texts.inputs).logits[texts.mask.bool()]


def silenced(lm, both, share=0.3):
    """Logits at the end while a share of the neurons is set to zero."""
    return Reader(lm, some(lm, share)).write(chunk(both), assign(0.0))


def addresses(lm):
    return {name: p.data_ptr() for name, p in lm.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("architecture", TINY)
def test_neurons_and_logits_are_those_of_merged_float32_weights_around_one_base(pair, merged, architecture):
    both = pair(architecture)
    own, before = addresses(both.left), logits(both.left, both)
    weights, trained = learnt(both.left)
    lm, whole = variant(both.left, weights, "v"), as_merged(both.left, weights, merged)
    for seen in (inputs_of_ffn, logits, silenced):
        got, want, plain = seen(lm, both), seen(whole, both), seen(both.left, both)
        torch.testing.assert_close(got, want, **ROUNDING)
        assert float((got - plain).abs().max()) > 1000 * float((got - want).abs().max()), "adapters that change nothing"
    assert float((silenced(lm, both) - silenced(lm, both, 0.0)).abs().max()) > 0.01, "neurons that change nothing"
    assert torch.equal(logits(lm, both), logits(named(trained.base_model.model, lm), both))
    for layer in range(lm.layers):
        torch.testing.assert_close(value_vectors(lm.model, layer), value_vectors(whole.model, layer), **ROUNDING)
    # The base is as it was, and shared: its parameters, its numbers, and whether it may learn.
    shared = [p.data_ptr() for name, p in lm.model.named_parameters() if ".lora_" not in name]
    assert sorted(shared) == sorted(own.values()) and addresses(both.left) == own
    assert torch.equal(logits(both.left, both), before)


@pytest.mark.parametrize("architecture", SOME)
def test_a_bfloat16_base_with_adapters_is_the_exact_sum_and_rounded_weights_are_not(pair, merged, architecture):
    """Computed in float32, so that only what became of the weights differs."""
    both = pair(architecture)
    half = named(copy.deepcopy(both.left.model).to(torch.bfloat16), both.left)
    weights, _ = learnt(half, size=0.02)
    apart, rounded = variant(half, weights, "v"), as_merged(half, weights, merged, torch.bfloat16)
    assert {p.dtype for p in apart.model.parameters()} == {torch.float32, torch.bfloat16}
    apart, rounded = (named(copy.deepcopy(lm.model).float(), lm) for lm in (apart, rounded))
    exact = as_merged(half, weights, merged)  # summed in float64
    for seen in (lambda lm, _: value_vectors(lm.model, 1), inputs_of_ffn, logits):
        near, far = (float((seen(lm, both) - seen(exact, both)).square().mean()) for lm in (apart, rounded))
        assert near < 0.01**2 * far


def test_a_blend_scales_what_was_learnt(pair, merged):
    both = pair("gpt2")
    weights, _ = learnt(both.left)
    assert torch.equal(logits(variant(both.left, weights, "v", blend=0.0), both), logits(both.left, both))
    start, end = both.left.model.state_dict(), merged(both.left, weights)
    mixed = {name: start[name] + 0.3 * (value - start[name]) for name, value in end.items()}
    for given in (weights, end):
        got = logits(variant(both.left, given, "v", blend=0.3), both)
        torch.testing.assert_close(got, logits(as_merged(both.left, mixed, merged), both), **ROUNDING)


@pytest.mark.parametrize("architecture", SOME)
def test_what_is_kept_comes_back_to_the_last_bit_and_peft_reads_it(pair, tmp_path, architecture):
    from peft import PeftModel

    both = pair(architecture)
    base = named(both.left.model.to(torch.bfloat16), both.left)
    weights = tuned(both, lm=base, train="lora").weights
    assert has_adapters(weights) and {w.dtype for w in weights.values()} == {torch.float32}
    save_variant(tmp_path, weights)
    first, again = variant(base, weights, "v"), load_variant(base, tmp_path, "v")
    assert same(adapters(again.model), weights)
    assert torch.equal(logits(first, both), logits(again, both)) and not again.model.training
    theirs = PeftModel.from_pretrained(copy.deepcopy(base.model), tmp_path).base_model.model
    assert torch.equal(logits(named(theirs, base), both), logits(again, both))


def test_weights_of_another_model_are_refused(pair):
    both = pair("llama")
    weights, _ = learnt(both.left)
    first = next(iter(weights))
    missing, wide = {n: w for n, w in weights.items() if n != first}, weights | {first: torch.zeros(4, 33)}
    for wrong in (missing, wide, learnt(pair("phi3").left)[0], {"no.such.weight": wide[first]}):
        with pytest.raises(ModelError, match="weights of left crime do not belong to this model"):
            variant(both.left, wrong, "left crime")
    with pytest.raises(ParameterError, match=r"'train'.*lora"):
        tuned(both, lm=variant(both.left, weights, "v"))


def test_preference_tuning_starts_from_adapters_and_measures_against_them(pair):
    both = pair("gpt2")
    first = tuned(both, train="lora", learning_rate=2e-2).weights
    before = variant(both.left, first, "before")
    start = logits(before, both)
    recipe = replace(RECIPE, train="lora", learning_rate=1e-2, epochs=4, lora_rank=2)
    found = prefer(before, both.prompts, both.responses, both.responses[1:] + both.responses[:1], recipe)
    # The reference is the model before: a first loss of log 2; the plain model would give another.
    assert found.losses[0] == pytest.approx(math.log(2), abs=1e-6) and found.losses[-1] < found.losses[0] - 0.01
    assert torch.equal(logits(before, both), start) and not torch.allclose(start, logits(both.left, both), atol=0.1)
    # The result is one adapter of the plain model: the earlier one, with what was learnt beside it.
    for name, value in found.weights.items():
        side = 0 if ".lora_A." in name else 1
        assert value.shape[side] == 6 and torch.equal(value.narrow(side, 0, 4), first[name])
    after, onto = (logits(variant(lm, found.weights, "after"), both) for lm in (both.left, before))
    assert torch.equal(after, onto) and not torch.equal(after, start)


def test_frozen_neurons_keep_what_they_learnt_before(pair):
    both = pair("phi3")
    before = variant(both.left, tuned(both, train="lora").weights, "before")
    chosen = some(before)
    found = tuned(both, chosen, before, train="lora")
    assert found.frozen_change == 0.0 and found.frozen_entries > 0
    for part in frozen_slices(both.left.model, chosen):
        layer, outgoing = part.name.removesuffix(".weight"), part.side == "down"
        learnt_now = found.weights[f"{layer}.lora_{'A' if outgoing else 'B'}.weight"].narrow(int(not outgoing), 4, 4)
        assert not learnt_now.index_select(int(outgoing), part.index).any() and learnt_now.any()


def test_training_in_bfloat16_or_with_recomputed_activations(pair):
    both = pair("llama")
    exact, rough = (tuned(both, some(both.left), autocast=kind) for kind in ("none", "bfloat16"))
    assert {w.dtype for w in rough.weights.values()} == {torch.float32} and rough.frozen_change == 0.0
    assert rough.losses != exact.losses, "it did not compute in bfloat16"
    np.testing.assert_allclose(rough.losses, exact.losses, rtol=0.02)
    one, two = (tuned(both, some(both.left), train="lora", gradient_checkpointing=k).weights for k in ("off", "on"))
    assert same(one, two)
    assert [checkpointed("auto", n) for n in (10**9, 10**9 + 1)] == [False, True]


def test_one_process_cannot_train_a_spread_model(pair):
    both = pair("llama")
    both.left.model.hf_device_map = {"model": 0, "lm_head": 1}
    with pytest.raises(ParameterError, match="processes above 1"):
        tuned(both, train="lora")
