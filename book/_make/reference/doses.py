"""``python -m book._make doses``: the run with the paper's recipe in two doses, one resumable command.

What is small is kept in ``book/reference/doses`` as it comes, so that another machine can go on; weights are not.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from book._make.reference.run import PROFILE
from polinb.chapters.anatomy import doses
from polinb.runs.artifacts import META, Store
from polinb.runs.params import Params
from polinb.runs.results import Result
from polinb.runs.run import Run
from polinb_book import results

LARGEST = 2_000_000
"""Bytes of a result that is kept in the repository."""
LEAST = 0.10
"""Own-topic shift of the first run, in nats a token, below which the rate is doubled for all (stated in the plan)."""


def go_on(dose: str, given: Mapping[str, Any], root: Path, folder: Path) -> None:
    """Make what is missing of a dose, in the order of the plan; what another machine has kept is taken over.

    Args:
        root: of the store.
        folder: where small results are kept, ``book/reference/doses``.

    Raises:
        ParameterError: no such dose, or a parameter that is not allowed.
    """
    store, kept = Store(root), folder / dose
    restore(kept, store)
    run = run_of(dose, given, store)
    if too_small(run):
        print("the first run moved less than the plan asks for: the rate is doubled for all", flush=True)
        run = run_of(dose, {**given, "learning_rate": 2 * run.params.learning_rate}, store)
    named = doses.results(run)
    for number, (name, result) in enumerate(named.items(), 1):
        start, there = time.monotonic(), result.done()
        result.made()
        _keep(result, kept)
        index = {each: str(found) for each, found in named.items() if found.done()}
        results.write(kept / doses.INDEX, results.as_json(index))
        if (folder.parent / results.SUMS).is_file():
            results.write_sums(folder.parent)
        if not there:
            print(f"[{number}/{len(named)}] {name}: {time.monotonic() - start:.0f} s", flush=True)


def run_of(dose: str, given: Mapping[str, Any], store: Store) -> Run:
    """The run of a dose."""
    return Run(Params.from_profile(PROFILE, **(doses.settings(dose) | dict(given))), store)


def too_small(run: Run) -> bool:
    """Whether the first run shifts log p(right) − log p(left) on its own topic by less than :data:`LEAST`."""
    topic = run.params.topics[0]

    def gap(frame: pd.DataFrame) -> float:
        means = frame[frame["topic"] == topic].groupby("side")["logp"].mean()  # over questions
        return float(means["right"] - means["left"])

    course = next(doses.trained(run, run.tuned(topic)))[1].frame("course")
    plain = run.logp(doses.VANILLA, doses.references(run, doses.FEW)).frame("logp")
    return gap(course[course["step"] == course["step"].max()]) - gap(plain) < LEAST


def _keep(result: Result, folder: Path) -> None:
    """Copy a small result that is no weights, and what small it is made from, into ``folder/<kind>/<key>``."""
    kind, target = result.stage.kind, folder / result.stage.kind / result.key
    wanted = result.done() and kind not in ("weights", "interpolated") and not target.exists()
    if wanted and sum(file.stat().st_size for file in result.path.iterdir()) <= LARGEST:
        shutil.copytree(result.path, target)
    for need in result.needs:
        _keep(need, folder)


def restore(folder: Path, store: Store) -> None:
    """Put kept results into the store of this machine."""
    for record in sorted(folder.glob(f"*/*/{META}")):
        target = store.path(*record.parts[-3:-1])
        if not target.exists():
            shutil.copytree(record.parent, target)
