"""Runs one property on many inputs: a few by default, many with ``-m slow``.

The oracle of every property: one of the project's own errors that names what is wrong, or the right answer. Any other
exception fails the property, and so does an answer that an independent reader does not give.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from polinb.errors import PolinbError

OUTCOMES: Counter[tuple[str, str]] = Counter()  # (property, accepted or refused) → inputs
SEED = int(os.environ.get("POLINB_FUZZ_SEED", "0"))
ONE_SIDED = {"judge cache", "planted"}  # by their nature

text = st.text(st.characters(codec=None), max_size=40)  # lone surrogates and NUL included
plain = st.text(st.characters(codec="utf-8"), max_size=40)


def budgets(quick: int, slow: int) -> pytest.MarkDecorator:
    """Parametrises a test that calls ``run`` with how many inputs it tries: ``slow`` ones with the marker."""
    return pytest.mark.parametrize("size", [quick, pytest.param(slow, marks=pytest.mark.slow)], ids=["quick", "slow"])


def run(name: str, size: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], bool]) -> None:
    """Try ``check`` on as many inputs as ``size`` says.

    Args:
        check: true if the input was taken and the answer is right, false if it was refused with an error of ours.
    """

    @seed(SEED)
    @settings(
        max_examples=size,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(strategy)
    def tried(value: Any) -> None:
        OUTCOMES[name, "accepted" if check(value) else "refused"] += 1

    tried()
    accepted, refused = OUTCOMES[name, "accepted"], OUTCOMES[name, "refused"]
    assert accepted + refused >= 10, "hardly an input was tried"
    assert name in ONE_SIDED or (accepted and refused), f"{name}: every input ends alike"


def refused(error: BaseException, *names: str) -> bool:
    """That an error is one of ours and names what is wrong; returns False, so that a check can end with it."""
    assert isinstance(error, PolinbError), f"{type(error).__name__} is not one of the project's errors"
    told = str(error)
    assert not names or any(name in told for name in names), f"names none of {names}: {told}"
    assert len(told) < 4000, "an error of this length helps nobody"
    return False
