"""From notebooks to the book: run every chapter with papermill, then build the pages with Jupyter Book.

A chapter whose notebook, parameters, modules it reaches and data files have not changed since its last run is
not run again. What is built lies in ``book/chapters`` (executed notebooks) and ``_build`` (pages).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polinb
from book._make.notebook import ANSI, declared, execute, fingerprint, own_parameters, python_path, sha256
from polinb.errors import BookError, ParameterError
from polinb.runs.checkout import Layout, chapter_names, chosen_chapters, find_layout, tell
from polinb.runs.params import Params, users
from polinb_book import results
from polinb_book.results import as_json, filled, is_filled, read_json, write

_BUILD = """
import os, sys, threading, time
def watch(parent):  # when the process that started this one is killed, it must not go on writing pages
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
threading.Thread(target=watch, args=(parent,), daemon=True).start()
sys.modules["rfc3987_syntax"] = None  # grammars of addresses that jsonschema compiles for seconds and nobody asks for
from jupyter_book.sphinx import build_sphinx
told = {"warningiserror": True, "keep_going": True, "quiet": True}
more = {"nitpicky": True, "latex_individualpages": False, **extra}
told |= {"path_config": config, "noconfig": True, "confoverrides": more, "jobs": jobs, "builder": builder}
sys.exit(build_sphinx(book, out, **told) != 0)
"""
_EPUB = {
    "epub_basename": "polinb",
    "epub_show_urls": "no",
    "version": polinb.__version__,
    **{name: [] for name in ("html_static_path", "html_css_files", "html_js_files")},
    "suppress_warnings": ["epub.unknown_project_files"],
}


@dataclass(frozen=True)
class Chapter:
    """One chapter after a run: seconds its execution took, whether that was an earlier run, what it left undone."""

    name: str
    seconds: float
    reused: bool
    unfinished: tuple[str, ...] = ()


def make_book(
    profile: str = "quick",
    settings: Mapping[str, Any] | None = None,
    chapters: Sequence[str] | None = None,
    layout: Layout | None = None,
) -> Path:
    """Run the chapters, build the pages; path of the first page.

    Where there are no pages yet, they are built first, from the reference run's results, which a chapter that never ran
    goes on to show.

    Args:
        settings: parameters that differ from the profile.
        chapters: names of notebooks, without ``.ipynb``; ``["core"]`` (default): those of the paper; ``["all"]``.

    Raises:
        ParameterError: before anything runs, for a wrong parameter or chapter.
        BookError: a chapter failed, or the pages have a warning or an error.
        ArtifactError: the committed results of the reference run are damaged.
    """
    settings = dict(settings or {})
    Params.from_profile(profile, **settings)
    layout = layout or find_layout()
    results.read(layout.reference)
    wanted = chosen_chapters(layout, chapters)
    refuse_unused(layout, wanted, settings)
    given = {"profile": profile, **settings}
    with alone(layout.build / "book.lock", "build of this book"):
        if layout.reference.is_dir() and not (layout.build / "html" / "index.html").is_file():
            tell(f"to read meanwhile, with the reference run's results: {finish(layout)[0]}")
        started = time.monotonic()
        done = run_chapters(layout, wanted, given)
        built = time.monotonic()
        page, absent = finish(layout, make_model=profile != "tiny")
        unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, kilobytes elsewhere
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
        times: dict[str, Any] = {
            "profile": profile,
            "settings": settings,
            "chapters": [asdict(chapter) for chapter in done],
            "run_seconds": round(built - started, 1),
            "build_seconds": round(time.monotonic() - built, 1),
            "peak_memory_gib": round(peak, 2),
        }
        write(layout.build / "timings.json", as_json(times))
    run, pages = times["run_seconds"], times["build_seconds"]
    tell(f"notebooks {run:.0f} s, pages {pages:.0f} s, largest process {peak:.1f} GiB")
    old = [name for name in chapter_names(layout) if name not in wanted + absent and not stands(layout, name, given)]
    if old:
        tell(f"note: these chapters show an earlier run with other settings or code: {', '.join(old)}")
    for chapter in done:
        for text in chapter.unfinished:
            tell(f"not finished, tried again by the next run: {chapter.name}: {text}")
    if absent:
        tell(f"not run, the reference run's results are shown: {', '.join(absent)} (CHAPTERS=all runs them)")
    return page


@contextlib.contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock; a BookError says ``what`` another process is doing if it is taken."""
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise BookError(f"another {what} is running; wait for it to end") from None


def finish(layout: Layout, make_model: bool = False, builder: str = "html") -> tuple[Path, list[str]]:
    """Build the pages: path of the first one, and the chapters that never ran and show the reference run's results.

    Args:
        make_model: whether to make the model of the page "Try the neurons" where there is none yet.
        builder: ``html``, or ``epub`` for one file of all pages.

    Raises:
        BookError: the pages have a warning or an error.
        ArtifactError: the committed results of the reference run are damaged.
    """
    from book._make.page_model import publish
    from book._make.vendor import vendor

    reference = results.read(layout.reference)
    vendor(layout.vendor)
    every = chapter_names(layout)
    absent = []
    for name in every:
        _drop_damaged(layout, name)
        target = layout.chapters / f"{name}.ipynb"
        if target.is_file() and not is_filled(read_json(target)):
            continue
        absent.append(name)
        stored = reference.notebooks.get(name) if reference else None
        written = read_json(layout.notebooks / f"{name}.ipynb")
        write(target, json.dumps(filled(written, stored or {"cells": []}), ensure_ascii=False))
    page = build_pages(layout, builder)
    if builder == "html":
        publish(page.parent, layout.reference, make_model)
    return page, absent


