"""The Makefile and .ci/setup with a planted Python: what they install, when, and what they say when they cannot."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polinb.runs.params import Params

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("pyproject.toml", "requirements.lock", "requirements-nodeps.lock", "requirements-workflow.lock")
FILES = ("Makefile", *LOCKS, ".ci/setup", ".ci/browser", ".ci/run")
INSTALLS = [
    "-r requirements.lock",
    "--no-deps -r requirements-nodeps.lock",
    "--no-deps --no-build-isolation --editable .",
]

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")

# Stands in for Python: says a version, "makes" an environment out of copies of itself, and writes down every install.
FAKE = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) exit {ensurepip} ;;
    "-m venv "*) mkdir -p "$3/bin"; for tool in python ruff mypy; do cp "$0" "$3/bin/$tool"; done ;;
    "-m pip install "*) echo "$*" >>"{log}"; [ ! -f "{log}.fail" ] || exit 1 ;;
    tests/browser/browsers.py) [ -z "${{BROWSER_WRONG:-}}" ] || exit 1; cat "{browser}" 2>/dev/null || echo "" ;;
    "-m playwright "*) echo "$*" >>"{tools}"; [ "${{PLAYWRIGHT:-}}" = works ] || exit 1; echo b >"{browser}" ;;
    *) echo "ran $(basename "$0") $*"; [ "$(basename "$0")" != "$FAIL" ] || exit 1 ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project's set-up files, in a folder with a space in its name."""
    folder = tmp_path / "a clone"
    (folder / ".ci").mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., str]:
    def make(version: str = "3.12", ensurepip: int = 0, name: str = "fake-python") -> str:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        logs = {"log": tmp_path / "pip.log", "tools": tmp_path / "tools.log", "browser": tmp_path / "browser"}
        path.write_text(FAKE.format(version=version, ensurepip=ensurepip, **logs), "utf-8")
        path.chmod(0o755)
        return str(path)

    return make


def run(command: list[str], tree: Path, **env: str) -> subprocess.CompletedProcess[str]:
    # A `make test` above this one must not hand its own variables down.
    drop = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "VENV", "PYTHON", "TESTS", "CI", "POLINB_BROWSER"}
    clean = {k: v for k, v in os.environ.items() if k not in drop} | env
    return subprocess.run(
        command, cwd=tree, env=clean, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )


