"""The committed table of verified models: what holds on a random model of each architecture, computed here.

``python tests/models/test_verified_models.py`` writes ``book/verified_models.csv`` anew.
"""

import copy
import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import seen

from polinb.masking.patching import patched_answers
from polinb.models.architectures import down_modules
from polinb.models.generation import generate
from polinb.models.lm import LM
from polinb.models.loading import load
from polinb.models.tiny import TINY, tiny_model
from polinb.models.tokens import prompt_ids, response_ids
from polinb.models.variants import variant
from polinb.scoring.contributions import ATTENTION
from polinb.scoring.tracing import contrast
from polinb.training.recipe import Recipe
from polinb.training.supervised import finetune

TABLE = Path(__file__).resolve().parents[2] / "book" / "verified_models.csv"
QUESTIONS = ("Should taxes be raised?", "Is growth good for everybody in the country?")
ANSWERS = ("Yes, they should.", "No.")
RECIPE = {"epochs": 1, "batch_size": 2, "micro_batch": 2, "learning_rate": 1e-2, "weight_decay": 0.1, "warmup": 0.0}
CHECKS = (
    "neurons found", "scores equal hooks", "patching itself changes nothing", "frozen stays", "LoRA", "contributions",
)  # fmt: skip


class Case:
    """Three random models of one architecture, with texts as token ids."""

    def __init__(self, architecture):
        self.lm = load(f"tiny:{architecture}")
        self.left, self.right = (LM(tiny_model(architecture, k), self.lm.tokenizer, str(k), {}) for k in (1, 2))
        self.prompts = [prompt_ids(self.lm, text) for text in QUESTIONS]
        self.responses = [response_ids(self.lm, text, end=False) for text in ANSWERS]

    def neurons_found(self):
        downs = down_modules(self.lm.model)
        widths = {tuple(module.weight.shape) for module in downs}
        return len(downs) == self.lm.layers and all(self.lm.width in shape for shape in widths)

    def scores_equal_hooks(self):
        sums = contrast(self.left, self.right, self.lm, self.prompts, self.responses, batch=1)
        squared = np.zeros((self.lm.layers, self.lm.width))
        for prompt, response in zip(self.prompts, self.responses, strict=True):
            read = [seen(lm.model, [*prompt, *response], down_modules(lm.model)) for lm in (self.left, self.right)]
            old, new = (torch.stack(layers).double().numpy()[:, len(prompt) :] for layers in read)
            squared += ((new - old) ** 2).sum(1)
        score = np.sqrt(squared / sum(map(len, self.responses)))
        return bool(np.allclose(sums.score, score, rtol=1e-4, atol=1e-6))

    def patching_itself_changes_nothing(self):
        every = np.ones((self.lm.layers, self.lm.width), bool)
        own = generate(self.lm, self.prompts, max_new_tokens=8)
        patched = patched_answers(self.lm, self.lm, every, self.prompts, max_new_tokens=8)
        other = patched_answers(self.lm, self.left, every, self.prompts, max_new_tokens=8)
        return own == patched and own != other

    def frozen_stays(self):
        chosen = np.random.default_rng(0).random((self.lm.layers, self.lm.width)) < 0.3
        tuned = self.tuned("body", frozen=chosen)
        own = dict(self.lm.model.named_parameters())
        moved = any(not torch.equal(value, own[name]) for name, value in tuned.weights.items())
        return tuned.frozen_change == 0 and tuned.frozen_entries > 0 and moved

    def lora(self):
        tuned = self.tuned("lora")
        model = variant(self.lm, tuned.weights, "tuned")
        ids = torch.tensor([self.prompts[0]])
        with torch.no_grad():
            moved = float((model.model(ids).logits - self.lm.model(ids).logits).abs().max())
        shared = {id(p) for p in model.model.parameters()} >= {id(p) for p in self.lm.model.parameters()}
        return moved > 1e-4 and shared

    def contributions(self):
        return str(self.lm.model.config.model_type) in ATTENTION

    def tuned(self, train, frozen=None):
        base = LM(copy.deepcopy(self.lm.model), self.lm.tokenizer, "base", {})
        recipe = Recipe(**RECIPE, train=train, lora_rank=2, seed=0)
        return finetune(base, self.prompts, self.responses, recipe, frozen=frozen)


def proven(architecture):
    case = Case(architecture)
    return [bool(getattr(case, name.lower().replace(" ", "_"))()) for name in CHECKS]


def committed():
    with TABLE.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return head, {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("architecture", TINY)
def test_the_table_says_what_holds(architecture):
    head, rows = committed()
    assert head == ["architecture", *CHECKS] and set(rows) == set(TINY)
    assert rows[architecture] == ["yes" if holds else "no" for holds in proven(architecture)]
    assert rows[architecture][:-1] == ["yes"] * (len(CHECKS) - 1), "only contributions may be missing"


if __name__ == "__main__":
    with TABLE.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(["architecture", *CHECKS])
        writer.writerows([name, *("yes" if holds else "no" for holds in proven(name))] for name in TINY)
