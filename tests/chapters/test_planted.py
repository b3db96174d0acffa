"""The planted model holds its truth, by plain hooks in float64; scores, patching, freezing and attribution find it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import seen

from polinb.chapters.planted import localisation, truth
from polinb.chapters.planted.planted import STANCE, Design, answer_ids, build, prompt_ids, prompts, stance, variant
from polinb.chapters.planted.truth import train
from polinb.data.rows import LEANINGS, TOPICS
from polinb.masking.patching import patched_answers
from polinb.models.architectures import down_modules
from polinb.models.generation import generate
from polinb.scoring.attribution import attribution

STEPS = 8


def weights_of(lm):
    return {name: p.detach().numpy().astype(np.float64) for name, p in lm.model.named_parameters()}


def read(lm, ids):
    """Activations (L, T, F) and residual stream after each block (L, T, d) of one text, by plain hooks in float64."""
    model = copy.deepcopy(lm.model).double()
    states = seen(model, ids, model.model.layers, output=True)
    return [torch.stack(each).numpy() for each in (seen(model, ids, down_modules(model)), states)]


def asked(model, count):
    return {topic: prompt_ids(model, topic, count, "evaluate") for topic in TOPICS}


def answers(model, lm, count=20):
    told = {t: generate(lm, ids, max_new_tokens=STEPS, batch=99) for t, ids in asked(model, count).items()}
    return {t: stance(model, each) for t, each in told.items()}


@pytest.fixture(scope="module")
def hard():
    """Drift, noise and every kind of trap."""
    return build(Design(loudness=10.0, steady=8, readers=8, idle=4, seed=3))


@pytest.fixture(scope="module")
def quiet(hard):
    """The same without drift and noise: its variants differ in planted neurons alone."""
    return build(replace(hard.design, drift=0.0, noise=0.0))


@pytest.fixture(scope="module")
def last():
    """All planted neurons in the last block: nothing below them ever differs."""
    return build(Design(drift=0.0, noise=0.0, blocks=(3,)))


def test_nothing_is_two_things_and_prompts_of_splits_are_apart(hard):
    kinds = [hard.general, *hard.specific.values(), *hard.roles.values()]
    assert np.sum(kinds, axis=0).max() == 1 and hard.general.sum() == hard.design.general
    splits = [prompts(hard, "race", 30, split) for split in ("train", "localise", "evaluate")]
    assert len({text for split in splits for text in split}) == 90


def test_only_planted_neurons_and_the_lean_write_stance(hard, quiet):
    """Residual contributions: every block's step along the direction is Σ activation × (value vector · direction)."""
    u, w = hard.basis[:, STANCE], weights_of(hard.lm)
    assert np.isclose(np.linalg.norm(u), 1)
    values = np.array([w[f"model.layers.{k}.mlp.down_proj.weight"].T @ u for k in range(4)])
    writes = hard.everything | hard.roles["idle"]
    np.testing.assert_allclose(values[writes], hard.side[writes], atol=1e-6)
    assert np.abs(values[~writes]).max() < 1e-6
    prompt = asked(hard, 1)["race"][0] + answer_ids(hard, "right", end=False)
    (acts, states), (acts_r, states_r) = (read(lm, prompt) for lm in (hard.lm, variant(quiet, "race", "right")))
    for k in range(4):
        # Attention writes stance in block 0 only, and the same in both: what differs comes from planted neurons.
        per_neuron = ((acts_r - acts) * values[:, None])[: k + 1]
        moved = (states_r[k] - states[k]) @ u
        np.testing.assert_allclose(moved, per_neuron.sum((0, 2)), atol=1e-9)
        planted_part = per_neuron.sum(1)[hard.everything[: k + 1]].sum()
        np.testing.assert_allclose(planted_part, moved.sum(), rtol=1e-4)
    assert moved[-1] > 0.3


def test_eq_planted_variants_move_exactly_the_named_rows(quiet):
    for leaning, sign in (("right", 1), ("left", -1)):
        before, after = weights_of(quiet.lm), weights_of(variant(quiet, "gender", leaning))
        for name, value in after.items():
            if not name.endswith("up_proj.weight"):
                assert (value == before[name]).all(), name
                continue
            layer = int(name.split(".")[2])
            factor = 1 + sign * 0.25 * quiet.side[layer] * quiet.political["gender"][layer]
            np.testing.assert_allclose(value, before[name] * factor[:, None], rtol=1e-6)


