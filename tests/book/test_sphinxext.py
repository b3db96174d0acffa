"""The box on each chapter's page: commands that can be repeated, links to other hosts; what the theme brings."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from bs4 import BeautifulSoup

from book._make import __main__
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params
from polinb_book import box
from polinb_book import theme as sphinx_theme
from polinb_book.box import book_command, changed, papermill_command

REPO = Path(__file__).resolve().parents[2]
HUB = "https://github.com/owner/name"
SECRET = "ghp_" + "a1B2" * 9


def executed(folder: Path, given: dict[str, Any], seconds: float | None = 83.4) -> Path:
    """A chapter as papermill and the builder leave it: its parameters in the metadata, its record beside it."""
    path = folder / "01_first.ipynb"
    path.write_text(json.dumps({"metadata": {"papermill": {"parameters": given}}, "cells": []}))
    path.with_suffix(".json").write_text(json.dumps({"seconds": seconds}))
    return path


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        (HUB, True),
        (f"{HUB}.git", True),
        ("https://gitlab.com/group/sub/name", True),
        (f"https://user:{SECRET}@github.com/owner/name", False),
        ("https://github.com.evil.example/owner/name", False),
        ("https://github.com/owner/..", False),
        ('https://github.com/owner/name"onclick="x', False),
        ("javascript:alert(1)//github.com/owner/name", False),
        ("git@github.com:owner/name", False),
    ],
)
def test_addresses(address: str, kept: bool, caplog: pytest.LogCaptureFixture) -> None:
    app = SimpleNamespace(config=SimpleNamespace(polinb_repository=address))
    box.prepare(app)
    assert app.polinb_address == (address if kept else "")
    assert SECRET not in caplog.text


def test_only_what_differs_from_the_profile_is_told() -> None:
    given = {"profile": "tiny", "gamma": 2.5, "seed": 0, "model": None, "topics": ["race", "crime"], "unknown": 3}
    assert changed(given) == ("tiny", {"gamma": 2.5, "topics": ["race", "crime"]}, [])
    assert changed({"profile": "huge", "gamma": 2.5}) == changed({}) == ("quick", {}, [])


@pytest.mark.parametrize(
    "value",
    [
        "/home/someone/model",
        "~/model",
        "C:\\models\\x",
        "C:/models/x",
        "\\\\server\\share",
        "../model",
        "./model",
        "$HOME/x",
        "http://user:pass@10.0.0.1/v1",
        "file:///etc/x",
        SECRET,
        f"prefix {SECRET}",
        "hf_" + "a" * 30,
        "sk-" + "a" * 30,
        "two\nlines",
        "\u202etxt",
        ["compass", "/home/someone/list.csv"],
    ],
)
def test_places_and_secrets_are_withheld(tmp_path: Path, value: Any) -> None:
    name = "statements" if isinstance(value, list) else "data"
    page = box.box(executed(tmp_path, {"profile": "quick", "gamma": 2.5, name: value}), HUB)
    text = value if isinstance(value, str) else value[-1]
    assert text not in page and f"`{name}`" in page and "-p gamma 2.5" in page


SETTINGS: dict[str, Any] = {
    "gamma": 2.5,
    "learning_rate": 2e-05,
    "topics": ["crime", "race"],
    "gammas": [2.5, 5],
    "model": "1234",
    "data": "hub:owner/na'me; rm -rf x $(id) `id` %x #",
    "seed": 3,
    "system_prompt": False,
    "judge": "local",
    "statement_prefix": "",
}


def as_papermill_reads(command: str) -> dict[str, Any]:
    from papermill.cli import _resolve_type
    from papermill.cli import papermill as cli

    words = shlex.split(command.replace("\\\n", " "))
    given = cli.make_context(words[0], words[1:]).params
    found = {name: _resolve_type(value) for name, value in given["parameters"]}
    for text in given["parameters_yaml"]:
        found |= yaml.safe_load(text)
    return found | dict(given["parameters_raw"])


def test_papermill_reads_the_command_back() -> None:
    command = papermill_command("notebooks/01_first.ipynb", "tiny", SETTINGS)
    assert as_papermill_reads(command) == {"profile": "tiny", **SETTINGS}
    assert command.startswith("papermill notebooks/01_first.ipynb out.ipynb \\\n")


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gamma": 2.5, "topics": ["crime", "race"], "system_prompt": False, "learning_rate": 2e-05, "model": "a/b-1.c"},
        {"system_prompt": "yes", "statement_prefix": ""},
    ],
)
def test_make_reads_the_command_back(settings: dict[str, Any]) -> None:
    command = book_command("01_first", "tiny", settings)
    words = shlex.split(command)
    assert words[:2] == ["make", "book"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    told = subprocess.run(
        ["make", "-n", *words[1:]], cwd=REPO, env=clean, capture_output=True, text=True, check=True
    ).stdout
    (line,) = [line for line in told.splitlines() if "-m book._make book" in line]
    arguments = __main__._parser().parse_args(shlex.split(line)[3:])
    assert (arguments.profile, arguments.chapters) == ("tiny", "01_first")
    assert parse_settings(arguments.set) == settings


def test_what_make_would_garble_goes_to_the_module() -> None:
    command = book_command("01_first", "quick", SETTINGS).replace("\\\n", " ")
    arguments = __main__._parser().parse_args(shlex.split(command)[3:])
    assert shlex.split(command)[:4] == ["python", "-m", "book._make", "book"]
    assert parse_settings(arguments.set) == SETTINGS and arguments.chapters == "01_first"


def test_every_parameter_of_a_profile_survives_both_ways() -> None:
    values = Params.from_profile("paper").model_dump()
    profile = values.pop("profile")
    texts = [box.setting(name, value) for name, value in values.items()]
    assert parse_settings(texts) == values
    assert as_papermill_reads(papermill_command("x.ipynb", profile, values)) == {"profile": profile, **values}


def test_the_box(tmp_path: Path) -> None:
    text = box.box(executed(tmp_path, {"profile": "tiny", "gamma": 2.5}), HUB)
    assert "**1 min 23 s**" in text and "PROFILE=tiny CHAPTERS=01_first PARAMS='gamma=2.5'" in text
    assert "https://mybinder.org/v2/gh/owner/name/HEAD?urlpath=lab/tree/notebooks/01_first.ipynb" in text
    assert "https://colab.research.google.com/github/owner/name/blob/HEAD/notebooks/01_first.ipynb" in text
    at_gitlab = box.box(tmp_path / "01_first.ipynb", "https://gitlab.com/group/sub/name")
    assert "mybinder.org/v2/gl/group%2Fsub%2Fname/HEAD" in at_gitlab and "colab" not in at_gitlab
    not_run = box.box(tmp_path / "02_second.ipynb")
    assert "was not run" in not_run and "mybinder" not in not_run and "make book CHAPTERS=02_second" in not_run


def test_a_value_cannot_leave_its_block(tmp_path: Path) -> None:
    text = box.box(executed(tmp_path, {"data": "x```\u0060 :::: {note}"}))
    assert "`````text\npapermill" in text


# --- this repository ---


def test_binder_has_what_it_needs() -> None:
    """Binder reads .binder and nothing else where that folder is; postBuild runs in the top folder."""
    environment = yaml.safe_load((REPO / ".binder" / "environment.yml").read_text("utf-8"))
    (python,) = [item for item in environment["dependencies"] if item.startswith("python")]
    assert re.fullmatch(r"python=3\.\d+", python)  # what Binder can read a version from
    wanted = yaml.safe_load((REPO / "environment.yml").read_text("utf-8"))["dependencies"]
    (allowed,) = [item for item in wanted if isinstance(item, str) and item.startswith("python ")]
    from packaging.specifiers import SpecifierSet

    assert python.removeprefix("python=") in SpecifierSet(allowed.removeprefix("python "))
    script = REPO / ".binder" / "postBuild"
    assert os.access(script, os.X_OK)
    text = script.read_text("utf-8")
    assert "-r requirements.lock" in text and "--no-deps -r requirements-nodeps.lock" in text and "://" not in text
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


# --- the theme ---


def test_the_arrows_of_the_sidebar_get_a_name() -> None:
    entry = "<li><a>The <code>package</code></a><details><summary><i></i></summary><ul></ul></details></li>"
    named = sphinx_theme.named(BeautifulSoup(f"<ul>{entry}</ul>", "html.parser"))
    assert named.summary["aria-label"] == "Pages below: The package"
    assert sphinx_theme.named("") == "", "a book without contents"


def test_our_template_stands_in_for_one_that_the_theme_still_has() -> None:
    """Every macro of the theme's file is in ours; the icons' script is in the one that ours leaves empty."""
    import pydata_sphinx_theme

    name = "static/webpack-macros.html"
    folder = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme"
    theirs, ours = (
        (folder / name).read_text("utf-8"),
        (sphinx_theme.web_folder() / "templates" / name).read_text("utf-8"),
    )
    macros = re.compile(r"macro (\w+)\(\)")
    assert sorted(macros.findall(theirs)) == sorted(macros.findall(ours))
    left_out = theirs.partition("macro head_js_preload()")[2].partition("endmacro")[0]
    assert theirs.count(sphinx_theme.ICONS) == left_out.count(sphinx_theme.ICONS) == 1
    assert (folder / "static" / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.woff2").is_file()


def test_a_page_loads_the_scripts_of_what_it_holds_and_no_others() -> None:
    loaded: list[str] = []
    app = SimpleNamespace(add_js_file=lambda name, **_: loaded.append(name), add_css_file=loaded.append)
    sphinx_theme.load_apps(app, "a", "", {"body": "<p>nothing</p>"}, None)
    assert not loaded
    sphinx_theme.load_apps(app, "b", "", {"body": '<div class="polinb-app" data-app="responses">'}, None)
    assert loaded == ["vendor/responses.js", "vendor/responses.css"]
