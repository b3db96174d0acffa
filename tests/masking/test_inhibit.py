"""Fine-tuning with frozen neurons: frozen weights do not move by a bit, freezing nothing is plain fine-tuning."""

import gc
import weakref

import numpy as np
import pytest
import torch
from oracles import RECIPE, same, some, state, tuned

from polinb.errors import TrainingError
from polinb.masking.freezing import check_frozen, frozen_slices
from polinb.models.generation import log_likelihood
from polinb.models.tiny import TINY
from polinb.training.supervised import finetune


def touched(after, slices):
    """Per parameter, a mask of entries that belong to frozen slices."""
    masks = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in after.items()}
    for part in slices:
        if part.name in masks:
            masks[part.name].index_fill_(part.dim, part.index, True)
    return masks


WAYS = [("all", "neuron"), ("body", "down"), ("lora", "up"), ("lora", "neuron"), ("all", "up")]  # every pair but a few
CASES = [(a, *way) for a in TINY for way in (WAYS if a in ("gpt2", "phi3") else [("all", "neuron")])]


@pytest.mark.parametrize(("architecture", "train", "freeze"), CASES)
def test_frozen_weights_stay_bitwise(pair, merged, architecture, train, freeze):
    both = pair(architecture)
    lm, before, chosen = both.left, state(both.left), some(both.left)
    found = tuned(both, chosen, freeze=freeze, train=train)
    slices, after = frozen_slices(lm.model, chosen, freeze), merged(lm, found.weights)
    assert slices and found.frozen_entries > 0 and found.frozen_change == 0.0
    frozen, moved = touched(after, slices), {name: after[name] != before[name] for name in after}
    assert not any((moved[name] & frozen[name]).any() for name in after)
    assert any((moved[name] & ~frozen[name]).any() for name in after)
    assert train != "body" or not any("embed" in name or "lm_head" in name for name in found.weights)
    assert same(state(lm), before)  # the vanilla model is never touched


SIDES = {  # of neuron 7: incoming and outgoing; Phi-3 stacks gate and up, 48 rows each
    "llama": ({"gate_proj.weight": (0, [7]), "up_proj.weight": (0, [7])}, {"down_proj.weight": (1, [7])}),
    "gpt2": ({"c_fc.weight": (1, [7]), "c_fc.bias": (0, [7])}, {"c_proj.weight": (0, [7])}),
    "phi3": ({"gate_up_proj.weight": (0, [7, 55])}, {"down_proj.weight": (1, [7])}),
}


@pytest.mark.parametrize("architecture", SIDES)
def test_what_a_neuron_owns_by_hand(pair, architecture):
    lm, (up, down) = pair(architecture).left, SIDES[architecture]
    chosen = np.zeros((lm.layers, lm.width), bool)
    chosen[1, 7] = True
    for mode, expected in (("up", up), ("down", down), ("neuron", up | down)):
        slices = frozen_slices(lm.model, chosen, mode)
        assert {s.name.rpartition(".1.mlp.")[2]: (s.dim, s.index.tolist()) for s in slices} == expected
    before, after = state(lm), state(lm)
    assert check_frozen(before, after, slices) == 0.0
    after[slices[0].name] += 1e-6
    with pytest.raises(TrainingError, match="a frozen weight moved"):
        check_frozen(before, after, slices)


@pytest.mark.parametrize(("architecture", "train"), [("gpt2", "all"), ("phi3", "lora")])
def test_only_the_chosen_neurons_learn_and_freezing_nothing_is_plain_finetuning(pair, merged, architecture, train):
    """Everything outside their rows and columns is as before, bit by bit, and they move."""
    both = pair(architecture)
    lm, before, chosen = both.left, state(both.left), some(both.left)
    after = merged(lm, tuned(both, chosen, freeze="only", train=train).weights)
    own = touched(before, frozen_slices(lm.model, chosen, "neuron"))
    moved = {name: after[name] != before[name] for name in after}  # of adapters, what they are added to
    assert not any((moved[name] & ~own[name]).any() for name in moved)
    assert any((moved[name] & own[name]).any() for name in moved)
    plain, empty = (tuned(both, frozen, train=train) for frozen in (None, some(lm, 0.0)))
    assert plain.losses == empty.losses and same(plain.weights, empty.weights)


def test_the_loss_counts_response_tokens_only_and_gradients_are_zeroed_before_clipping(pair, monkeypatch):
    both, steps, clip = pair("llama"), [], torch.nn.utils.clip_grad_norm_
    chosen = some(both.left)

    def spy(parameters, *args, **more):
        parameters = list(parameters)
        steps.append(dict(zip(state(both.left), [p.grad.clone() for p in parameters], strict=True)))
        return clip(parameters, *args, **more)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    logp = log_likelihood(both.left, both.prompts, both.responses)
    loss = tuned(both, chosen, micro_batch=4).losses[0]
    assert loss == pytest.approx(-np.average(logp, weights=list(map(len, both.responses))), rel=1e-4)
    assert len(steps) == 2
    for part in frozen_slices(both.left.model, chosen):
        for gradient in (step[part.name] for step in steps):
            assert gradient.any() and not gradient.index_select(part.dim, part.index).any()


def test_what_was_trained_is_freed(pair):
    """The first fine-tuning of a process, too, which sets the libraries apart from what is collected."""
    both, seen = pair("llama"), []
    gc.unfreeze()
    finetune(both.left, both.prompts, both.responses, RECIPE, watch=lambda _, model: seen.append(weakref.ref(model)))
    gc.collect()
    assert seen and all(each() is None for each in seen) and gc.get_freeze_count()
