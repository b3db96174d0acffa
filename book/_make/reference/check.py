"""``make reference-check``: does the committed reference run hold together, and does a part of it come out again?

First the tables are made again from the raw data, without a model. Then a random tenth of the models is fine-tuned,
asked and judged again, and a tenth of the topics' scores are measured again, in a store of their own. On the processor,
packages and threads of the reference run the numbers should be the same; elsewhere roundings differ, a few answers with
them, and the tolerances are wider (see :data:`book._make.reference.check_again.SAME` and ``OTHER``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from book._make.reference.check_again import (
    OTHER,
    SAME,
    Tolerance,
    again,
    check_same_run,
    choose,
    flush,
    show,
    threads_of,
    unlike,
)
from book._make.reference.check_tables import compare_tables
from book._make.reference.raw_load import Raw, load_raw
from polinb.errors import ParameterError
from polinb.runs.artifacts import Store
from polinb.runs.experiment import Experiment
from polinb_book import results

ALLOWED = ("data", "device")


def reference_check(
    folder: Path,
    given: Mapping[str, Any] | None = None,
    share: float = 0.1,
    seed: int | None = None,
    tables_only: bool = False,
) -> list[str]:
    """Check the committed reference run in ``folder`` (``book/reference``), and print what was compared.

    Args:
        given: ``data`` (where the data are; default: those of the profile), ``device``.
        share: of the models and of the topics made again; at least one of each.
        seed: which ones; None: from today's date.
        tables_only: without making anything again.

    Returns:
        What is wrong, one line each; empty: nothing.

    Raises:
        ArtifactError: raw data are missing or were changed.
        ParameterError: a parameter that is not allowed, or other data than those of the run.
    """
    settings = dict(given or {})
    for name, value in settings.items():
        if name not in ALLOWED:
            raise ParameterError(name, value, f"only {', '.join(ALLOWED)}; the others are those of the reference run")
    reference = results.read(folder)  # refuses what was changed
    raw = load_raw(folder / "results")
    exp, choice = None, None
    if not tables_only:  # refused now rather than after the tables
        choice = choose(raw, share, seed := int(f"{datetime.now(UTC):%Y%m%d}") if seed is None else seed)
        exp = Experiment(raw.params(**settings))
        check_same_run(raw, exp)
    wrong = _tables(raw, reference.made if reference else {})
    if choice is None or exp is None:
        return _told(wrong)
    arms, topics = len(choice.arms), len(choice.topics)
    flush(
        f"made again (seed {seed}): {arms} of {_able(raw)} models, scores of {topics} of {len(raw.arms['scores'])} "
        f"topics; in the reference run this took {choice.seconds / 60:.1f} minutes"
    )
    for name in (*choice.arms, *(f"scores of {t}" for t in choice.topics)):
        flush(f"  {name}")
    _say_tolerance(raw)
    with tempfile.TemporaryDirectory(prefix="polinb-check-") as place:
        for measures in again(raw, choice, Experiment(exp.params, Store(Path(place)))):
            for measure in measures:
                flush(show(measure))
                if not measure.passed:
                    wrong.append(f"{measure.what}: {measure.value:.4g}, allowed: {measure.allowed}")
    return _told(wrong)


def _tables(raw: Raw, made: Mapping[str, Any]) -> list[str]:
    """Committed tables against the raw data."""
    wrong: list[str] = []
    compared = compare_tables(raw, made)
    for each in compared:
        state = each.note or (f"{len(each.differences)} differences" if each.differences else "the same")
        flush(f"  {'FAIL' if each.differences else 'ok  ' if each.cells else '–   '} {each.label}: {state}")
        wrong += each.differences
    cells = sum(each.cells for each in compared)
    if not cells:
        wrong.append("no table could be compared")
    flush(f"tables made again from the raw data: {cells} cells compared")
    for each in raw.arms["missing"]:
        flush(f"  not reached by the reference run: {each['what']}")
    return wrong


def _able(raw: Raw) -> int:
    return sum(bool(arm["recomputable"]) for arm in raw.arms["arms"].values())


def _say_tolerance(raw: Raw) -> None:
    every = list(range(len(raw.index["environments"])))
    with threads_of(raw, every):
        reasons = unlike(raw, every)
    room: Tolerance = OTHER if reasons else SAME
    told = "; ".join(reasons)
    flush(f"tolerances: {room.name}" + (f" ({told})" if told else ""))
    flush(
        f"  at least {room.texts:g} of the texts and {room.labels:g} of the labels the same; likelihoods within "
        f"{room.likelihood:g} nats a token; scores within {room.scores:g} of their mean, N_t overlapping by "
        f"{room.jaccard:g}; stances within their intervals"
    )


def _told(wrong: list[str]) -> list[str]:
    if wrong:
        flush(f"reference-check: {len(wrong)} failed:")
        for line in wrong:
            flush(f"  {line}")
    else:
        flush("reference-check: all as committed")
    return wrong
