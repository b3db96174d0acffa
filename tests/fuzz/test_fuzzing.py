"""The runner of properties notices what it is for."""

from __future__ import annotations

import fuzzing
import pytest


def test_a_wrong_property_fails():
    with pytest.raises(ZeroDivisionError):
        fuzzing.run("planted", ("quick", 20), fuzzing.plain, lambda text: bool(1 // (len(text) < 3)))
    del fuzzing.INPUTS["quick", "planted"], fuzzing.OUTCOMES["planted", "accepted"]


def test_a_property_that_refuses_everything_fails():
    with pytest.raises(AssertionError, match="every input ends alike"):
        fuzzing.run("one answer", ("quick", 20), fuzzing.plain, lambda text: False)
    del fuzzing.INPUTS["quick", "one answer"], fuzzing.OUTCOMES["one answer", "refused"]
