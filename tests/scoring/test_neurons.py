"""PNLAC's sums and means of residual streams against plain PyTorch hooks, text by text and without padding."""

import copy

import numpy as np
import pytest
import torch
from oracles import on_responses, seen

from polinb.models.architectures import architecture_of, down_modules, resolve, value_vectors
from polinb.models.tiny import TINY
from polinb.models.tokens import batches
from polinb.scoring.pnlac import pnlac_score
from polinb.scoring.residual import depths, mean_states
from polinb.scoring.tracing import contrast


@pytest.mark.parametrize("architecture", TINY)
def test_eq_score_and_mean_states_equal_hooks(pair, architecture):
    """Scores on response tokens, and on the positions one earlier that generate them, in float64."""
    both = pair(architecture)
    lms, texts, read = (both.left, both.right, both.vanilla), (both.prompts, both.responses), []
    for model in (copy.deepcopy(lm.model).double() for lm in lms):
        downs, pairs = down_modules(model), zip(*texts, strict=True)
        read.append([torch.stack(seen(model, p + r, downs))[:, len(p) - 1 :].numpy() for p, r in pairs])
    tokens = sum(map(len, both.responses))
    for place, generating in ((np.s_[:, 1:], False), (np.s_[:, :-1], True)):
        left, right, plain = (np.concatenate([text[place] for text in own], axis=1) for own in read)
        square = ((right - left) ** 2).mean(1)
        assert square.max() > 0
        for batch in (1, 3):
            got = contrast(*lms, *texts, batch=batch, generating=generating)
            assert got.tokens == tokens
            assert (got.score == pnlac_score(got.squared_difference, got.tokens)).all()
            np.testing.assert_allclose(got.score, np.sqrt(square), rtol=2e-4, atol=1e-6)
            np.testing.assert_allclose(got.difference, (right - left).sum(1), rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(got.scale, np.sqrt((plain**2).mean(1)), rtol=2e-4, atol=1e-6)
            np.testing.assert_allclose(got.vanilla_std, plain.std(1), rtol=1e-3, atol=1e-5)
    plain = both.left.model
    states, blocks = mean_states(both.left, *texts, batch=3), resolve(plain, architecture_of(plain).blocks)
    assert states.shape == (4, 3, 32) and depths("caft_layers", [0, 0.1, 0.5, 1], 3) == [0, 1, 2]
    for found, prompt, response in zip(states, *texts, strict=True):
        for layer, written in enumerate(seen(plain, prompt + response, blocks, output=True)):
            np.testing.assert_allclose(found[layer], written[len(prompt) :].double().mean(0), atol=2e-5)
    down, one = down_modules(plain)[1], torch.zeros(1, 1, both.left.width)
    with torch.no_grad():  # a neuron writes its value vector
        base = down(one)
        one[..., 5] = 2.0
        moved = down(one) - base
    torch.testing.assert_close(moved[0, 0], 2 * value_vectors(plain, 1)[5], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_subtracted_and_summed_in_float32(pair, kind):
    """Neuron by neuron: rounded differences or sums would be off by up to a hundredth."""
    both, texts = pair("llama"), 40
    prompts, responses = both.prompts * (texts // 4), both.responses * (texts // 4)
    models = [both.left, both.right, both.vanilla]
    for lm in models:
        lm.model.to(kind)
    got = contrast(*models, prompts, responses, batch=2 * texts)
    with torch.no_grad():
        [chunk] = batches(both.left, prompts, responses, texts)
        left, right, plain = (torch.stack(on_responses(lm, chunk)).double().numpy() for lm in models)
    for name, values in (("squared_difference", (right - left) ** 2), ("vanilla_squared", plain**2)):
        np.testing.assert_allclose(getattr(got, name), values.sum(1), rtol=1e-5)
