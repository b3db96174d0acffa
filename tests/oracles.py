"""What models read and write, by PyTorch alone: the independent side of comparisons. And a short fine-tuning."""

from dataclasses import replace

import numpy as np
import torch

from polinb.models.architectures import down_modules
from polinb.training.recipe import Recipe
from polinb.training.supervised import finetune

RECIPE = Recipe(
    epochs=2, batch_size=4, micro_batch=2, learning_rate=3e-3, weight_decay=0.3, warmup=0.0, train="all", lora_rank=4,
    seed=5,
)  # fmt: skip


def tuned(both, frozen=None, lm=None, freeze="neuron", ablate=None, stop=1.0, **changes):
    """The left model of a pair (or ``lm``) trained on its texts by RECIPE with ``changes``."""
    how = {"frozen": frozen, "freeze": freeze, "ablate": ablate, "stop": stop}
    return finetune(lm or both.left, both.prompts, both.responses, replace(RECIPE, **changes), **how)


def some(lm, share=0.3, seed=0):
    """Some of a model's neurons, (L, F) bool."""
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
    taps = [
        m.register_forward_pre_hook(lambda _, args: found.append(args[0][chunk.response].float()))
        for m in down_modules(lm.model)
    ]
    with torch.no_grad():
        lm.model(**chunk.inputs, use_cache=False, logits_to_keep=1)
    for tap in taps:
        tap.remove()
    return found


def seen(model, ids, modules, output=False):
    """What each module reads, or writes, on one text without padding or cache: list of (T, width)."""
    found = []

    def keep(_, args, out=None):
        value = args if out is None else out
        found.append((value[0] if isinstance(value, tuple) else value)[0].detach())

    taps = [m.register_forward_hook(keep) if output else m.register_forward_pre_hook(keep) for m in modules]
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]))
    finally:
        for tap in taps:
            tap.remove()
    return found
