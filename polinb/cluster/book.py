"""What the workflow asks of the book: its chapters, their notebooks and pages. The only place that calls it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polinb.book import build, manifest
from polinb.errors import PolinbError
from polinb.runs.params import Params

Layout = build.Layout
BookError = build.BookError
layout = build.find_layout
settings = build.parse_settings
chosen = build.chosen_chapters
every, core = build.chapter_names, build.core_names
refuse_unused = build.refuse_unused
stands = build.stands
check = manifest.check


def words(given: Mapping[str, Any]) -> list[str]:
    """The words on a command line that give these parameters; :func:`settings` reads them."""
    out = ["--profile", str(given["profile"])]
    for name, value in given.items():  # in their order: a notebook shows them in it
        if name != "profile":
            plain = Params.model_fields[name].annotation is str
            out += ["--set", f"{name}={value if plain else json.dumps(value)}"]
    return out


def built(layout: Layout) -> bool:
    """Are the pages newer than all that they are made of?"""
    page, package = layout.build / "html" / "index.html", Path(build.__file__).parents[1]
    sources = [layout.root / "_config.yml", *(layout.root / "book").rglob("*"), *package.rglob("*")]
    dates = [path.stat().st_mtime for path in sources if path.is_file() and path.suffix != ".pyc"]
    return page.is_file() and max(dates) <= page.stat().st_mtime


def run_chapter(layout: Layout, chapter: str, given: Mapping[str, Any]) -> None:
    """Execute a notebook unless it stands; what a killed run left executing it ends first.

    Raises:
        PolinbError: it failed, or left something undone that a later run tries again.
    """
    from filelock import FileLock

    with FileLock(layout.build / "workflow" / f"{chapter}.lock"):
        unfinished = build.run_chapter(layout, chapter, given).unfinished
    if unfinished:
        raise PolinbError(f"{chapter} is there, but not finished; run again to finish it: {'; '.join(unfinished)}")


def make_pages(layout: Layout) -> None:
    """Build the pages."""
    from polinb.book.vendor import vendor

    vendor(layout.vendor)
    print(f"open {build.finish(layout)[0]}")
