"""The tiny pipeline on a real SLURM of one node: it runs, survives a cancelled job and a killed controller."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from reliability.stores import finished
from small_book import whole_checkout
from waiting import until

from polinb.runs.checkout import Layout

pytestmark = pytest.mark.slow
CHAPTERS = "01_phenomenon,03_pnlac"


class Work:
    """A checkout and a store of their own, and the command that runs the pipeline there."""

    def __init__(self, root, slurm):
        self.slurm, self.layout = slurm, Layout(whole_checkout(root / "checkout"))
        self.store, self.log = root / "store", root / "log.txt"
        own = {"POLINB_STORE": str(self.store), "PYTHONPATH": str(self.layout.root), "OMP_NUM_THREADS": "1"}
        self.environment = slurm.environment | own

    def start(self):
        command = [sys.executable, "-m", "book._make", "workflow", "--on", "slurm", "--jobs", "2", "--threads", "1"]
        command += ["--profile", "tiny", "--chapters", CHAPTERS, "--set", "topics=[crime, race]", "--set", "device=cpu"]
        command += ["--", "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2"]
        where = {"cwd": self.layout.root, "env": self.environment}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(command, **where, stdout=out, stderr=subprocess.STDOUT)

    def finish(self):
        """A run that ends well."""
        self.start()
        assert self.process.wait(1200) == 0, self.log.read_text()[-8000:]

    def until(self, done):
        until(lambda: self.process.poll() is not None or done(), 600, self.log.read_text)
        assert self.process.poll() is None, self.log.read_text()[-8000:]

    def running(self):
        return [number for number, state in self.slurm.jobs().items() if state == "RUNNING"]


@pytest.fixture
def work(slurm, tmp_path):
    """Nothing of it is left behind, also when a test failed."""
    made = Work(tmp_path, slurm)
    yield made
    made.process.kill()
    made.process.wait()
    slurm.run("scancel", "--me")


def test_a_cancelled_job_is_run_again_and_a_killed_controller_loses_nothing(slurm, work):
    work.start()
    found = []
    work.until(lambda: found.extend(work.running()) or found)
    slurm.run("scancel", found[0])
    work.until(lambda: "restart" in work.log.read_text().lower())
    assert found[0] in work.log.read_text()
    # the controller is killed while a job runs
    done = work.layout.build / "workflow" / "done"
    work.until(lambda: sum(path.is_file() for path in done.rglob("*-*")) >= 2 and work.running())
    os.kill(work.process.pid, signal.SIGKILL)
    work.process.wait()
    assert work.running(), "SLURM goes on without its client"
    before = finished(work.store)
    work.finish()
    after = finished(work.store)
    assert before.items() <= after.items(), "what had finished was computed again"
    kinds = Counter(name.split("/")[0] for name in after)
    assert kinds >= Counter({"neutral-scale": 1, "weights": 4, "scores": 2, "answers": 5}), kinds
    assert all((work.layout.chapters / f"{name}.ipynb").is_file() for name in CHAPTERS.split(","))
    assert not slurm.jobs()
    # nothing is left to do, and a further run does nothing
    work.finish()
    assert finished(work.store) == after and "Nothing to be done" in work.log.read_text()
