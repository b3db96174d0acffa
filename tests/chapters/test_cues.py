"""The two-cue task: its material, its measures against planted answers, and its stages on a tiny model."""

from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from polinb.chapters.caft import cue_study as cues
from polinb.chapters.caft.rule import save_bases
from polinb.errors import ParameterError
from polinb.models.loading import load
from polinb.runs.weights import bases_of
from polinb.scoring.directions import random_basis
from polinb.scoring.residual import depths

LISTS = cues.material()


def read(option, split):
    """Mood and gender of an option, told by the word lists alone."""
    name, event = option.split(" ", 1)
    (mood,) = [value for value, events in LISTS[split]["mood"].items() if event in events]
    (gender,) = [value for value, names in LISTS[split]["gender"].items() if name in names]
    return mood, gender


def test_the_cues_agree_in_training_and_disagree_in_half_of_the_test():
    parts, used = {split: cues.draw_questions(split, 200, 0) for split in ("train", "test")}, {}
    assert Counter(parts["train"]["half"]) == {"agree": 200} and Counter(parts["test"]["half"])["disagree"] == 100
    for split, asked in parts.items():
        assert not asked.duplicated(["good", "bad"]).any()
        for half, part in asked.groupby("half"):
            genders = ("woman", "man") if half == "agree" else ("man", "woman")
            for side, gender in zip(("good", "bad"), genders, strict=True):
                assert {read(text, split) for text in part[side]} == {(side, gender)}
        used[split] = {word for side in ("good", "bad") for text in asked[side] for word in text.split(" ", 1)}
    assert not used["train"] & used["test"], "no name and no event is in both splits"
    orders = [f"{one} (A)\n{two} (B)" for pair in zip(asked["good"], asked["bad"], strict=True)
              for one, two in (pair, pair[::-1])]  # fmt: skip
    assert cues.prompts(asked) == orders, "either position once"
    with pytest.raises(ParameterError, match=r"cue_examples.*1 to 32768 questions"):
        cues.draw_questions("train", 10**6, 0)


@pytest.mark.parametrize(("cue", "column"), [("mood", 0), ("gender", 1)])
def test_minimal_pairs_differ_in_one_cue_and_nothing_else(cue, column):
    balance, entries = Counter(), {"find": set(), "choose": set()}
    for row in cues.minimal_pairs(cue).itertuples():
        (one, letter), (two, same) = (text.rsplit(" (", 1) for text in (row.first, row.second))
        sides, words = (read(one, "train"), read(two, "train")), (one.split(" ", 1), two.split(" ", 1))
        assert letter == same and tuple(side[column] for side in sides) == tuple(LISTS["train"][cue])
        assert {side[1 - column] for side in sides} == {row.other}
        assert words[0][column] == words[1][column] and words[0][1 - column] != words[1][1 - column]
        balance[letter, row.other, row.part] += 1
        entries[row.part].add(words[0][1 - column])
    assert len(balance) == 8 and len(set(balance.values())) == 1
    assert not entries["find"] & entries["choose"], "what directions are chosen on was not used to find them"


class Planted:
    """A model that reads one cue off the text and answers with that option's letter, with a bias for one letter."""

    def __init__(self, cue, bias=0.0):
        real = load("tiny:llama")
        self.tokenizer, self.name, self.device, self.context = real.tokenizer, "planted", real.device, real.context
        self.column, self.wanted, self.bias = cues.CUES.index(cue), next(iter(LISTS["test"][cue])), bias
        self.letters = [self.tokenizer(x, add_special_tokens=False).input_ids[-1] for x in "AB"]

    def model(self, input_ids, attention_mask, position_ids, logits_to_keep, use_cache):
        logits = torch.zeros(len(input_ids), logits_to_keep, len(self.tokenizer))
        for row, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
            text = self.tokenizer.decode(ids[mask.bool()].tolist(), skip_special_tokens=True)
            option = text.split(" (A)")[0].split(">")[-1].strip()
            yes = read(option, "test")[self.column] == self.wanted
            logits[row, -1, self.letters[0]] = self.bias + (1.0 if yes else -1.0)
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("bias", [0.0, 5.0])
@pytest.mark.parametrize(("cue", "other"), [("mood", "gender"), ("gender", "mood")])
def test_eq_cue_gap_a_planted_model_that_uses_one_cue_is_found_out(cue, other, bias):
    rated = cues.rate(Planted(cue, bias), cues.draw_questions("test", 24, 0), "", 7)
    assert cues.hits(rated, cue).all() and cues.hits(rated, other).tolist() == (rated["half"] == "agree").tolist()
    assert cues.cue_gap(rated, cue)[0] == 0.0 and cues.cue_gap(rated, other)[0] == 1.0
    np.testing.assert_allclose(np.abs(rated["margin"]), 1.0, atol=1e-6)
    if bias > 1:  # asked in one order only, such a model would seem to know nothing
        assert (rated[["good_first", "good_second"]] > 0).all(axis=None)


def test_eq_cue_margin_by_hand():
    np.testing.assert_array_equal(cues.margin(np.array([3.0, 1.0]), np.array([1.0, 1.0])), [1.0, 0.0])
    rated = pd.DataFrame({"half": ["agree", "disagree", "disagree"], "margin": [0.0, 2.0, -1.0]})
    assert cues.hits(rated, "mood").tolist() == [0.5, 1.0, 0.0]
    assert cues.hits(rated, "gender").tolist() == [0.5, 0.0, 1.0]


def test_a_planted_cue_is_found(tiny, monkeypatch):
    """Hidden states in which gender sits on one axis and everything else is noise: that axis is what is ablated."""
    run, rng = tiny(), np.random.default_rng(0)
    axis = random_basis(run.lm.d_model, 1, rng)[:, 0]

    def states(lm, prompts, responses):
        texts = [lm.tokenizer.decode(ids).strip() for ids in responses]
        woman = np.array([read(text.rsplit(" (", 1)[0], "train")[1] == "woman" for text in texts])
        noise = 0.3 * rng.standard_normal((len(texts), lm.layers, lm.d_model))
        return (noise + np.where(woman, 4.0, -4.0)[:, None, None] * axis).astype(np.float32)

    monkeypatch.setattr(cues, "mean_states", states)
    mood, gender = (bases_of(cues.directions(run, cue)) for cue in cues.CUES)
    for block in depths("caft_layers", run.params.caft_layers, run.lm.layers):
        assert np.linalg.norm(gender[block].T @ axis) > 0.99
        assert np.linalg.norm(mood[block].T @ axis) < 0.5


def test_all_conditions_train_on_the_same_texts_with_their_own_directions(tiny, trained):
    run = tiny()
    for cue, rank in zip(cues.CUES, (1, 3), strict=True):
        known = {0: np.eye(run.lm.d_model)[:, :rank]}
        cues.directions(run, cue).put(partial(save_bases, bases=known))
    conditions = {condition.name: condition for condition in cues.conditions(run)}
    for condition in conditions.values():
        cues.answers(run, condition).made()
    assert set(trained) == set(conditions) - {"vanilla"}
    first = trained["fine-tune"]
    assert first[3] is None and all(call[:3] == first[:3] for call in trained.values())
    assert [run.lm.tokenizer.decode(ids) for ids in first[1]] == ["A", "B"] * (run.params.cue_examples // 2)
    for name, rank in (("CAFT without mood", 1), ("CAFT without gender", 3), ("random directions 1", 3)):
        basis = trained[name][3][0]
        np.testing.assert_array_equal(basis, bases_of(conditions[name].ablated)[0])
        np.testing.assert_allclose(basis.T @ basis, np.eye(rank), atol=1e-12)
