"""A SLURM of one node, on loopback, with its own keys, ports and folders: started and stopped by the tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from waiting import until

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
    """A running SLURM; ``environment`` makes sbatch, squeue and scancel talk to it."""

    def __init__(self, folder):
        self.folder = folder
        path = os.pathsep.join([str(folder / "bin"), SBIN])
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
        self._running = []

    def run(self, *command, works=True):
        """Output of one of SLURM's commands; ``works``: it may not fail."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert not works or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self):
        """Number → state of every job in the queue that has not ended."""
        return dict(map(str.split, self.run("squeue", "--noheader", "--format=%i %T").splitlines()))

    def start(self):
        host = socket.gethostname().split(".")[0]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 3 // 4
        ports = free_ports(2)
        facts = {"host": host, "folder": self.folder, "ctld": ports[0], "slurmd": ports[1]}
        facts |= {"cpus": os.cpu_count(), "memory": memory}
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir(parents=True, mode=0o755)
        (self.folder / "slurm.conf").write_text(CONF.format(**facts))
        # In a job snakemake calls srun without the job's SLURM_CONF; elsewhere /etc/slurm/slurm.conf stands in for it.
        conf, real = self.folder / "slurm.conf", shutil.which("srun")
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "srun").write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {real} "$@"\n')
        (self.folder / "bin" / "srun").chmod(0o755)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        munge = self.folder / "munge"
        paths = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{k}={munge / v}" for k, v in paths.items()))
        until(lambda: (munge / "socket").exists(), 20, self.told)
        self._daemon("slurmctld", "-D", "-i", "-f", str(self.folder / "slurm.conf"))
        self._daemon("slurmd", "-D", "-N", host, "-f", str(self.folder / "slurm.conf"))
        until(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T", works=False), 60, self.told)

    def stop(self):
        """End every job and daemon, whatever state they are in."""
        with contextlib.suppress(AssertionError, OSError):
            self.run("scancel", "--me")
            until(lambda: not self.jobs(), 20)
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def _daemon(self, *command):
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            streams = {"stdout": out, "stderr": subprocess.STDOUT}
            self._running.append(subprocess.Popen(command, env=self.environment, start_new_session=True, **streams))

    def told(self):
        """Ends of the daemons' logs."""
        logs = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)


@pytest.fixture(scope="session")
def slurm():
    """A running SLURM of one node; skipped with the reason where there can be none, a failure in CI."""
    if why := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    with tempfile.TemporaryDirectory(prefix="polinb-slurm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        running = Cluster(Path(folder) / "c")  # short: it holds a socket
        try:
            running.start()
            yield running
        finally:
            running.stop()


def missing():
    """Why there can be no SLURM here; empty if there can."""
    if os.geteuid() != 0:
        return "SLURM's daemons are started as root"
    helper = Path(__file__).resolve().parents[2] / ".ci" / "slurm"
    done = subprocess.run(["sh", str(helper)], capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no SLURM"])[-1]
    return "" if shutil.which("slurmctld", path=SBIN) else "slurmctld is not there"


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
