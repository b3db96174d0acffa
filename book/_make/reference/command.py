"""The commands ``reference-raw`` and ``reference-check``: keep the raw data of the reference run, and check it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from polinb.errors import ParameterError

_SET = {"action": "append", "default": [], "metavar": "NAME=VALUE", "help": "one parameter; repeat it"}


def add(commands: Any) -> None:
    """Add the commands to the parser's."""
    raw = commands.add_parser("reference-raw", help="write book/reference/results from the store of the run")
    raw.add_argument("--set", **_SET)
    raw.add_argument("--cut", default="auto", help="as in the run: none, cpu, or auto (default)")
    raw.set_defaults(run=_raw)

    check = commands.add_parser("reference-check", help="make a random part of the reference run again and compare")
    check.add_argument("--set", **{**_SET, "help": "data=… or device=…; repeat it"})
    check.add_argument("--share", default="0.1", help="of the models and topics that are made again (default 0.1)")
    check.add_argument("--seed", help="which ones; default: today's date")
    check.add_argument("--tables-only", action="store_true", help="only the tables, from the raw data: no model")
    check.set_defaults(run=_check)


def write_raw(given: Mapping[str, Any], cut: str = "auto") -> str:
    """Write ``book/reference/results`` from the store of the run; sizes and what is missing, as lines to print.

    Args:
        given: parameters of the run beside its profile, ``data`` among them.
        cut: as in :func:`book._make.reference.run.settings_of`.

    Raises:
        ParameterError, ArtifactError, DataError: as in :func:`book._make.reference.raw.export`.
    """
    from book._make.reference.raw import export, sizes
    from book._make.reference.run import PROFILE, layout_of, settings_of, store_of
    from polinb.runs.artifacts import Store
    from polinb.runs.params import Params

    settings, _ = settings_of(cut, given)
    layout = layout_of(settings)
    return sizes(
        export(Store(store_of(layout)), Params.from_profile(PROFILE, **settings), layout.reference / "results")
    )


def _raw(arguments: argparse.Namespace) -> int:
    from polinb.runs.checkout import parse_settings

    print(write_raw(parse_settings(arguments.set), arguments.cut))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from book._make.reference.check import reference_check
    from polinb.runs.checkout import find_layout, parse_settings

    try:
        share = float(arguments.share)
    except ValueError:
        raise ParameterError("--share", arguments.share, "a number above 0, at most 1") from None
    seed = arguments.seed
    if seed is not None and not (seed.isascii() and seed.isdigit()):
        raise ParameterError("--seed", seed, "a whole number from 0")
    folder = find_layout().reference
    settings = parse_settings(arguments.set)
    wrong = reference_check(folder, settings, share, None if seed is None else int(seed), arguments.tables_only)
    return 1 if wrong else 0
