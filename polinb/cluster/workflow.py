"""From a laptop to a cluster: the book's steps, notebooks and pages as jobs of a Snakemake workflow.

No second implementation: each job is one command that calls the experiment's methods or the book's own functions
(``workflow_job``). What is up to date is decided by keys that are known before anything runs (``workflow_plans``).
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polinb.cluster import markers as workflow_markers
from polinb.cluster.plans import Book, Request, markers, write_plan
from polinb.cluster.processes import cancel_slurm, end_left_over, run_name
from polinb.cluster.snakemake import LINES, ask, run, workflow_folder
from polinb.errors import BookError, ParameterError
from polinb.runs.artifacts import Store, store_root
from polinb.runs.checkout import Layout, tell

PROFILES = ("default", "slurm", "kubernetes")


def profile_folder(name: str) -> Path:
    """Folder of an execution profile: one of ours by name, or any folder with a ``config.yaml``.

    Raises:
        ParameterError: neither.
    """
    folder = workflow_folder() / "profiles" / name if name in PROFILES else Path(name).expanduser()
    if not (folder / "config.yaml").is_file():
        allowed = f"{', '.join(PROFILES)}, or a folder that holds a config.yaml of snakemake"
        raise ParameterError("on", name, allowed)
    return folder.resolve()


def check_installed(profile: Path) -> None:
    """Refuse a run that cannot start.

    Raises:
        BookError: snakemake, or the executor that the profile names, is not installed.
    """
    import importlib.util

    import yaml

    executor = (yaml.safe_load((profile / "config.yaml").read_text("utf-8")) or {}).get("executor", "local")
    wanted = {"snakemake": "workflow"}
    if executor != "local":
        wanted[f"snakemake_executor_plugin_{executor}".replace("-", "_")] = (
            "kubernetes" if executor == "kubernetes" else "workflow"
        )
    for module, extra in wanted.items():
        if importlib.util.find_spec(module) is None:
            package = module.replace("_", "-")
            raise BookError(f"{package} is not installed: python -m pip install '.[{extra}]' in the checkout")


def make_book(
    request: Request, book: Book, on: str = "default", more: Sequence[str] = (), verify: bool = False
) -> Path | None:
    """Run a workflow to its end and build the pages; path of the first page, or None while chapters are missing.

    Args:
        request: which runs and chapters, how many jobs at once.
        book: what is made.
        on: execution profile, see :func:`profile_folder`.
        more: further options for snakemake.
        verify: compare digests of large artifacts too.

    Raises:
        ParameterError: before anything runs.
        BookError: a job failed; what was finished is kept, and the same command goes on from there.
    """
    layout = book.layout
    profile = profile_folder(on)
    check_installed(profile)
    with _alone(layout) as folder:
        request.runs()  # refused before anything is ended
        _end_earlier(folder, profile)  # first: jobs of an earlier run still read its plan
        plan = write_plan(book, request, folder / "plan.json")
        stale = stale_markers(book, plan, folder, verify)
        todo = _open(folder, plan, stale)
        tell(f"{len(markers(plan))} jobs, {len(todo)} of them to do; log: {_log(layout, folder)}")
        for name in stale:
            (folder / name).unlink(missing_ok=True)
        code = run(layout, folder, profile, request, more)
        _say_times(folder, plan)
        if code:
            raise BookError(_failure(layout, folder, plan, code))
    page = layout.build / "html" / "index.html"
    return page if plan["pages"] and page.is_file() else None


def dry_run(request: Request, book: Book, on: str = "default", more: Sequence[str] = ()) -> list[str]:
    """Names of the jobs that a run would do now, in the order of the plan; nothing is run.

    Raises:
        ParameterError, BookError: as :func:`make_book`.
    """
    layout = book.layout
    profile = profile_folder(on)
    check_installed(profile)
    with _alone(layout) as folder:
        plan = write_plan(book, request, folder / "plan.json")
        stale = stale_markers(book, plan, folder)
        _open(folder, plan, stale)
        options = ["--dry-run", "--printshellcmds", "--quiet", "host", *more]
        with _aside(folder, stale):
            text = ask(layout, folder, request, options, profile)
    done = re.findall(r"-m (?:polinb|book\._make) step (\S+)(?: --run (\S+))? --plan", text)
    names = {f"{run}/{name}" if run else name for name, run in done}
    named = [f"{run}/{name}" for run, about in plan["runs"].items() for name in about["steps"]]
    named += [*(f"chapter/{name}" for name in plan["chapters"]), "pages"]
    return [name for name in named if name in names]


def picture(request: Request, book: Book, path: Path) -> Path:
    """Write the graph of all jobs: ``.dot``, ``.mmd`` (mermaid), or with Graphviz ``.svg``, ``.png`` and ``.pdf``.

    Raises:
        ParameterError: another suffix, or Graphviz is needed and missing.
    """
    suffix = path.suffix.removeprefix(".")
    if suffix not in ("dot", "mmd", "svg", "png", "pdf"):
        raise ParameterError("dag", str(path), "a file that ends in .dot, .mmd, .svg, .png or .pdf")
    if suffix in ("svg", "png", "pdf") and shutil.which("dot") is None:
        raise ParameterError("dag", str(path), "a .dot or .mmd file: the program dot of Graphviz is not installed")
    layout = book.layout
    check_installed(profile_folder("default"))
    with _alone(layout) as folder:
        write_plan(book, request, folder / "plan.json")
        kind = ["mermaid-js"] if suffix == "mmd" else ["dot"]
        text = ask(layout, folder, request, ["--forceall", "--dag", *kind])
    if suffix in ("svg", "png", "pdf"):
        drawn = subprocess.run(["dot", f"-T{suffix}"], input=text.encode(), capture_output=True, check=True).stdout
    else:
        drawn = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(drawn)
    return path


def report(request: Request, book: Book, path: Path) -> Path:
    """Write snakemake's report of the last run: what was done when, how long each job took.

    Raises:
        ParameterError: a file that is neither .html nor .zip.
    """
    if path.suffix not in (".html", ".zip"):
        raise ParameterError("report", str(path), "a file that ends in .html or .zip")
    layout = book.layout
    check_installed(profile_folder("default"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(layout) as folder:
        write_plan(book, request, folder / "plan.json")
        ask(layout, folder, request, ["--report", str(path.resolve())])
    return path


# --- before a run


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[Path]:
    """The workflow's folder, while no other build of the book runs."""
    from filelock import FileLock, Timeout

    folder = layout.build / "workflow"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(layout.build / "book.lock", timeout=0):
            yield folder
    except Timeout:
        raise BookError("another build of this book is running; wait for it to end") from None


