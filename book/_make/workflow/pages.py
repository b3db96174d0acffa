"""Jobs of the book itself: its notebooks and pages, and which of all jobs have something to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polinb
from book._make import build
from polinb.cluster.jobs import Job, lost
from polinb.errors import PolinbError
from polinb.runs.checkout import Layout, find_layout


def opened(jobs: Mapping[str, Job]) -> set[str]:
    """Names of the jobs that have something to do, by what is in the store and in the book."""
    layout, gone, out = find_layout(), lost(jobs), set[str]()
    for name, job in jobs.items():
        if job.rule == "chapter":
            todo = not build.stands(layout, job.title, job.given)
        elif job.rule == "pages":
            todo = bool(job.needs & out) or not built(layout)
        else:
            todo = any(result.path in gone for result in job.results) and not job.left_out
        out |= {name} if todo else set()
    return out


def built(layout: Layout) -> bool:
    """Are the pages newer than all that they are made of?"""
    page, package = layout.build / "html" / "index.html", Path(polinb.__file__).parent
    sources = [layout.root / "_config.yml", *(layout.root / "book").rglob("*"), *package.rglob("*")]
    dates = [path.stat().st_mtime for path in sources if path.is_file() and path.suffix != ".pyc"]
    return page.is_file() and max(dates) <= page.stat().st_mtime


def make(layout: Layout, job: Job) -> None:
    """Build the pages; or execute a notebook unless it stands, once what a killed run left executing it has ended.

    Raises:
        PolinbError: it failed, or left something undone that a later run tries again.
    """
    from filelock import FileLock

    if job.rule == "pages":
        print(f"open {build.finish(layout)[0]}")
        return
    with FileLock(layout.build / "workflow" / f"{job.title}.lock"):
        undone = build.run_chapter(layout, job.title, job.given).unfinished
    if undone:
        raise PolinbError(f"{job.title} is there, but not finished; run again to finish it: {'; '.join(undone)}")
