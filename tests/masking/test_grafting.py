"""Grafted weights: nothing grafted is the model itself, the whole FFN is the tuned one's, and all is put back."""

import numpy as np
import pytest
import torch
from oracles import same, some, state

from polinb.errors import ParameterError
from polinb.masking.grafting import grafted
from polinb.models.architectures import architecture_of, resolve, weight_slices
from polinb.models.generation import generate, log_likelihood
from polinb.scoring.attribution import weight_attribution

SOME = ("llama", "gpt2", "phi3")  # apart, the other way round, and gate and up in one matrix


@pytest.mark.parametrize("architecture", SOME)
def test_nothing_grafted_is_vanilla_and_everything_is_the_tuned_ffn(pair, architecture):
    both = pair(architecture)
    lm, tuned = both.left, both.right
    shape, limit = (lm.layers, lm.width), {"max_new_tokens": 6}
    before, plain = state(lm), generate(lm, both.prompts, **limit)
    with grafted(lm, tuned, np.zeros(shape, bool)):
        assert same(state(lm), before) and generate(lm, both.prompts, **limit) == plain
    theirs, ffn = state(tuned), {part.name for k in range(lm.layers) for part in weight_slices(lm.model, k)}
    with grafted(lm, tuned, np.ones(shape, bool)):
        now = state(lm)
        assert all(torch.equal(now[name], (theirs if name in ffn else before)[name]) for name in now)
        everything = generate(lm, both.prompts, **limit)
    assert same(state(lm), before) and generate(lm, both.prompts, **limit) == plain, "put back bit for bit"
    # the oracle: whole FFN parts of the tuned model in the place of the model's own, by PyTorch alone
    arch = architecture_of(lm.model)
    for block, other in zip(resolve(lm.model, arch.blocks), resolve(tuned.model, arch.blocks), strict=True):
        for path in (*arch.up, arch.down):
            part, new = resolve(block, path), resolve(other, path).state_dict()
            part.load_state_dict({k: v for k, v in new.items() if path != arch.down or k != "bias"}, strict=False)
    assert generate(lm, both.prompts, **limit) == everything
    assert same(state(tuned), theirs)


@pytest.mark.parametrize("architecture", SOME)
def test_a_grafted_neuron_gives_the_tuned_one_s_value_and_no_other_weight_moves(pair, architecture):
    """Neuron by neuron, the FFN's contribution is the sum of the tuned neurons' and the other neurons' own."""
    both = pair(architecture)
    lm, tuned = both.left, both.right
    chosen = some(lm)
    before, theirs = state(lm), state(tuned)
    with grafted(lm, tuned, chosen):
        now = state(lm)
    moved = {name for name in now if not torch.equal(now[name], before[name])}
    parts = [part for k in range(lm.layers) for part in weight_slices(lm.model, k)]
    assert moved <= {part.name for part in parts}
    for layer in range(lm.layers):
        mask = torch.from_numpy(chosen[layer])
        for part in weight_slices(lm.model, layer):
            rows = [s[part.name].narrow(part.dim, part.offset, lm.width).movedim(part.dim, 0)
                    for s in (now, theirs, before)]  # fmt: skip
            assert torch.equal(rows[0][mask], rows[1][mask]) and torch.equal(rows[0][~mask], rows[2][~mask])


def test_weights_come_back_after_an_error_and_other_shapes_are_refused(pair):
    both, other = pair("llama"), pair("gpt2").left
    lm, before, every = both.left, state(both.left), np.ones((both.left.layers, both.left.width), bool)
    with pytest.raises(KeyboardInterrupt), grafted(lm, both.right, every):
        raise KeyboardInterrupt
    for given in ((both.right, every[:1]), (other, every)):
        with pytest.raises(ParameterError), grafted(lm, *given):
            pass
    assert same(state(lm), before)


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
