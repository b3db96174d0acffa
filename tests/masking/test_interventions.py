"""One question under an intervention: the decoding loop's answer, grafted weights, likelihoods and activations."""

import itertools

import numpy as np
import pytest
import torch
from oracles import on_responses, same, some, state

from polinb.errors import ParameterError
from polinb.masking.decoding import Reader, assign, changed_answers, patch, scale
from polinb.masking.grafting import grafted
from polinb.masking.interventions import Intervention
from polinb.models.generation import generate, log_likelihood
from polinb.models.tokens import pad

LIMIT = {"max_new_tokens": 8}


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2"])
def test_streams_are_the_answers_of_the_loop(pair, architecture):
    """Proven against plain hooks in test_decoding. All are written in turns, as the lab does: none disturbs another."""
    both = pair(architecture)
    lm, donor, chosen, prompt = both.left, both.right, some(both.left), both.prompts[:1]

    def made(*change):
        return changed_answers(lm, prompt, chosen, *change, **LIMIT)[0]

    def lockstep(_):
        return Reader(donor, chosen).read

    [plain] = generate(lm, prompt, **LIMIT)
    with grafted(lm, donor, chosen):
        [tuned] = generate(lm, prompt, **LIMIT)
    expected = {
        ("none", 1.0): plain,
        ("ablate", 1.0): made(assign(0.0)),
        ("scale", -1.5): made(scale(-1.5)),
        ("scale", 1.0): plain,
        ("patch", 1.0): made(patch(), lockstep),
        ("patch", 0.5): made(patch(0.5), lockstep),
        ("patch", 0.0): plain,
        ("graft", 1.0): tuned,
    }
    streams = [Intervention(lm, chosen, kind, s, donor).stream(prompt[0], **LIMIT) for kind, s in expected]
    turns = zip(*itertools.zip_longest(*streams), strict=True)
    assert [[token for token in each if token is not None] for each in turns] == list(expected.values())
    assert generate(lm, prompt, **LIMIT) == [plain], "nothing is left behind"
    assert list(Intervention(lm, ~some(lm, 1.0), "graft", donor=donor).stream(prompt[0], **LIMIT)) == plain


def test_sampling_follows_its_seed_alone(pair):
    both = pair("llama")
    plain = Intervention(both.left, some(both.left))

    def drawn(**options):
        return [list(plain.stream(p, **LIMIT, **options)) for p in both.prompts]

    before = torch.get_rng_state()
    assert drawn(temperature=1.0, seed=1) == drawn(temperature=1.0, seed=1) != drawn(temperature=1.0, seed=2)
    assert drawn(temperature=1e-4, seed=2) == drawn(), "cold sampling is greedy"
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2"])
def test_reading_gives_likelihoods_and_activations(pair, architecture):
    """Unchanged: those of plain scoring and reading. Patched: the donor's activations. Changed: what was written."""
    both = pair(architecture)
    lm, donor, chosen = both.left, both.right, some(both.left)
    prompt, response = both.prompts[0], both.responses[0]

    def scored(model):
        chunk = pad(model, [prompt], [response], [0])
        layers = zip(on_responses(model, chunk), torch.from_numpy(chosen), strict=True)
        return log_likelihood(model, [prompt], [response])[0], torch.cat([a[:, m] for a, m in layers], 1).numpy()

    def read(*how):
        return Intervention(lm, chosen, *how, donor=donor).read(prompt, response)

    plain, first, close = scored(lm), int(chosen[0].sum()), {"rtol": 1e-4, "atol": 1e-5}
    with grafted(lm, donor, chosen):
        tuned = scored(lm)
    for found, expected in ((read(), plain), (read("graft"), tuned)):
        assert found[0] == pytest.approx(expected[0], abs=1e-5)
        np.testing.assert_allclose(found[1], expected[1], **close)
    logp, patched = read("patch")
    np.testing.assert_allclose(patched, scored(donor)[1], **close)
    assert logp != pytest.approx(plain[0], abs=1e-5)
    assert not read("ablate")[1].any()
    np.testing.assert_allclose(read("scale", -2.0)[1][:, :first], -2 * plain[1][:, :first], **close)


def test_wrong_interventions_are_refused_and_one_given_up_leaves_the_model_as_it_was(pair):
    both = pair("llama")
    lm, chosen, prompt = both.left, some(both.left), both.prompts[0]
    before = state(lm)
    next(Intervention(lm, chosen, "graft", donor=both.right).stream(prompt, **LIMIT))
    assert same(state(lm), before)
    for call, told in (
        (lambda: Intervention(lm, chosen, "patch"), "donor"),
        (lambda: grafted(lm, both.right, chosen[:1]), "chosen"),
        (lambda: grafted(lm, pair("gpt2").left, chosen), "tuned"),
        (lambda: next(Intervention(lm, chosen).stream(prompt, max_new_tokens=5000)), "the model's context"),
    ):
        with pytest.raises(ParameterError, match=told):
            call()