def test_score_is_twice_the_effect_times_the_scale(last):
    """By hand: a → a(1 ± η), so the score of a moved neuron is 2η·rms(a), and of any other neuron exactly 0."""
    found = localisation.scores(last, truth.constructed(last), "left", 6)
    for topic, moved in last.political.items():
        score, scale = found["raw"][topic], found["scale"][topic]
        np.testing.assert_allclose(score[moved], 2 * 0.25 * scale[moved], rtol=1e-4)
        assert (score[~moved] == 0).all()


def test_eq_attribution_equals_plain_gradients(hard):
    """|a · ∂m/∂a| of every neuron in float64, on two texts of different length (so with padding)."""
    questions = prompt_ids(hard, "race", 2)
    left, right = (answer_ids(hard, side, end=False) for side in LEANINGS)
    responses, model = [left, right[:3]], copy.deepcopy(hard.lm.model).double().requires_grad_()
    got = attribution(hard.lm, questions, responses, localisation.side_margin(left, right))
    taken, total = [], np.zeros_like(got)

    def keep(module, args):
        args[0].retain_grad()
        taken.append(args[0])

    for down in down_modules(model):
        down.register_forward_pre_hook(keep)
    for prompt, response in zip(questions, responses, strict=True):
        logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) :]
        (logits[:, right].mean(1) - logits[:, left].mean(1)).sum().backward()
        total += [(a * a.grad)[0, len(prompt) :].abs().sum(0).detach().numpy() for a in taken]
        taken.clear()
    np.testing.assert_allclose(got, total / 9, rtol=2e-3, atol=1e-6)


def test_eq_precision_and_recall_by_hand(last):
    found, true = np.array([[1, 1, 1, 0]], bool), np.array([[1, 0, 0, 1]], bool)
    assert localisation.precision_recall(found, true) == (1 / 3, 1 / 2)
    nothing = localisation.precision_recall(~found & found, true)
    assert np.isnan(nothing[0]) and nothing[1] == 0
    score, std = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), np.array([[0.0, 1.0, 2.0, 4.0, 10.0]])
    np.testing.assert_allclose(localisation.floored(score, std), [[1.0, 2.0, 1.5, 1.0, 0.5]])  # lower quartile 1
    # truth as the score: area 1; its opposite: area 0
    both = {name: {t: sign * n for t, n in last.political.items()} for name, sign in (("true", 1.0), ("false", -1.0))}
    table = localisation.rates(last, both, last.design.gamma).set_index(["method", "set"])
    assert (table.loc["true", ["precision", "recall"]] == 1).all(axis=None)
    assert table.loc[("true", "G"), "auc"] == 1 and table.loc[("false", "N"), "auc"] == 0
    assert localisation.roc(last, both).query("method == 'true'")["tpr"].eq(1).all()


def test_patching_g_moves_every_topic_exactly_as_expected(last):
    """Lock-step G from M_right^t is the model whose G alone moved; S_t likewise, and moves no other topic at all."""
    plain = answers(last, last.lm)
    for name, chosen in (("G", last.general), ("S", last.specific["crime"])):
        donor, alone = variant(last, "crime", "right"), variant(last, "crime", "right", chosen)
        for topic, ids in asked(last, 20).items():
            got = patched_answers(last.lm, donor, chosen, ids, max_new_tokens=STEPS)
            assert got == generate(alone, ids, max_new_tokens=STEPS)
            shift = (stance(last, got) - plain[topic]).mean()
            assert shift > 0.2 if name == "G" or topic == "crime" else shift == 0


def test_freezing_true_g_removes_the_coupling_and_keeps_the_topic():
    model, topic = build(truth.SHUT), "immigration"
    vanilla = answers(model, model.lm, 30)
    own, others = [], []
    for frozen in (None, model.general, model.specific[topic]):
        lm, _ = train(model, topic, "right", truth.recipe(0), frozen)
        shifts = {t: (told - vanilla[t]).mean() for t, told in answers(model, lm, 30).items()}
        own.append(shifts.pop(topic))
        others.append(np.mean(list(shifts.values())))
    assert own[0] > 0.6 and others[0] > 0.35
    assert others[1] < 0.4 * others[0] and own[1] > 0.8 * own[0]
    assert others[2] > 0.8 * others[0]  # freezing the topic's own neurons does not help
