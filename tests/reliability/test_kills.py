"""Kill -9 at random moments of every stage, several at once: all end with the bytes of an undisturbed run.

That one is made by the tests' own process, all others elsewhere and with another hash seed (``forked.server``).
Compared is every file of every artifact, byte for byte, but for times (``stores.record``). An artifact that was
finished is never made again: its folder stays the same one (inode and time of change), through every kill to the end.
"""

import random
import signal
import time

import mishaps
import pytest
import small_run
from filelock import FileLock
from forked import LIMIT, noted, run, server, started, until
from small_run import STAGES
from stores import contents, finished, leftovers

from polinb.runs.artifacts import Store

SEED = 5


def killed(root, stage, after, log, temporary):
    """Kill a run ``after`` seconds into ``stage``; where it was, empty if it had ended."""
    with started(small_run.everything, root, log, temporary) as process:
        until(log, stage, process)
        process.join(after)
        process.kill()
        process.join()
        return noted(log)[-1][0] if process.exitcode == -signal.SIGKILL else ""


def chain(reference, folder, seed):
    """One store through kills in every stage in turn, and at last to the end; where the kills hit."""
    draw = random.Random(seed)
    root, temporary = folder / "store", folder / "temporary"
    temporary.mkdir(parents=True)
    kept, hits = {}, []
    for stage in STAGES:
        after = draw.uniform(0, reference.seconds[stage])
        hits.append(killed(root, stage, after, folder / f"{stage}.log", str(temporary)))
        now = finished(root)
        assert now.items() >= kept.items(), f"made again after a kill in {hits[-1]}"
        assert contents(root).items() <= reference.contents.items(), "half an artifact is seen as a whole"
        kept = now
    run(small_run.everything, root, None, str(temporary))
    assert finished(root).items() >= kept.items(), "made again by the last run"
    assert contents(root) == reference.contents and leftovers(root) == []
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
    return [int(word.removeprefix("making-")) for word, _ in noted(log) if word != "asking"]


def test_a_killed_maker_is_replaced_by_one_that_waits(tmp_path):
    """And its folder is removed by the next one of its kind, whatever it makes; a living maker's is not."""
    root, log = tmp_path / "store", tmp_path / "log"
    with server().Pool(3) as others, started(mishaps.make_slowly, root, log, 600.0) as first:
        until(log, f"making-{first.pid}", first)
        values = [others.apply_async(mishaps.make_slowly, (root, log, 0.2)) for _ in range(3)]
        until(log, "asking", first, times=4)
        time.sleep(0.5)
        assert makers(log) == [first.pid], "the others wait"
        (at_work,) = leftovers(root)
        dead = root / "slow" / ".0123456789abcdef01234567-x1y2z3"
        dead.mkdir()
        (dead / "weights.safetensors").write_bytes(b"x" * 1000)
        Store(root).get("slow", {"n": 2}, lambda folder: {})
        assert leftovers(root) == [at_work] and not dead.exists()
        first.kill()
        one, *more = [value.get(LIMIT) for value in values]
    assert more == [one, one] and len(makers(log)) == 2, "one of them made it"
    assert leftovers(root) == [], "what the killed one left is gone"


def test_two_whole_runs_at_once_end_with_the_bytes_of_one(reference, tmp_path):
    root = tmp_path / "another store ü" / "deep"
    with server().Pool(2) as jobs:
        jobs.map_async(small_run.everything, [root] * 2).get(LIMIT)
    assert contents(root) == reference.contents and leftovers(root) == []
    texts = [p for p in root.glob("*/*/*") if str(tmp_path).encode() in p.read_bytes()]
    assert texts == [], "no path of this machine is in any artifact"
