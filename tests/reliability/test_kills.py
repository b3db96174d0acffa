"""Kill -9 at random moments of every stage: the rerun ends with the bytes of a run that nobody disturbed.

Compared is every file of every artifact, byte for byte; of ``artifact.json`` all but ``provenance.date``, the seconds
that making took (``provenance.seconds``, ``summary.seconds``) and the seal over them. An artifact that was finished is
never made again: its folder stays the same one (inode and time of change), through every kill to the end.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from conftest import Reference
from filelock import FileLock
from forked import Process
from stores import STAGES, contents, finished, leftovers

SEED = 5


def killed(root: Path, stage: str, after: float, temporary: Path) -> str:
    """Kill a run ``after`` seconds into ``stage``; where it was, empty if it had ended."""
    with Process("small_run.everything", root, temporary=temporary) as process:
        process.until(stage)
        process.pause(after)
        return process.stage if process.kill() else ""


def chain(reference: Reference, folder: Path, seed: int) -> list[str]:
    """One store through kills in every stage in turn, and at last to the end; where the kills hit."""
    draw = random.Random(seed)
    root, temporary = folder / "store", folder / "temporary"
    temporary.mkdir(parents=True)
    kept: dict[str, tuple[int, int]] = {}
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
def test_killed_in_every_stage(reference: Reference, tmp_path: Path, rounds: int) -> None:
    """Moments are drawn over the whole of a stage, so a few fall behind its end."""
    hits = [hit for n in range(rounds) for hit in chain(reference, tmp_path / str(n), SEED + n) if hit]
    assert len(hits) >= 5 * rounds and (rounds == 1 or set(hits) >= set(STAGES))
