"""The workflow for real, on this machine: the same bytes as `make book`, and a killed run that loses nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from polinb.cluster.processes import left_over, run_name

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
SETTINGS = ["topics=[crime, race]", "ablation_topics=[crime]", "baseline_topics=[crime]", "controls=[layer]"]
SETTINGS += ["gammas=[50.0]", "device=cpu"]
CHAPTERS = "01_phenomenon,03_pnlac,08_gamma"


def checkout(root: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__", "chapters", "vendor")
    for name in ("book", "notebooks", "polinb"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy(ROOT / "_config.yml", root)
    return root


def start(root: Path, *more: str) -> subprocess.Popen[str]:
    sets = [word for text in SETTINGS for word in ("--set", text)]
    command = [sys.executable, "-m", "book._make", "book", "--profile", "tiny", "--chapters", CHAPTERS, *sets, *more]
    paths = {"POLINB_STORE": str(root / "store"), "PYTHONPATH": str(root)}
    return subprocess.Popen(
        command, cwd=root, env=os.environ | paths, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(root: Path, *more: str) -> str:
    process = start(root, *more)
    text, _ = process.communicate(timeout=1200)
    log = root / "_build" / "workflow" / "snakemake.log"
    assert process.returncode == 0, text + (log.read_text()[-3000:] if log.is_file() else "")
    return text


def content(store: Path) -> dict[str, str]:
    """Every file of every artifact by digest; of artifact.json all but when, where and how fast it was made."""
    out = {}
    for path in sorted(store.glob("*/*/*")):
        data = path.read_bytes()
        if path.name == "artifact.json":
            meta = json.loads(data)
            del meta["provenance"], meta["seal"]  # the seal covers the times
            meta["files"].pop("judge.json", None)
            training = meta["summary"].get("training") or meta["summary"]
            training.pop("seconds", None)
            data = json.dumps(meta, sort_keys=True).encode()
        out[path.relative_to(store).as_posix()] = hashlib.sha256(data).hexdigest()
    return out


def made(store: Path) -> dict[str, str]:
    """Artifact → date and inode."""
    return {
        path.parent.relative_to(
            store
        ).as_posix(): f"{json.loads(path.read_text())['provenance']['date']} {path.stat()[1]}"
        for path in store.glob("*/*/artifact.json")
    }


def test_two_jobs_make_the_bytes_of_one_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    alone, jobs = checkout(tmp_path / "alone"), checkout(tmp_path / "jobs")
    finished(alone)
    process = start(jobs, "--jobs", "2")
    folder = jobs / "_build" / "workflow"
    end = time.monotonic() + 900
    while sum(not p.name.startswith(".") for p in folder.glob("tiny-*/*/*.json")) < 5:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    for pid in [
        process.pid,
        *(c.pid for c in psutil.Process(process.pid).children(recursive=True) if "snakemake" in c.cmdline()),
    ]:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    before = made(jobs / "store")
    text = finished(jobs, "--jobs", "2")
    after = made(jobs / "store")
    assert {name: after[name] for name in before} == before  # nothing that had finished was made again
    assert not left_over(run_name(folder))
    one, two = content(alone / "store"), content(jobs / "store")
    assert {name for name in one if one[name] != two.get(name)} == set()
    # the step of the vanilla model also rates its answers to statements, which the chapters left out here ask for
    assert {name.split("/")[0] for name in set(two) - set(one)} <= {"rated"}, text
    for name in CHAPTERS.split(","):
        first, second = ((root / "book" / "chapters" / f"{name}.ipynb").read_bytes() for root in (alone, jobs))
        assert first == second
    assert "0 of them to do" in finished(jobs, "--jobs", "2")
