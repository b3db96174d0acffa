"""Calling snakemake: its command line, what its jobs inherit, and an end that leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from polinb.cluster.gpu import local_gpus
from polinb.cluster.plans import Request
from polinb.cluster.processes import TAG, end_left_over, run_name
from polinb.errors import BookError
from polinb.runs.artifacts import store_root
from polinb.runs.checkout import Layout, tell

LINES = 12
"""Lines of a log that an error shows."""


def workflow_folder() -> Path:
    """Folder of the Snakefile and its profiles, inside the package."""
    return Path(str(resources.files("polinb") / "resources" / "workflow"))


def command(folder: Path, options: Sequence[str], profile: Path | None, request: Request) -> list[str]:
    """The command line of snakemake; without a profile it only looks."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow_folder() / "Snakefile")]
    words += ["--directory", str(folder), "--config", f"plan={folder.resolve() / 'plan.json'}"]
    words += ["--workflow-profile", "none", "--nolock"]  # the book's own lock is held
    if profile:
        words += ["--profile", str(profile)]
    local = profile is None or "executor:" not in (profile / "config.yaml").read_text("utf-8")
    words += ["--cores" if local else "--jobs", str(request.jobs)]
    if profile and "executor: slurm" in (profile / "config.yaml").read_text("utf-8"):
        words += ["--slurm-jobname-prefix", run_name(folder)]
    gpus = local_gpus()
    if local and gpus:
        words += ["--resources", f"cards={len(gpus)}"]
    return [*words, *options]


def environment(layout: Layout, folder: Path, request: Request) -> dict[str, str]:
    """What jobs inherit.

    The number of threads is left as it is, since it can change the last bits of a sum; threads of several jobs only do
    not spin while they wait.
    """
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, str(layout.root.resolve()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    several = {"OMP_WAIT_POLICY": "PASSIVE"} if request.jobs > 1 else {}
    return (
        several
        | dict(os.environ)
        | {
            TAG: run_name(folder),
            "POLINB_PYTHON": sys.executable,
            "POLINB_STORE": str(store_root().resolve()),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in paths if path)),
            "PYTHONHASHSEED": "0",
            "TQDM_DISABLE": "1",
        }
    )


def run(layout: Layout, folder: Path, profile: Path, request: Request, options: Sequence[str]) -> int:
    """Run snakemake in a session of its own, so that all of it can be ended; its exit code."""
    log = folder / "snakemake.log"
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            command(folder, options, profile, request),
            cwd=layout.root,
            env=environment(layout, folder, request),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return _watch(process, log)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            raise
        finally:
            end_left_over(run_name(folder))


def _watch(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait for snakemake and tell how far it is."""
    told = ""
    while True:
        code = process.poll()
        steps = re.findall(r"(\d+ of \d+) steps", log.read_text("utf-8", errors="replace"))
        if steps and steps[-1] != told:
            told = steps[-1]
            tell(f"{told} jobs done")
        if code is not None:
            return code
        time.sleep(1)


def ask(layout: Layout, folder: Path, request: Request, options: Sequence[str], profile: Path | None = None) -> str:
    """What snakemake prints when it runs nothing."""
    done = subprocess.run(
        command(folder, options, profile, request),
        cwd=layout.root,
        env=environment(layout, folder, request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BookError("snakemake failed:\n  " + "\n  ".join((done.stdout + done.stderr).splitlines()[-LINES:]))
    return done.stdout + (done.stderr if "--dry-run" in options else "")
