"""polinb: political neurons, found, tested and frozen, as a reproducible notebook book.

The names here are the thin helper behind the book: they work on anybody's models and know no run, store or profile.
Each is loaded on first use, so that ``import polinb`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ROOMS = {
    # a name → a model, and its tokens
    "models.loading": "load",
    "models.lm": "LM",
    "models.tokens": "prompt_ids response_ids",
    "models.generation": "generate log_likelihood",
    # which neurons and directions
    "scoring.tracing": "contrast",
    "scoring.pnlac": "pnlac_score normalised neuron_sets NeuronSets",
    "scoring.probes": "unit_direction",
    "scoring.decompose": "decompose",
    # what is done to them
    "masking.random_sets": "random_set",
    "masking.freezing": "frozen_slices Freezer",
    "masking.ablation": "ablated",
    "masking.patching": "patched_answers",
    "masking.editing": "edited_answers",
    # what it does to the model
    "training.supervised": "finetune",
    "training.trainer": "Recipe",
    "stance.stance": "stance_table",
    "stance.coupling": "coupling",
}
_HOME = {name: module for module, names in _ROOMS.items() for name in names.split()}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from polinb.masking.ablation import ablated as ablated
    from polinb.masking.editing import edited_answers as edited_answers
    from polinb.masking.freezing import Freezer as Freezer
    from polinb.masking.freezing import frozen_slices as frozen_slices
    from polinb.masking.patching import patched_answers as patched_answers
    from polinb.masking.random_sets import random_set as random_set
    from polinb.models.generation import generate as generate
    from polinb.models.generation import log_likelihood as log_likelihood
    from polinb.models.lm import LM as LM
    from polinb.models.loading import load as load
    from polinb.models.tokens import prompt_ids as prompt_ids
    from polinb.models.tokens import response_ids as response_ids
    from polinb.scoring.decompose import decompose as decompose
    from polinb.scoring.pnlac import NeuronSets as NeuronSets
    from polinb.scoring.pnlac import neuron_sets as neuron_sets
    from polinb.scoring.pnlac import normalised as normalised
    from polinb.scoring.pnlac import pnlac_score as pnlac_score
    from polinb.scoring.probes import unit_direction as unit_direction
    from polinb.scoring.tracing import contrast as contrast
    from polinb.stance.coupling import coupling as coupling
    from polinb.stance.stance import stance_table as stance_table
    from polinb.training.supervised import finetune as finetune
    from polinb.training.trainer import Recipe as Recipe


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'polinb' has no attribute {name!r}")
    return getattr(import_module(f"polinb.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
