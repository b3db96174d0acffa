"""``python -m book._make workflow`` runs snakemake with our Snakefile; its jobs are one command each."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any, NoReturn

import yaml
from filelock import FileLock

import polinb
from book._make import build
from book._make.notebook import python_path
from polinb.cluster.gpu import local_gpus, take_gpu
from polinb.cluster.jobs import Job, Request, lost
from polinb.errors import BookError, ParameterError, PolinbError
from polinb.runs.artifacts import store_root
from polinb.runs.chapter import quiet
from polinb.runs.checkout import Layout, chosen_chapters, find_layout, parse_settings
from polinb.runs.params import Params
from polinb.runs.results import missing
from polinb_book import results

PROFILES = ("default", "slurm", "kubernetes")
FOLDER = Path(__file__).parent
"""The Snakefile and its profiles."""


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    flow = commands.add_parser("workflow", help="the book as jobs, here or on a cluster; after --: snakemake's options")
    add_settings(flow)
    for name, some in (("models", "A,B"), ("seeds", "0,1")):
        told = f"run all of these {name}; the book shows the first"
        flow.add_argument(f"--{name}", metavar=some, type=names, default=[], help=told)
    flow.add_argument("--jobs", default="1", metavar="N", help="jobs at once (default 1)")
    flow.add_argument("--on", default="default", help="where: default (here), slurm, kubernetes, or a profile's folder")
    flow.add_argument("--gpus", default="0", metavar="N", help="GPUs a job, asked of the scheduler (default none)")
    flow.add_argument("--threads", metavar="N", help="threads a job (default: here its share of the cores, else 4)")
    flow.add_argument("options", nargs="*", help="after --: any options of snakemake, such as --dry-run")
    flow.set_defaults(run=start)

    job = commands.add_parser("job", help="one job of the workflow")
    add_settings(job)
    job.add_argument("name", help="as snakemake calls it, such as weights/fine-tune-crime-right-1a2b3c4d")
    job.add_argument("--one-gpu", action="store_true", help="take a free GPU of this machine, and wait for one")
    job.set_defaults(run=make)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that say which run and which chapters."""
    parser.add_argument("--profile", default="quick", help="tiny, quick (default), full or paper")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
    parser.add_argument("--chapters", metavar="A,B", type=names, help="core (default), all, or names without .ipynb")


def names(text: str) -> list[str]:
    """Names parted by commas."""
    return [each.strip() for each in text.split(",")]


def start(arguments: argparse.Namespace) -> NoReturn:
    """Become snakemake; when the same is started again, an interrupted run goes on where it was.

    Raises:
        BookError: snakemake is not installed, or another build of this book is running.
    """
    layout, jobs, gpus = find_layout(), _number("jobs", arguments.jobs, 1), _number("gpus", arguments.gpus, 0)
    folder, local = _profile(arguments.on)
    threads = max(1, _cores() // jobs) if local else 4
    request = Request(
        arguments.profile,
        parse_settings(arguments.set),
        arguments.chapters,
        arguments.models,
        [_number("seeds", seed, 0) for seed in arguments.seeds],
        1 if local else gpus,
        threads if arguments.threads is None else _number("threads", arguments.threads, 1),
    )
    devices = {Params.from_profile(**given).device for given in request.runs()}
    chapters = chosen_chapters(layout, request.chapters)
    build.refuse_unused(layout, chapters, request.settings)
    results.read(layout.reference)  # refuses what was changed
    if not local and "auto" in devices:
        # The key of a result names the device, and the machine that submits may have another one.
        request = replace(request, settings={**request.settings, "device": "cuda" if gpus else "cpu"})
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(FOLDER / "Snakefile"), "--nolock"]
    words += ["--directory", str(layout.build / "workflow"), "--workflow-profile", "none", "--profile", str(folder)]
    words += ["--config", f"request={request.text()}"]
    words += ["--resources", f"gpu={len(local_gpus())}"] if local and local_gpus() else []
    words += ["--cores", str(jobs * request.threads)] if local else ["--jobs", str(jobs)]
    _lock(layout)
    sys.stdout.flush()
    # Jobs run in the checkout; threads of several do not spin while they wait.
    own = {"POLINB_STORE": str(store_root().resolve()), "TQDM_DISABLE": "1", "PYTHONPATH": python_path()}
    os.execve(words[0], [*words, *arguments.options], {"OMP_WAIT_POLICY": "PASSIVE"} | dict(os.environ) | own)


