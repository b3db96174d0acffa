"""The artifact store: addressed by content, atomic; damage is noticed, named, set aside, and made good byte by byte."""

import json
import os
import random
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from stores import contents, finished, leftovers

from polinb.errors import ArtifactError
from polinb.runs.artifacts import META, DamagedError, Store, canonical, key_of, provenance, seal

INPUTS = {"a": 1, "b": ["x", "ü"], "c": 0.1}
FILES = ("arrays.safetensors", "table.parquet", "facts.json", "note.txt", META)


def make(folder):
    """One file of each type."""
    save_file({"w": np.arange(12, dtype=np.float32).reshape(3, 4)}, folder / "arrays.safetensors")
    pd.DataFrame({"x": [1.5, 2.5], "y": ["a", "b"]}).to_parquet(folder / "table.parquet")
    (folder / "facts.json").write_text(json.dumps({"n": 3, "s": "text"}))
    (folder / "note.txt").write_text("hello\n")
    return {"tokens": 12, "losses": [0.5, 0.25], "training": {"steps": 2}}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_a_flipped_bit_anywhere(store):
    for name in FILES:
        file = store.get("thing", INPUTS, make).path / name
        body = file.read_bytes()
        draw, last = random.Random(len(body)), len(body) - 1
        places = {*range(4), *range(last - 3, last + 1), *draw.choices(range(last), k=32)} & {*range(last + 1)}
        for place in sorted(places):
            bad = bytearray(body)
            bad[place] ^= 1 << draw.randrange(8)
            file.write_bytes(bad)
            with pytest.raises(DamagedError, match=name.split(".")[0]):
                pytest.fail(f"{name}: byte {place} is {bad[place]}: {store.look('thing', INPUTS)}")
        file.write_bytes(body)
        assert store.look("thing", INPUTS)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "last byte missing": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a dead link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
}


def test_damage_is_named_set_aside_and_made_again(store, capsys):
    first = store.get("thing", INPUTS, make)
    before = contents(store.root)
    cases = [*((how, "note.txt") for how in DAMAGE), *(("last byte missing", name) for name in FILES)]
    for number, (how, name) in enumerate([*cases, ("a folder", META)], 1):
        DAMAGE[how](first.path / name)
        again = store.get("thing", INPUTS, make)
        assert name in capsys.readouterr().err, how
        assert contents(store.root) == before and again.summary == first.summary
        assert len(list(first.path.parent.glob("*-damaged-*"))) == number and store.look("thing", INPUTS)
    for something_else in (first.path.mkdir, first.path.touch, lambda: first.path.symlink_to("nowhere")):
        shutil.rmtree(first.path)
        something_else()
        assert store.get("thing", INPUTS, make).summary == first.summary
        assert META in capsys.readouterr().err


def test_a_record_that_was_edited(store):
    """A number in a summary is a result as much as one in a table is."""
    path = store.get("thing", INPUTS, make).path / META
    whole = path.read_text()
    meta = json.loads(whole)
    for part in meta:
        without = {name: value for name, value in meta.items() if name != part}
        for edited in (without, meta | {part: {"tokens": 13}}):
            path.write_text(json.dumps(edited))
            with pytest.raises(DamagedError):
                store.look("thing", INPUTS)
    meta["inputs"] = {"k": 2}
    path.write_text(json.dumps(meta | {"seal": seal(meta)}))
    with pytest.raises(DamagedError, match="made from other inputs"):  # though it is sealed
        store.look("thing", INPUTS)
    path.write_text(whole)
    found = store.look("thing", INPUTS)
    assert found
    shutil.copy(found.path / "table.parquet", found.path / "planted.parquet")
    with pytest.raises(ArtifactError, match=r"thing/\w+ has no file 'planted.parquet'"):
        found.file("planted.parquet")  # never checked


def test_a_damaged_result_is_not_mended_twice(store):
    """What another process has mended meanwhile is taken, not set aside."""
    path = store.get("thing", INPUTS, make).path
    (path / "note.txt").write_text("HELLO\n")
    look = store.look

    def late(kind, inputs):
        store.look = look
        try:
            return look(kind, inputs)
        finally:
            Store(store.root).get("thing", INPUTS, make)  # the other process is quicker

    store.look = late
    assert store.get("thing", INPUTS, make)
    assert len(list(path.parent.glob("*-damaged-*"))) == 1


def test_key_depends_on_every_value_not_on_order_and_is_the_same_on_every_python(store):
    assert store.get("thing", {"x": 1, "y": 2}, make).path.name == key_of({"y": 2, "x": 1})
    assert store.get("thing", {"y": 2, "x": 1}, None).summary["tokens"] == 12, "made once, then read"
    assert len({key_of(d) for d in ({"x": 1}, {"x": 1.5}, {"x": "1"}, {"x": None}, {"y": 1}, {"x": [1]}, {})}) == 7
    with pytest.raises(ValueError):
        canonical({"x": float("nan")})
    values = [1, "\u00fc", True, None, 1e-05, 1e22, 0.1 + 0.2]
    assert key_of({"a": 1.5, "b": values, "c": {"z": 2**40, "y": -0.0}}) == "a93389f5fcaae4ebccf8f504"


def test_failure_or_a_file_that_is_not_safe_leaves_nothing(store, tmp_path):
    def broken(folder):
        (folder / "data.txt").write_text("half")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        store.get("thing", {}, broken)
    for name in ("weights.pkl", "run.py"):
        with pytest.raises(ArtifactError, match="not allowed"):
            store.get("thing", {}, lambda folder, name=name: (folder / name).write_text("x") and None)
    assert leftovers(store.root) == [] and not finished(store.root)
    assert store.get("thing", {}, make).summary["tokens"] == 12
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        Store(tmp_path / "file").get("thing", {}, make)


def test_provenance_names_no_person_or_place(store, monkeypatch):
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "someone-made-up")
    text = json.dumps(store.get("thing", {}, make).meta["provenance"]) + json.dumps(provenance())
    assert "torch" in text
    for private in ("someone-made-up", os.uname().nodename, str(store.root)):
        assert private and private not in text
