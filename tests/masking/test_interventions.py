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
from polinb.models.generation import decode, generate, log_likelihood, pieces
from polinb.models.tokens import pad, response_ids

LIMIT = {"max_new_tokens": 8}


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2"])
def test_streams_are_the_answers_of_the_loop(pair, architecture):
    """Proven against plain hooks in test_decoding. All are written in turns, as the lab does: none disturbs another."""
    both = pair(architecture)
    lm, donor, chosen = both.left, both.right, some(both.left)

    def made(change, source=None):
        return changed_answers(lm, both.prompts[:1], chosen, change, source, **LIMIT)[0]

    def lockstep(_):
        return Reader(donor, chosen).read

    plain = generate(lm, both.prompts[:1], **LIMIT)[0]
    with grafted(lm, donor, chosen):
        tuned = generate(lm, both.prompts[:1], **LIMIT)[0]
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
    streams = [Intervention(lm, chosen, kind, s, donor).stream(both.prompts[0], **LIMIT) for kind, s in expected]
    turns = zip(*itertools.zip_longest(*streams), strict=True)
    assert [[token for token in each if token is not None] for each in turns] == list(expected.values())
    assert generate(lm, both.prompts[:1], **LIMIT)[0] == plain, "nothing is left behind"
    nobody = Intervention(lm, np.zeros_like(chosen), "graft", donor=donor)
    assert list(nobody.stream(both.prompts[0], **LIMIT)) == plain


def test_sampling_follows_its_seed_alone(pair):
    both = pair("llama")
    plain = Intervention(both.left, some(both.left))

    def drawn(**options):
        return [list(plain.stream(p, **LIMIT, **options)) for p in both.prompts]

    with torch.random.fork_rng():
        one = drawn(temperature=1.0, seed=1)
        before = torch.manual_seed(77).get_state()
        assert one == drawn(temperature=1.0, seed=1) != drawn(temperature=1.0, seed=2)
        assert drawn(temperature=1e-4, seed=2) == drawn(), "cold sampling is greedy"
        assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2"])
def test_reading_gives_likelihoods_and_activations(pair, architecture):
    """Unchanged: those of plain scoring and reading. Patched: the donor's activations. Changed: what was written."""
    both = pair(architecture)
    lm, donor, chosen = both.left, both.right, some(both.left)
    texts = prompt, response = both.prompts[0], both.responses[0]

    def scored(model):
        chunk = pad(model, [prompt], [response], [0])
        layers = zip(on_responses(model, chunk), torch.from_numpy(chosen), strict=True)
        return log_likelihood(model, [prompt], [response])[0], torch.cat([a[:, m] for a, m in layers], 1).numpy()

    def close(got, expected):
        assert got[0] == pytest.approx(expected[0], abs=1e-5)
        np.testing.assert_allclose(got[1], expected[1], rtol=1e-4, atol=1e-5)

    plain, first = scored(lm), slice(0, int(chosen[0].sum()))
    close(Intervention(lm, chosen).read(*texts), plain)
    patched = Intervention(lm, chosen, "patch", donor=donor).read(*texts)
    close((0, patched[1]), (0, scored(donor)[1]))
    assert patched[0] != pytest.approx(plain[0], abs=1e-5)
    assert not Intervention(lm, chosen, "ablate").read(*texts)[1].any()
    scaled = Intervention(lm, chosen, "scale", -2.0).read(*texts)[1]
    close((0, scaled[:, first]), (0, -2 * plain[1][:, first]))
    with grafted(lm, donor, chosen):
        tuned = scored(lm)
    close(Intervention(lm, chosen, "graft", donor=donor).read(*texts), tuned)
    assert Intervention(lm, np.zeros_like(chosen)).read(*texts)[1].shape == (len(response), 0)


def test_wrong_interventions_are_refused_and_one_given_up_leaves_the_model_as_it_was(pair):
    both = pair("llama")
    lm, chosen, prompt = both.left, some(both.left), both.prompts[0]
    before = state(lm)
    next(Intervention(lm, chosen, "graft", donor=both.right).stream(prompt, **LIMIT))
    assert same(state(lm), before)
    for call, told in (
        (lambda: Intervention(lm, chosen, "kill"), "kind"),
        (lambda: Intervention(lm, chosen, "patch"), "donor"),
        (lambda: Intervention(lm, chosen, "graft"), "donor"),
        (lambda: next(Intervention(lm, chosen[:1]).stream(prompt, **LIMIT)), "chosen"),
        (lambda: next(Intervention(lm, chosen).stream(prompt, max_new_tokens=5000)), "the model's context"),
    ):
        with pytest.raises(ParameterError, match=told):
            call()


def test_pieces_are_the_text_token_by_token(pair):
    lm = pair("llama").left
    ids = response_ids(lm, "  Wähle Bäume – 树木 <b>!", end=True)
    parts = pieces(lm, ids)
    assert len(parts) == len(ids) and "".join(parts) == decode(lm, ids) and pieces(lm, []) == []
    assert "\ufffd" not in "".join(parts)
