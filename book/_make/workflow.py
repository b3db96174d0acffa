"""What a workflow (:mod:`polinb.cluster`) asks of the book: marks of its chapters, and the jobs that make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from book._make.build import fingerprint, finish, run_chapter, stands
from polinb.cluster.plans import Book
from polinb.runs.checkout import Layout, find_layout


def book_of(layout: Layout | None = None) -> Book:
    """The book of a checkout, by default of this one."""
    return Book(layout or find_layout(), fingerprint, stands)


def do_step(name: str, plan: dict[str, Any]) -> None:
    """Run ``chapter/NAME`` of a plan, or make its ``pages``."""
    layout = Layout(Path(plan["root"]))
    if name == "pages":
        finish(layout)
    else:
        run_chapter(layout, name.removeprefix("chapter/"), plan["given"])
