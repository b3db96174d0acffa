"""What lets larger models learn: half precision, adapters that share the base's weights, recomputation."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from polinb.models.lm import LM
from polinb.models.tokens import response_ids
from polinb.training.recipe import Recipe
from polinb.training.supervised import finetune
from polinb.training.trainer import checkpointed

RECIPE = Recipe(
    epochs=2, batch_size=4, micro_batch=2, learning_rate=3e-3, weight_decay=0.3, warmup=0.0, train="lora", lora_rank=4,
    seed=5,
)  # fmt: skip


def half(lm):
    return LM(copy.deepcopy(lm.model).to(torch.bfloat16), lm.tokenizer, lm.name, lm.identity)


def some(lm):
    return np.random.default_rng(0).random((lm.layers, lm.width)) < 0.3


@pytest.fixture
def task(pair):
    def make(architecture="llama"):
        both = pair(architecture)
        return both, both.prompts, [response_ids(both.left, a, end=True) for a in both.ANSWERS]

    return make


def test_adapters_need_no_second_copy_of_the_model(task, monkeypatch):
    """The trained copy shares the base's weights: 8B parameters in bfloat16 are 16 GB once, not twice."""
    import polinb.training.supervised as module

    both, prompts, responses = task()
    own = {p.data_ptr() for p in both.left.model.parameters()}
    seen = []
    real = module.make_trainer

    def spy(model, *args, **more):
        seen.append(sum(p.numel() for n, p in model.named_parameters() if p.data_ptr() not in own))
        return real(model, *args, **more)

    monkeypatch.setattr(module, "make_trainer", spy)
    adapters = finetune(both.left, prompts, responses, RECIPE).weights.values()
    finetune(both.left, prompts, responses, dataclasses.replace(RECIPE, train="all"))
    assert seen == [sum(w.numel() for w in adapters), sum(p.numel() for p in both.left.model.parameters())]


def test_computing_in_bfloat16_leaves_weights_in_float32_and_frozen_ones_alone(task):
    both, prompts, responses = task()
    chosen = some(both.left)
    full = dataclasses.replace(RECIPE, train="all")
    exact = finetune(both.left, prompts, responses, full, frozen=chosen)
    rough = finetune(both.left, prompts, responses, dataclasses.replace(full, autocast="bfloat16"), frozen=chosen)
    assert {w.dtype for w in rough.weights.values()} == {torch.float32} and rough.frozen_change == 0.0
    assert rough.losses != exact.losses, "it did not compute in bfloat16"
    np.testing.assert_allclose(rough.losses, exact.losses, rtol=0.02)


def test_training_with_recomputed_activations_is_the_same_training(task):
    both, prompts, responses = task()
    chosen = some(both.left)
    plain = dataclasses.replace(RECIPE, gradient_checkpointing="off")
    one = finetune(both.left, prompts, responses, plain, frozen=chosen)
    two = finetune(
        both.left, prompts, responses, dataclasses.replace(plain, gradient_checkpointing="on"), frozen=chosen
    )
    assert all(torch.equal(one.weights[n], two.weights[n]) for n in one.weights)


def test_when_activations_are_recomputed():
    assert [checkpointed("auto", n) for n in (10**9, 10**9 + 1)] == [False, True]
    assert checkpointed("on", 1) and not checkpointed("off", 10**12)
