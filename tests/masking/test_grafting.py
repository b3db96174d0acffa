"""Grafted weights: the chosen neurons' are the tuned model's, no other moves, all is put back; what they carry."""

import numpy as np
import pytest
import torch
from oracles import same, some, state

from polinb.masking.grafting import grafted
from polinb.models.architectures import weight_slices
from polinb.models.generation import log_likelihood
from polinb.scoring.attribution import weight_attribution

SOME = ("llama", "gpt2", "phi3")  # apart, the other way round, and gate and up in one matrix


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("architecture", SOME)
def test_grafted_neurons_have_the_tuned_one_s_weights_and_no_other_weight_moves(pair, architecture, share):
    """Which weights are a neuron's is told by hand in test_inhibit. All are put back bit for bit."""
    both = pair(architecture)
    lm, tuned, chosen = both.left, both.right, some(both.left, share)
    before, theirs, expected = state(lm), state(tuned), state(lm)
    for layer, mask in enumerate(torch.from_numpy(chosen)):
        for part in weight_slices(lm.model, layer):
            rows = part.dim, part.offset, lm.width
            own, new = (s[part.name].narrow(*rows).movedim(part.dim, 0) for s in (expected, theirs))
            own[mask] = new[mask]
    with pytest.raises(KeyboardInterrupt), grafted(lm, tuned, chosen):
        assert same(state(lm), expected)
        raise KeyboardInterrupt
    assert same(state(lm), before) and same(state(tuned), theirs)
    assert same(expected, before) == (share == 0)


@pytest.mark.parametrize("architecture", SOME)
def test_eq_carried_is_what_grafting_each_neuron_alone_does(pair, architecture):
    """Planted: a few neurons differ, a little; then first order is all there is, and nothing else carries anything."""
    both = pair(architecture)
    lm, tuned = both.vanilla, both.left
    planted = np.zeros((lm.layers, lm.width), bool)
    planted[0, 2] = planted[1, [0, 5]] = True
    weights = np.array([1.0, -1.0, 0.5, -0.5])[: len(both.prompts)]

    def measured(model):
        return float(weights @ log_likelihood(model, both.prompts, both.responses))

    start, end = state(lm), state(both.right)
    with torch.no_grad():  # tuned: vanilla but for the planted neurons, a step towards another model
        tuned.model.load_state_dict({name: torch.lerp(value, end[name], 0.05) for name, value in start.items()})
        with grafted(lm, tuned, planted):
            only = state(lm)
        tuned.model.load_state_dict(only)
    found = weight_attribution(lm, tuned, both.prompts, both.responses, weights)
    assert (found[~planted] == 0).all() and (found[planted] != 0).all()
    before = measured(lm)
    assert found.sum() == pytest.approx(measured(tuned) - before, rel=0.05, abs=1e-6)
    for neuron in np.argwhere(planted):
        alone = np.zeros_like(planted)
        alone[tuple(neuron)] = True
        with grafted(lm, tuned, alone):
            assert found[tuple(neuron)] == pytest.approx(measured(lm) - before, rel=0.1, abs=1e-6)
    assert same(state(lm), start)
