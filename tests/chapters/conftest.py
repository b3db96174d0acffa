"""Shared by the tests of chapters: runs on ``tiny``, and what trainings are given."""

import pytest

from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Factory: a run with these parameters and a store of its own."""
    return lambda **given: Run(Params.from_profile("tiny", **given), Store(tmp_path_factory.mktemp("store")))


@pytest.fixture
def trained(monkeypatch):
    """What every supervised fine-tuning is given: label → prompts, responses, recipe, directions."""
    from polinb.training import supervised

    calls, real = {}, supervised.finetune

    def spy(base, prompts, responses, recipe, **how):
        assert how["frozen"] is None and how["stop"] == 1.0
        calls[how["label"]] = (prompts, responses, recipe, how["ablate"])
        return real(base, prompts, responses, recipe, **how)

    monkeypatch.setattr(supervised, "finetune", spy)
    return calls
