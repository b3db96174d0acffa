"""IdeoINST: the reader of its folder, and the download from a local server that also cuts, corrupts and refuses."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from polinb.data import ideoinst
from polinb.data.ideoinst import REVISION, fetch, file_path, parse_label
from polinb.data.loading import load_data
from polinb.data.pairs import SPLITS
from polinb.data.rows import LEANINGS, TOPICS
from polinb.errors import DataError, ParameterError

REAL = Path(os.environ.get("POLINB_IDEOINST", "no such folder"))
LABELS = {
    "left": ["left leaning", "Left leaning", "Neutral", "left leaning"],
    "right": ["Right leaning", "neutral", "rubbish\nhere", "Right leaning"],
}
RACE = "race_right_eval.json"


def side(topic: str, leaning: str) -> list[dict[str, str]]:
    asked = [f"What of {topic} {n}?" for n in range(3)] + ["In both?"] * (topic in {"race", "crime"})
    return [
        {"instruction": prompt, "input": "", "output": f"A {leaning} view {n}.", "label": LABELS[leaning][n]}
        for n, prompt in enumerate(asked)
    ]


FILES = {file_path(t, s): json.dumps(side(t, s), indent=1).encode() for t in TOPICS for s in LEANINGS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "IdeoINST" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "IdeoINST"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("left leaning", "left"), (" Right leaning ", "right"), ("Left-leaning.", "left"), ("Neutral", "neutral"),
        ("1. Left leaning\n2. Left leaning", None), ("Right now, the only way", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_labels(text: object, label: str | None) -> None:
    assert parse_label(text) == label


def test_a_made_folder(folder: Path) -> None:
    data = load_data(str(folder), label_filter="agree")
    assert data.topics == TOPICS and len(data.pairs) == 18
    assert data.source["dropped"]["prompts_in_two_topics"] == 1
    assert data.source["labels"]["science/right"] == {"neutral": 1, "right": 1, "unlabelled": 1}
    assert {len(data.topic(topic)) for topic in TOPICS} == {3}
    assert {len(data.topic(topic, leaning="left")) for topic in TOPICS} == {2}
    assert [pair.right for pair in data.topic("gender", leaning="right")] == ["A right view 0."]
    assert load_data(str(folder.parent)).pairs == data.pairs  # the folder above, as in a clone


@pytest.mark.parametrize(
    ("leaning", "change", "message"),
    [
        ("right", lambda rows: [rows[0], rows[2], rows[1]], r"right_eval\.json, row 2, column 'instruction'"),
        ("right", lambda rows: rows[:2], "row 3: the left file has 3 rows, this one 2"),
        (
            "right",
            lambda rows: [{**rows[0], "output": "a LEFT view 0."}, *rows[1:]],
            "row 1, column .output.: .*differ",
        ),
        ("left", lambda rows: [row | {"output": ""} for row in rows], "row 1, column 'output': .*empty"),
    ],
)
def test_a_side_that_does_not_fit_is_named(folder: Path, leaning: str, change, message: str) -> None:
    (folder / file_path("science", leaning)).write_text(json.dumps(change(side("science", leaning))))
    with pytest.raises(DataError, match=f"science_{leaning}_eval.*{message}" if leaning == "left" else message):
        load_data(str(folder))


def test_a_damaged_folder_is_named(folder: Path, tmp_path: Path) -> None:
    path = folder / file_path("science", "left")
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    with pytest.raises(DataError, match=r"science_left_eval\.json: line \d+: not valid JSON"):
        load_data(str(folder))
    path.unlink()
    with pytest.raises(DataError, match=r"science_left_eval\.json: no such file"):
        load_data(str(folder))
    (tmp_path / "outside.json").write_bytes(content)
    path.symlink_to(tmp_path / "outside.json")
    with pytest.raises(DataError, match="leads outside the data folder"):
        load_data(str(folder))


@pytest.mark.skipif(not REAL.is_dir(), reason="POLINB_IDEOINST names no folder with the real rows")
def test_the_real_rows() -> None:
    data = load_data(str(REAL), label_filter="agree")
    assert data.source["dropped"]["prompts_in_two_topics"] == 12
    for topic in TOPICS:
        sizes = {split: len(data.topic(topic, split)) for split in SPLITS}
        assert sum(sizes.values()) > 850 and sizes["evaluate"] > 200
        share = len(data.topic(topic, leaning="right")) / len(data.topic(topic))
        low, high = (0.3, 0.6) if topic in {"gender", "race", "science"} else (0.85, 0.9)
        assert low < share < high  # the shares that a judge found, stated in the project's method notes
    assert data.source["labels"]["crime/right"]["unlabelled"] == 2


# --- the download


class Repository(ThreadingHTTPServer):
    """A stand-in for GitHub; ``faults``: one a request for :data:`RACE`."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        fault = self.server.faults.pop(0) if self.path.endswith(RACE) and self.server.faults else ""
        body = FILES[self.path.removeprefix("/")].replace(b"view", b"VIEW" if fault == "corrupt" else b"view")
        self.send_response(int(fault) if fault.isdigit() else 200)
        if fault != "cut without length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault.startswith(("truncate", "cut")) else body)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    assert set(FILES) == set(ideoinst.REGISTRY)
    sums = {path: f"sha256:{hashlib.sha256(content).hexdigest()}" for path, content in FILES.items()}
    with Repository() as stand_in:
        threading.Thread(target=stand_in.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setattr(ideoinst, "REGISTRY", sums)
        monkeypatch.setattr(ideoinst, "BASE_URL", f"http://127.0.0.1:{stand_in.server_port}/")
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield stand_in
        stand_in.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_download_once_then_verify_offline(repository: Repository, tmp_path: Path) -> None:
    folder = fetch(REVISION, tmp_path)
    assert len(repository.requests) == 12 and files(folder) == FILES
    data = load_data("ideoinst", cache_dir=tmp_path)  # the cache is full: nobody is asked
    assert len(data.pairs) == 18 and data.source["revision"] == REVISION and len(data.source["sha256"]) == 12
    assert data.pairs == load_data(str(folder)).pairs  # one reader for both
    assert len(repository.requests) == 12


@pytest.mark.parametrize("fault", ["truncate", "cut without length", "corrupt", "503", "429", "404"])
def test_a_fault_is_tried_again_and_leaves_no_half_file(repository: Repository, tmp_path: Path, fault: str) -> None:
    repository.faults = [fault] * 3
    with pytest.raises(DataError, match=rf"{RACE}: cannot be downloaded .*give its path as the data"):
        fetch(None, tmp_path)
    folder = tmp_path / f"ideoinst-{REVISION[:12]}" / ideoinst.DATA_FOLDER
    assert files(folder).items() < FILES.items(), "whole files only"
    before = len(repository.requests)
    repository.faults = [fault]  # passes by itself
    assert files(fetch(None, tmp_path)) == FILES
    assert 0 < len(repository.requests) - before < 12, "the next try resumes"


def test_a_changed_copy_is_replaced_or_refused(repository: Repository, tmp_path: Path) -> None:
    changed = fetch(None, tmp_path) / file_path("race", "right")
    for bad in (changed.read_bytes()[:-1], b""):
        changed.write_bytes(bad)
        asked = len(repository.requests)
        assert files(fetch(None, tmp_path)) == FILES and len(repository.requests) == asked + 1  # this file alone
    changed.write_bytes(b"[]")
    repository.shutdown()
    repository.server_close()
    with pytest.raises(DataError, match=r"race_right_eval\.json: cannot be downloaded .*give its path"):
        load_data("ideoinst", cache_dir=tmp_path)


@pytest.mark.parametrize("revision", ["main", "dd078cb", "../../x", REVISION.upper()])
def test_another_revision_has_no_known_checksums(revision: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="download its folder and give the path"):
        load_data("ideoinst", revision=revision, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
