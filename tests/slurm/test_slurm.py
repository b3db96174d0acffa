"""The tiny pipeline on a real SLURM of one node: it runs, survives a cancelled job and a killed controller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster import Cluster
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

    def dates(self) -> dict[str, str]:
        """Artifact → when it was made."""
        found = {}
        for path in self.store.glob("*/*/artifact.json"):
            made = json.loads(path.read_text())["provenance"]
            found[path.parent.relative_to(self.store).as_posix()] = f"{made['date']} {path.stat().st_ino}"
        return found

    def until(self, done, seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end and self.process.poll() is None, self.log.read_text()[-8000:]
            time.sleep(0.3)

    def running(self) -> list[str]:
        return [number for number, (_, state) in self.slurm.jobs().items() if state == "RUNNING"]


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
    kinds = [path.parent.parent.name for path in work.store.glob("*/*/artifact.json")]
    assert sorted(kinds) == ["neutral-scale"] + ["scores"] * 2 + ["weights"] * 4
    assert (work.layout.chapters / "03_pnlac.ipynb").is_file()
    assert not slurm.jobs()
    # nothing is left to do, and a second run does nothing
    before = work.dates()
    work.finish(work.start("03_pnlac"))
    assert work.dates() == before and "Nothing to be done" in work.log.read_text()


def test_a_killed_controller_loses_nothing(slurm: Cluster, work: Work) -> None:
    process, folder = work.start("01_phenomenon"), work.layout.build / "workflow" / "done"
    work.until(lambda: sum(path.is_file() for path in folder.rglob("*-*")) >= 2 and work.running())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert work.running(), "SLURM goes on without its client"
    finished = work.dates()
    work.finish(work.start("01_phenomenon"))
    after = work.dates()
    assert {name: after[name] for name in finished} == finished  # nothing that had finished was computed again
    kinds = [name.split("/")[0] for name in after]
    assert {kind: kinds.count(kind) for kind in ("weights", "answers")} == {"weights": 4, "answers": 5}
    assert (work.layout.chapters / "01_phenomenon.ipynb").is_file()
