"""``python -m polinb``: the live lab, the embedded model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from polinb import __version__
from polinb.errors import ParameterError, PolinbError
from polinb.secrets import hide


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it worked, 2 for wrong parameters, 1 for any other expected error."""
    return told(_parser().parse_args(argv))


def told(arguments: argparse.Namespace) -> int:
    """What a command returns; an expected error is told in one line."""
    try:
        code: int = arguments.run(arguments)
    except PolinbError as error:
        print(f"polinb: {hide(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ParameterError) else 1
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

    for kind, what in (("lab", "the live lab in JupyterLab"), ("app", "the live lab alone, in Voilà")):
        live = commands.add_parser(kind, help=f"start {what}")
        live.add_argument("--profile", default="quick", help="tiny, quick (default), full or paper")
        live.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; repeat it")
        live.add_argument("--port", type=int, help="port on this machine")
        live.add_argument("--no-browser", action="store_true", help="only print the address")
        live.set_defaults(run=_live, kind=kind)

    fetch = commands.add_parser("fetch", help="prepare the embedded model now instead of at its first use")
    fetch.set_defaults(run=_fetch)

    return parser


def _live(arguments: argparse.Namespace) -> int:
    from polinb.lab.serve import serve
    from polinb.runs.checkout import parse_settings

    settings = parse_settings(arguments.set)
    return serve(arguments.kind, arguments.profile, settings, arguments.port, not arguments.no_browser)


def _fetch(_: argparse.Namespace) -> int:
    from polinb.models.embedded import embedded_folder

    print(f"ready: {embedded_folder()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
