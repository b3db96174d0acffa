"""Kill -9 at random moments of every stage, several at once, elsewhere: all end with the bytes of an undisturbed run.

Compared is every file of every artifact, byte for byte; of ``artifact.json`` all but ``provenance.date``, the seconds
that making took (``provenance.seconds``, ``summary.seconds``) and the seal over them. An artifact that was finished is
never made again: its folder stays the same one (inode and time of change), through every kill to the end.
"""

import os
import random
import subprocess
import sys

import pytest
from filelock import FileLock
from forked import Process
from stores import STAGES, contents, finished, leftovers

from polinb.runs.artifacts import Store

SEED = 5


def killed(root, stage, after, temporary):
    """Kill a run ``after`` seconds into ``stage``; where it was, empty if it had ended."""
    with Process("small_run.everything", root, temporary=temporary) as process:
        process.until(stage)
        process.pause(after)
        return process.stage if process.kill() else ""


def chain(reference, folder, seed):
    """One store through kills in every stage in turn, and at last to the end; where the kills hit."""
    draw = random.Random(seed)
    root, temporary = folder / "store", folder / "temporary"
    temporary.mkdir(parents=True)
    kept = {}
    hits = []
    for stage in STAGES:
        hits.append(killed(root, stage, draw.uniform(0, reference.seconds[stage]), temporary))
        now = finished(root)
        assert {name: now.get(name) for name in kept} == kept, f"made again after a kill in {hits[-1]}"
        whole = contents(root)
        assert {name: reference.contents.get(name) for name in whole} == whole, "half an artifact is seen as a whole"
        kept = now
    with Process("small_run.everything", root, temporary=temporary) as last:
        ended = last.join()
    assert ended is not None and ended[0] == "done", ended
    end = finished(root)
    assert {name: end[name] for name in kept} == kept, "made again by the last run"
    assert contents(root) == reference.contents
    assert leftovers(root) == []
    for lock in root.glob("*/.*.lock"):
        with FileLock(lock, timeout=0):
            assert lock.stat().st_size == 0
    # outside the store a killed training leaves an empty folder, a killed reading of data a copy of what it read
    assert all(p.name.startswith(("polinb-train-", "polinb-data-")) for p in temporary.iterdir())
    assert not list(temporary.glob("polinb-train-*/*"))
    assert sum(p.stat().st_size for p in temporary.rglob("*")) < 2_000_000
    return hits


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_in_every_stage(reference, tmp_path, rounds):
    """Moments are drawn over the whole of a stage, so a few fall behind its end."""
    hits = [hit for n in range(rounds) for hit in chain(reference, tmp_path / str(n), SEED + n) if hit]
    assert len(hits) >= 5 * rounds and (rounds == 1 or set(hits) >= set(STAGES))


def makers(log):
    return [int(line) for line in log.read_text().split()]


def test_a_killed_maker_is_replaced_by_one_that_waits(tmp_path):
    """And its folder is removed by the next one of its kind, whatever it makes; a living maker's is not."""
    root, log = tmp_path / "store", tmp_path / "log"
    with Process("mishaps.make_slowly", root, log, 600.0) as first:
        first.until("making")
        others = [Process("mishaps.make_slowly", root, log, 0.2) for _ in range(3)]
        for other in others:
            other.until("asking")
            other.pause(0.2)
        assert makers(log) == [first.pid], "the others wait"
        (at_work,) = leftovers(root)
        dead = root / "slow" / ".0123456789abcdef01234567-x1y2z3"
        dead.mkdir()
        (dead / "weights.safetensors").write_bytes(b"x" * 1000)
        Store(root).get("slow", {"n": 2}, lambda folder: {})
        assert leftovers(root) == [at_work] and not dead.exists()
        assert first.kill()
    ended = [other.join() for other in others]
    assert all(end is not None and end[0] == "done" for end in ended), ended
    assert len(makers(log)) == 2 and makers(log)[1] in {other.pid for other in others}, "one of them made it"
    values = [end[1] for end in ended if end]
    assert all(value[:3] == values[0][:3] for value in values) and len({value[3] for value in values}) == 3
    assert leftovers(root) == [], "what the killed one left is gone"


def test_two_whole_runs_at_once_end_with_the_bytes_of_one(reference, tmp_path):
    """Any number of workers on one store."""
    jobs = [Process("small_run.everything", tmp_path / "store") for _ in range(2)]
    ended = [job.join() for job in jobs]
    assert all(end and end[0] == "done" for end in ended), ended
    assert contents(tmp_path / "store") == reference.contents and leftovers(tmp_path / "store") == []


def test_another_process_folder_and_hash_seed(reference, tmp_path):
    root = tmp_path / "another store ü" / "deep"
    other = {"PYTHONHASHSEED": "123", "TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    (tmp_path / "elsewhere").mkdir()
    code = "import sys, small_run; from pathlib import Path; small_run.everything(Path(sys.argv[1]), lambda told: None)"
    line = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(
        line, cwd=tmp_path / "elsewhere", env=os.environ | other, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert contents(root) == reference.contents
    texts = [p for p in root.glob("*/*/*") if str(tmp_path).encode() in p.read_bytes()]
    assert texts == [], "no path of this machine is in any artifact"
