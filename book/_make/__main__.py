"""``python -m book._make``: the commands behind the Makefile, in a checkout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from book._make import build
from book._make.reference import check, reread
from book._make.reference.doses import go_on
from book._make.reference.run import keep, layout_of, run_reference, store_of
from book._make.workflow import command as workflow_command
from book._make.workflow.command import add_settings, names
from polinb.__main__ import told
from polinb.chapters.anatomy.doses import DOSES
from polinb.runs.chapter import sync
from polinb.runs.checkout import find_layout, parse_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it worked, 2 for wrong parameters, 1 for any other expected error."""
    return told(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m book._make", description=sys.modules["book._make"].__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, run: Callable[[argparse.Namespace], int], about: str, settings: str = "") -> Any:
        own = commands.add_parser(name, help=about)
        own.set_defaults(run=run)
        if settings:
            own.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=f"{settings}; repeat it")
        return own

    book = add("book", _book, "execute the notebooks and build the book")
    add_settings(book)
    book.add_argument("--jobs", metavar="N", help="as jobs of a workflow, N at once")
    # with --jobs it is the workflow, here
    book.set_defaults(on="default", models=[], seeds=[], gpus="0", threads=None, options=[])

    read = add("read", _read, "build the book from the reference run's results, no model loaded")
    read.add_argument("--epub", action="store_true", help="as an EPUB")

    add("page", _page, "add the model to the page Try the neurons of the built book")
    workflow_command.add(commands)

    reference = add("reference", _reference, "run every chapter for the committed reference results", "one parameter")
    reference.add_argument("--chapters", metavar="A,B", type=names, help="names without .ipynb; default: all")

    about = "make a random part of the reference run again and compare"
    again = add("reference-check", _check, about, "data=… or device=…")
    again.add_argument("--share", type=float, default=0.1, help="of the kept results that are made again (default 0.1)")
    again.add_argument("--seed", type=int, default=f"{datetime.now(UTC):%Y%m%d}", help="which ones; default: the date")
    again.add_argument("--files-only", action="store_true", help="only compare digests: no model")

    doses = add("doses", _doses, "the run with the paper's recipe: short or paper", "one parameter")
    doses.add_argument("dose", help=", ".join(DOSES))

    add("reread", _reread, "the reference run's tables again, from its kept results", "data=…, those of the run")
    add("sync", _sync, "rewrite the parameters cell of every notebook from polinb/runs/params.py")
    return parser


def _book(arguments: argparse.Namespace) -> int:
    if arguments.jobs is not None:
        workflow_command.start(arguments)
    print(f"open {build.make_book(arguments.profile, parse_settings(arguments.set), arguments.chapters)}")
    return 0


def _read(arguments: argparse.Namespace) -> int:
    layout = find_layout()
    with build.alone(layout.build / "book.lock", "build of this book"):
        print(f"open {build.finish(layout, builder='epub' if arguments.epub else 'html')[0]}")
    return 0


def _page(_: argparse.Namespace) -> int:
    from book._make.page_model import publish

    layout = find_layout()
    publish(layout.build / "html", layout.reference, make=True)
    return 0


def _reference(arguments: argparse.Namespace) -> int:
    settings = parse_settings(arguments.set)
    layout = layout_of(settings)
    run_reference(settings, arguments.chapters, layout)
    run = keep(layout)
    done = [name for name, chapter in run["chapters"].items() if chapter["state"] == "complete"]
    where = layout.reference.relative_to(layout.root)
    print(f"{where}: {len(done)} of {len(run['chapters'])} chapters complete")
    if (layout.reference / "results").is_dir():
        print(f"{where}/results stays as committed: make reference-check names the cells that differ from it")
    return 0


def _check(a: argparse.Namespace) -> int:
    folder = find_layout().reference
    return int(bool(check.reference_check(folder, parse_settings(a.set), a.share, a.seed, a.files_only)))


def _doses(arguments: argparse.Namespace) -> int:
    settings = parse_settings(arguments.set)
    layout = layout_of(settings)  # another model's results do not mix with the committed ones
    go_on(arguments.dose, settings, store_of(layout), layout.reference / "doses")
    return 0


def _reread(arguments: argparse.Namespace) -> int:
    reread.reread(parse_settings(arguments.set))
    return 0


def _sync(_: argparse.Namespace) -> int:
    changed = sync(find_layout().notebooks)
    print(f"rewritten: {', '.join(changed)}" if changed else "every notebook was up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