def _end_earlier(folder: Path, profile: Path) -> None:
    """End what a killed controller left running. We hold the book's lock, so none of it belongs to a living one."""
    name = run_name(folder)
    if "executor: slurm" in (profile / "config.yaml").read_text("utf-8"):
        cancelled = cancel_slurm(name)
        if cancelled:
            tell(f"cancelled {cancelled} SLURM job(s) of an earlier run that was cut off")
    ended = end_left_over(name)
    if ended:
        tell(f"ended {ended} process(es) of an earlier run that was cut off")


def stale_markers(book: Book, plan: Mapping[str, Any], folder: Path, verify: bool = False) -> dict[str, str]:
    """Markers that are there but do not hold, and why: changed inputs, an artifact that is gone or damaged."""
    store, out = Store(store_root()), {}
    for name, key in markers(plan).items():
        path = folder / name
        if not path.is_file():
            continue
        why = workflow_markers.fault(path, key, store, verify)
        if not why and name.startswith("book/chapters/") and not book.stands(book.layout, path.stem, plan["given"]):
            why = "the executed notebook is gone or was changed"
        if not why and name == "book/pages.json" and not (book.layout.build / "html" / "index.html").is_file():
            why = "the pages are gone"
        if why:
            out[name] = why
    return out


def _open(folder: Path, plan: dict[str, Any], stale: Mapping[str, str]) -> list[str]:
    """Jobs that are to be done: those without a marker and those whose marker does not hold; noted in the plan."""
    plan["open"] = [name for name in markers(plan) if name in stale or not (folder / name).is_file()]
    workflow_markers.write(folder / "plan.json", plan)
    return list(plan["open"])


@contextlib.contextmanager
def _aside(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Markers that do not hold, out of snakemake's sight while it only looks."""
    moved = [(folder / name, folder / f"{name}.aside") for name in names]
    for path, aside in moved:
        path.replace(aside)
    try:
        yield
    finally:
        for path, aside in moved:
            aside.replace(path)


# --- after a run


def _log(layout: Layout, folder: Path) -> str:
    return str((folder / "snakemake.log").relative_to(layout.root))


def _failure(layout: Layout, folder: Path, plan: Mapping[str, Any], code: int) -> str:
    """Which jobs failed and why, from their own logs."""
    text = (folder / "snakemake.log").read_text("utf-8", errors="replace")
    if code < 0:
        return f"snakemake was ended by signal {-code}; run the same command again to go on"
    failed = dict.fromkeys(re.findall(r"^\s*log: (\S+?\.log)\b", text, re.MULTILINE))
    lines = []
    for name in failed:
        path = folder / name
        last = path.read_text("utf-8", errors="replace").strip().splitlines()[-LINES:] if path.is_file() else []
        lines += [f"{path.relative_to(layout.root)}:", *(f"  {line}" for line in last)]
    lines = lines or text.splitlines()[-LINES:]
    what = f"{len(failed)} job(s) failed" if failed else f"snakemake ended with {code}"
    return f"{what}; run the same command again to go on\n  " + "\n  ".join(lines)


def _say_times(folder: Path, plan: Mapping[str, Any]) -> None:
    """Seconds by kind of job, of this and earlier runs."""
    seconds: dict[str, list[float]] = {}
    for name in markers(plan):
        found = workflow_markers.read(folder / name)
        if found:
            seconds.setdefault(name.split("/")[1].removesuffix(".json"), []).append(float(found["seconds"]))
    for family, each in seconds.items():
        tell(f"  {family:<12} {len(each):>4} jobs {sum(each):>8.0f} s")


def split_options(text: str) -> list[str]:
    """Options for snakemake out of one text, quoted as in a shell.

    Raises:
        ParameterError: a quote that does not end.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ParameterError("snakemake", text, f"options quoted as in a shell ({error})") from None
