"""The box on each chapter's page: addresses of Binder and Colab, commands that can be repeated; descriptions."""

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

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook

from book._make import __main__
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params
from polinb_book import commands as sphinx_command
from polinb_book import run as sphinx_run
from polinb_book import theme as sphinx_theme
from polinb_book.commands import Run, book_command, papermill_command, read_run
from polinb_book.links import Repository, find_repository, parse_address

REPO = Path(__file__).resolve().parents[1]
HUB, LAB = Repository("github.com", "owner/name"), Repository("gitlab.com", "group/name")
SECRET = "ghp_" + "a1B2" * 9
needs_git = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


# --- addresses ---


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://github.com/owner/name", HUB),
        ("https://github.com/owner/name.git", HUB),
        ("https://github.com/owner/name/", HUB),
        ("https://GitHub.com:443/owner/name.git", HUB),
        ("ssh://git@github.com/owner/name.git", HUB),
        ("ssh://git@ssh.github.com:443/owner/name.git", HUB),
        ("git@github.com:owner/name.git", HUB),
        ("github.com:owner/name", HUB),
        ("git@gitlab.com:group/name.git", LAB),
        ("https://gitlab.com/group/sub/deeper/name.git", Repository("gitlab.com", "group/sub/deeper/name")),
        (f"https://user:{SECRET}@github.com/owner/name.git", HUB),
        (f"https://{SECRET}@github.com/owner/name", HUB),
        (f"https://x-access-token:{SECRET}@gitlab.com/group/name", LAB),
        # other hosts, enterprise ones among them, and hosts that only look right
        ("https://github.example.com/owner/name", None),
        ("https://git.example.org/owner/name.git", None),
        ("git@github.example.com:owner/name.git", None),
        ("https://github.com.evil.example/owner/name", None),
        ("https://evilgithub.com/owner/name", None),
        ("https://github.com@evil.example/owner/name", None),
        ("https://evil.example/https://github.com/owner/name", None),
        # no repository, or nonsense
        ("", None),
        ("origin", None),
        ("/srv/git/owner/name.git", None),
        ("../name", None),
        ("file:///srv/git/owner/name.git", None),
        ("http://github.com/owner/name", None),
        ("git://github.com/owner/name", None),
        ("https://github.com/owner", None),
        ("https://github.com/owner/name/tree/main", None),
        ("https://github.com/owner/..", None),
        ("https://github.com/../name", None),
        ("https://github.com/owner/na me", None),
        ('https://github.com/owner/name"onclick="x', None),
        ("https://github.com/owner/<script>", None),
        ("https://github.com/owner/name?token=x", None),
        ("https://github.com/owner/name#x", None),
        ("https://github.com/öwner/name", None),
        ("javascript:alert(1)//github.com/owner/name", None),
        ("https://github.com/owner/name\nhttps://evil.example/a/b", None),
    ],
)
def test_addresses(address: str, found: Repository | None) -> None:
    assert parse_address(address) == found


@pytest.mark.parametrize(
    "ref", ["", "-x", "a b", "../x", "a..b", "a//b", "x.lock", "a\nb", 'a"b', "a?b", "ä", "x" * 300]
)
def test_refs_that_are_none(ref: str) -> None:
    assert parse_address("https://github.com/owner/name", ref) is None
    assert parse_address("https://github.com/owner/name", "feature/a-1.2_b")