def make(tree: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run(["make", *args], tree, **env)


def installs(tmp_path: Path) -> list[str]:
    log = tmp_path / "pip.log"
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    quiet = "-m pip install --disable-pip-version-check --no-input --quiet --progress-bar off "
    return [line.removeprefix(quiet) for line in lines]


def test_set_up_installs_the_locks_once_and_when_they_change(
    tree: Path, tmp_path: Path, fake: Callable[..., str]
) -> None:
    python = f"PYTHON={fake()}"
    first = make(tree, "setup", python)
    assert first.returncode == 0, first.stderr
    again = make(tree, "setup", python)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert make(tree, "setup").returncode == 0, "no PYTHON is needed once the environment is there"
    assert installs(tmp_path) == INSTALLS
    for times, name in enumerate(("requirements.lock", "requirements-nodeps.lock", "pyproject.toml"), 2):
        with (tree / name).open("a", encoding="utf-8") as file:
            file.write("# changed\n")
        assert make(tree, "setup").returncode == 0
        assert installs(tmp_path) == INSTALLS * times


def test_snakemake_is_installed_when_it_is_first_asked_for(
    tree: Path, tmp_path: Path, fake: Callable[..., str]
) -> None:
    python = f"PYTHON={fake()}"
    assert make(tree, "book", python).returncode == 0
    assert installs(tmp_path) == INSTALLS
    for _ in range(2):
        done = make(tree, "book", python, "JOBS=2")
        assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith("--profile quick --jobs 2"), done.stderr
        assert installs(tmp_path) == [*INSTALLS, "-r requirements-workflow.lock"]
    (tree / "requirements-workflow.lock").write_text("six==1.17.0\n", "utf-8")
    done = make(tree, "dry-run", python, "GAMMA=2")
    assert done.stdout.splitlines()[-1].endswith("workflow --profile quick --set gamma=2 -- --dry-run")
    assert installs(tmp_path) == [*INSTALLS, *["-r requirements-workflow.lock"] * 2]


def test_a_failed_installation_is_not_taken_for_a_finished_one(
    tree: Path, tmp_path: Path, fake: Callable[..., str]
) -> None:
    make(tree, "setup", f"PYTHON={fake()}")
    before = (tree / "requirements.lock").read_text("utf-8")
    (tree / "requirements.lock").write_text("six==1.17.0\n", "utf-8")
    (tmp_path / "pip.log.fail").touch()
    for _ in range(2):
        failed = make(tree, "test")
        assert failed.returncode != 0 and "did not finish" in failed.stderr and "== ruff" not in failed.stdout
    (tmp_path / "pip.log.fail").unlink()
    # Back at the old lock: half of the new one may be installed by now, so the old one is installed again.
    (tree / "requirements.lock").write_text(before, "utf-8")
    assert make(tree, "setup").returncode == 0
    assert installs(tmp_path)[-3:] == INSTALLS


def test_a_moved_clone_or_another_python_makes_the_environment_anew(
    tree: Path, tmp_path: Path, fake: Callable[..., str]
) -> None:
    make(tree, "setup", f"PYTHON={fake('3.12')}")
    python = f"PYTHON={fake('3.13', name='other')}"
    done = make(tree, "setup", python)
    assert done.returncode == 0 and "(Python 3.13)" in done.stdout
    moved = tree.rename(tmp_path / "moved")
    done = make(moved, "setup", python)
    assert done.returncode == 0 and "making .venv" in done.stdout
    assert (moved / ".venv/.polinb-path").read_text("utf-8").strip() == str(moved.resolve())


def test_what_does_not_fit_is_named_and_nothing_made(tree: Path, fake: Callable[..., str]) -> None:
    for version in ("3.10", "3.15", "nonsense"):
        python = fake(version)
        done = make(tree, "setup", f"PYTHON={python}")
        assert done.returncode and f"Python 3.11 to 3.14 is missing ({python} is Python {version})" in done.stderr
    done = make(tree, "book", "PYTHON=no-such-python")
    assert done.returncode and "no-such-python was not found" in done.stderr
    done = make(tree, "test", f"PYTHON={fake(ensurepip=1)}")
    assert done.returncode and "apt-get install python3-venv" in done.stderr
    assert not (tree / ".venv").exists()
    (tree / "mine").mkdir()
    (tree / "mine/pyvenv.cfg").write_text("precious", "utf-8")
    done = make(tree, "setup", "VENV=mine", f"PYTHON={fake()}")
    assert done.returncode and "was not made by polinb" in done.stderr
    assert (tree / "mine/pyvenv.cfg").read_text("utf-8") == "precious"


def test_a_newer_python_beside_an_old_python3_is_found(tree: Path, tmp_path: Path, fake: Callable[..., str]) -> None:
    for name, version in {
        "python3": "3.9",
        "python3.12": "3.12",
        "python3.13": "",
        "python3.11": "",
        "python3.14": "",
    }.items():
        fake(version, name=name)
    done = make(tree, "setup", PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "making .venv with python3.12 (Python 3.12)" in done.stdout


def test_book_passes_on_what_was_given_and_nothing_else(tree: Path, fake: Callable[..., str]) -> None:
    def arguments(*args: str) -> list[str]:
        return shlex.split(make(tree, "-n", "book", *args).stdout.strip().splitlines()[-1])

    plain = [".venv/bin/python", "-m", "book._make", "book", "--profile", "quick"]
    assert arguments() == plain
    given = ["PROFILE=tiny", "MODEL=a b's", "DATA=x.csv", "GAMMA=2.5", 'PARAMS=seed=3 topics=["race","crime"]']
    settings = ["model=a b's", "data=x.csv", "gamma=2.5", "seed=3", 'topics=["race","crime"]']
    assert arguments(*given) == [*plain[:-1], "tiny", *(word for one in settings for word in ("--set", one))]
    assert arguments("CHAPTERS=all", "GAMMA=2") == [*plain, "--chapters", "all", "--set", "gamma=2"]
    done = make(tree, "book", f"PYTHON={fake()}", DATA="/scratch", PROFILE="paper", CHAPTERS="all")
    assert done.stdout.splitlines()[-1] == "ran python -m book._make book --profile quick"
    assert "not taken from the environment: PROFILE CHAPTERS DATA" in done.stderr
    done = make(tree, "reference", "PROFILE=tiny")
    assert done.returncode and "make reference takes no PROFILE" in done.stderr
    shortcuts = re.search(r"^SHORTCUTS = (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert shortcuts and {name.lower() for name in shortcuts[1].split()} <= set(Params.model_fields)


def test_make_test_names_the_stage_that_failed(tree: Path, fake: Callable[..., str]) -> None:
    make(tree, "setup", f"PYTHON={fake()}")
    (tree.parent / "browser").write_text("/usr/bin/chromium\n", "utf-8")
    order = ["ruff check", "ruff format --check", "mypy", "browser", "pytest"]
    for tool, stage in (("ruff", "ruff check"), ("mypy", "mypy"), ("python", "pytest"), ("", "")):
        done = run(["bash", str(tree / ".ci/run")], tree.parent, FAIL=tool)
        seen = re.findall(r"^== (.*)$", done.stdout, re.MULTILINE)
        if stage:
            assert done.returncode and f"the stage '{stage}' failed" in done.stderr
            assert seen == order[: order.index(stage) + 1]
        else:
            assert done.returncode == 0 and seen == order, done.stderr
            assert done.stdout.splitlines()[-1].startswith("ran python -m pytest"), "the last line is pytest's own"


# --- .ci/browser ---

APT = """#!/bin/sh
echo "apt-get $*" >>"{tools}"
case "$*" in *install*) ;; *) exit 0 ;; esac
[ "${{APT:-}}" = works ] || {{ echo "E: no such package"; exit 1; }}
echo b >"{browser}"
"""


@pytest.fixture
def browser(tree: Path, tmp_path: Path, fake: Callable[..., str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs .ci/browser where apt-get and playwright are planted; who runs it is the keyword ``user`` (an id)."""
    make(tree, "setup", f"PYTHON={fake()}")
    (tmp_path / "bin" / "apt-get").write_text(
        APT.format(tools=tmp_path / "tools.log", browser=tmp_path / "browser"), "utf-8"
    )
    (tmp_path / "bin" / "id").write_text('#!/bin/sh\necho "$ID"\n', "utf-8")
    for name in ("apt-get", "id"):
        (tmp_path / "bin" / name).chmod(0o755)

    def start(user: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return run(["sh", str(tree / ".ci/browser")], tmp_path, PATH=path, ID=str(user), **env)

    return start


def tools(tmp_path: Path) -> list[str]:
    log = tmp_path / "tools.log"
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    return [" ".join(word for word in line.split() if not word.startswith(("-", "Acquire"))) for line in lines]


def test_root_installs_a_browser_once_and_others_fetch_one(tmp_path: Path, browser: Callable[..., Any]) -> None:
    done = browser(APT="works")
    assert done.returncode == 0 and "installing chromium with apt-get" in done.stdout, done.stderr
    assert tools(tmp_path) == ["apt-get update", "apt-get install chromium"]
    done = browser(CI="1")  # one that is there
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and len(tools(tmp_path)) == 2
    (tmp_path / "browser").unlink()
    assert browser(user=1000, APT="works", PLAYWRIGHT="works").returncode == 0
    assert tools(tmp_path)[2:] == ["playwright install chromium"]
    (tmp_path / "browser").unlink()
    assert browser(PLAYWRIGHT="works").returncode == 0, "the second way for root"
    assert tools(tmp_path)[-1] == "playwright install chromium"


def test_no_browser_is_said_aloud_and_fails_in_ci(tmp_path: Path, browser: Callable[..., Any]) -> None:
    assert browser(BROWSER_WRONG="1").returncode == 1 and tools(tmp_path) == []
    for env, code in (({}, 0), ({"CI": "true"}, 1)):
        done = browser(**env)
        assert done.returncode == code and "NO BROWSER" in done.stderr
        assert "E: no such package" in done.stderr, "why the last way failed"
    assert len(tools(tmp_path)) == 6, "each way was tried once"
