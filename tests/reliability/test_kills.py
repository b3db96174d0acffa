"""Kill -9 at random moments, several at once, a full disk: every run ends with the bytes of an undisturbed one.

An artifact that was finished is never made again: its folder stays the same one (inode and time of change).
"""

import random
import shutil
import signal
import time

import pytest
import small_run
from forked import LIMIT, run, server, started
from stores import contents, finished, leftovers
from waiting import until

from polinb.errors import ArtifactError
from polinb.runs.artifacts import Store

SLOW, WRITERS = pytest.mark.slow, ("weights", "scores", "answers", "rated")


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=SLOW) for seed in range(2, 7))])
def test_killed_again_and_again_until_it_ends(reference, tmp_path, seed):
    """Each kill comes a moment after the run has made something more."""
    root, temporary, whole = tmp_path / "store", tmp_path / "temporary", contents(reference)
    temporary.mkdir()
    draw, kept, exits = random.Random(seed), {}, []
    while 0 not in exits:
        with started(small_run.everything, root, str(temporary)) as process:
            until(lambda kept=kept: finished(root) != kept or not process.is_alive())
            process.join(draw.uniform(0, 0.2))
        exits.append(process.exitcode)
        now = finished(root)
        assert now.items() >= kept.items(), "made again after a kill"
        assert contents(root).items() <= whole.items(), "half an artifact is seen as a whole"
        kept = now
    assert set(exits) == {0, -signal.SIGKILL} and len(exits) > 3
    assert contents(root) == whole and leftovers(root) == []
    # outside the store a killed training leaves an empty folder, a killed reading of data a copy of what it read
    assert all(p.name.startswith(("polinb-train-", "polinb-data-")) for p in temporary.iterdir())
    assert not list(temporary.glob("polinb-train-*/*"))
    assert sum(p.stat().st_size for p in temporary.rglob("*")) < 2_000_000


def test_a_killed_maker_is_replaced_by_one_that_waits(tmp_path):
    """And its folder is removed by the next one of its kind, whatever it makes; a living maker's is not."""
    root, log = tmp_path / "store", tmp_path / "log"
    with server().Pool(3) as others, started(small_run.make_slowly, root, log, 600.0) as first:
        until(lambda: log.exists() and str(first.pid) in log.read_text().split())
        values = [others.apply_async(small_run.make_slowly, (root, log, 0.2)) for _ in range(3)]
        until(lambda: log.read_text().count("asking") == 4)
        time.sleep(0.5)
        assert len(log.read_text().split()) == 4 + 1, "the others wait"
        (at_work,) = leftovers(root)
        dead = root / "slow" / ".0123456789abcdef01234567-x1y2z3"
        dead.mkdir()
        (dead / "weights.safetensors").write_bytes(b"x" * 1000)
        Store(root).get("slow", {"n": 2}, lambda folder: {})
        assert leftovers(root) == [at_work] and not dead.exists()
        first.kill()
        one, *more = [value.get(LIMIT) for value in values]
    assert more == [one, one] and len(log.read_text().split()) == 4 + 2, "one of them made it"
    assert leftovers(root) == [], "what the killed one left is gone"


def test_two_whole_runs_at_once_end_with_the_bytes_of_one(reference, tmp_path):
    root = tmp_path / "another store ü" / "deep"
    with server().Pool(2) as jobs:
        jobs.map_async(small_run.everything, [root] * 2).get(LIMIT)
    assert contents(root) == contents(reference) and leftovers(root) == []
    texts = [p for p in root.glob("*/*/*") if str(tmp_path).encode() in p.read_bytes()]
    assert texts == [], "no path of this machine is in any artifact"


@pytest.mark.parametrize("kind", ["patched", *(pytest.param(kind, marks=SLOW) for kind in WRITERS)])
def test_a_full_disk_in_every_stage(reference, tmp_path, kind):
    """A limit on the size of files stands in for the disk: each library below meets it in its own way."""
    root = tmp_path / "store"
    shutil.copytree(reference, root)
    shutil.rmtree(root / kind)
    kept = finished(root)
    with pytest.raises(ArtifactError, match=rf"artifact {kind}/.* under {root}: File too large.*POLINB_STORE"):
        run(small_run.everything, root, None, 1000)
    assert finished(root) == kept and leftovers(root) == []
    run(small_run.everything, root)
    assert contents(root) == contents(reference) and leftovers(root) == []
    assert finished(root).items() >= kept.items(), "made again"


def test_what_is_finished_is_read_without_writing_anything(reference):
    """So a store of others, on a read-only disk, can be used."""

    def there():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in reference.rglob("*")}

    before = there()
    run(small_run.everything, reference)
    assert there() == before
