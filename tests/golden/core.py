"""What the core computes on tiny models: scores, one fine-tune per way of freezing, patched texts, a decomposition."""

import copy

import numpy as np
from oracles import Pair

from polinb.masking.patching import MODES, patched_answers
from polinb.models.lm import LM
from polinb.models.tiny import TINY
from polinb.scoring.decompose import decompose
from polinb.scoring.pnlac import neuron_sets
from polinb.scoring.tracing import contrast
from polinb.training.recipe import Recipe
from polinb.training.supervised import finetune

RECIPE = Recipe(
    epochs=2, batch_size=2, micro_batch=1, learning_rate=1e-2, weight_decay=0.1, warmup=0.3, train="body", lora_rank=2,
    seed=3,
)  # fmt: skip


def models(architecture):
    """Three random models of one architecture, with three prompts and responses as token ids."""
    both = Pair(architecture)
    return (both.left, both.right, both.vanilla), both.prompts[:3], both.responses[:3]


def frozen():
    """All of the core's golden numbers."""
    scores = {}
    for architecture in TINY:
        (left, right, vanilla), prompts, responses = models(architecture)
        sums = contrast(left, right, vanilla, prompts, responses, batch=2)
        scores[architecture] = {"score": sums.score, "vanilla_std": sums.vanilla_std, "difference": sums.difference}
    (left, right, vanilla), prompts, responses = models("llama")
    score = contrast(left, right, vanilla, prompts, responses).score
    sets = neuron_sets({"a": score, "b": scores["llama"]["vanilla_std"]}, 30.0, "model")
    tuned = {"plain": None, "neuron": "neuron", "up": "up", "down": "down"}
    for name, freeze in tuned.items():
        mask = sets.general if freeze else None
        base = copy.deepcopy(vanilla.model)
        made = finetune(
            LM(base, vanilla.tokenizer, "base", {}), prompts, responses, RECIPE, frozen=mask, freeze=freeze or "neuron"
        )
        sums_of = {key: [float(v.double().sum()), float(v.double().square().sum())] for key, v in made.weights.items()}
        tuned[name] = {"losses": made.losses, "entries": made.frozen_entries, "weights": sums_of}
    texts = {
        mode: patched_answers(vanilla, right, sets.general, prompts, max_new_tokens=8, mode=mode) for mode in MODES
    }
    w = np.random.default_rng(0).normal(size=32)
    parts = decompose(left, right, prompts, responses, w / np.linalg.norm(w), layer=1)
    names = ("activation", "value", "cross", "attention", "bias", "embedding", "measured", "before", "after")
    return {
        "scores": scores,
        "sets": {"general": np.flatnonzero(sets.general)},
        "finetuned": tuned,
        "patched": texts,
        "decomposition": {name: getattr(parts, name) for name in names},
    }
