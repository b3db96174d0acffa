"""IdeoINST: the reader of its folder, and the download from a local server that also cuts, corrupts and refuses."""

import hashlib
import json
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from polinb.data import ideoinst
from polinb.data.ideoinst import REGISTRY, REVISION, fetch, names_side
from polinb.data.loading import SPLITS, load_data
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
    for label, side in ((" Right leaning ", "right"), ("Left-leaning.", "left")):
        assert [names_side(label, each) for each in ("left", "right")] == [side == "left", side == "right"]
    rubbish = ("Neutral", "1. Left leaning\n2. Left leaning", "Right now, the only way", "", None)
    assert not any(names_side(label, side) for label in rubbish for side in ("left", "right"))


def test_a_damaged_folder_is_named(folder, tmp_path):
    rows, path = side(SCIENCE), folder / SCIENCE
    for wrong, message in [
        ([rows[0], rows[2], rows[1]], r"row 2, column 'instruction': expected the same prompt in both"),
        (rows[:2], "row 3, column 'instruction': .*found 'What of science 2\\?' and None"),
        ([{**rows[0], "output": "a LEFT view 0."}, *rows[1:]], "row 1, column 'right': .*differ"),
        ([row | {"output": ""} for row in rows], "row 1, column 'right': .*empty"),
    ]:
        path.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=f"IdeoINST/science, {message}"):
            load_data(str(folder))
    (tmp_path / "outside.json").write_bytes(FILES[SCIENCE])
    for damage, message in (
        (lambda: path.write_bytes(FILES[SCIENCE][:-40]), r"_eval\.json: cannot be read .* line \d+ .*truncated"),
        (path.unlink, r"science_right_eval\.json: no such file"),
        (lambda: path.symlink_to(tmp_path / "outside.json"), "leads outside the data folder"),
    ):
        damage()
        with pytest.raises(DataError, match=message):
            load_data(str(folder))


@pytest.mark.network
def test_the_real_rows():
    data = load_data("ideoinst", label_filter="agree")
    assert data.source["dropped"]["prompts_in_two_topics"] == 12
    for topic in TOPICS:
        sizes = {split: len(data.topic(topic, split)) for split in SPLITS}
        assert sum(sizes.values()) > 850 and sizes["evaluate"] > 200
        share = len(data.topic(topic, leaning="right")) / len(data.topic(topic))
        low, high = (0.3, 0.6) if topic in {"gender", "race", "science"} else (0.85, 0.9)
        assert low < share < high  # the shares that a judge found, stated in the project's method notes


# --- the download


@pytest.fixture
def repository(folder, monkeypatch, tmp_path):
    """A stand-in for GitHub that serves the made folder; what is asked of it."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    sums = {path: f"sha256:{hashlib.sha256(content).hexdigest()}" for path, content in FILES.items()}
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setattr(ideoinst, "REGISTRY", sums)
        monkeypatch.setattr(ideoinst, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # pooch waits between its attempts
        monkeypatch.setenv("POLINB_CACHE", str(tmp_path))
        yield asked
        server.shutdown()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"[]"), Path.unlink], ids=["changed", "missing"])
def test_a_fault_leaves_no_half_file_and_the_next_try_resumes(repository, folder, tmp_path, damage):
    damage(folder / RACE)
    with pytest.raises(DataError, match=rf"{RACE}: cannot be downloaded .*give its path as the data"):
        fetch()
    cached = tmp_path / f"ideoinst-{REVISION[:12]}" / ideoinst.DATA_FOLDER
    assert files(cached).items() < FILES.items(), "whole files only"
    (folder / RACE).write_bytes(FILES[RACE])
    before = len(repository)
    assert files(fetch()) == FILES and 0 < len(repository) - before < 12


def test_downloaded_once_then_verified_and_a_changed_copy_is_replaced_or_refused(repository, monkeypatch):
    data = load_data("ideoinst", revision=REVISION)
    assert len(data.pairs) == 18 and data.source["revision"] == REVISION and len(data.source["sha256"]) == 12
    assert data.pairs == load_data(str(fetch())).pairs and len(repository) == 12  # one reader for both
    changed = fetch() / RACE
    changed.write_bytes(b"[]")
    assert files(fetch()) == FILES and repository[12:] == [f"/{RACE}"]  # this file alone
    for revision in ("main", "dd078cb", "../../x", REVISION.upper()):
        with pytest.raises(ParameterError, match="download the folder and give the path"):
            load_data("ideoinst", revision=revision)
    assert len(repository) == 13, "other revisions have no known checksums"
    changed.write_bytes(b"[]")
    monkeypatch.setattr(ideoinst, "BASE_URL", "http://127.0.0.1:1/")
    with pytest.raises(DataError, match=r"race_right_eval\.json: cannot be downloaded .*give its path"):
        load_data("ideoinst")
