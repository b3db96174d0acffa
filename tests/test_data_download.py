"""The download of IdeoINST at a pinned commit, from a local server that also cuts, corrupts and refuses."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_data_ideoinst import content

from polinb.data import ideoinst
from polinb.data.ideoinst import DATA_FOLDER, REPOSITORY, REVISION, file_path
from polinb.data.loading import load_data
from polinb.data.rows import LEANINGS, TOPICS
from polinb.errors import DataError, ParameterError


class Repository:
    """A stand-in for GitHub with faults to order: ``faults[path]`` is a list of faults, one a request."""

    def __init__(self) -> None:
        self.files = {file_path(t, s): content(t, s) for t in TOPICS for s in LEANINGS}
        self.faults: dict[str, list[str]] = {}
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        queue = next((q for part, q in self.faults.items() if part in handler.path), [])
        fault = queue.pop(0) if queue else ""
        body = self.files.get(handler.path.removeprefix(f"/{REPOSITORY}/{REVISION}/{DATA_FOLDER}/"))
        status = int(fault) if fault.isdigit() else 200 if body is not None else 404
        body = b"" if body is None or status != 200 else body
        if fault == "corrupt":
            body = body.replace(b"view", b"VIEW")
        handler.send_response(status)
        if fault != "cut without length":
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if fault.startswith(("truncate", "cut")) else body)
        handler.close_connection = True


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    stand_in = Repository()
    sums = {Path(p).name.removesuffix("_eval.json"): hashlib.sha256(c).hexdigest() for p, c in stand_in.files.items()}
    assert set(sums) == set(ideoinst.SHA256)
    monkeypatch.setattr(ideoinst, "SHA256", sums)
    monkeypatch.setattr(ideoinst, "WAITS", (0.0,))
    yield stand_in
    stand_in.server.shutdown()
    stand_in.server.server_close()


def fetch(repository: Repository, cache: Path, revision: str | None = None) -> Path:
    return ideoinst.fetch(revision, cache, repository.base)[0]


def test_download_once_then_verify_offline(repository: Repository, tmp_path: Path) -> None:
    folder, source = ideoinst.fetch(REVISION, tmp_path, repository.base)
    assert len(repository.requests) == 12
    assert source["revision"] == REVISION and len(source["sha256"]) == 12
    for path, body in repository.files.items():
        assert source["sha256"][f"{DATA_FOLDER}/{path}"] == hashlib.sha256(body).hexdigest()
        assert (folder / path).read_bytes() == body
    data = load_data("ideoinst", cache_dir=tmp_path)  # the cache is full: GitHub itself is not asked
    assert len(data.pairs) == 18 and data.source["revision"] == REVISION
    assert data.pairs == load_data(str(folder)).pairs  # one reader for both
    assert len(repository.requests) == 12
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize("fault", ["truncate", "cut without length", "corrupt", "503", "429"])
def test_a_passing_fault_is_tried_again(repository: Repository, tmp_path: Path, fault: str) -> None:
    repository.faults = {"race_right": [fault]}
    folder = fetch(repository, tmp_path)
    assert (folder / file_path("race", "right")).read_bytes() == content("race", "right")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("truncate", "truncated download"),
        ("cut without length", "wrong checksum"),
        ("corrupt", "wrong checksum: expected SHA-256"),
        ("404", "answered 404"),
        ("500", "answered 500"),
        ("302", "answered 302"),
    ],
)
def test_a_lasting_fault_is_a_clear_error_and_leaves_no_half_file(
    repository: Repository, tmp_path: Path, fault: str, message: str
) -> None:
    repository.faults = {"race_right": [fault] * 2}
    with pytest.raises(DataError, match=rf"race_right_eval\.json: .*{message}.*give its path as the data"):
        fetch(repository, tmp_path)
    asked = sum("race_right" in path for path in repository.requests)
    assert asked == (1 if fault in {"404", "302"} else 2)  # a refusal does not pass by itself
    assert not list(tmp_path.rglob("race_right*")) and not list(tmp_path.rglob(".part-*"))
    asked = len(repository.requests)
    repository.faults = {}
    assert len(load_data(str(fetch(repository, tmp_path))).pairs) == 18  # the next try resumes
    assert 0 < len(repository.requests) - asked < 12


@pytest.mark.parametrize("revision", ["main", "dd078cb", "../../x", REVISION.upper(), "0" * 40])
def test_another_revision_has_no_known_checksums(revision: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="download its folder and give the path"):
        load_data("ideoinst", revision=revision, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ideoinst, "WAITS", ())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(DataError, match=r"cannot be reached.*give its path as the data"):
        ideoinst.fetch(None, tmp_path, base)


def test_a_changed_cache_is_named_set_aside_and_mended(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fetch(repository, tmp_path)
    target = folder / file_path("crime", "left")
    good = target.read_bytes()
    for number, bad in enumerate((good[:-1], good.replace(b"view", b"VIEW"), b""), 1):
        target.write_bytes(bad)
        asked = len(repository.requests)
        fetch(repository, tmp_path)
        told = capsys.readouterr().err
        assert "crime_and_gun_left_eval.json: wrong checksum" in told and "set aside as" in told
        assert target.read_bytes() == good
        aside = sorted(target.parent.glob("*.damaged-*"), key=lambda path: path.name)
        assert len(aside) == number and aside[-1].read_bytes() == bad
        assert len(repository.requests) == asked + 1  # this file alone


def test_a_changed_cache_without_network_is_refused(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fetch(repository, tmp_path) / file_path("crime", "left")).write_bytes(b"[]")
    repository.faults = {"crime": ["503"] * 9}
    for _ in range(2):  # and again, once it has been set aside
        with pytest.raises(DataError, match=r"crime_and_gun_left_eval\.json: the server answered 503.*give its path"):
            fetch(repository, tmp_path)
    assert capsys.readouterr().err.count("wrong checksum") == 1
    repository.faults = {}
    assert len(load_data(str(fetch(repository, tmp_path))).pairs) == 18


def test_a_full_disk(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="the disk is full"):
        fetch(repository, tmp_path)
    assert not list(tmp_path.rglob("*.json")) and not list(tmp_path.rglob(".part-*"))
