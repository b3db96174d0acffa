"""The embedded model for benchmarks, and where their figures go: POLINB_BENCHMARKS, default _build/benchmarks.json."""

import json
import os
import platform
import re
from pathlib import Path
from statistics import median

import measure
import pytest

from polinb.models.loading import load
from polinb.runs.artifacts import provenance


@pytest.fixture(scope="session")
def embedded():
    measure.one_thread()
    return load("smollm2-135m-instruct", device="cpu")


@pytest.fixture
def keep():
    """Print a figure, append it to the results file, and hold all of the test against their targets at its end.

    A figure is the median of ``values``, of which none may be dropped; ``what`` says in words what is divided by what;
    a later figure of the same name replaces an earlier one in the book's table.
    """
    missed = []
    path = Path(os.environ.get("POLINB_BENCHMARKS") or "_build/benchmarks.json")
    path.parent.mkdir(parents=True, exist_ok=True)

    def kept(name, what, values, *, at_most=None, at_least=None, packages=None, **facts):
        value = float(median(values))
        target = f"≤ {at_most:g}" if at_most is not None else f"≥ {at_least:g}" if at_least is not None else "none"
        reached = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        record = {"name": name, "what": what, "target": target, "value": value, "low": float(min(values))}
        record |= {"high": float(max(values)), "repeats": len(values), "reached": reached}
        known = {"threads": 1, "cpu": cpu(), "model": "smollm2-135m-instruct", "clock": measure.CLOCK}
        record["provenance"] = {**provenance(), **known, **facts}
        record["provenance"]["packages"] |= packages or {}
        figures = json.loads(path.read_text("utf-8"))["figures"] if path.exists() else []
        told = json.dumps({"figures": [*figures, record]}, indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(told + "\n", "utf-8")
        shown = f"{name}: {value:.3f} ({record['low']:.3f} to {record['high']:.3f}), target {target}"
        print(shown)
        missed.extend([] if reached else [shown])

    yield kept
    assert not missed, "; ".join(missed)


def cpu():
    """The processor in words."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)", facts.read_text("utf-8"), re.M) if facts.exists() else None
    return found[1] if found else platform.processor() or platform.machine()
