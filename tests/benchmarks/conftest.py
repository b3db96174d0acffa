"""The embedded model for benchmarks, and where their figures go."""

import measure
import pytest

from polinb.models.loading import load


@pytest.fixture(scope="session")
def embedded():
    measure.one_thread()
    return load("smollm2-135m-instruct", device="cpu")


@pytest.fixture
def keep():
    """Print a figure, append it to the results file, and hold all of the test against their targets at its end."""
    missed = []

    def kept(name, what, values, *, model="smollm2-135m-instruct", clock=measure.CLOCK, packages=None, **target):
        record = measure.figure(name, what, values, **target, model=model, threads=1, clock=clock)
        record["provenance"]["packages"] |= packages or {}
        measure.append(record)
        shown = f"{record['value']:.3f} ({record['low']:.3f} to {record['high']:.3f}), target {record['target']}"
        print(f"{name}: {shown}")
        if not record["reached"]:
            missed.append(f"{name}: {shown}")

    yield kept
    assert not missed, "; ".join(missed)
