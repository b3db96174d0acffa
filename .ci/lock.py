"""Write requirements.lock, every version that a set-up installs, and requirements-workflow.lock, what snakemake adds.

Run it with ``make lock``.

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
CAPS = ("soupsieve<3",)  # later ones refuse the first releases of Python 3.11, such as Debian 12's
SOURCES = ("connection-pool",)  # no wheels are published: pure Python, built at installation (snakemake needs it)
WORKFLOW = '# Made by `make lock` out of pyproject.toml (extra "workflow"): what it needs beside requirements.lock.\n'
HEADER = """\
# Made by `make lock` out of pyproject.toml (dependencies and the extras "page" and "test"). Do not edit by hand.
# CUDA packages are missing on purpose: a CUDA build of torch brings its own, a CPU build needs none.
"""


def wanted() -> tuple[list[str], list[str], str]:
    """What pyproject.toml asks for, what the workflow does beside it, and the oldest Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    needs = project["project"]["dependencies"] + extras["page"] + extras["test"]
    oldest = re.search(r">=\s*([\d.]+)", project["project"]["requires-python"])
    assert oldest, "pyproject.toml: requires-python has no lower bound"
    return needs + project["build-system"]["requires"], extras["workflow"], oldest.group(1)


def resolve(needs: list[str], pins: dict[str, str] | None = None) -> dict[str, str]:
    """Name → version of everything that pip would install, at the versions of ``pins`` where these are known."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--only-binary=:all:", f"--no-binary={','.join(SOURCES)}"]
        limits = [*CAPS, *(f"{name}=={pin}" for name, pin in (pins or {}).items())]
        (Path(folder) / "limits.txt").write_text("\n".join(limits), "utf-8")
        command += ["--constraint", str(Path(folder) / "limits.txt")]
        subprocess.run([*command, "--report", str(report), *needs], check=True)
        found = [item["metadata"] for item in json.loads(report.read_text("utf-8"))["install"]]
    return {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"].split("+")[0] for item in found}


def main() -> None:
    needs, workflow, oldest = wanted()
    if f"{sys.version_info.major}.{sys.version_info.minor}" != oldest:
        # pip reads markers such as python_version with the Python that runs it.
        sys.exit(f"polinb: make the lock with Python {oldest}: make lock PYTHON=python{oldest}")
    pins = resolve(needs + workflow)  # together, so that the workflow fits into what is there already
    base = resolve(needs, pins)
    for name, header, chosen in (
        ("requirements.lock", HEADER, base),
        ("requirements-workflow.lock", WORKFLOW, set(pins) - set(base)),
    ):
        lines = [f"{each}=={pins[each]}\n" for each in sorted(chosen) if not CUDA.match(each)]
        (ROOT / name).write_text(header + "".join(lines), "utf-8")
        print(f"{name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
