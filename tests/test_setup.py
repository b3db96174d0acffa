"""The Makefile and .ci/setup with a planted Python: what they install, when, and what they say when they cannot."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ["Makefile", "pyproject.toml", ".ci/setup", ".ci/browser", *(p.name for p in ROOT.glob("*.lock"))]
INSTALLS = ["-r requirements.lock", "--no-deps -r requirements-nodeps.lock"]
INSTALLS += ["--no-deps --no-build-isolation --editable ."]
# A `make test` above this one must not hand its own variables down.
DROP = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "VENV", "PYTHON", "TESTS", "CI", "POLINB_BROWSER"}

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")

# Stands in for Python: says a version, "makes" an environment out of copies of itself, and writes down every install.
PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) exit {ensurepip} ;;
    "-m venv "*) mkdir -p "$3/bin"; for tool in python ruff mypy; do cp "$0" "$3/bin/$tool"; done ;;
    "-m pip install "*) echo "$*" >>"{home}/pip.log"; [ ! -f "{home}/pip.fails" ] || exit 1 ;;
    *) echo "ran $(basename "$0") $*"; [ "$(basename "$0")" != "$FAIL" ] || exit 1 ;;
esac
"""


class Clone:
    """A copy of the project's set-up files, in a folder with a space in its name, with planted programs."""

    def __init__(self, home: Path) -> None:
        self.home, self.tree, self.bin = home, home / "a clone", home / "bin"
        (self.tree / ".ci").mkdir(parents=True)
        self.bin.mkdir()
        for name in FILES:
            shutil.copy(ROOT / name, self.tree / name)

    def python(self, version: str = "3.12", ensurepip: int = 0, name: str = "fake-python") -> str:
        (self.bin / name).write_text(PYTHON.format(version=version, ensurepip=ensurepip, home=self.home), "utf-8")
        (self.bin / name).chmod(0o755)
        return f"PYTHON={self.bin / name}"

    def make(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        clean = {k: v for k, v in os.environ.items() if k not in DROP} | {"PATH": path, **env}
        options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 60}
        return subprocess.run(["make", *words], cwd=self.tree, env=clean, **options)

    def installs(self) -> list[str]:
        lines = (self.home / "pip.log").read_text("utf-8").splitlines()
        return [line.partition(" --progress-bar off ")[2] for line in lines]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_set_up_installs_the_locks_once_and_when_they_change(clone: Clone) -> None:
    python = clone.python()
    first, again = clone.make("setup", python), clone.make("setup", python)
    assert first.returncode == 0, first.stderr
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert clone.make("setup").returncode == 0 and clone.installs() == INSTALLS, "PYTHON is not needed again"
    lock = clone.tree / "requirements-nodeps.lock"
    lock.write_text(lock.read_text("utf-8") + "# changed\n", "utf-8")
    assert clone.make("setup").returncode == 0 and clone.installs() == INSTALLS * 2
    for _ in range(2):  # snakemake, when it is first asked for
        done = clone.make("book", "JOBS=2")
        assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith("--profile quick --jobs 2"), done.stderr
        assert clone.installs() == [*INSTALLS * 2, "-r requirements-workflow.lock"]


def test_a_failed_installation_is_not_taken_for_a_finished_one(clone: Clone) -> None:
    clone.make("setup", clone.python())
    lock = clone.tree / "requirements.lock"
    before = lock.read_text("utf-8")
    lock.write_text("six==1.17.0\n", "utf-8")
    (clone.home / "pip.fails").touch()
    for _ in range(2):
        failed = clone.make("test")
        assert failed.returncode != 0 and "did not finish" in failed.stderr and "== ruff" not in failed.stdout
    (clone.home / "pip.fails").unlink()
    lock.write_text(before, "utf-8")  # half of the new one may be installed by now
    assert clone.make("setup").returncode == 0 and clone.installs()[-3:] == INSTALLS


def test_a_moved_clone_or_another_python_makes_the_environment_anew(clone: Clone) -> None:
    clone.make("setup", clone.python("3.12"))
    python = clone.python("3.13", name="other")
    assert "(Python 3.13)" in clone.make("setup", python).stdout
    clone.tree = clone.tree.rename(clone.home / "moved")
    assert "making .venv" in clone.make("setup", python).stdout and clone.installs() == INSTALLS * 3


def test_what_does_not_fit_is_named_and_nothing_made(clone: Clone) -> None:
    def refused(*words: str) -> str:
        done = clone.make("setup", *words)
        assert done.returncode
        return done.stderr

    for version in ("3.10", "3.15"):
        told = f"Python 3.11 to 3.14 is missing ({clone.bin}/fake-python is Python {version})"
        assert told in refused(clone.python(version))
    assert "apt-get install python3-venv" in refused(clone.python(ensurepip=1))
    assert not (clone.tree / ".venv").exists()
    (clone.tree / "mine").mkdir()
    (clone.tree / "mine/pyvenv.cfg").write_text("precious", "utf-8")
    assert "was not made by polinb" in refused("VENV=mine", clone.python())
    assert (clone.tree / "mine/pyvenv.cfg").read_text("utf-8") == "precious"
    for name, version in {"python3": "3.9", "python3.12": "3.12", "python3.11": "", "python3.13": ""}.items():
        clone.python(version, name=name)
    assert "making .venv with python3.12 (Python 3.12)" in clone.make("setup").stdout, "beside an old python3"


def test_book_passes_on_what_was_given_and_nothing_else(clone: Clone) -> None:
    def arguments(*given: str) -> list[str]:
        return shlex.split(clone.make("-n", "book", *given).stdout.strip().splitlines()[-1])

    plain = [".venv/bin/python", "-m", "book._make", "book", "--profile"]
    given = ["PROFILE=tiny", "MODEL=a b's", "DATA=x.csv", 'PARAMS=seed=3 topics=["race","crime"]']
    settings = ["model=a b's", "data=x.csv", "seed=3", 'topics=["race","crime"]']
    assert arguments(*given) == [*plain, "tiny", *(word for one in settings for word in ("--set", one))]
    done = clone.make("book", clone.python(), DATA="/scratch", PROFILE="paper", CHAPTERS="all")
    assert done.stdout.splitlines()[-1] == "ran python -m book._make book --profile quick"
    assert "not taken from the environment: PROFILE CHAPTERS DATA" in done.stderr


def test_make_test_stops_at_the_stage_that_failed(clone: Clone) -> None:
    done = clone.make("test", clone.python(), FAIL="mypy")
    assert re.findall(r"^== (.*)$", done.stdout, re.MULTILINE) == ["ruff check", "ruff format --check", "mypy"]
    assert done.returncode and "the stage 'mypy' failed" in done.stderr
