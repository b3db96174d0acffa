"""Cards: who gets one, tokens through the lens, activations and the ablation against plain PyTorch."""

import copy

import numpy as np
import pytest
import torch
from oracles import seen

from polinb.chapters.browse import cards_read
from polinb.chapters.browse.cards import Pick, picks, random_neurons
from polinb.chapters.browse.cards_lens import FINAL_NORM, OUTPUT_NORM, lens
from polinb.models.architectures import architecture_of, down_modules, resolve, value_vectors
from polinb.models.generation import log_likelihood
from polinb.models.lm import LM
from polinb.models.loading import load
from polinb.models.tiny import TINY
from polinb.scoring.pnlac import neuron_sets


def test_picks_are_the_strongest_and_a_neuron_has_one_card():
    rows = [[9.0, 8, 7, 1, 0, 6], [9.0, 0, 8, 1, 7, 6], [7.0, 1, 8, 9, 0, 6]]
    scores = {topic: np.array([row]) for topic, row in zip("abc", rows, strict=True)}
    sets = neuron_sets(scores, 67)  # four of six on each topic: G = {0, 2, 5}; S = {1}, {4}, {3}
    expected = [Pick(0, 0, "G"), Pick(0, 2, "G"), Pick(0, 1, "S", "a"), Pick(0, 4, "S", "b"), Pick(0, 3, "S", "c")]
    assert picks(scores, sets, 2, 3) == expected
    assert [p.neuron for p in picks(scores, sets, 9, 0)] == [0, 2, 5]


def test_random_neurons_have_no_card_and_are_as_loud_as_those_that_have_one():
    scale = np.random.default_rng(0).lognormal(0, 2, (6, 200))
    loudest = np.argsort(-scale, axis=None)[:80:2]
    picked = [Pick(int(at) // 200, int(at) % 200, "G") for at in loudest]
    drawn, carded = random_neurons(picked, scale, 20, 3), {pick[:2] for pick in picked}
    assert drawn == random_neurons(picked, scale, 20, 3) != random_neurons(picked, scale, 20, 4)
    assert all(len(set(neurons)) == 20 and not carded & set(neurons) for neurons in drawn.values())
    own, uniform, near = (np.median([scale[at] for at in each]) for each in (carded, drawn["uniform"], drawn["near"]))
    assert uniform < own / 3 < near


def shaken(architecture):
    """A tiny model whose norms have scales and shifts of their own, as trained models do."""
    lm, generator = load(f"tiny:{architecture}"), torch.Generator().manual_seed(5)
    model = copy.deepcopy(lm.model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1 and ("norm" in name or "ln_" in name):
                weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return LM(model.eval(), lm.tokenizer, "shaken", {})


@pytest.mark.parametrize("architecture", TINY)
def test_eq_lens_is_the_direction_in_which_the_model_moves_its_own_logits(architecture):
    """The derivative of the model's own norm and unembedding at a stream h, along what the neuron writes."""
    lm, neurons = shaken(architecture), [(0, 3), (2, 11)]
    norm, head = resolve(lm.model, FINAL_NORM.get(architecture, "model.norm")), lm.model.get_output_embeddings()
    for (layer, neuron), row in zip(neurons, lens(lm, neurons), strict=True):
        written = value_vectors(lm.model, layer)[neuron].detach()
        if architecture in OUTPUT_NORM:
            block = resolve(lm.model, architecture_of(lm.model).blocks)[layer]
            scale = block.post_feedforward_layernorm.weight.detach()
            written = written * (scale if architecture == "olmo2" else 1 + scale)
        h = torch.randn(len(written), generator=torch.Generator().manual_seed(1))
        away = written - written.mean() if architecture in FINAL_NORM else written
        h = h - h.mean() if architecture in FINAL_NORM else h
        h = h - away * (h @ away) / (away @ away)  # so that the norm's own division does not change at first order
        moved = torch.autograd.functional.jvp(lambda x: head(norm(x)), h, written)[1].numpy()[: len(lm.tokenizer)]
        assert abs(row.mean()) < 1e-6 and np.corrcoef(moved, row)[0, 1] > 0.99999


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2", "llama"])
def test_activations_and_zeroing_equal_plain_hooks(architecture, pair):
    found = pair(architecture)
    lm, neurons, texts = found.vanilla, [(2, 5), (0, 7), (2, 1), (1, 0), (0, 40)], (found.prompts, found.responses)
    downs = down_modules(lm.model)
    for got, prompt, response in zip(cards_read.activations(lm, neurons, *texts, batch=3), *texts, strict=True):
        layers = seen(lm.model, [*prompt, *response], downs)
        want = torch.stack([layers[layer][:, neuron] for layer, neuron in neurons], 1).numpy()
        assert got.shape == want.shape and np.allclose(got, want, atol=1e-5)
    base, moved = cards_read.zeroed_logp(lm, neurons, *texts, batch=3)
    assert np.allclose(base, log_likelihood(lm, *texts, batch=3), atol=1e-6)
    for (layer, neuron), row in zip(neurons, moved, strict=True):
        keep = torch.ones(lm.width)
        keep[neuron] = 0
        handle = downs[layer].register_forward_pre_hook(lambda _, x, keep=keep: (x[0] * keep,))
        want = log_likelihood(lm, *texts, batch=3)
        handle.remove()
        assert np.allclose(row, want, atol=1e-6) and not np.allclose(row, base, atol=1e-4)


def test_eq_ablation_effects_by_hand():
    got = cards_read.effects([-1.0, -2.0], [-1.5, -1.0], [[-1.0, -3.0]], [[-2.0, -1.0]])
    assert got.tolist() == [[0.5, -1.0]]  # stance 0.5 → 1.0, and −1 → −2
