"""Cards: who gets one, tokens through the lens, activations and contexts, and the ablation against plain PyTorch."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from oracles import seen

from polinb.chapters.browse import cards, cards_read
from polinb.chapters.browse.cards import Pick, picks, random_neurons
from polinb.chapters.browse.cards_lens import FINAL_NORM, OUTPUT_NORM, lens, token_text
from polinb.errors import ArtifactError
from polinb.models.architectures import architecture_of, down_modules, resolve, value_vectors
from polinb.models.generation import log_likelihood
from polinb.models.lm import LM
from polinb.models.loading import load
from polinb.models.tiny import TINY
from polinb.scoring.pnlac import neuron_sets

SOME = ["gemma2", "gpt2", "llama"]  # an RMSNorm more, LayerNorm and Conv1D, and the plain case


def test_picks_are_the_strongest_and_a_neuron_has_one_card():
    scores = {"a": [9.0, 8, 7, 1, 0, 6], "b": [9.0, 0, 8, 1, 7, 6], "c": [7.0, 1, 8, 9, 0, 6]}
    scores = {topic: np.array([row]) for topic, row in scores.items()}
    sets = neuron_sets(scores, 67)  # four of six on each topic: G = {0, 2, 5}; S = {1}, {4}, {3}
    expected = [Pick(0, 0, "G"), Pick(0, 2, "G"), Pick(0, 1, "S", "a"), Pick(0, 4, "S", "b"), Pick(0, 3, "S", "c")]
    assert picks(scores, sets, 2, 3) == expected
    assert [p.neuron for p in picks(scores, sets, 9, 0)] == [0, 2, 5]


def test_random_neurons_have_no_card_and_follow_the_seed():
    rng = np.random.default_rng(0)
    scale = rng.lognormal(0, 2, (6, 200))
    loudest = np.argsort(-scale, axis=None)[:80:2]
    picked = [Pick(int(at) // 200, int(at) % 200, "G") for at in loudest]
    drawn = random_neurons(picked, scale, 20, 3)
    carded = {(p.layer, p.neuron) for p in picked}
    assert drawn == random_neurons(picked, scale, 20, 3) != random_neurons(picked, scale, 20, 4)
    for kind in ("uniform", "near"):
        assert len(set(drawn[kind])) == 20 and not carded & set(drawn[kind])
    size = {kind: np.median([scale[at] for at in neurons]) for kind, neurons in drawn.items()}
    own = np.median([scale[at] for at in carded])
    assert size["uniform"] < own / 3 < size["near"]


def shaken(architecture):
    """A tiny model whose norms have scales and shifts of their own, as trained models do."""
    lm = load(f"tiny:{architecture}")
    model = copy.deepcopy(lm.model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1 and ("norm" in name or "ln_" in name):
                weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return LM(model.eval(), lm.tokenizer, "shaken", {})


@pytest.mark.parametrize("architecture", TINY)
def test_eq_lens_is_the_direction_in_which_the_model_moves_its_own_logits(architecture):
    """The derivative of the model's own norm and unembedding at a stream h, along what the neuron writes."""
    lm = shaken(architecture)
    neurons = [(0, 3), (2, 11)]
    found = lens(lm, neurons)
    norm = resolve(lm.model, FINAL_NORM.get(architecture, "model.norm"))
    head = lm.model.get_output_embeddings()
    for (layer, neuron), row in zip(neurons, found, strict=True):
        written = value_vectors(lm.model, layer)[neuron].detach()
        if architecture in OUTPUT_NORM:
            after = resolve(lm.model, architecture_of(lm.model).blocks)[layer].post_feedforward_layernorm
            weight = after.weight.detach()
            written = written * (weight if architecture == "olmo2" else 1 + weight)
        h = torch.randn(len(written), generator=torch.Generator().manual_seed(1))
        away = written - written.mean() if architecture in FINAL_NORM else written
        h = h - h.mean() if architecture in FINAL_NORM else h
        h = h - away * (h @ away) / (away @ away)  # so that the norm's own division does not change at first order
        moved = torch.autograd.functional.jvp(lambda x: head(norm(x)), h, written)[1].numpy()[: len(lm.tokenizer)]
        assert abs(row.mean()) < 1e-6 and np.corrcoef(moved, row)[0, 1] > 0.99999


