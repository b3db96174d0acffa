"""The artifact store: addressed by content, atomic, checked, resumable."""

import json
import os

import pytest

from polinb.errors import ArtifactError
from polinb.runs.artifact_check import DamagedError, seal
from polinb.runs.artifacts import META, Store, canonical, key_of, provenance


def writer(text="hello", calls=None):
    def make(folder):
        if calls is not None:
            calls.append(1)
        (folder / "data.txt").write_text(text)
        return {"length": len(text)}

    return make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "s")


def test_made_once_then_read(store):
    calls = []
    first = store.get("thing", {"a": 1, "b": [1, 2]}, writer(calls=calls))
    second = store.get("thing", {"b": [1, 2], "a": 1}, writer(calls=calls))
    assert len(calls) == 1 and first.path == second.path and second.summary == {"length": 5}
    assert store.get("thing", {"a": 2, "b": [1, 2]}, writer(calls=calls)).path != first.path and len(calls) == 2


def test_key_depends_on_every_value_not_on_order():
    assert key_of({"x": 1, "y": 2}) == key_of({"y": 2, "x": 1})
    assert len({key_of(d) for d in ({"x": 1}, {"x": 1.5}, {"x": "1"}, {"x": None}, {"y": 1}, {"x": [1]}, {})}) == 7
    with pytest.raises(ValueError):
        canonical({"x": float("nan")})


KEYED = {"a": 1.5, "b": [1, "\u00fc", True, None, 1e-05, 1e22, 0.1 + 0.2], "c": {"z": 2**40, "y": -0.0}}


def test_keys_are_the_same_on_every_python():
    assert key_of(KEYED) == "a93389f5fcaae4ebccf8f504"


def test_failure_leaves_nothing(store):
    def broken(folder):
        (folder / "data.txt").write_text("half")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        store.get("thing", {}, broken)
    assert [p.name for p in (store.root / "thing").iterdir() if not p.name.endswith(".lock")] == []
    assert store.get("thing", {}, writer()).summary["length"] == 5


def test_a_record_of_other_inputs_is_noticed_though_it_is_sealed(store):
    path = store.get("thing", {"k": 1}, writer()).path / META
    meta = json.loads(path.read_text()) | {"inputs": {"k": 2}}
    path.write_text(json.dumps(meta | {"seal": seal(meta)}))
    with pytest.raises(DamagedError, match="made from other inputs"):
        store.look("thing", {"k": 1})


@pytest.mark.parametrize("name", ["weights.pkl", "run.py"])
def test_only_safe_file_types(store, name):
    with pytest.raises(ArtifactError, match="not allowed"):
        store.get("thing", {}, lambda folder: (folder / name).write_text("x") and None)
    assert store.look("thing", {}) is None


def test_a_file_where_the_store_should_be(tmp_path):
    (tmp_path / "s").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        Store(tmp_path / "s").get("thing", {}, writer())


def test_provenance_names_no_person_or_place(store, monkeypatch):
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "someone-made-up")
    text = json.dumps(store.get("thing", {}, writer()).meta["provenance"]) + json.dumps(provenance())
    assert "torch" in text
    for private in ("someone-made-up", os.uname().nodename, str(store.root)):
        assert private and private not in text
