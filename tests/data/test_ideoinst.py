"""IdeoINST: the reader of its folder, and the download from a place that also corrupts and refuses."""

import hashlib
import json
import shutil
import time
from pathlib import Path

import pytest

from polinb.data import ideoinst
from polinb.data.ideoinst import REGISTRY, REVISION, fetch, names_side
from polinb.data.loading import load_data
from polinb.data.rows import TOPICS, topic_of
from polinb.errors import DataError, ParameterError

LABELS = {
    "left": ["left leaning", "Left leaning", "Neutral", "left leaning"],
    "right": ["Right leaning", "neutral", "rubbish\nhere", "Right leaning"],
}
RACE, SCIENCE = "race/right/race_right_eval.json", "science/right/science_right_eval.json"


def side(path):
    name, leaning, _ = path.split("/")
    asked = [f"What of {name} {n}?" for n in range(3)] + ["In both?"] * (topic_of(name) in {"race", "crime"})
    return [
        {"instruction": prompt, "input": "", "output": f"A {leaning} view {n}.", "label": label}
        for n, (prompt, label) in enumerate(zip(asked, LABELS[leaning], strict=False))
    ]


FILES = {path: json.dumps(side(path), indent=1).encode() for path in REGISTRY}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "IdeoINST" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "IdeoINST"


def test_a_made_folder(folder):
    data = load_data(str(folder), label_filter="agree")
    assert data.topics == TOPICS and len(data.pairs) == 18
    assert data.source["dropped"]["prompts_in_two_topics"] == 1
    assert {len(data.topic(topic)) for topic in TOPICS} == {3}
    assert {len(data.topic(topic, leaning="left")) for topic in TOPICS} == {2}
    assert [pair.right for pair in data.topic("gender", leaning="right")] == ["A right view 0."]
    assert load_data(str(folder.parent)).pairs == data.pairs  # the folder above, as in a clone
    for label, way in (
        (" Right leaning ", "right"),
        ("Left-leaning.", "left"),
        ("Right now, the only way", ""),
        ("", ""),
    ):
        assert [each for each in ("left", "right") if names_side(label, each)] == [way] * bool(way)


def test_a_damaged_folder_is_named(folder, tmp_path):
    rows, path = side(SCIENCE), folder / SCIENCE
    (tmp_path / "outside.json").write_bytes(FILES[SCIENCE])
    for content, message in [
        (
            [rows[0], rows[2], rows[1]],
            r"IdeoINST/science, row 2, column 'instruction': expected the same prompt in both",
        ),
        (rows[:2], "row 3, column 'instruction': .*found 'What of science 2\\?' and None"),
        ([{**rows[0], "output": "a LEFT view 0."}, *rows[1:]], "row 1, column 'right': .*differ"),
        (None, "leads outside the data folder"),
    ]:
        path.unlink()
        path.write_text(json.dumps(content)) if content else path.symlink_to(tmp_path / "outside.json")
        with pytest.raises(DataError, match=message):
            load_data(str(folder))


@pytest.fixture
def asked(folder, monkeypatch, tmp_path):
    """GitHub serves the made folder; what is asked of it."""
    paths = []

    def get(url, target, _):
        paths.append(url.removeprefix(ideoinst.BASE_URL))
        shutil.copy(folder / paths[-1], target)

    sums = {path: f"sha256:{hashlib.sha256(content).hexdigest()}" for path, content in FILES.items()}
    monkeypatch.setattr(ideoinst, "REGISTRY", sums)
    monkeypatch.setattr("pooch.core.choose_downloader", lambda url, **_: get)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # pooch waits between its attempts
    monkeypatch.setenv("POLINB_CACHE", str(tmp_path))
    return paths


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"[]"), Path.unlink], ids=["changed", "missing"])
def test_a_fault_leaves_no_half_file_and_the_next_try_resumes(asked, folder, tmp_path, damage):
    damage(folder / RACE)
    with pytest.raises(DataError, match=rf"{RACE}: cannot be downloaded .*give its path as the data"):
        fetch()
    cached = tmp_path / f"ideoinst-{REVISION[:12]}" / ideoinst.DATA_FOLDER
    assert files(cached).items() < FILES.items(), "whole files only"
    (folder / RACE).write_bytes(FILES[RACE])
    before = len(asked)
    assert files(fetch()) == FILES and 0 < len(asked) - before < 12


def test_downloaded_once_then_verified_and_a_changed_copy_is_replaced(asked):
    data = load_data("ideoinst", revision=REVISION)
    assert len(data.pairs) == 18 and data.source["revision"] == REVISION and len(data.source["sha256"]) == 12
    assert data.pairs == load_data(str(fetch())).pairs and len(asked) == 12  # one reader for both
    (fetch() / RACE).write_bytes(b"[]")
    assert files(fetch()) == FILES and asked[12:] == [RACE]  # this file alone
    for revision in ("main", REVISION.upper()):  # other revisions have no known checksums
        with pytest.raises(ParameterError, match="download the folder and give the path"):
            load_data("ideoinst", revision=revision)
