"""``python -m book._make doses``: the run with the paper's recipe in two doses, one resumable command.

What is small is kept in ``book/reference/doses`` as it comes, so that another machine can go on; weights are not.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from book._make.reference.run import PROFILE, layout_of, store_of
from polinb.chapters.anatomy import doses
from polinb.runs.artifacts import META, Store
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params
from polinb.runs.results import Result
from polinb.runs.run import Run
from polinb_book import results

LARGEST = 2_000_000
"""Bytes of a result that is kept in the repository."""
LEAST = 0.10
"""Own-topic shift of the first run, in nats a token, below which the rate is doubled for all (stated in the plan)."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    own = commands.add_parser("doses", help="the run with the paper's recipe: short or paper")
    own.add_argument("dose", help=", ".join(doses.DOSES))
    own.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
    own.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = parse_settings(arguments.set)
    layout = layout_of(settings)  # another model's results do not mix with the committed ones
    go_on(arguments.dose, settings, store_of(layout), layout.reference / "doses")
    return 0


def go_on(dose: str, given: Mapping[str, Any], root: Path, folder: Path) -> None:
    """Make what is missing of a dose, in the order of the plan; what another machine has kept is taken over.

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
        start = time.monotonic()
        there = result.done()
        result.made()
        keep(result, kept)
        note(kept, {each: str(found) for each, found in named.items() if found.done()})
        if not there:
            print(f"[{number}/{len(named)}] {name}: {time.monotonic() - start:.0f} s", flush=True)


def note(folder: Path, index: dict[str, str]) -> None:
    """Write which kept result has which name."""
    results.write(folder / doses.INDEX, results.as_json(index))
    if (folder.parents[1] / results.SUMS).is_file():
        results.write_sums(folder.parents[1])


def run_of(dose: str, given: Mapping[str, Any], store: Store) -> Run:
    """The run of a dose."""
    return Run(Params.from_profile(PROFILE, **(doses.settings(dose) | dict(given))), store)


def too_small(run: Run) -> bool:
    """Whether the first run's own-topic shift is below :data:`LEAST`."""
    topic = run.params.topics[0]
    first = next(doses.trained(run, run.tuned(topic)))[1].frame("course")
    plain = run.logp(doses.VANILLA, doses.references(run, doses.FEW)).frame("logp")
    return own_shift(first[first["step"] == first["step"].max()], plain, topic) < LEAST


def own_shift(tuned: pd.DataFrame, plain: pd.DataFrame, topic: str) -> float:
    """Shift of log p(right) − log p(left) on a topic, mean over questions, nats a token."""

    def gap(frame: pd.DataFrame) -> float:
        means = frame[frame["topic"] == topic].groupby("side")["logp"].mean()
        return float(means["right"] - means["left"])

    return gap(tuned) - gap(plain)


def keep(result: Result, folder: Path) -> None:
    """Copy a small result, and what small it is made from, into the repository."""
    for each in _closure(result):
        if each.done():
            keep_small(each.path, folder)


def keep_small(path: Path, folder: Path) -> None:
    """Copy a stored result into ``folder/<kind>/<key>`` unless it is there, holds weights or is large."""
    target = folder / path.parent.name / path.name
    if path.parent.name in ("weights", "interpolated") or target.exists():
        return
    if sum(file.stat().st_size for file in path.iterdir()) <= LARGEST:
        shutil.copytree(path, target)


def _closure(result: Result) -> Iterator[Result]:
    yield result
    for need in result.needs:
        yield from _closure(need)


def restore(folder: Path, store: Store) -> None:
    """Put kept results into the store of this machine."""
    for record in sorted(folder.glob(f"*/*/{META}")):
        target = store.path(*record.parts[-3:-1])
        if not target.exists():
            shutil.copytree(record.parent, target)
