"""Several processes that want the same artifact: one makes it, the others wait; one that dies is replaced."""

from __future__ import annotations

from pathlib import Path

from conftest import Reference
from forked import Process
from stores import contents, leftovers


def makers(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()]


def test_a_killed_maker_is_replaced_by_one_that_waits(tmp_path: Path) -> None:
    root, log = tmp_path / "store", tmp_path / "log"
    with Process("mishaps.make_slowly", root, log, 600.0) as first:
        first.until("making")
        others = [Process("mishaps.make_slowly", root, log, 0.2) for _ in range(3)]
        for other in others:
            other.until("asking")
            other.pause(0.2)
        assert makers(log) == [first.pid], "the others wait"
        assert leftovers(root), "it is at work in a hidden folder"
        assert first.kill()
    ended = [other.join() for other in others]
    assert all(end is not None and end[0] == "done" for end in ended), ended
    assert len(makers(log)) == 2 and makers(log)[1] in {other.pid for other in others}, "one of them made it"
    values = [end[1] for end in ended if end]
    assert all(value[:3] == values[0][:3] for value in values) and len({value[3] for value in values}) == 3
    assert leftovers(root) == [], "what the killed one left is gone"


def test_leftovers_of_others_go_and_what_is_being_made_stays(tmp_path: Path) -> None:
    """A killed maker's folder is removed by the next one of its kind, whatever it makes; a living maker's is not."""
    from polinb.runs.artifacts import Store

    root = tmp_path / "store"
    with Process("mishaps.make_slowly", root, tmp_path / "log", 600.0) as living:
        living.until("making")
        (at_work,) = leftovers(root)
        dead = root / "slow" / ".0123456789abcdef01234567-x1y2z3"
        dead.mkdir()
        (dead / "weights.safetensors").write_bytes(b"x" * 1000)
        Store(root).get("slow", {"n": 2}, lambda folder: {})
        assert leftovers(root) == [at_work] and not dead.exists()


def test_two_whole_runs_at_once_end_with_the_bytes_of_one(reference: Reference, tmp_path: Path) -> None:
    """Any number of workers on one store."""
    jobs = [Process("small_run.everything", tmp_path / "store") for _ in range(2)]
    ended = [job.join() for job in jobs]
    assert all(end and end[0] == "done" for end in ended), ended
    assert contents(tmp_path / "store") == reference.contents and leftovers(tmp_path / "store") == []
