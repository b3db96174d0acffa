"""The tiny pipeline on a real SLURM of one node: it runs, survives a cancelled job and a killed controller."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from reliability.stores import finished
from small_book import REPO, whole_checkout
from waiting import until

from polinb.runs.checkout import Layout

pytestmark = pytest.mark.slow
CHAPTERS = "01_phenomenon,03_pnlac"
CONF = """\
ClusterName=polinb
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=300
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=120 State=UP
"""
SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class Cluster:
    """A running SLURM on loopback, with its own keys, ports and folders; ``environment`` makes its commands find it."""

    def __init__(self, folder):
        self.folder, self.running = folder, []
        path = os.pathsep.join([str(folder / "bin"), SBIN])
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}

    def run(self, *command, works=True):
        """Output of one of SLURM's commands; ``works``: it may not fail."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert not works or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self, state=""):
        """Numbers of the jobs in the queue that have not ended, or of those in a state."""
        listed = map(str.split, self.run("squeue", "--noheader", "--format=%i %T").splitlines())
        return [number for number, now in listed if state in ("", now)]

    def start(self):
        folder, host = self.folder, socket.gethostname().split(".")[0]
        munge, conf, srun = folder / "munge", folder / "slurm.conf", folder / "bin" / "srun"
        for name in ("state", "spool", "munge", "bin"):
            (folder / name).mkdir(parents=True, mode=0o755)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 3 // 4
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            ports = {"ctld": one.getsockname()[1], "slurmd": other.getsockname()[1]}
        conf.write_text(CONF.format(host=host, folder=folder, cpus=os.cpu_count(), memory=memory, **ports))
        # In a job snakemake calls srun without the job's SLURM_CONF; elsewhere /etc/slurm/slurm.conf stands in for it.
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        paths = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{k}={munge / v}" for k, v in paths.items()))
        until(lambda: (munge / "socket").exists(), 20, self.told)
        self._daemon("slurmctld", "-D", "-i", "-f", str(conf))
        self._daemon("slurmd", "-D", "-N", host, "-f", str(conf))
        until(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T", works=False), 60, self.told)

    def stop(self):
        """End every job and daemon, whatever state they are in."""
        with contextlib.suppress(AssertionError, OSError):
            self.run("scancel", "--me")
            until(lambda: not self.jobs(), 20)
        for process in reversed(self.running):
            process.terminate()
        for process in reversed(self.running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def _daemon(self, *command):
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            streams = {"stdout": out, "stderr": subprocess.STDOUT}
            self.running.append(subprocess.Popen(command, env=self.environment, start_new_session=True, **streams))

    def told(self):
        """Ends of the daemons' logs."""
        logs = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)


@pytest.fixture
def slurm():
    """A running SLURM of one node; skipped with the reason where there can be none, a failure in CI."""
    done = subprocess.run(["sh", str(REPO / ".ci" / "slurm")], capture_output=True, text=True, check=False)
    if done.returncode or os.geteuid() != 0:
        why = (done.stderr.strip().splitlines() or ["SLURM's daemons are started as root"])[-1]
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    with tempfile.TemporaryDirectory(prefix="polinb-slurm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        running = Cluster(Path(folder) / "c")  # short: it holds a socket
        try:
            running.start()
            yield running
        finally:
            running.stop()


class Work:
    """A checkout and a store of their own, and the command that runs the pipeline there."""

    def __init__(self, root, slurm):
        self.layout, self.store, self.log = Layout(whole_checkout(root / "checkout")), root / "store", root / "log.txt"
        own = {"POLINB_STORE": str(self.store), "PYTHONPATH": str(self.layout.root), "OMP_NUM_THREADS": "1"}
        self.environment = slurm.environment | own

    def start(self):
        command = [sys.executable, "-m", "book._make", "workflow", "--on", "slurm", "--jobs", "2", "--threads", "1"]
        command += ["--profile", "tiny", "--chapters", CHAPTERS, "--set", "topics=[crime, race]", "--set", "device=cpu"]
        command += ["--", "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2"]
        with self.log.open("ab") as out:
            where = {"cwd": self.layout.root, "env": self.environment, "stdout": out, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(command, **where)

    def finish(self):
        """A run that ends well."""
        self.start()
        assert self.process.wait(1200) == 0, self.log.read_text()[-8000:]

    def until(self, done):
        until(lambda: self.process.poll() is not None or done(), 600, self.log.read_text)
        assert self.process.poll() is None, self.log.read_text()[-8000:]


@pytest.fixture
def work(slurm, tmp_path):
    """Nothing of it is left behind, also when a test failed."""
    made = Work(tmp_path, slurm)
    yield made
    made.process.kill()
    made.process.wait()


def test_a_cancelled_job_is_run_again_and_a_killed_controller_loses_nothing(slurm, work):
    work.start()
    found = []
    work.until(lambda: found.extend(slurm.jobs("RUNNING")) or found)
    slurm.run("scancel", found[0])
    work.until(lambda: "restart" in work.log.read_text().lower())
    assert found[0] in work.log.read_text()
    # the controller is killed while a job runs
    done = work.layout.build / "workflow" / "done"
    work.until(lambda: sum(path.is_file() for path in done.rglob("*-*")) >= 2 and slurm.jobs("RUNNING"))
    os.kill(work.process.pid, signal.SIGKILL)
    work.process.wait()
    assert slurm.jobs("RUNNING"), "SLURM goes on without its client"
    before = finished(work.store)
    work.finish()
    after = finished(work.store)
    assert before.items() <= after.items(), "what had finished was computed again"
    kinds = Counter(name.split("/")[0] for name in after)
    assert kinds >= Counter({"neutral-scale": 1, "weights": 4, "scores": 2, "answers": 5}), kinds
    assert all((work.layout.chapters / f"{name}.ipynb").is_file() for name in CHAPTERS.split(","))
    assert not slurm.jobs()
    work.finish()
    assert finished(work.store) == after and "Nothing to be done" in work.log.read_text(), "nothing is left to do"
