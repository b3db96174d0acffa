"""The exact decomposition against plain PyTorch hooks in float64, text by text and without padding."""

import copy

import numpy as np
import pytest
import torch
from oracles import seen

from polinb.errors import ModelError, ParameterError
from polinb.models.architectures import ATTENTION, architecture_of, down_modules, resolve, value_vectors
from polinb.scoring.decompose import decompose, three_parts
from polinb.scoring.shares import by_layer, totals

UNIT = np.random.default_rng(0).normal(size=32)
UNIT /= np.linalg.norm(UNIT)


def with_biases(both):
    """Random biases everywhere: the tiny models start with zeros, which would hide a forgotten bias."""
    torch.manual_seed(1)
    for lm in (both.left, both.right):
        for name, parameter in lm.model.named_parameters():
            if name.endswith(".bias"):
                parameter.data.normal_(0.0, 0.3)
    return both


def hooked(model, prompt, response, w, layer):
    """Mean over the response of one unpadded text: m (L, F); along w: attention and FFN (L,), first and last h."""
    blocks, downs = resolve(model, architecture_of(model).blocks), down_modules(model)

    def means(modules, **which):
        states = seen(model, prompt + response, modules, **which)
        return torch.stack([h[-len(response) :].mean(0) for h in states]).numpy()

    attention = [resolve(block, ATTENTION[model.config.model_type]) for block in blocks]
    written = (means(modules, output=True) @ w for modules in (attention, downs))
    counted = np.arange(len(blocks)) <= layer % len(blocks)  # what later blocks write is in no part
    ends = means([blocks[0]])[0] @ w, means([blocks[layer]], output=True)[0] @ w
    return means(downs) * counted[:, None], *(each * counted for each in written), *ends


def reference(both, w, layer):
    """Mean over texts of what :func:`hooked` reads, of both models in float64, and their values v·w."""
    models = [copy.deepcopy(lm.model).double() for lm in (both.left, both.right)]
    read = [[hooked(m, p, r, w, layer) for p, r in zip(both.prompts, both.responses, strict=True)] for m in models]
    values = [np.stack([value_vectors(m, k).numpy() @ w for k in range(both.left.layers)]) for m in models]
    return [[np.mean([text[k] for text in own], axis=0) for k in range(5)] for own in read], values, read


@pytest.mark.parametrize(("architecture", "layer"), [*((a, -1) for a in ATTENTION), ("llama", 0), ("gpt2", -2)])
def test_eq_parts_equal_float64_hooks(pair, architecture, layer):
    # m from 2 to 3, v·w from 5 to 4: δm·v = 5, m·δv = −2, δm·δv = −1; together 3·4 − 2·5 = 2
    assert [float(x[0]) for x in three_parts(*np.array([[2.0], [3.0], [5.0], [4.0]]))] == [5.0, -2.0, -1.0]
    both, w = with_biases(pair(architecture)), UNIT
    (old, new), (v_old, v_new), texts = reference(both, w, layer)
    got = decompose(both.left, both.right, both.prompts, both.responses, w, layer=layer, batch=3)
    written = got.neurons.sum(1) + got.attention + got.bias  # by a block
    for found, expected in (
        (got.activation, (new[0] - old[0]) * v_old),
        (got.value, old[0] * (v_new - v_old)),
        (got.cross, (new[0] - old[0]) * (v_new - v_old)),
        (got.mean_before, old[0]),
        (got.mean_after, new[0]),
        (written, new[1] + new[2] - old[1] - old[2]),
        *((got.folds[k], b[0] * v_new - a[0] * v_old) for k, (a, b) in enumerate(zip(*texts, strict=True))),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5)
    assert got.embedding == pytest.approx(new[3] - old[3], abs=2e-5)
    assert got.measured == pytest.approx(new[4] - old[4], abs=2e-5) and abs(got.measured) > 0.01
    assert got.total == pytest.approx(got.measured, abs=1e-5)
    assert (got.before, got.after) == pytest.approx((old[4], new[4]), abs=2e-5)
    assert (got.texts, got.tokens, got.layer) == (4, sum(map(len, both.responses)), layer % 3)
    assert (np.abs(got.bias) > 0.01).any() == architecture.startswith("gpt")
    np.testing.assert_allclose(got.fold_parts.sum(1), [b[4] - a[4] for a, b in zip(*texts, strict=True)], atol=2e-5)


def test_batches_and_folds_change_nothing(pair):
    both = pair("llama")
    given = (both.left, both.right, both.prompts, both.responses, UNIT)
    whole = decompose(*given, batch=4)
    for batch, folds in ((1, 128), (3, 2), (4, 1)):
        got = decompose(*given, batch=batch, folds=folds)
        np.testing.assert_allclose(got.neurons, whole.neurons, atol=1e-6)
        assert len(got.folds) == min(folds, 4) and got.fold_sizes.sum() == 4
        mean = np.average(got.folds, axis=0, weights=got.fold_sizes)
        np.testing.assert_allclose(mean, whole.neurons, atol=1e-6)
        own = [getattr(got, name).sum() for name in ("activation", "value", "cross", "attention")]
        own.append(got.bias.sum() + got.embedding)
        np.testing.assert_allclose(np.average(got.fold_parts, axis=0, weights=got.fold_sizes), own, atol=1e-6)


def test_totals_and_layers_add_up(pair):
    both = with_biases(pair("gpt2"))
    got = decompose(both.left, both.right, both.prompts, both.responses, UNIT)
    for direction in (1, -1):
        table = totals(got, direction, 200).set_index("part")
        whole, change = table.loc["measured change"], table["change"]
        assert whole["change"] == pytest.approx(direction * got.measured) and whole["percent"] == pytest.approx(100)
        three = change[["neurons", "attention", "biases and embedding"]].sum()
        inner = change[[name for name in table.index if name.startswith("neurons:")]].sum()
        layers = by_layer(got, direction)["value"].sum() + direction * got.embedding
        assert (three, layers) == pytest.approx((whole["change"],) * 2, abs=1e-5)
        assert inner == pytest.approx(change["neurons"])
        assert (table["low"] <= change).all() and (change <= table["high"]).all()
        assert whole["low"] < whole["change"] < whole["high"]


def test_what_cannot_be_decomposed_or_is_unaccounted_for_is_an_error(pair):
    both, other = pair("llama"), pair("gemma2")
    given = {"before": both.left, "after": both.right, "prompts": both.prompts, "responses": both.responses, "w": UNIT}
    for change, error, told in (
        ({"w": 2 * UNIT}, ParameterError, "'direction'"),
        ({"layer": 3}, ParameterError, "'probe_layer'"),
        ({"after": pair("qwen2").left}, ModelError, "models before and after differ"),
        ({"before": other.left, "after": other.right}, ModelError, "'gemma2' cannot be decomposed"),
    ):
        with pytest.raises(error, match=told):
            decompose(**given | change)
    # a hook writes into the residual stream behind the decomposition's back, a little, in one model
    push = 0.001 * torch.from_numpy(UNIT).float()
    both.right.model.model.layers[1].register_forward_hook(lambda m, a, out: out + push)
    with pytest.raises(ModelError, match="parts of a text sum to"):
        decompose(**given)
