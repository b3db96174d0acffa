"""``python -m book._make``: the commands behind the Makefile, in a checkout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from book._make import build
from book._make.reference import check, doses, reread
from book._make.reference.run import keep, layout_of, run_reference
from book._make.workflow import command as workflow_command
from book._make.workflow.command import add_settings, names
from polinb.__main__ import told
from polinb.runs.chapter import sync
from polinb.runs.checkout import find_layout, parse_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it worked, 2 for wrong parameters, 1 for any other expected error."""
    return told(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m book._make", description=sys.modules["book._make"].__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    book = commands.add_parser("book", help="execute the notebooks and build the book")
    add_settings(book)
    book.add_argument("--jobs", metavar="N", help="as jobs of a workflow, N at once")
    # with --jobs it is the workflow, here
    book.set_defaults(run=_book, on="default", models=[], seeds=[], gpus="0", threads=None, options=[])

    read = commands.add_parser("read", help="build the book from the reference run's results, no model loaded")
    read.add_argument("--epub", action="store_true", help="as an EPUB")
    read.set_defaults(run=_read)

    page = commands.add_parser("page", help="add the model to the page Try the neurons of the built book")
    page.set_defaults(run=_page)

    workflow_command.add(commands)

    reference = commands.add_parser("reference", help="run every chapter for the committed reference results")
    reference.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
    reference.add_argument("--cut", choices=("auto", "none", "cpu"), default="auto", help="auto: cpu where no GPU is")
    reference.add_argument("--chapters", metavar="A,B", type=names, help="names without .ipynb; default: all")
    reference.add_argument("--keep-only", action="store_true", help="only keep what ran already")
    reference.set_defaults(run=_reference)

    for part in (check, doses, reread):
        part.add(commands)

    sync = commands.add_parser("sync", help="rewrite the parameters cell of every notebook from polinb/runs/params.py")
    sync.set_defaults(run=_sync)
    return parser


def _book(arguments: argparse.Namespace) -> int:
    if arguments.jobs is not None:
        workflow_command.start(arguments)
    print(f"open {build.make_book(arguments.profile, parse_settings(arguments.set), arguments.chapters)}")
    return 0


def _read(arguments: argparse.Namespace) -> int:
    print(f"open {build.read_book(builder='epub' if arguments.epub else 'html')}")
    return 0


def _page(_: argparse.Namespace) -> int:
    from book._make.page_model import publish

    layout = find_layout()
    publish(layout.build / "html", layout.reference, make=True)
    return 0


def _reference(arguments: argparse.Namespace) -> int:
    settings = parse_settings(arguments.set)
    layout = layout_of(settings)
    if not arguments.keep_only:
        run_reference(settings, arguments.cut, arguments.chapters, layout)
    run = keep(layout)
    done = [name for name, chapter in run["chapters"].items() if chapter["state"] == "complete"]
    where = layout.reference.relative_to(layout.root)
    print(f"{where}: {len(done)} of {len(run['chapters'])} chapters complete")
    return 0


def _sync(_: argparse.Namespace) -> int:
    changed = sync(find_layout().notebooks)
    print(f"rewritten: {', '.join(changed)}" if changed else "every notebook was up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