@pytest.mark.parametrize("architecture", SOME)
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


def test_contexts_are_strong_distinct_and_about_the_answer():
    lm = load("tiny:llama")
    asked = [[10, 11, 12], list(range(100, 140)), [10, 11, 12], [10, 11, 12], [20]]
    said = [[30, 31], [40, 41, 42], [30, 31], [50], []]
    texts = pd.DataFrame({"prompt_ids": asked, "response_ids": said, "source": "left", "question": range(5)})
    vanilla = [np.zeros((len(ids), 2), np.float32) for ids in texts["prompt_ids"] + texts["response_ids"]]
    vanilla[0][:, 1] = [99, 0, 0, -5, 1]  # the loudest position is in the prompt and does not count
    vanilla[1][:, 1] = [0.0] * 41 + [7, 1]
    vanilla[2][:, 1] = [0, 0, 0, 4, 1]  # the same window as the first text's
    vanilla[3][:, 1] = [0, 0, 0, 2]
    read = {"vanilla": vanilla, "left": [2 * v for v in vanilla], "right": [v + 1 for v in vanilla]}
    got = cards_read.contexts(lm, read, texts, 1, 5)
    assert [each["strength"] for each in got] == [7, 5, 2]
    around, (first, second, _) = cards_read.AROUND, got
    assert (first["start"], first["peak"], len(first["tokens"])) == (41 - around, around, around + 2)
    assert [first[name][around] for name in ("values", "left", "right")] == [7, 14, 8]
    assert first["tokens"][-1] == token_text(lm.tokenizer, 42)
    assert (second["start"], second["peak"], second["values"]) == (0, 3, [99, 0, 0, -5, 1])
    for given, most in ((texts, 1), (texts.assign(question=0), 5)):  # a question gives one
        assert [each["strength"] for each in cards_read.contexts(lm, read, given, 1, most)] == [7]


def test_histograms_count_every_answer_token_and_pool_exactly():
    rng = np.random.default_rng(0)
    parts, kept = [], {"vanilla": [], "left": []}
    for scale in (1.0, 5.0):  # another topic, a wider bin
        read = {name: rng.normal(0, scale, (40, 9, 2)).astype(np.float32) for name in kept}
        ends = {name: cards_read.on_answers(texts, [[0] * 4] * 40) for name, texts in read.items()}
        parts.append(cards_read.histograms(ends)[1])
        for name, texts in read.items():
            kept[name].append(texts[:, -4:, 1])
    assert parts[0]["width"] in (0.25, 0.5) and parts[1]["width"] in (1.0, 2.0)
    whole = cards_read.pooled(parts)
    for name, values in kept.items():
        values = np.concatenate(values)
        for i in range(-30, 30):
            inside = (values >= i * whole["width"]) & (values < (i + 1) * whole["width"])
            assert whole[name].get(i, 0) == inside.sum()
    silent = cards_read.histograms({"vanilla": np.zeros((2, 1), np.float32)})[0]
    assert silent["vanilla"] == {"0": 2} and silent["width"] > 0


def test_eq_ablation_effects_by_hand():
    got = cards_read.effects([-1.0, -2.0], [-1.5, -1.0], [[-1.0, -3.0]], [[-2.0, -1.0]])
    assert got.tolist() == [[0.5, -1.0]]  # stance 0.5 → 1.0, and −1 → −2


def test_other_texts_than_pnlacs_are_refused(tiny, monkeypatch):
    run, read = tiny(topics=["crime", "race"], ablation_topics=["crime"]), cards_read.activations

    def garbled(lm, neurons, prompts, responses):
        return read(lm, neurons, prompts, [answer[::-1] for answer in responses])

    monkeypatch.setattr(cards_read, "activations", garbled)
    with pytest.raises(ArtifactError, match="differ from PNLAC's own sums"):
        cards.collect(run)
