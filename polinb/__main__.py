"""``python -m polinb``: the commands behind the Makefile."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from polinb import __version__
from polinb.book import manifest as reference
from polinb.cluster import command as workflow_command
from polinb.errors import ParameterError, PolinbError
from polinb.reference import command as reference_command
from polinb.reference import readme as reference_readme
from polinb.secrets import hide


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it worked, 2 for wrong parameters, 1 for any other expected error."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except ParameterError as error:
        print(f"polinb: {hide(str(error))}", file=sys.stderr)
        return 2
    except PolinbError as error:
        print(f"polinb: {hide(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"polinb: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("polinb: stopped", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m polinb", description=sys.modules["polinb"].__doc__)
    parser.add_argument("--version", action="version", version=f"polinb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    book = commands.add_parser("book", help="execute the notebooks and build the book")
    book.add_argument("--profile", default="quick", help="tiny, quick (default), full or paper")
    book.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
    book.add_argument("--chapters", metavar="A,B", help="core (default), all, or names without .ipynb")
    book.add_argument("--jobs", metavar="N", help="as jobs of a workflow, N at once")
    # with --jobs it is the workflow, here
    book.set_defaults(run=_book, on="default", models=None, seeds=None, gpus="0", threads=None, options=[])

    workflow_command.add(commands)

    reference = commands.add_parser("reference", help="run every chapter for the committed reference results")
    reference.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
    reference.add_argument("--cut", default="auto", help="none, cpu, or auto (default): cpu where no card is")
    reference.add_argument("--chapters", metavar="A,B", help="names without .ipynb; default: all")
    reference.add_argument("--harvest-only", action="store_true", help="only take tables and figures from what ran")
    reference.set_defaults(run=_reference)

    reference_command.add(commands)

    for kind, what in (("lab", "the live lab in JupyterLab"), ("app", "the live lab alone, in Voilà")):
        live = commands.add_parser(kind, help=f"start {what}")
        live.add_argument("--profile", default="quick", help="tiny, quick (default), full or paper")
        live.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
        live.add_argument("--port", type=int, help="port on this machine")
        live.add_argument("--no-browser", action="store_true", help="only print the address")
        live.set_defaults(run=_live, kind=kind)

    vendor = commands.add_parser("vendor", help="put the browser files of the book in place")
    vendor.set_defaults(run=_vendor)

    fetch = commands.add_parser("fetch", help="prepare the embedded model now instead of at its first use")
    fetch.set_defaults(run=_fetch)

    sync = commands.add_parser("sync", help="rewrite the parameters cell of every notebook from polinb/runs/params.py")
    sync.set_defaults(run=_sync)
    return parser


def _book(arguments: argparse.Namespace) -> int:
    from polinb.book.build import make_book, parse_settings

    if arguments.jobs is not None:
        workflow_command.start(arguments)
    chapters = [name.strip() for name in arguments.chapters.split(",")] if arguments.chapters is not None else None
    page = make_book(arguments.profile, parse_settings(arguments.set), chapters)
    if page:
        print(f"open {page}")
    return 0


def _reference(arguments: argparse.Namespace) -> int:
    from polinb.book.build import parse_settings
    from polinb.reference.harvest import harvest
    from polinb.reference.run import layout_of, run_reference

    chapters = [name.strip() for name in arguments.chapters.split(",")] if arguments.chapters is not None else None
    settings = parse_settings(arguments.set)
    layout = layout_of(settings)
    if not arguments.harvest_only:
        run_reference(settings, arguments.cut, chapters, layout)
        harvest(layout)  # tables survive if the raw data cannot be written
        print(reference_command.write_raw(settings, arguments.cut))
    manifest = harvest(layout)  # once more: now it counts the raw data, too
    if not layout.model:
        reference_readme.write(layout.root / "README.md", reference.Reference(layout.reference, manifest))
    done = [name for name, chapter in manifest["chapters"].items() if chapter["state"] == "complete"]
    print(
        f"{layout.reference.relative_to(layout.root)}: {len(manifest['files'])} files, "
        f"{len(done)} of {len(manifest['chapters'])} chapters complete"
    )
    return 0


def _live(arguments: argparse.Namespace) -> int:
    from polinb.book.build import parse_settings
    from polinb.lab.server import serve

    settings = parse_settings(arguments.set)
    return serve(arguments.kind, arguments.profile, settings, arguments.port, not arguments.no_browser)


def _vendor(_: argparse.Namespace) -> int:
    from polinb.book.build import find_layout
    from polinb.book.vendor import vendor

    folder = find_layout().vendor
    print(f"{'written' if vendor(folder) else 'already there'}: {folder}")
    return 0


def _fetch(_: argparse.Namespace) -> int:
    from polinb.models.embedded import embedded_folder

    print(f"ready: {embedded_folder()}")
    return 0


def _sync(_: argparse.Namespace) -> int:
    from polinb.book.build import find_layout
    from polinb.runs.chapter import sync

    changed = sync(find_layout().notebooks)
    print(f"rewritten: {', '.join(changed)}" if changed else "every notebook was up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