def test_forms_of_the_links() -> None:
    hub, nested = Repository("github.com", "owner/name", "main"), Repository("gitlab.com", "group/sub/name", "v1.0")
    file = "notebooks/03_pnlac.ipynb"
    assert hub.binder(file) == f"https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/{file}"
    assert hub.colab(file) == f"https://colab.research.google.com/github/owner/name/blob/main/{file}"
    assert hub.raw("requirements.lock") == "https://raw.githubusercontent.com/owner/name/main/requirements.lock"
    assert nested.binder(file) == f"https://mybinder.org/v2/gl/group%2Fsub%2Fname/v1.0?urlpath=lab/tree/{file}"
    assert nested.colab(file) is None and nested.raw("x") is None


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(folder)}
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit on the branch *work* and the origin ``owner/name``; nothing is pushed."""
    monkeypatch.delenv("POLINB_REPOSITORY", raising=False)
    git(tmp_path, "init", "-q")
    git(tmp_path, "checkout", "-q", "-b", "work")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    git(tmp_path, "remote", "add", "origin", f"https://user:{SECRET}@github.com/owner/name.git")
    return tmp_path


@needs_git
def test_the_ref_is_what_origin_has(planted: Path) -> None:
    commit = git(planted, "rev-parse", "HEAD")
    assert find_repository(planted) == HUB  # nothing pushed: the default branch
    git(planted, "update-ref", "refs/remotes/origin/work", commit)
    assert find_repository(planted) == Repository("github.com", "owner/name", commit)
    git(planted, "commit", "-q", "--allow-empty", "-m", "two")
    assert find_repository(planted) == Repository("github.com", "owner/name", "work")
    git(planted, "checkout", "-q", "--detach")
    assert find_repository(planted) == HUB


@needs_git
def test_which_address_counts(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(planted, "rev-parse", "HEAD")
    git(planted, "update-ref", "refs/remotes/origin/work", commit)
    other = Repository("gitlab.com", "a/b")
    monkeypatch.setenv("POLINB_REPOSITORY", "https://gitlab.com/a/b")
    assert find_repository(planted) == other  # origin's commit says nothing about another place
    assert find_repository(planted, "https://github.com/owner/name").ref == commit
    assert find_repository(planted, "none") is None
    assert find_repository(planted, "https://example.org/a/b") is None
    monkeypatch.setenv("POLINB_REPOSITORY", "none")
    assert find_repository(planted) is None
    monkeypatch.delenv("POLINB_REPOSITORY")
    inner = planted / "copy"
    inner.mkdir()
    assert find_repository(inner) is None  # a copy inside another repository is not that repository
    git(planted, "remote", "set-url", "origin", "https://git.example.org/owner/name.git")
    assert find_repository(planted) is None
    git(planted, "remote", "remove", "origin")
    assert find_repository(planted) is None


def test_no_git_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLINB_REPOSITORY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_repository(tmp_path) is None
    assert find_repository(tmp_path, "git@github.com:owner/name.git") == HUB


# --- commands ---


def ran(folder: Path, source: str) -> Path:
    path = folder / "01_first.ipynb"
    cell = new_code_cell(source, metadata={"tags": ["injected-parameters"]})
    nbformat.write(new_notebook(cells=[new_code_cell("gamma = 99"), cell]), path)
    return path


def test_only_what_differs_from_the_profile_is_read(tmp_path: Path) -> None:
    source = (
        '# Parameters\nprofile = "tiny"\ngamma = 2.5\nseed = 0\nmodel = None\ntopics = ["race", "crime"]\n'
        'system_prompt = "Be brief."\nunknown = 3\nprint("x")\nepochs = 1 + 1\n'
    )
    assert read_run(ran(tmp_path, source)) == Run(
        "tiny", {"gamma": 2.5, "system_prompt": "Be brief.", "topics": ["race", "crime"]}
    )
    assert read_run(ran(tmp_path, 'profile = "huge"\ngamma = 2.5')) == Run()
    assert read_run(ran(tmp_path, "gamma = ")) == read_run(tmp_path / "none.ipynb") == Run()


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
    run = read_run(ran(tmp_path, f"gamma = 2.5\n{name} = {value!r}"))
    assert run == Run("quick", {"gamma": 2.5}, (name,))
    page = sphinx_run.box("01_first", run, 3.0, True, HUB)
    text = value if isinstance(value, str) else value[-1]
    assert text not in page and f"<code>{name}</code>" in page


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
    command = papermill_command("notebooks/01_first.ipynb", Run("tiny", SETTINGS))
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
    command = book_command("01_first", Run("tiny", settings))
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
    command = book_command("01_first", Run("quick", SETTINGS)).replace("\\\n", " ")
    arguments = __main__._parser().parse_args(shlex.split(command)[3:])
    assert shlex.split(command)[:4] == ["python", "-m", "book._make", "book"]
    assert parse_settings(arguments.set) == SETTINGS and arguments.chapters == "01_first"


def test_every_parameter_of_a_profile_survives_both_ways() -> None:
    values = Params.from_profile("paper").model_dump()
    profile = values.pop("profile")
    texts = [sphinx_command._as_setting(name, value) for name, value in values.items()]
    assert parse_settings(texts) == values
    assert as_papermill_reads(papermill_command("x.ipynb", Run(profile, values))) == {"profile": profile, **values}


# --- the box ---


def test_the_box_with_an_address() -> None:
    soup = BeautifulSoup(sphinx_run.box("03_pnlac", Run("tiny", {"gamma": 2.5}), 83.4, True, HUB), "html.parser")
    assert soup.details.summary.get_text() == "Run this chapter yourself" and "open" not in soup.details.attrs
    assert "1 min 23 s on the machine that built this book" in soup.get_text()
    download, *launch = soup.select("a")
    assert download["href"] == "../_downloads/notebooks/03_pnlac.ipynb" and download.has_attr("download")
    assert [a["href"] for a in launch] == [
        HUB.binder("notebooks/03_pnlac.ipynb"),
        HUB.colab("notebooks/03_pnlac.ipynb"),
    ]
    assert all("noopener" in a["rel"] and a.get_text().startswith("Open in ") for a in launch)
    assert not soup.select("img, script, iframe, link, form")  # nothing is asked for before a click
    commands = [pre.get_text().strip() for pre in soup.select("div.highlight pre")]
    assert commands[0] == "papermill notebooks/03_pnlac.ipynb out.ipynb \\\n  -p profile tiny \\\n  -p gamma 2.5"
    assert commands[1] == "make book PROFILE=tiny CHAPTERS=03_pnlac PARAMS='gamma=2.5'"
    install = commands[2].splitlines()
    assert len(install) == 2 and all(line.startswith("%pip install ") for line in install)
    assert "git+https://github.com/owner/name@HEAD" in install[0] and "--no-deps" in install[1]
    assert "not been tried" in soup.get_text() and "2 GB" in soup.get_text()


def test_the_box_without_an_address_or_a_run() -> None:
    text = sphinx_run.box("03_pnlac", Run(), None, False, None)
    assert "https://mybinder" not in text and "colab.research" not in text and "<a class" not in text
    assert "POLINB_REPOSITORY" in text and "polinb_repository" in text
    assert "was not run when this book was built" in text and "with the parameters of this page" not in text
    text = sphinx_run.box("03_pnlac", Run(), None, True, LAB)
    assert "mybinder.org/v2/gl/group%2Fname/HEAD" in text and "Colab" not in text
    assert "was not recorded" in text


def test_values_are_text_in_the_box() -> None:
    text = sphinx_run.box("01_a", Run("quick", {"data": "<script>x</script>&amp;"}), 1.0, True, None)
    assert "<script>" not in text
    assert "<script>x</script>&amp;" in BeautifulSoup(text, "html.parser").select("pre")[0].get_text()


# --- a build ---


def build(root: Path, **config: Any) -> tuple[Path, str]:
    """A small book of plain Sphinx with our extension; its pages and its warnings."""
    import io

    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings, out = io.StringIO(), root / "out"
    given = {"extensions": ["polinb_book"], "html_theme": "basic", "smartquotes": False} | config
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            str(root / "book"),
            None,
            str(out),
            str(root / "trees"),
            "html",
            given,
            io.StringIO(),
            warnings,
            freshenv=True,
        )
        app.build()
    return out, warnings.getvalue()


@pytest.fixture
def small_book(planted: Path) -> Path:
    chapters = planted / "book" / "chapters"
    chapters.mkdir(parents=True)
    (planted / "notebooks").mkdir()
    (planted / "book" / "index.rst").write_text(
        'Title\n=====\n\nShort.\n\nA paragraph that is "long" enough for a description of <this> page.\n\n'
        ".. toctree::\n\n   chapters/01_first\n   chapters/02_second\n   chapters/03_other\n"
    )
    note = ".. warning:: Not run\n\nMore prose.\n\n"
    text = "One\n===\n\n**Question.** Does it?\n\n**What you will see.** That.\n\n{}A part\n------\n\nText.\n"
    (chapters / "01_first.rst").write_text(text.format("::\n\n   code\n\n"))
    (chapters / "02_second.rst").write_text(text.format(note))
    (chapters / "03_other.rst").write_text("Three\n=====\n\nNo notebook.\n")
    for name in ("01_first", "02_second"):
        nbformat.write(
            new_notebook(cells=[new_code_cell(f"# {name}", id="a")]), planted / "notebooks" / f"{name}.ipynb"
        )
    (ran(chapters, 'profile = "tiny"\ngamma = 2.5')).rename(chapters / "01_first.ipynb")
    (chapters / "01_first.json").write_text(json.dumps({"seconds": 11.04}))
    return planted


@needs_git
def test_boxes_in_a_build(small_book: Path) -> None:
    out, warnings = build(small_book)
    assert not [line for line in warnings.splitlines() if "polinb" in line.lower()], warnings
    pages = {path.stem: BeautifulSoup(path.read_text(), "html.parser") for path in (out / "chapters").glob("*.html")}
    assert [len(pages[name].select("details.polinb-run")) for name in sorted(pages)] == [1, 1, 0]
    first, second = (pages[name].select_one("details.polinb-run") for name in ("01_first", "02_second"))
    assert first.find_previous_sibling().get_text() == "What you will see. That."
    assert "took 11 s" in first.get_text() and "-p gamma 2.5" in first.get_text()
    assert "Not run" in second.find_previous_sibling().get_text()
    assert second.find_next_sibling().get_text() == "More prose."
    assert "was not run" in second.get_text()
    for box, name in ((first, "01_first"), (second, "02_second")):
        target = (out / "chapters" / box.a["href"]).resolve()
        assert target.read_bytes() == (small_book / "notebooks" / f"{name}.ipynb").read_bytes()
        assert box.select_one("a.polinb-launch")["href"].startswith("https://mybinder.org/v2/gh/owner/name/")
    everything = b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file())
    assert SECRET.encode() not in everything and str(small_book).encode() not in everything
    index = BeautifulSoup((out / "index.html").read_text(), "html.parser")
    described = index.select_one('meta[name="description"]')["content"]
    assert described == 'A paragraph that is "long" enough for a description of <this> page.'


@needs_git
def test_two_builds_are_equal(small_book: Path) -> None:
    def pages() -> dict[str, bytes]:
        out, _ = build(small_book)
        found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.html")}
        shutil.rmtree(out)
        return found

    assert pages() == pages()


@needs_git
def test_an_address_that_cannot_be_used_is_a_warning_that_does_not_repeat_it(small_book: Path) -> None:
    given = f"https://user:{SECRET}@git.example.org/owner/name"
    out, warnings = build(small_book, polinb_repository=given)
    assert "polinb_repository (or POLINB_REPOSITORY) cannot be used" in warnings
    assert SECRET not in warnings and "example.org" not in warnings
    assert "polinb-launch" not in (out / "chapters" / "01_first.html").read_text()
    _, warnings = build(small_book, polinb_repository="none")
    assert "cannot be used" not in warnings


# --- this repository ---


def test_configuration_names_no_repository() -> None:
    config = yaml.safe_load((REPO / "_config.yml").read_text("utf-8"))
    assert config["sphinx"]["config"]["polinb_repository"] == "" and "repository" not in config
    assert config["sphinx"]["local_extensions"] == {"polinb_book": "book/_ext"}
    assert (REPO / "book" / "_assets" / "polinb-run.css").is_file()


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
