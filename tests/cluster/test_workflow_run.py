"""The workflow for real, here, in a folder with a space: the bytes of `make book`, and nothing made twice."""

import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from reliability.stores import META, contents, finished, record
from small_book import whole_checkout
from waiting import until

CHAPTERS = "01_phenomenon,03_pnlac,08_gamma"
SETTINGS = ["topics=[crime, race]", "device=cpu", "ablation_topics=[crime]", "controls=[layer]", "gammas=[50.0]"]
ALL = ["--profile", "tiny", "--chapters", CHAPTERS, *(word for text in SETTINGS for word in ("--set", text))]

pytest.importorskip("snakemake")


def start(root, *words):
    paths = {"POLINB_STORE": str(root / "store"), "PYTHONPATH": f"{root}:{root / 'book' / '_ext'}", "POLINB_GPUS": ""}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-m", "book._make", *words]
    return subprocess.Popen(command, cwd=root, env=os.environ | paths, **streams)


def output(root, *words):
    process = start(root, *words)
    text, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, text
    return text


def content(store):
    """Every file of every result; of its record all but where it was made, for only some processes have PyTorch."""
    found = dict(contents(store))
    for path in store.glob(f"*/*/{META}"):
        found[path.relative_to(store).as_posix()] = json.loads(record(path)) | {"provenance": {}}
    return found


def test_options_of_snakemake_work_as_they_are(tmp_path):
    root = whole_checkout(tmp_path / "a checkout")
    one = ("--profile", "tiny", "--chapters", "03_pnlac", "--set", "topics=[crime, race]")
    text = output(root, "workflow", *one, "--threads", "3", "--", "--dry-run")
    assert "This was a dry-run" in text and text.count("threads: 3") >= 6
    assert text.index("weights/fine-tune-race-left") < text.index("scores/scores-race")
    assert not (root / "store").exists()


@pytest.mark.slow
def test_two_jobs_make_the_bytes_of_one_and_a_kill_loses_nothing(tmp_path):
    alone, jobs = whole_checkout(tmp_path / "alone"), whole_checkout(tmp_path / "two jobs")
    output(alone, "book", *ALL)
    command = ("workflow", *ALL, "--jobs", "2", "--threads", "1")  # as OMP_NUM_THREADS says for `book` in tests
    process = start(jobs, *command)
    done = jobs / "_build" / "workflow" / "done"
    until(lambda: process.poll() is not None or sum(path.is_file() for path in done.rglob("*-*")) >= 3, 900)
    assert process.poll() is None
    left = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)  # what it started goes on, and the next run waits for it where it must
    process.wait()
    before = finished(jobs / "store")
    text = output(jobs, *command)
    assert not [child for child in left if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert before.items() <= finished(jobs / "store").items(), "made again"
    assert content(alone / "store") == content(jobs / "store"), text
    for name in CHAPTERS.split(","):
        first, second = ((root / "book" / "chapters" / f"{name}.ipynb").read_bytes() for root in (alone, jobs))
        assert first == second
    # what `make book` made counts as well; a result that was lost is made again alone, with the threads it is given
    assert "Nothing to be done" in output(jobs, *command) and "Nothing to be done" in output(alone, *command)
    lost = next(path for path in (alone / "store" / "scores").iterdir() if path.is_dir())
    shutil.rmtree(lost)
    before = finished(alone / "store")
    output(alone, "workflow", *ALL, "--threads", "2", "--", "--quiet", "all")
    after = finished(alone / "store")
    assert before.items() <= after.items() and set(after) - set(before) == {f"scores/{lost.name}"}
    assert json.loads((lost / META).read_text())["provenance"]["threads"] == 2
