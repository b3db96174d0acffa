"""Names that try to leave their folder: data, artifacts, chapters, topics, revisions, hub ids."""

from __future__ import annotations

import json
import re

import pytest

from polinb.data.ideoinst import REGISTRY
from polinb.data.loading import load_data, load_statements
from polinb.errors import ArtifactError, DataError, ParameterError, PolinbError
from polinb.lab.request import Request
from polinb.lab.session import Session
from polinb.runs.artifacts import Store
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params

ESCAPES = [
    "../../x", "..", "/etc/passwd", "a/../../b", "a\0b", "x" * 5000, "..\\..\\x", "~/x", "", " ", "%2e%2e/x", "a/b",
]  # fmt: skip


def test_an_artifact_stays_in_the_store(tmp_path):
    store = Store(tmp_path / "a" / "store")
    for name in ESCAPES:
        for kind, key in ((name, "key"), ("kind", name)):
            with pytest.raises(ArtifactError, match="artifact name"):
                store.path(kind, key)
        with pytest.raises(ArtifactError, match="artifact name"):
            store.get(name, {"a": 1}, lambda folder: {})
    assert not (tmp_path / "a").exists()


def test_a_topic_is_a_plain_name(tmp_path):
    ask = {"profile": "tiny", "prompt": "Why?", "topic": "crime", "donor_topic": "crime"}
    for name in ESCAPES:
        for given in ({"topics": ["crime", name]}, {"ablation_topics": [name]}, {"baseline_topics": [name]}):
            with pytest.raises(ParameterError, match=r"topics'"):
                Params.from_profile("tiny", **given)
        for field in ("topic", "donor_topic"):
            with pytest.raises(ParameterError, match=field):
                Session().missing(Request.of(**(ask | {field: name})))
        row = {"topic": name, "prompt": "Why?", "left": "Yes", "right": "No"}
        (tmp_path / "set.json").write_text(json.dumps([row]))
        try:
            (topic,) = load_data(str(tmp_path / "set.json")).topics
        except DataError as error:
            assert "row 1, column 'topic'" in str(error)
        else:
            assert re.fullmatch(r"\w[\w-]{0,59}", topic)


def test_names_of_data_and_their_commits(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("POLINB_CACHE", str(tmp_path / "cache"))
    for load in (load_data, load_statements):
        for name in ("a\0b", "x" * 5000, "a" * 300 + ".csv", "\ud800.csv"):
            with pytest.raises(DataError) as error:
                load(name)
            assert len(str(error.value)) < 1000
    for name in (*filter(None, ESCAPES), "main", "dd078cb", "g" * 40):
        with pytest.raises(PolinbError):
            load_data("ideoinst", revision=name)
    for text in ("../x=1", "a\0=1", "a;b=1", "$(id)=1", "-x=1"):
        with pytest.raises(ParameterError, match=re.escape("name=value")):
            parse_settings([text])
    assert not (tmp_path / "cache").exists()


def test_a_link_in_a_data_folder_leads_nowhere_else(tmp_path):
    for name in REGISTRY:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True)
        topic, leaning, _ = name.split("/")
        path.write_text(json.dumps([{"instruction": f"Why {topic}?", "output": f"So {leaning}.", "label": "neutral"}]))
    assert len(load_data(str(tmp_path / "set")).pairs) == 6
    path.rename(tmp_path / "outside.json")
    path.symlink_to(tmp_path / "outside.json")
    with pytest.raises(DataError, match="leads outside the data folder"):
        load_data(str(tmp_path / "set"))