def _profile(on: str) -> tuple[Path, bool]:
    """Folder of an execution profile, and does it run jobs on this machine?"""
    folder = FOLDER / "profiles" / on if on in PROFILES else Path(on).expanduser().resolve()
    if not (folder / "config.yaml").is_file():
        raise ParameterError("on", on, f"{', '.join(PROFILES)}, or a folder that holds a config.yaml of snakemake")
    executor = str((yaml.safe_load((folder / "config.yaml").read_text("utf-8")) or {}).get("executor", "local"))
    for package in ["snakemake"] + [f"snakemake-executor-plugin-{executor}"] * (executor != "local"):
        if util.find_spec(package.replace("-", "_")) is None:
            extra = "kubernetes" if executor == "kubernetes" else "workflow"
            raise BookError(f"{package} is not installed: python -m pip install '.[{extra}]' in the checkout")
    return folder, executor == "local"


def _lock(layout: Layout) -> None:
    """Hold the lock of ``make book`` until this process ends, snakemake included."""
    layout.build.mkdir(parents=True, exist_ok=True)
    held = os.open(layout.build / "book.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BookError("another build of this book is running; wait for it to end") from None
    os.set_inheritable(held, True)


def make(arguments: argparse.Namespace) -> int:
    """Make what is missing of one job: results, a chapter, or the pages.

    Raises:
        ParameterError: no such job.
        PolinbError: it failed, or left something undone that a later run tries again.
    """
    settings = parse_settings(arguments.set)
    hold = arguments.one_gpu and Params.from_profile(arguments.profile, **settings).device != "cpu"
    if hold and not arguments.name.startswith(("chapter/", "pages/")):
        take_gpu()  # before anything asks torch for devices
    jobs = Request(arguments.profile, settings, arguments.chapters).jobs()
    if (job := jobs.get(arguments.name)) is None:
        raise ParameterError("job", arguments.name, f"one of {', '.join(list(jobs)[:8])}, …")
    if job.results:
        quiet()
        job.make(lost(jobs))
        return 0
    if hold and job.rule == "chapter" and (job.gpu or missing(job.reads)):
        take_gpu()  # for the notebook's own process
    layout = find_layout()
    if job.rule == "pages":
        print(f"open {build.finish(layout)[0]}")
        return 0
    with FileLock(layout.build / "workflow" / f"{job.title}.lock"):  # what a killed run left executing it ends first
        undone = build.run_chapter(layout, job.title, job.given).unfinished
    if undone:
        raise PolinbError(f"{job.title} is there, but not finished; run again to finish it: {'; '.join(undone)}")
    return 0


def opened(jobs: Mapping[str, Job]) -> set[str]:
    """Names of the jobs that have something to do, by what is in the store and in the book."""
    layout, gone, out = find_layout(), lost(jobs), set[str]()
    page, package = layout.build / "html" / "index.html", Path(polinb.__file__).parent
    for name, job in jobs.items():
        if job.rule == "chapter":
            todo = not build.stands(layout, job.title, job.given)
        elif job.rule == "pages":  # they are newer than all that they are made of
            sources = [layout.root / "_config.yml", *(layout.root / "book").rglob("*"), *package.rglob("*")]
            dates = [path.stat().st_mtime for path in sources if path.is_file() and path.suffix != ".pyc"]
            todo = bool(job.needs & out) or not page.is_file() or max(dates) > page.stat().st_mtime
        else:
            todo = any(result.path in gone for result in job.results) and not job.left_out
        out |= {name} if todo else set()
    return out


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(name: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ParameterError(name, text, f"a whole number from {least}")
    return int(text)
