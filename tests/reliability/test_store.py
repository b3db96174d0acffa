"""The artifact store: addressed by content, atomic; damage is noticed, named, set aside, and made good byte by byte."""

import json
import os
import random
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file
from stores import contents, finished, leftovers

from polinb.errors import ArtifactError, OutOfMemoryError
from polinb.runs.artifacts import META, DamagedError, Store, canonical, key_of, provenance, seal

INPUTS = {"a": 1, "b": ["x", "ü"], "c": 0.1}
FILES = ("arrays.safetensors", "table.parquet", "facts.json", "note.txt", META)


def make(folder):
    save_file({"w": np.arange(12, dtype=np.float32).reshape(3, 4)}, folder / "arrays.safetensors")
    pd.DataFrame({"x": [1.5, 2.5], "y": ["a", "b"]}).to_parquet(folder / "table.parquet")
    (folder / "facts.json").write_text(json.dumps({"n": 3, "s": "text"}))
    (folder / "note.txt").write_text("hello\n")
    return {"tokens": 12, "losses": [0.5, 0.25], "training": {"steps": 2}}


def refused(*_, **__):
    raise PermissionError(13, "Permission denied")


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


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def test_damage_is_named_set_aside_and_made_again(store, capsys, monkeypatch):
    first = store.get("thing", INPUTS, make)
    before, note, record = contents(store.root), first.path / "note.txt", first.path / META
    damages = [
        *((name, lambda path=first.path / name: shorten(path)) for name in FILES),
        ("note.txt", lambda: note.write_bytes(b"")),
        ("note.txt", note.unlink),
        ("note.txt", lambda: (note.unlink(), note.symlink_to(note.name))),
        (META, lambda: (record.unlink(), record.mkdir())),
        (META, lambda: (shutil.rmtree(first.path), first.path.mkdir())),
        (META, lambda: (shutil.rmtree(first.path), first.path.symlink_to("nowhere"))),
    ]
    for number, (name, damage) in enumerate(damages, 1):
        damage()
        again = store.get("thing", INPUTS, make)
        assert name in capsys.readouterr().err
        assert contents(store.root) == before and again.summary == first.summary
        assert len([p for p in first.path.parent.iterdir() if "-damaged-" in p.name]) == number
    shorten(note)
    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(ArtifactError, match=r"note\.txt was changed.*cannot be set aside.*denied.*POLINB_STORE"):
        store.get("thing", INPUTS, make)
    assert note.is_file(), "it stays for reading"


def test_a_record_that_was_edited(store):
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
    found = store.get("thing", INPUTS, None)
    shutil.copy(found.path / "table.parquet", found.path / "planted.parquet")
    with pytest.raises(ArtifactError, match=r"thing/\w+ has no file 'planted.parquet'"):
        found.file("planted.parquet")  # never checked


def test_key_depends_on_every_value_not_on_order_and_is_the_same_on_every_python(store):
    assert store.get("thing", {"x": 1, "y": 2}, make).path.name == key_of({"y": 2, "x": 1})
    assert store.get("thing", {"y": 2, "x": 1}, None).summary["tokens"] == 12, "made once, then read"
    assert len({key_of(d) for d in ({"x": 1}, {"x": 1.5}, {"x": "1"}, {"x": None}, {"y": 1}, {"x": [1]}, {})}) == 7
    with pytest.raises(ValueError):
        canonical({"x": float("nan")})
    values = [1, "\u00fc", True, None, 1e-05, 1e22, 0.1 + 0.2]
    assert key_of({"a": 1.5, "b": values, "c": {"z": 2**40, "y": -0.0}}) == "a93389f5fcaae4ebccf8f504"


def test_a_failure_is_told_with_its_remedy_and_leaves_nothing(store, tmp_path):
    def broken(folder):
        (folder / "data.txt").write_text("half")
        raise RuntimeError("boom")

    def no_room_on_the_card(folder):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …\nmore of it")

    for kind, maker, error, told in (
        ("thing", broken, RuntimeError, "boom"),
        ("thing", lambda folder: (folder / "run.py").write_text("x") and None, ArtifactError, "not allowed"),
        ("thing", lambda folder: (folder / "weights.pkl").write_text("x") and None, ArtifactError, "not allowed"),
        ("thing", refused, ArtifactError, "cannot write artifact thing/.*Permission denied.*POLINB_STORE"),
        ("weights", lambda folder: torch.empty(2**52), OutOfMemoryError, r"artifact weights/.*micro_batch.*\Z"),
        ("rated", no_room_on_the_card, OutOfMemoryError, r"artifact rated/.*eval_batch.*\Z"),
    ):
        with pytest.raises(error, match=told):
            store.get(kind, {}, maker)
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
