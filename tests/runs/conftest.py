"""Runs on the random model; what they make is there for all tests of this room."""

import pytest

from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run

SMALL = {
    "topics": ["crime", "race", "science"], "ablation_topics": ["crime"], "baseline_topics": ["crime"],
    "train_examples": 4, "epochs": 1.0, "localise_prompts": 2, "eval_questions": 3, "likelihood_questions": 2,
    "eval_tokens": 4, "controls": ["layer"], "bootstrap": 100, "device": "cpu",
}  # fmt: skip


@pytest.fixture
def experiment(shared):
    """Factory: a run with some parameters changed, on the room's store or one of its own."""

    def make(place=shared / "runs", **changes):
        return Run(Params.from_profile("tiny", **{**SMALL, **changes}), Store(place))

    return make
