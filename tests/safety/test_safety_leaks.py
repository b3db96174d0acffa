"""Keys in the environment of a run are found nowhere in what it leaves."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import nbformat
import pandas as pd
import pytest
from keys import KEYS, NEEDLES, search

from polinb import secrets

REPO = Path(__file__).resolve().parents[2]


def test_the_search_finds_what_is_planted(tmp_path):
    for number, (needle, name) in enumerate(NEEDLES.items()):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(b"x" * number + needle + b"y")
        assert search(tmp_path)[0] == {str(path): {name}}
        path.unlink()
    value = KEYS["HF_TOKEN"]
    pd.DataFrame({"raw": [value]}).to_parquet(tmp_path / "a.parquet", compression="gzip")
    (tmp_path / "b.html").write_bytes(base64.b64encode(gzip.compress(f"...{value}...".encode())))
    assert len(search(tmp_path)[0]) == 2


class Echo(BaseHTTPRequestHandler):
    """A judge that repeats the key it is sent, in replies and in errors; by the path it answers or fails."""

    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.seen.append(key)
        fails = self.path.startswith("/fails")
        told = {"error": {"code": "invalid_api_key", "message": f"Incorrect API key provided: {key}"}}
        message = {"role": "assistant", "content": f"left leaning, and your key is {key}"}
        reply = {"model": f"m {key}", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        body = json.dumps(told if fails else reply).encode()
        self.send_response(401 if fails else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    Echo.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def checkout(folder: Path, cells: list[str]) -> Path:
    """A copy of what a build needs, with one chapter that consists of ``cells``."""
    shutil.copytree(REPO / "book", folder / "book", ignore=shutil.ignore_patterns("chapters", "vendor"))
    shutil.copytree(REPO / "polinb", folder / "polinb", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "_config.yml", folder)
    shutil.rmtree(folder / "book" / "reference")  # of other chapters
    (folder / "notebooks").mkdir()
    first = nbformat.v4.new_code_cell(
        'profile = "tiny"\njudge = None\njudge_url = None', metadata={"tags": ["parameters"]}
    )
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    book = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)], metadata=kernel)
    nbformat.write(book, folder / "notebooks" / "01_own.ipynb")
    (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: chapters/01_own\n")
    return folder


def build(folder: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {
        "POLINB_STORE": str(place / "store"),
        "POLINB_CACHE": str(place / "cache"),
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        "PYTHONPATH": str(folder),
        "HF_HUB_OFFLINE": "1",
    }
    for name in ("home", "tmp"):
        (place / name).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "book._make", "book", "--profile", "tiny", "--set", "judge=openai", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | own | KEYS, capture_output=True, text=True, check=False, timeout=600
    )
    (place / "log.txt").write_text(done.stdout + done.stderr)
    return done


RUN = """from polinb.runs.chapter import begin, facts
exp = begin("05_vanilla_stance", globals())
facts(exp)"""
ASK = """import os, sys
table = exp.stances()
display(table, exp.judge, exp.params, vars(exp.judge))
print(table.to_csv())"""
FAIL = """import traceback
from polinb.errors import JudgeError
from polinb.stance.chat_judge import OpenAIJudge
try:
    OpenAIJudge(base_url=judge_url.replace("/v1", "/fails")).rate(exp.answers().frame("answers"))
except JudgeError:
    traceback.print_exc()
    print("it failed")"""
# a chapter must never do this; the book is the last to notice
CARELESS = """import os
for name in ("OPENAI_API_KEY", "HF_TOKEN", "NDIF_API_KEY", "MY_SERVICE_PASSWORD"):
    value = os.environ[name]
    print(value)
    display({"value": value})
"""


def test_keys_are_nowhere_after_a_run(tmp_path, service):
    folder, place = checkout(tmp_path / "checkout", [RUN, ASK, FAIL, CARELESS]), tmp_path / "place"
    done = build(folder, place, "--set", f"judge_url={service}/v1", "--chapters", "01_own")
    executed = folder / "book" / "chapters" / "01_own.ipynb"
    assert executed.is_file(), done.stdout + done.stderr  # the pages may lack other chapters' labels
    assert set(Echo.seen) == {KEYS["OPENAI_API_KEY"]}, "the judge was not asked, or without its key"
    assert secrets.HIDDEN in executed.read_text() and "it failed" in executed.read_text()
    found, files = search(folder, place)
    assert not found and files > 50
    assert any(place.rglob("rated.parquet")) and any(place.rglob("answers.jsonl"))


@pytest.mark.slow
def test_keys_are_nowhere_after_a_run_that_fails(tmp_path, service):
    folder, place = checkout(tmp_path / "checkout", [RUN, CARELESS, ASK]), tmp_path / "place"
    done = build(folder, place, "--set", f"judge_url={service}/fails", "--chapters", "01_own")
    told = done.stdout + done.stderr
    assert done.returncode == 1 and "JudgeError" in told and "rejects model" in told, told
    assert (folder / "book" / "chapters" / "failed" / "01_own.ipynb").is_file() and Echo.seen
    found, files = search(folder, place)
    assert not found and files > 50
