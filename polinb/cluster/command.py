"""The commands of a workflow: ``workflow`` and ``book --jobs`` of ``book._make``, and the jobs' ``step``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polinb.errors import ParameterError


def add_workflow(commands: Any, book: Callable[[], Any]) -> None:
    """Add the command ``workflow`` to a parser; ``book`` finds the :class:`~polinb.cluster.plans.Book` to make."""
    flow = commands.add_parser("workflow", help="the book as jobs, here or on a cluster")
    flow.add_argument("--profile", default="quick", help="tiny, quick (default), full or paper")
    flow.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
    flow.add_argument("--chapters", metavar="A,B", help="core (default), all, or names without .ipynb")
    flow.add_argument("--jobs", default="1", metavar="N", help="jobs at once (default 1)")
    flow.add_argument("--on", default="default", help="where: default (here), slurm, kubernetes, or a profile's folder")
    flow.add_argument("--models", metavar="A,B", help="run all of these models; the book shows the first")
    flow.add_argument("--seeds", metavar="0,1", help="run all of these seeds; the book shows the first")
    flow.add_argument("--gpus", default="0", metavar="N", help="GPUs a job, asked of the scheduler (default none)")
    flow.add_argument("--snakemake", default="", metavar="OPTIONS", help="further options for snakemake, as one text")
    flow.add_argument("--verify", action="store_true", help="compare digests of large artifacts too before the run")
    what = flow.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="list the jobs that would run")
    what.add_argument("--dag", type=Path, metavar="FILE", help="draw all jobs: .dot, .mmd, .svg, .png or .pdf")
    what.add_argument("--report", type=Path, metavar="FILE", help="snakemake's report on what was run: .html or .zip")
    what.add_argument("--profile-dir", action="store_true", help="print the folder of the Snakefile and the profiles")
    flow.set_defaults(run=lambda arguments: _workflow(arguments, book()))


def add_job(commands: Any, do: Callable[[str, dict[str, Any]], None]) -> None:
    """Add the command ``step`` for jobs that only the book's machinery can ``do``: a chapter, the pages."""
    _step_parser(commands, "chapter/NAME or pages").set_defaults(run=lambda arguments: _step(arguments, do))


def add_step(commands: Any) -> None:
    """Add the command ``step``: one step of a run."""
    step = _step_parser(commands, "family/instance, such as variant/crime.left")
    step.add_argument("--profile", default="quick", help="without a plan: tiny, quick (default), full or paper")
    step.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="without a plan: one parameter")
    step.set_defaults(run=_step)


def _step_parser(commands: Any, name: str) -> argparse.ArgumentParser:
    step: argparse.ArgumentParser = commands.add_parser("step", help="one job of a workflow")
    step.add_argument("name", help=name)
    step.add_argument("--plan", type=Path, help="the workflow's plan")
    step.add_argument("--run", dest="which", metavar="RUN", help="which run of the plan")
    step.add_argument("--marker", type=Path, help="file that is written when the job is done")
    return step


def book(profile: str, settings: Mapping[str, Any], chapters: Sequence[str] | None, jobs: str, made: Any) -> int:
    """Build the book as a workflow on this machine."""
    from polinb.cluster.plans import Request
    from polinb.cluster.workflow import make_book

    return _tell(make_book(Request(profile, settings, chapters, _number("jobs", jobs)), made))


def _workflow(arguments: argparse.Namespace, book: Any) -> int:
    from polinb.cluster import workflow
    from polinb.cluster.plans import Request
    from polinb.runs.checkout import parse_settings

    if arguments.profile_dir:
        print(workflow.workflow_folder())
        return 0
    request = Request(
        arguments.profile,
        parse_settings(arguments.set),
        _names(arguments.chapters),
        _number("jobs", arguments.jobs),
        _names(arguments.models) or (),
        [_number("seeds", seed) for seed in _names(arguments.seeds) or ()],
        _number("gpus", arguments.gpus),
    )
    more = workflow.split_options(arguments.snakemake)
    if arguments.dry_run:
        names = workflow.dry_run(request, book, arguments.on, more)
        print("\n".join(names) if names else "nothing to do: everything is up to date")
        return 0
    if arguments.dag or arguments.report:
        draw = workflow.picture if arguments.dag else workflow.report
        print(f"written: {draw(request, book, arguments.dag or arguments.report)}")
        return 0
    return _tell(workflow.make_book(request, book, arguments.on, more, verify=arguments.verify))


def _step(arguments: argparse.Namespace, do: Callable[[str, dict[str, Any]], None] | None = None) -> int:
    from polinb.cluster.job import run_job, run_step

    if arguments.plan is not None:
        if arguments.marker is None:
            raise ParameterError("marker", None, "a file: a job of a plan says when it is done")
        run_job(arguments.name, arguments.plan, arguments.which, arguments.marker, do)
        return 0
    from polinb.runs.checkout import parse_settings

    for kind, key in run_step(arguments.name, {"profile": arguments.profile, **parse_settings(arguments.set)}):
        print(f"{kind}/{key}")
    return 0


def _tell(page: Path | None) -> int:
    print(f"open {page}" if page else "no pages built: chapters of the paper never ran so far")
    return 0


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ParameterError(name, text, "a whole number") from None
