"""The tiny pipeline on a real SLURM of one node: it runs, survives a cancelled job and a killed controller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from reliability.stores import finished
from slurm.conftest import Cluster, until
from small_book import whole_checkout

from polinb.runs.checkout import Layout

pytestmark = pytest.mark.slow


class Work:
    """A checkout and a store of their own, and the command that runs the pipeline there."""

    def __init__(self, root: Path, slurm: Cluster) -> None:
        self.slurm, self.layout = slurm, Layout(whole_checkout(root / "checkout"))
        self.store, self.log = root / "store", root / "log.txt"
        own = {"POLINB_STORE": str(self.store), "PYTHONPATH": str(self.layout.root), "OMP_NUM_THREADS": "1"}
        self.environment = slurm.environment | own

    def start(self, chapters: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "book._make", "workflow", "--on", "slurm", "--jobs", "2", "--threads", "1"]
        command += ["--profile", "tiny", "--chapters", chapters, "--set", "topics=[crime, race]", "--set", "device=cpu"]
        command += ["--", "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2"]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=self.layout.root, env=self.environment, stdout=out, stderr=subprocess.STDOUT
            )
        return self.process

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        assert process.wait(1200) == 0, self.log.read_text()[-8000:]

    def until(self, done, seconds: float = 600) -> None:
        until(lambda: self.process.poll() is not None or done(), seconds, self.log.read_text)
        assert self.process.poll() is None, self.log.read_text()[-8000:]

    def running(self) -> list[str]:
        return [number for number, state in self.slurm.jobs().items() if state == "RUNNING"]


@pytest.fixture
def work(slurm: Cluster, tmp_path: Path):
    """Nothing of it is left behind, also when a test failed."""
    made = Work(tmp_path, slurm)
    yield made
    made.process.kill()
    made.process.wait()
    for number in slurm.jobs():
        slurm.run("scancel", number)


def test_a_cancelled_job_is_run_again(slurm: Cluster, work: Work) -> None:
    process, found = work.start("03_pnlac"), []
    work.until(lambda: found.extend(work.running()) or found)
    slurm.run("scancel", found[0])
    work.finish(process)
    log = work.log.read_text()
    assert found[0] in log and "restart" in log.lower(), log[-3000:]
    before = finished(work.store)
    kinds = [name.split("/")[0] for name in before]
    assert sorted(kinds) == ["neutral-scale"] + ["scores"] * 2 + ["weights"] * 4
    assert (work.layout.chapters / "03_pnlac.ipynb").is_file()
    assert not slurm.jobs()
    # nothing is left to do, and a second run does nothing
    work.finish(work.start("03_pnlac"))
    assert finished(work.store) == before and "Nothing to be done" in work.log.read_text()


def test_a_killed_controller_loses_nothing(slurm: Cluster, work: Work) -> None:
    process, folder = work.start("01_phenomenon"), work.layout.build / "workflow" / "done"
    work.until(lambda: sum(path.is_file() for path in folder.rglob("*-*")) >= 2 and work.running())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert work.running(), "SLURM goes on without its client"
    before = finished(work.store)
    work.finish(work.start("01_phenomenon"))
    after = finished(work.store)
    assert {name: after[name] for name in before} == before  # nothing that had finished was computed again
    kinds = [name.split("/")[0] for name in after]
    assert {kind: kinds.count(kind) for kind in ("weights", "answers")} == {"weights": 4, "answers": 5}
    assert (work.layout.chapters / "01_phenomenon.ipynb").is_file()
