"""``python -m book._make reference-check``."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from polinb.errors import ParameterError
from polinb.runs.checkout import find_layout, parse_settings


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    check = commands.add_parser("reference-check", help="make a random part of the reference run again and compare")
    check.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="data=… or device=…; repeat it")
    check.add_argument("--share", default="0.1", help="of the kept results that are made again (default 0.1)")
    check.add_argument("--seed", help="which ones; default: today's date")
    check.add_argument("--files-only", action="store_true", help="only compare digests: no model")
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from book._make.reference.check import reference_check

    try:
        share = float(arguments.share)
    except ValueError:
        raise ParameterError("--share", arguments.share, "a number above 0, at most 1") from None
    seed = arguments.seed or f"{datetime.now(UTC):%Y%m%d}"
    if not (seed.isascii() and seed.isdigit()):
        raise ParameterError("--seed", seed, "a whole number from 0")
    folder = find_layout().reference
    return 1 if reference_check(folder, parse_settings(arguments.set), share, int(seed), arguments.files_only) else 0
