"""Runs one property on many inputs: a few by default, many with ``-m slow``.

The oracle: one of the project's own errors that names what is wrong, or the right answer; any other exception fails.
"""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

text = st.text(st.characters(codec=None), max_size=40)  # lone surrogates and NUL included
plain = st.text(st.characters(codec="utf-8"), max_size=40)


def budgets(quick, slow):
    """Parametrises a test that calls ``run`` with how many inputs it tries."""
    return pytest.mark.parametrize("size", [quick, pytest.param(slow, marks=pytest.mark.slow)], ids=["quick", "slow"])


def run(size, strategy, check):
    """``check`` says whether an input was taken, with the right answer, or refused with an error of ours."""
    ends = Counter()

    @seed(0)
    @settings(max_examples=size, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def tried(value):
        ends[check(value)] += 1

    tried()
    assert ends[True] and ends[False], "every input ends alike"


def refused(error, *names):
    """The error names what is wrong; false, so that a check can end with it."""
    told = str(error)
    assert not names or any(name in told for name in names), f"names none of {names}: {told}"
    assert len(told) < 4000, "an error of this length helps nobody"
    return False
