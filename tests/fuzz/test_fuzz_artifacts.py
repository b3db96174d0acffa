"""Stored results with flipped bits, cut, swapped or renamed files: data as written, or none at all."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from fuzzing import budgets, plain, refused, run, text
from hypothesis import strategies as st
from safetensors.numpy import save_file

from polinb.errors import ArtifactError, PolinbError
from polinb.runs.artifact_check import DamagedError
from polinb.runs.artifacts import META, Store

INPUTS = {"model": "tiny", "gamma": 5.0}
SUMMARY = {"tokens": 12, "loss": 0.25}
ARRAYS = {"scores": np.arange(12, dtype=np.float32).reshape(3, 4)}
FRAME = pd.DataFrame({"label": ["left", "right"], "p_right": [0.25, 0.75]})
FILES = ("sums.safetensors", "rated.parquet", "list.json", META)


def fill(folder):
    save_file(ARRAYS, folder / "sums.safetensors")
    FRAME.to_parquet(folder / "rated.parquet")
    (folder / "list.json").write_text(json.dumps([1, 2, 3]))
    return SUMMARY


def same(found) -> bool:
    """That an artifact gives what was put into it, in all its parts."""
    arrays = found.arrays("sums")
    return (
        found.summary == SUMMARY
        and list(arrays) == ["scores"]
        and arrays["scores"].dtype == np.float32
        and (arrays["scores"] == ARRAYS["scores"]).all()
        and found.frame("rated").equals(FRAME)
        and json.loads((found.path / "list.json").read_text()) == [1, 2, 3]
    )


@pytest.fixture
def kept(tmp_path):
    """A store with one artifact, and a copy of its folder."""
    store = Store(tmp_path / "store")
    found = store.get("scores", INPUTS, fill)
    assert same(found)
    shutil.copytree(found.path, tmp_path / "whole")
    return store, found.path, tmp_path / "whole"


def sound(store):
    """The artifact as a reader gets it; None: it is noticed to be damaged."""
    try:
        return store.look("scores", INPUTS)
    except DamagedError:
        return None


def restored(path, whole) -> None:
    for old in path.parent.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(whole, path)


@budgets(100, 1500)
def test_any_damage_is_noticed(size, kept):
    store, path, whole = kept

    def check(case):
        name, kind, at, bit = case
        restored(path, whole)
        file = path / name
        raw = bytearray(file.read_bytes())
        if kind == "flip":
            raw[at % len(raw)] ^= 1 << bit
            file.write_bytes(bytes(raw))
        elif kind == "cut":
            file.write_bytes(bytes(raw[: at % len(raw)]))
        elif kind == "longer":
            file.write_bytes(bytes(raw) + b"\0" * (bit + 1))
        elif kind == "swap":
            other = path / FILES[at % len(FILES)]
            swapped = other.read_bytes()
            other.write_bytes(bytes(raw))
            file.write_bytes(swapped)
        elif kind == "gone":
            file.unlink()
        else:
            file.unlink()
            file.mkdir()
        found = sound(store)
        if found is None:
            assert same(store.get("scores", INPUTS, fill)), "not made again as it was"
            return False
        if same(found):
            meta = json.loads((whole / META).read_bytes())
            now = json.loads((path / META).read_bytes())
            # a key that json writes and reads the same way, or a fact about the machine: no number
            assert now["provenance"] != meta["provenance"] or now == meta, "changed, and not noticed"
            return True
        raise AssertionError(f"{name} with {kind} at {at}, bit {bit}: other data is returned as if it were whole")

    case = st.tuples(
        st.sampled_from(FILES),
        st.sampled_from(["flip", "flip", "flip", "cut", "longer", "swap", "gone", "folder"]),
        st.integers(0, 4000),
        st.integers(0, 7),
    )
    run("artifact files", size, case, check)


@budgets(60, 600)
def test_any_content_of_the_meta_file(size, kept):
    store, path, whole = kept
    good = json.loads((whole / META).read_text())
    value = st.recursive(
        st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | plain,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(plain, inner, max_size=2),
        max_leaves=4,
    )

    def check(case):
        place, content, rest = case
        restored(path, whole)
        changed = json.loads(json.dumps(good))
        node = changed
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = content
        (path / META).write_bytes(rest if rest is not None else json.dumps(changed).encode())
        found = sound(store)
        if found is None:
            return False
        assert found.summary == SUMMARY, "a number that nobody computed"
        assert same(found)
        return True

    places = st.sampled_from(
        [("inputs",), ("files",), ("summary",), ("summary", "loss"), ("files", "../../x.txt"), ("files", "list.json"),
         ("files", "list.json", "bytes"), ("files", "list.json", "sha256"), ("files", "/etc/hosts"), ("key",),
         ("kind",)]
    )  # fmt: skip
    raw = (
        st.none()
        | st.none()
        | st.binary(max_size=30)
        | st.sampled_from([b"[" * 100_000, b"[]", b"null", b'{"files": 1' + b"0" * 5000 + b"}"])
    )
    run("artifact.json", size, st.tuples(places, value, raw), check)


@budgets(80, 600)
def test_any_kind_and_key(size, tmp_path):
    root = tmp_path / "store"
    store = Store(root)

    def check(case):
        kind, key = case
        try:
            path = store.path(kind, key)
        except ArtifactError as error:
            return refused(error, "artifact name")
        assert path.resolve().parent.parent == root.resolve() and path.name == key
        path.exists()  # a name that the file system takes
        return True

    awkward = st.sampled_from(
        [
            "..",
            ".",
            "../x",
            "/etc",
            "a/b",
            "a\\b",
            "a\0b",
            "",
            " ",
            "CON",
            "x" * 300,
            "é",
            "²",
            "日本",
            "a.b",
            "-rf",
            "\u202e",
            "\ud800",
        ]
    )
    name = awkward | text | st.text("abcXYZ019-_", min_size=1, max_size=30)
    run("artifact names", size, st.tuples(name, name), check)


@budgets(60, 500)
def test_any_inputs(size, tmp_path):
    """Inputs either have a key, the same whenever they are equal, or are refused before anything is written."""
    store = Store(tmp_path / "store")
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
        max_leaves=6,
    )

    def check(inputs):
        made = store.get("facts", inputs, lambda folder: {"inputs": inputs})
        assert made.summary == {"inputs": inputs}
        again = store.look("facts", dict(reversed(inputs.items())))
        assert again is not None and again.path == made.path and again.summary == made.summary
        return True

    run("artifact inputs", size, st.dictionaries(plain, value, max_size=3), check)


def test_the_oracle_sees_another_number(kept):
    store, path, _ = kept
    meta = json.loads((path / META).read_text())
    meta["summary"]["loss"] = 0.5
    (path / META).write_text(json.dumps(meta))
    try:
        found = sound(store)
    except PolinbError:
        return
    assert found is None or not same(found)
