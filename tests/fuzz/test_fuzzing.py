"""The runner of properties notices what it is for."""

from __future__ import annotations

import fuzzing
import pytest


def test_a_wrong_property_fails_and_so_does_one_that_refuses_everything():
    with pytest.raises(ZeroDivisionError):
        fuzzing.run("planted", 20, fuzzing.plain, lambda text: bool(1 // (len(text) < 3)))
    with pytest.raises(AssertionError, match="every input ends alike"):
        fuzzing.run("one answer", 20, fuzzing.plain, lambda text: False)
    with pytest.raises(AssertionError):
        fuzzing.refused(ValueError("x"))
