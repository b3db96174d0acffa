"""Speed and memory of the tool against what the model itself costs: the results file, and its table in the book.

The figures are measured by ``make bench`` (tests/benchmarks), each one a ratio within one run. They are kept in
``book/benchmarks.json`` and come from another run than the book's chapters.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from polinb.errors import DataError
from polinb.runs.artifacts import provenance

COLUMNS = ("What is compared", "Target", "Measured", "Lowest to highest", "Repeats", "Reached", "Date")
FIELDS = ("name", "what", "target", "value", "low", "high", "repeats", "reached", "provenance")


def results_file() -> Path:
    """Where figures are appended: ``POLINB_BENCHMARKS``, default ``_build/benchmarks.json``."""
    return Path(os.environ.get("POLINB_BENCHMARKS") or Path("_build") / "benchmarks.json")


def figure(
    name: str,
    what: str,
    values: Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """One figure: the median of ``values``, their spread, the target and whether it is reached.

    Args:
        name: short and stable; a later figure of the same name replaces an earlier one in the table.
        what: what is divided by what, in words.
        values: one for each repeat, of which none may be dropped.
        at_most, at_least: the target; neither: a figure without one.
        facts: model, threads, clock and the like, kept in the provenance.
    """
    value = float(median(values))
    target = "" if at_most is None and at_least is None else f"≤ {at_most:g}" if at_most is not None else ""
    target = target or (f"≥ {at_least:g}" if at_least is not None else "none")
    reached = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    return {
        "name": name,
        "what": what,
        "target": target,
        "value": value,
        "low": float(min(values)),
        "high": float(max(values)),
        "repeats": len(values),
        "reached": reached,
        "provenance": {**provenance(), "cpu": cpu(), **facts},
    }


def append(record: dict[str, Any], path: Path | None = None) -> None:
    """Add a figure to the results file; the file is replaced in one step."""
    from filelock import FileLock

    path = path or results_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        figures = [*(read(path) if path.exists() else []), record]
        work = path.with_name(f".{path.name}.new")
        work.write_text(json.dumps({"figures": figures}, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
        work.replace(path)


def read(path: Path) -> list[dict[str, Any]]:
    """The figures of a results file, oldest first.

    Raises:
        DataError: no results file, or a damaged one.
    """
    try:
        figures = json.loads(path.read_text("utf-8"))["figures"]
        missing = [f for each in figures for f in FIELDS if f not in each]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} is no readable results file of make bench ({error})") from None
    if missing:
        raise DataError(f"{path.name}: a figure lacks {', '.join(sorted(set(missing)))}; make it anew with make bench")
    return list(figures)


def latest(figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest figure of each name, in the order in which names first appear."""
    return list({each["name"]: each for each in figures}.values())


def rows(figures: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The book's table: one row a figure, as text, under :data:`COLUMNS`."""
    return [
        (
            each["what"],
            each["target"],
            f"{each['value']:.3f}",
            f"{each['low']:.3f} to {each['high']:.3f}",
            str(each["repeats"]),
            "–" if each["target"] == "none" else "yes" if each["reached"] else "**no**",
            str(each["provenance"]["date"])[:10],
        )
        for each in latest(figures)
    ]


def markdown(figures: Sequence[dict[str, Any]]) -> str:
    """Verdict, table and provenance as Markdown."""
    found = latest(figures)
    if not found:
        return "No figure has been measured yet: `make bench` does it."
    aimed = [each for each in found if each["target"] != "none"]
    missed = [each["name"] for each in aimed if not each["reached"]]
    verdict = f"{len(aimed) - len(missed)} of {len(aimed)} targets are reached."
    if missed:
        verdict += f" Not reached: {', '.join(missed)}."
    lines = [verdict, "", f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows(found)]
    return "\n".join([*lines, "", *sources(found), ""])


def sources(figures: Sequence[dict[str, Any]]) -> list[str]:
    """Where the figures come from, one sentence for each different machine or set-up."""
    found = []
    for each in figures:
        p = each["provenance"]
        packages = ", ".join(f"{name} {version}" for name, version in sorted(p["packages"].items()))
        machine = f"{p['cpu']}, {p['platform']}, {p['cpus']} processors, of which {p.get('threads', '?')} used"
        measured = f"model: {p.get('model', '?')}; measured: {p.get('clock', '?')}"
        found.append(f"Machine: {machine}; {measured}; polinb {p['polinb']}, Python {p['python']}, {packages}.")
    return list(dict.fromkeys(found))


def cpu() -> str:
    """The processor in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Benchmarks(Directive):
    """``{polinb-benchmarks} benchmarks.json``: the file beside the page; its figures are never typed by hand."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[Any]:
        """The table's nodes; a file that is missing or damaged ends the build."""
        environment = self.state.document.settings.env
        relative, path = environment.relfn2path(self.arguments[0])
        environment.note_dependency(relative)
        text = StringList(markdown(read(Path(path))).splitlines(), relative)
        holder = nodes.container()
        self.state.nested_parse(text, 0, holder)
        return list(holder.children)
