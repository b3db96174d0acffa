"""Faults planted in scoring, masking, stance and runs are noticed by the tests that are meant to."""

import pytest
from run import FAULTS, ROOT, survivors


def test_every_fault_can_be_planted():
    assert len(FAULTS) >= 40
    assert not [f for f in FAULTS if (ROOT / "polinb" / f.file).read_text("utf-8").count(f.old) != 1]


@pytest.mark.slow
def test_the_tests_notice():
    left = list(survivors(range(len(FAULTS))))
    assert len(left) <= 0.05 * len(FAULTS), [FAULTS[number] for number in left]
