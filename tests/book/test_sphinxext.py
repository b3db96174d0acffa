"""The box on each chapter's page: commands that can be repeated, links to other hosts, nothing of this machine."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from book._make import __main__
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params
from polinb_book import box
from polinb_book.box import book_command, papermill_command

REPO = Path(__file__).resolve().parents[2]
HUB = "https://github.com/owner/name"
SECRET = "ghp_" + "a1B2" * 9


def executed(folder: Path, given: dict[str, Any]) -> Path:
    path = folder / "01_first.ipynb"
    path.write_text(json.dumps({"metadata": {"papermill": {"parameters": given}}, "cells": []}))
    path.with_suffix(".json").write_text(json.dumps({"seconds": 83.4}))
    return path


def test_addresses(caplog: pytest.LogCaptureFixture) -> None:
    bad = ["https://github.com.evil.example/owner/name", "https://github.com/owner/..", f'{HUB}"onclick="x']
    bad += [f"https://user:{SECRET}@github.com/owner/name", f"javascript:alert(1){HUB[6:]}"]
    for address in (HUB, f"{HUB}.git", *bad):
        app = SimpleNamespace(config=SimpleNamespace(polinb_repository=address))
        box.prepare(app)
        assert app.polinb_address == ("owner/name" if address not in bad else "")
    assert SECRET not in caplog.text


def test_places_and_secrets_are_withheld(tmp_path: Path) -> None:
    places = ["/home/me/model", "C:\\models\\x", "../model", "$HOME/x", "http://user:pass@10.0.0.1/v1"]
    for value in [*places, f"prefix {SECRET}", "two\nlines", "\u202etxt", ["compass", "/home/me/x.csv"]]:
        name = "statements" if isinstance(value, list) else "data"
        page = box.box(executed(tmp_path, {"profile": "quick", "gamma": 2.5, name: value}), "owner/name")
        assert (value if isinstance(value, str) else value[-1]) not in page
        assert f"`{name}`" in page and "-p gamma 2.5" in page


def test_the_box(tmp_path: Path) -> None:
    text = box.box(executed(tmp_path, {"profile": "tiny", "gamma": 2.5}), "owner/name")
    assert "**1 min 23 s**" in text and "book --profile tiny --chapters 01_first \\\n  --set gamma=2.5" in text
    assert "https://mybinder.org/v2/gh/owner/name/HEAD?urlpath=lab/tree/notebooks/01_first.ipynb" in text
    text = box.box(executed(tmp_path, {"data": "x```\u0060 :::: {note}"}))
    assert "`````text\npapermill" in text, "a value cannot leave its block"


def as_papermill_reads(command: str) -> dict[str, Any]:
    from papermill.cli import _resolve_type
    from papermill.cli import papermill as cli

    words = shlex.split(command.replace("\\\n", " "))
    given = cli.make_context(words[0], words[1:]).params
    found = {name: _resolve_type(value) for name, value in given["parameters"]}
    for text in given["parameters_yaml"]:
        found |= yaml.safe_load(text)
    return found | dict(given["parameters_raw"])


def as_the_book_reads(command: str) -> dict[str, Any]:
    words = shlex.split(command.replace("\\\n", " "))
    arguments = __main__._parser().parse_args(words[words.index("book._make") + 1 :])
    assert arguments.chapters == ["01_first"]
    return {"profile": arguments.profile, **parse_settings(arguments.set)}


@pytest.mark.parametrize(
    "given",
    [
        {"gamma": 2.5, "topics": ["crime", "race"], "system_prompt": False, "model": "a/b-1.c"},
        {"learning_rate": 2e-05, "gammas": [2.5, 5], "model": "1234", "seed": 3, "judge": "local"},
        {"data": "hub:owner/na'me; rm -rf x $(id) `id` %x #", "system_prompt": "yes", "statement_prefix": ""},
        Params.from_profile("paper").model_dump(exclude={"profile"}),
    ],
)
def test_the_commands_give_the_parameters_of_the_page(given: dict[str, Any]) -> None:
    for profile in ("quick", "tiny"):
        assert as_the_book_reads(book_command("01_first", profile, given)) == {"profile": profile, **given}
        assert as_papermill_reads(papermill_command("x.ipynb", profile, given)) == {"profile": profile, **given}