def refuse_unused(layout: Layout, chapters: Sequence[str], settings: Mapping[str, Any]) -> None:
    """A ParameterError for a parameter that no chapter of this build takes names those that do."""
    used = [declared(layout.notebooks / f"{name}.ipynb") for name in chapters]
    for name, value in settings.items():
        if not any(name in names for names in used):
            hint = f"Chapters that use it: {', '.join(users(name)) or 'none'}"
            raise ParameterError(name, value, f"parameters of {', '.join(chapters)}", hint)


def run_chapters(layout: Layout, names: Sequence[str], parameters: Mapping[str, Any]) -> list[Chapter]:
    """Execute the chapters that do not stand, one after the other, and tell of each."""
    done = []
    for number, name in enumerate(names, 1):
        tell(f"[{number}/{len(names)}] {name}")
        done.append(chapter := run_chapter(layout, name, parameters))
        took = f"{chapter.seconds:.0f} s"
        tell(f"[{number}/{len(names)}] {name}: {f'unchanged (took {took})' if chapter.reused else took}")
    return done


def run_chapter(layout: Layout, name: str, parameters: Mapping[str, Any]) -> Chapter:
    """Execute a notebook with those of a run's parameters that it declares, or find that its last execution stands."""
    notebook, target = layout.notebooks / f"{name}.ipynb", layout.chapters / f"{name}.ipynb"
    parameters = own_parameters(notebook, parameters)
    if known := stands(layout, name, parameters):
        return Chapter(name, float(known["seconds"]), True)
    _drop_damaged(layout, name)
    mark = fingerprint(notebook, parameters)  # what changes during the run is not in it
    started = time.monotonic()
    text, unfinished = execute(layout, name, parameters)
    seconds = round(time.monotonic() - started, 1)
    # A kill between the two writes must not leave the new notebook with the old record.
    target.with_suffix(".json").unlink(missing_ok=True)
    write(target, text)
    # What could not be finished, as while a judge is down, is shown now and run again next time.
    record = {"fingerprint": "" if unfinished else mark, "sha256": sha256(target), "seconds": seconds}
    write(target.with_suffix(".json"), as_json(record))
    return Chapter(name, seconds, False, unfinished)


def _drop_damaged(layout: Layout, name: str) -> None:
    """Remove an executed notebook that is not what was written: it is no result."""
    target = layout.chapters / f"{name}.ipynb"
    promised = read_json(target.with_suffix(".json")).get("sha256")
    if promised and target.is_file() and sha256(target) != promised:
        target.unlink()
        tell(f"chapter {target.name} is not what was written (SHA-256 differs): removed")


def stands(layout: Layout, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Record of the last execution if it is still what a new one would show, else nothing."""
    target = layout.chapters / f"{name}.ipynb"
    known = read_json(target.with_suffix(".json"))
    same = known.get("fingerprint") == fingerprint(layout.notebooks / f"{name}.ipynb", parameters)
    return known if same and known.get("sha256") == sha256(target) else {}


def build_pages(layout: Layout, builder: str = "html") -> Path:
    """The pages from ``book/``, from scratch, every warning an error; path of the first one, or of the EPUB.

    They are built beside the ones that stand there, which a build that fails leaves as they are.
    """
    first = {"html": "index.html", "epub": "polinb.epub"}[builder]
    fresh = layout.build / "pages"
    shutil.rmtree(fresh, ignore_errors=True)
    made, stands_now = fresh / builder, layout.build / builder
    given = [builder, _EPUB if builder == "epub" else {}, os.getpid(), min(2, os.cpu_count() or 1)]
    given += map(str, (layout.root / "book", made, layout.root / "_config.yml"))
    command = [sys.executable, "-c", f"builder, extra, parent, jobs, book, out, config = {given!r}\n{_BUILD}"]
    environment = os.environ | {"PYTHONPATH": python_path(), "PYTHONHASHSEED": "0"}
    ended = subprocess.run(command, cwd=layout.root, env=environment, capture_output=True, text=True, check=False)
    log = layout.build / "sphinx.log"
    log.write_text(ended.stdout + ended.stderr, "utf-8")
    if ended.returncode or not (made / first).is_file():
        lines = ANSI.sub("", ended.stdout + ended.stderr).splitlines()
        told = [line for line in lines if "WARNING" in line or "ERROR" in line] or lines
        raise BookError("the pages have errors (all in _build/sphinx.log):\n  " + "\n  ".join(told[-20:]))
    shutil.rmtree(stands_now, ignore_errors=True)
    made.replace(stands_now)
    shutil.rmtree(fresh, ignore_errors=True)
    return stands_now / first
