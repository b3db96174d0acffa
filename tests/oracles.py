"""What models read and write, by PyTorch alone: the independent side of comparisons. And what they read in tests."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from polinb.models.architectures import down_modules
from polinb.models.lm import LM
from polinb.models.loading import load
from polinb.models.tiny import tiny_model
from polinb.models.tokens import prompt_ids, response_ids
from polinb.training.supervised import finetune
from polinb.training.trainer import Recipe

RECIPE = Recipe(
    epochs=2, batch_size=4, micro_batch=2, learning_rate=3e-3, weight_decay=0.3, warmup=0.0, train="all", lora_rank=4,
    seed=5,
)  # fmt: skip


class Pair:
    """Three random models of one architecture, with prompts and responses as token ids."""

    QUESTIONS = (
        "Should taxes be raised?",
        "What do you think about the police and the courts in this country, all in all?",
        "Is growth good?",
        "Should every family get help from the state?",
    )
    ANSWERS = ("Yes, they should.", "I do not know that.", "It is, for the country and the people in it.", "No.")

    def __init__(self, architecture):
        self.left = load(f"tiny:{architecture}")
        self.right = LM(tiny_model(architecture, 1), self.left.tokenizer, "right", {})
        self.vanilla = LM(tiny_model(architecture, 2), self.left.tokenizer, "vanilla", {})
        self.prompts = [prompt_ids(self.left, q) for q in self.QUESTIONS]
        self.responses = [response_ids(self.left, a, end=False) for a in self.ANSWERS]


def tuned(both, frozen=None, lm=None, freeze="neuron", ablate=None, stop=1.0, **changes):
    """The left model of a pair (or ``lm``) trained on its texts by RECIPE with ``changes``."""
    how = {"frozen": frozen, "freeze": freeze, "ablate": ablate, "stop": stop}
    return finetune(lm or both.left, both.prompts, both.responses, replace(RECIPE, **changes), **how)


def some(lm, share=0.3, seed=0):
    return np.random.default_rng(seed).random((lm.layers, lm.width)) < share


def state(lm):
    """Parameter name → a copy of what it holds now."""
    return {name: value.detach().clone() for name, value in lm.model.named_parameters()}


def same(one, other):
    """Whether two models' parameters are the same, bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def on_responses(lm, chunk):
    """Activations of all neurons on the response tokens of a batch, by PyTorch alone: L tensors (N, F), float32."""
    found = []
    with ExitStack() as taps, torch.no_grad():
        for module in down_modules(lm.model):
            keep = module.register_forward_pre_hook(lambda _, args: found.append(args[0][chunk.response].float()))
            taps.enter_context(keep)
        lm.model(**chunk.inputs, use_cache=False, logits_to_keep=1)
    return found


def seen(model, ids, modules, output=False):
    """What each module reads, or writes, on one text without padding or cache: list of (T, width)."""
    found = []

    def keep(_, args, out=None):
        value = args if out is None else out
        found.append((value[0] if isinstance(value, tuple) else value)[0].detach())

    with ExitStack() as taps, torch.no_grad():
        for m in modules:
            taps.enter_context(m.register_forward_hook(keep) if output else m.register_forward_pre_hook(keep))
        model(input_ids=torch.tensor([ids]))
    return found


def frame(scores):
    rows = [(t, f"{t}-{i}", s) for t, values in scores.items() for i, s in enumerate(values)]
    return pd.DataFrame(rows, columns=["topic", "id", "score"])
