"""The tiny pipeline on a real SLURM of one node: it runs, survives a cancelled job and a killed controller."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster

from polinb.runs.checkout import Layout

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
SETTINGS = ["topics=[crime, race]", "device=cpu"]


class Work:
    """A checkout and a store of their own, and the command that runs the pipeline there."""

    def __init__(self, root: Path, slurm: Cluster, chapters: str) -> None:
        self.slurm, self.layout = slurm, Layout(root / "checkout")
        for name, left in (("book", ["chapters", "vendor"]), ("notebooks", []), ("polinb", ["__pycache__"])):
            shutil.copytree(ROOT / name, self.layout.root / name, ignore=shutil.ignore_patterns(*left))
        shutil.copy(ROOT / "_config.yml", self.layout.root)
        self.folder = self.layout.build / "workflow"
        self.store = root / "store"
        self.log = root / "log.txt"
        more = ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2"]
        sets = [word for text in SETTINGS for word in ("--set", text)]
        self.command = [sys.executable, "-m", "book._make", "workflow", "--on", "slurm", "--jobs", "2", *sets]
        self.command += ["--threads", "1", "--profile", "tiny", "--chapters", chapters, "--", *more]
        self.environment = slurm.environment | {
            "POLINB_STORE": str(self.store),
            "PYTHONPATH": str(self.layout.root),
            "OMP_NUM_THREADS": "1",
        }

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, cwd=self.layout.root, env=self.environment, stdout=out, stderr=subprocess.STDOUT
            )
        return self.process

    def stop(self) -> None:
        """Leave nothing behind, also when a test failed."""
        self.process.kill()
        self.process.wait()
        for number in self.slurm.jobs():
            self.slurm.run("scancel", number)

    def told(self) -> str:
        return self.log.read_text()[-8000:]

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        assert process.wait(1200) == 0, self.told()

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
            assert time.monotonic() < end, self.told()
            time.sleep(0.3)

    def running(self) -> list[str]:
        return [number for number, (_, state) in self.slurm.jobs().items() if state == "RUNNING"]


@pytest.fixture
def start(slurm: Cluster, tmp_path: Path) -> Iterator[Callable[[str], Work]]:
    """Factory: chapters → the work on them; stopped in the end."""
    made: list[Work] = []

    def make(chapters: str) -> Work:
        made.append(Work(tmp_path, slurm, chapters))
        return made[-1]

    yield make
    for work in made:
        work.stop()


def test_a_cancelled_job_is_run_again(slurm: Cluster, start: Callable[[str], Work]) -> None:
    work = start("03_pnlac")
    process = work.start()
    found: list[str] = []
    work.until(lambda: bool(found.extend(work.running()) or found) or process.poll() is not None)
    assert found, work.told()
    cancelled = found[0]
    slurm.run("scancel", cancelled)
    work.finish(process)
    log = work.log.read_text()
    assert cancelled in log and "restart" in log.lower(), log[-3000:]
    kinds = [path.parent.parent.name for path in work.store.glob("*/*/artifact.json")]
    assert sorted(kinds) == ["neutral-scale"] + ["scores"] * 2 + ["weights"] * 4
    assert (work.layout.chapters / "03_pnlac.ipynb").is_file()
    assert not work.slurm.jobs()
    # nothing is left to do, and a second run does nothing
    before = work.dates()
    work.finish(work.start())
    assert work.dates() == before and "Nothing to be done" in work.log.read_text()


def test_a_killed_controller_loses_nothing(slurm: Cluster, start: Callable[[str], Work]) -> None:
    work = start("01_phenomenon")
    process = work.start()
    markers = lambda: [path for path in (work.folder / "done").rglob("*-*") if path.is_file()]  # noqa: E731
    work.until(lambda: (len(markers()) >= 2 and bool(work.running())) or process.poll() is not None)
    assert process.poll() is None, work.told()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert work.running(), "SLURM goes on without its client"
    finished = work.dates()
    work.finish(work.start())
    after = work.dates()
    assert {name: after[name] for name in finished} == finished  # nothing that had finished was computed again
    kinds = [name.split("/")[0] for name in after]
    assert {kind: kinds.count(kind) for kind in ("weights", "answers")} == {"weights": 4, "answers": 5}
    assert (work.layout.chapters / "01_phenomenon.ipynb").is_file()
    work.until(lambda: not work.slurm.jobs())
