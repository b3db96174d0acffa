"""Damaged artifacts of every kind of file: noticed, named, set aside for reading, made again with the same bytes."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from stores import contents

from polinb.errors import ArtifactError
from polinb.runs.artifact_check import DamagedError
from polinb.runs.artifacts import META, Artifact, Store

INPUTS = {"a": 1, "b": ["x", "ü"], "c": 0.1}
FILES = ("arrays.safetensors", "table.parquet", "facts.json", "note.txt", META)


def make(folder: Path) -> dict[str, object]:
    """One file of each type."""
    save_file({"w": np.arange(12, dtype=np.float32).reshape(3, 4)}, folder / "arrays.safetensors")
    pd.DataFrame({"x": [1.5, 2.5], "y": ["a", "b"]}).to_parquet(folder / "table.parquet")
    (folder / "facts.json").write_text(json.dumps({"n": 3, "s": "text"}))
    (folder / "note.txt").write_text("hello\n")
    return {"tokens": 12, "losses": [0.5, 0.25], "training": {"steps": 2}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def flips(body: bytes) -> Iterator[tuple[int, int]]:
    """A bit in each of 32 regions of a file, and each of its first and last 4 bytes: place and mask."""
    draw = random.Random(len(body))
    edges = np.linspace(0, len(body), min(32, len(body)) + 1, dtype=int)
    places = {draw.randrange(a, b) for a, b in itertools.pairwise(edges)}
    for place in sorted({*places, *range(min(4, len(body))), *range(max(0, len(body) - 4), len(body))}):
        yield place, 1 << draw.randrange(8)


def same_record(old: bytes, new: bytes) -> bool:
    """Whether a changed record still says the same, as where a blank became another one."""
    try:
        return bool(json.loads(new) == json.loads(old))
    except ValueError:
        return False


def test_a_flipped_bit_anywhere(store: Store) -> None:
    for name in FILES:
        file = store.get("thing", INPUTS, make).path / name
        body = file.read_bytes()
        for place, mask in flips(body):
            bad = bytearray(body)
            bad[place] ^= mask
            if name == META and same_record(body, bytes(bad)):
                continue
            file.write_bytes(bad)
            with pytest.raises(DamagedError, match=name.split(".")[0]):
                pytest.fail(f"{name}: byte {place}, mask {mask:08b}: {store.look('thing', INPUTS)}")
        file.write_bytes(body)
        assert store.look("thing", INPUTS)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "last byte missing": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a dead link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
}


def test_damage_is_named_set_aside_and_made_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first = store.get("thing", INPUTS, make)
    before = contents(store.root)
    cases = [
        *((how, "note.txt") for how in DAMAGE),
        *(("last byte missing", name) for name in FILES),
        ("a folder", META),
    ]
    for number, (how, name) in enumerate(cases, 1):
        DAMAGE[how](first.path / name)
        again = store.get("thing", INPUTS, make)
        told = capsys.readouterr().err
        assert name in told and "set aside as" in told and "making it again" in told, (how, name)
        assert contents(store.root) == before and again.summary == first.summary
        assert len(list(first.path.parent.glob("*-damaged-*"))) == number and store.look("thing", INPUTS)
    for something_else in (first.path.mkdir, first.path.touch, lambda: first.path.symlink_to("nowhere")):
        shutil.rmtree(first.path)
        something_else()
        assert store.get("thing", INPUTS, make).summary["tokens"] == 12
        assert META in capsys.readouterr().err


def test_a_record_that_was_edited(store: Store) -> None:
    """A number in a summary is a result as much as one in a table is."""
    path = store.get("thing", INPUTS, make).path / META
    whole = path.read_text()
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda meta: meta["summary"].update(tokens=13),
        lambda meta: meta["provenance"].update(seconds=1),
        lambda meta: meta["files"].pop("table.parquet"),
        lambda meta: meta.update(kind="other"),
        lambda meta: meta.update(seal="0" * 64),
        lambda meta: meta.pop("provenance"),
    ]
    for change in changes:
        meta = json.loads(whole)
        change(meta)
        path.write_text(json.dumps(meta))
        with pytest.raises(DamagedError):
            store.look("thing", INPUTS)


def test_an_artifact_of_an_early_version_still_counts(store: Store) -> None:
    """Before records were sealed; hours of computing are not thrown away for that."""
    path = store.get("thing", INPUTS, make).path / META
    meta = json.loads(path.read_text())
    del meta["seal"]
    path.write_text(json.dumps(meta))
    assert store.look("thing", INPUTS)


def test_a_maker_and_a_later_reader_see_the_same(store: Store) -> None:
    """Also where JSON has no such thing as a tuple or a number as key."""
    first = store.get("thing", {"n": 2}, lambda folder: {"pair": (1, 2), "by": {3: "c"}})
    second = store.get("thing", {"n": 2}, lambda folder: {})
    assert isinstance(first, Artifact) and first.summary == second.summary == {"pair": [1, 2], "by": {"3": "c"}}


def test_a_file_that_was_never_checked_is_not_read(store: Store) -> None:
    found = store.get("thing", INPUTS, make)
    shutil.copy(found.path / "table.parquet", found.path / "planted.parquet")
    with pytest.raises(ArtifactError, match=r"thing/\w+ has no file 'planted.parquet'"):
        found.frame("planted")


def test_a_damaged_result_is_not_mended_twice(store: Store) -> None:
    """What another process has mended meanwhile is taken, not set aside."""
    path = store.get("thing", INPUTS, make).path
    (path / "note.txt").write_text("HELLO\n")
    look, mended = store.look, []

    def late(kind: str, inputs: dict[str, object]) -> Artifact | None:
        if not mended:
            mended.append(1)
            try:
                return look(kind, inputs)
            finally:
                Store(store.root).get("thing", INPUTS, make)  # the other process is quicker
        return look(kind, inputs)

    store.look = late  # type: ignore[method-assign,assignment]
    assert store.get("thing", INPUTS, make)
    assert len(list(path.parent.glob("*-damaged-*"))) == 1
