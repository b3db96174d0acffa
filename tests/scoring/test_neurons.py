"""PNLAC's sums against plain PyTorch hooks in float64, text by text and without padding."""

import copy
import gc

import numpy as np
import pytest
import torch
from oracles import on_responses, seen

from polinb.errors import ModelError
from polinb.masking.decoding import Reader
from polinb.models.architectures import architecture_of, down_modules, value_vectors
from polinb.models.tiny import TINY
from polinb.models.tokens import batches, pad
from polinb.scoring.pnlac import pnlac_score
from polinb.scoring.tracing import contrast


def hooked(model, ids):
    """Inputs of all output projections for one unpadded text: (L, T, F) float64."""
    return torch.stack(seen(model, ids, down_modules(model))).numpy()


def reference(both):
    models = [copy.deepcopy(lm.model).double() for lm in (both.left, both.right, both.vanilla)]
    parts = []
    for prompt, response in zip(both.prompts, both.responses, strict=True):
        left, right, plain = (hooked(m, prompt + response)[:, len(prompt) :] for m in models)
        parts.append(((right - left) ** 2, right - left, plain, plain**2))
    sums = [np.concatenate([p[k] for p in parts], axis=1).sum(1) for k in range(4)]
    return sums, sum(map(len, both.responses))


@pytest.mark.parametrize("architecture", TINY)
def test_eq_score_equals_float64_hooks(pair, architecture):
    both = pair(architecture)
    (squared, difference, plain, plain_squared), tokens = reference(both)
    assert squared.max() > 0
    for batch in (1, 3):
        got = contrast(both.left, both.right, both.vanilla, both.prompts, both.responses, batch=batch)
        assert got.tokens == tokens
        assert (got.score == pnlac_score(got.squared_difference, got.tokens)).all()
        np.testing.assert_allclose(got.score, np.sqrt(squared / tokens), rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(got.difference, difference, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(got.scale, np.sqrt(plain_squared / tokens), rtol=2e-4, atol=1e-6)
        std = np.sqrt(plain_squared / tokens - (plain / tokens) ** 2)
        np.testing.assert_allclose(got.vanilla_std, std, rtol=1e-3, atol=1e-5)


def test_generating_positions_are_one_earlier(pair):
    """From the prompt's last token to the response's last but one, against hooks."""
    both = pair("llama")
    expected = 0.0
    for prompt, response in zip(both.prompts, both.responses, strict=True):
        left, right = (hooked(lm.model, prompt + response).astype(float) for lm in (both.left, both.right))
        expected = expected + ((right - left) ** 2)[:, len(prompt) - 1 : -1].sum(1)
    texts = (both.left, both.right, both.vanilla, both.prompts, both.responses)
    for batch in (1, 16):
        got = contrast(*texts, batch=batch, generating=True)
        np.testing.assert_allclose(got.squared_difference, expected, rtol=5e-4, atol=1e-9)
        assert got.tokens == sum(map(len, both.responses))


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


def test_no_response_token_is_an_error(pair):
    both = pair("llama")
    with pytest.raises(ValueError, match="every response is empty"):
        contrast(both.left, both.right, both.vanilla, both.prompts, [[] for _ in both.prompts])


@pytest.mark.parametrize("architecture", TINY)
def test_a_neuron_writes_its_value_vector(pair, architecture):
    model = pair(architecture).left.model
    down = down_modules(model)[1]
    width = value_vectors(model, 1).shape[0]
    one = torch.zeros(1, 1, width)
    with torch.no_grad():
        base = down(one)
        one[..., 5] = 2.0
        moved = down(one) - base
    torch.testing.assert_close(moved[0, 0], 2 * value_vectors(model, 1)[5], rtol=1e-5, atol=1e-6)


def test_unknown_architecture_says_what_to_add(pair):
    model = pair("llama").left.model
    model.config.model_type = "mamba"
    with pytest.raises(ModelError, match=r"'mamba' is unknown.*ARCHITECTURES"):
        architecture_of(model)


def test_left_padding_changes_no_activation(pair):
    lm = pair("gpt2").left
    text, everything = list(range(5, 17)), np.ones((lm.layers, lm.width), bool)
    alone = Reader(lm, everything).read(pad(lm, [text], [[]], [0]))
    for padding in (1, 7):
        chunk = pad(lm, [text, [5] * (len(text) + padding)], [[], []], [0, 1])
        assert int((chunk.mask[0] == 0).sum()) == padding
        beside = Reader(lm, everything).read(chunk)
        for one, other in zip(alone, beside, strict=True):
            torch.testing.assert_close(one[0], other[0, padding:], rtol=1e-4, atol=1e-5)


def test_traces_in_a_row_leave_no_tensor_behind(pair):
    both = pair("llama")
    contrast(both.left, both.right, both.vanilla, both.prompts, both.responses)

    def alive():
        gc.collect()
        return sum(1 for each in gc.get_objects() if isinstance(each, torch.Tensor))

    before = alive()
    for _ in range(5):
        contrast(both.left, both.right, both.vanilla, both.prompts, both.responses)
    assert alive() <= before
