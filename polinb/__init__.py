"""polinb: political neurons, found, tested and frozen, as a reproducible notebook book.

The names here are the thin helper behind the book: they work on anybody's models and know no run, store or profile.
Each is loaded on first use, so that ``import polinb`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    # a name → a model, and its tokens
    "load": "models.loading",
    "LM": "models.loading",
    "prompt_ids": "models.tokens",
    "response_ids": "models.tokens",
    "generate": "models.generation",
    "log_likelihood": "models.generation",
    # which neurons and directions
    "contrast": "scoring.tracing",
    "pnlac_score": "scoring.pnlac",
    "normalised": "scoring.pnlac",
    "neuron_sets": "scoring.pnlac",
    "NeuronSets": "scoring.pnlac",
    "unit_direction": "scoring.probes",
    "decompose": "scoring.decompose",
    # what is done to them
    "random_set": "masking.random_sets",
    "frozen_slices": "masking.freezing",
    "Freezer": "masking.freezing",
    "ablated": "masking.ablation",
    "patched_answers": "masking.patching",
    "edited_answers": "masking.editing",
    # what it does to the model
    "finetune": "training.supervised",
    "Recipe": "training.recipe",
    "stance_table": "stance.stance",
    "coupling": "stance.coupling",
}
__all__ = [
    "LM",
    "Freezer",
    "NeuronSets",
    "Recipe",
    "__version__",
    "ablated",
    "contrast",
    "coupling",
    "decompose",
    "edited_answers",
    "finetune",
    "frozen_slices",
    "generate",
    "load",
    "log_likelihood",
    "neuron_sets",
    "normalised",
    "patched_answers",
    "pnlac_score",
    "prompt_ids",
    "random_set",
    "response_ids",
    "stance_table",
    "unit_direction",
]

if TYPE_CHECKING:
    from polinb.masking.ablation import ablated
    from polinb.masking.editing import edited_answers
    from polinb.masking.freezing import Freezer, frozen_slices
    from polinb.masking.patching import patched_answers
    from polinb.masking.random_sets import random_set
    from polinb.models.generation import generate, log_likelihood
    from polinb.models.lm import LM
    from polinb.models.loading import load
    from polinb.models.tokens import prompt_ids, response_ids
    from polinb.scoring.decompose import decompose
    from polinb.scoring.pnlac import NeuronSets, neuron_sets, normalised, pnlac_score
    from polinb.scoring.probes import unit_direction
    from polinb.scoring.tracing import contrast
    from polinb.stance.coupling import coupling
    from polinb.stance.stance import stance_table
    from polinb.training.recipe import Recipe
    from polinb.training.supervised import finetune


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'polinb' has no attribute {name!r}")
    return getattr(import_module(f"polinb.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
