"""Write requirements.lock: every version that a set-up installs. Run it with ``make lock``.

The resolver is pip itself, asked what it would install for the oldest Python we support. Left out are local version
labels (2.13.0+cpu becomes 2.13.0) and the CUDA packages: a CUDA build of torch names those itself, a CPU build needs
none, and so one lock serves both.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CUDA = re.compile(r"nvidia-|cuda-|triton$|pytorch-triton")
SOURCES = ("connection-pool",)  # no wheels are published: pure Python, built at installation (snakemake needs it)
HEADER = """\
# Made by `make lock` out of pyproject.toml (dependencies, extras "test" and "workflow"). Do not edit by hand.
# CUDA packages are missing on purpose: a CUDA build of torch brings its own, a CPU build needs none.
"""


def wanted() -> tuple[list[str], str]:
    """What pyproject.toml asks for, and its oldest Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    needs = project["project"]["dependencies"] + extras["test"] + extras["workflow"]
    oldest = re.search(r">=\s*([\d.]+)", project["project"]["requires-python"])
    assert oldest, "pyproject.toml: requires-python has no lower bound"
    return needs + project["build-system"]["requires"], oldest.group(1)


def resolve(needs: list[str]) -> dict[str, str]:
    """Name → version of everything that pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--only-binary=:all:", f"--no-binary={','.join(SOURCES)}"]
        subprocess.run([*command, "--report", str(report), *needs], check=True)
        found = [item["metadata"] for item in json.loads(report.read_text("utf-8"))["install"]]
    return {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"].split("+")[0] for item in found}


def main() -> None:
    needs, oldest = wanted()
    if f"{sys.version_info.major}.{sys.version_info.minor}" != oldest:
        # pip reads markers such as python_version with the Python that runs it.
        sys.exit(f"polinb: make the lock with Python {oldest}: make lock PYTHON=python{oldest}")
    pins = resolve(needs)
    lines = [f"{name}=={pins[name]}\n" for name in sorted(pins) if not CUDA.match(name)]
    (ROOT / "requirements.lock").write_text(HEADER + "".join(lines), "utf-8")
    print(f"requirements.lock: {len(lines)} packages")


if __name__ == "__main__":
    main()
