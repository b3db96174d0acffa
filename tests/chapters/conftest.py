"""Shared by the tests of chapters: runs on ``tiny``."""

import pytest

from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Factory: a run with these parameters and a store of its own."""
    return lambda **given: Run(Params.from_profile("tiny", **given), Store(tmp_path_factory.mktemp("store")))
