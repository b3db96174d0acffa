"""``python -m polinb job NAME``: one job of the workflow, the results that it names."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polinb.cluster.gpu import take_gpu
from polinb.errors import ParameterError
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params

if TYPE_CHECKING:
    from polinb.cluster.jobs import Job


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that say which run and which chapters."""
    parser.add_argument("--profile", default="quick", help="tiny, quick (default), full or paper")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
    parser.add_argument("--chapters", metavar="A,B", help="core (default), all, or names without .ipynb")


def add(commands: Any, run: Callable[[argparse.Namespace], int] | None = None) -> None:
    """Add the command ``job`` to a parser; ``run``: what does it, by default :func:`make`."""
    job = commands.add_parser("job", help="one job of the workflow")
    add_settings(job)
    job.add_argument("name", help="as snakemake calls it, such as weights/fine-tune-crime-right-1a2b3c4d")
    job.add_argument("--one-gpu", action="store_true", help="take a free GPU of this machine, and wait for one")
    job.set_defaults(run=run or make)


def make(arguments: argparse.Namespace) -> int:
    """Make the results of a job that are missing."""
    if arguments.one_gpu and Params.from_profile(arguments.profile, **parse_settings(arguments.set)).device != "cpu":
        take_gpu()  # before anything asks torch for devices
    from polinb.cluster.jobs import lost
    from polinb.runs.chapter import quiet

    quiet()
    jobs = jobs_of(arguments)
    if not jobs[arguments.name].results:
        raise ParameterError(
            "job", arguments.name, "a job of results; python -m book._make job makes chapters and pages"
        )
    jobs[arguments.name].make(lost(jobs))
    return 0


def jobs_of(arguments: argparse.Namespace) -> dict[str, Job]:
    """All jobs of the run that is meant; the one that is named is among them.

    Raises:
        ParameterError: it is not.
    """
    from polinb.cluster.jobs import Request

    chapters = names("chapters", arguments.chapters)
    jobs = Request(arguments.profile, parse_settings(arguments.set), chapters).jobs()
    if arguments.name not in jobs:
        raise ParameterError("job", arguments.name, f"one of {', '.join(list(jobs)[:8])}, …")
    return jobs


def names(name: str, text: str | None) -> list[str] | None:
    """Names parted by commas, each once.

    Raises:
        ParameterError: one is given twice.
    """
    found = None if text is None else [each.strip() for each in text.split(",")]
    if found is not None and len(set(found)) != len(found):
        raise ParameterError(name, text, "each once")
    return found
