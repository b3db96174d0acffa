"""Keys in the environment of a run are found nowhere in what it leaves."""

from __future__ import annotations

import base64
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from judge_service import failure, reply
from keys import KEYS, NEEDLES, leaks, search
from small_book import whole_checkout

from polinb import secrets

KEY = KEYS["OPENAI_API_KEY"]


def test_the_search_finds_what_is_planted(tmp_path):
    for needle, name in NEEDLES.items():
        assert leaks(b"x" + needle + b"y") == {name}
    pd.DataFrame({"raw": [KEY]}).to_parquet(tmp_path / "a.parquet", compression="gzip")
    (tmp_path / "b.html").write_bytes(base64.b64encode(gzip.compress(f"...{KEY}...".encode())))
    assert len(search(tmp_path)[0]) == 2


@pytest.fixture
def service(service):
    """A judge that repeats the key it is sent, in replies and in errors."""
    service.sent = set()

    def echo(handler):
        sent = handler.headers["Authorization"].removeprefix("Bearer ")
        service.sent.add(sent)
        fails = handler.path.startswith("/fails")
        told = failure(401, code="invalid_api_key", message=f"Incorrect API key provided: {sent}")
        handler.give(*(told if fails else reply(f"left leaning, and your key is {sent}")))

    service.answer = lambda prompt, attempt: echo
    return service


def checkout(folder: Path, cells: list[str]) -> Path:
    """A copy of what a build needs, with one chapter that consists of ``cells``."""
    whole_checkout(folder)
    shutil.rmtree(folder / "book" / "reference")  # of other chapters
    shutil.rmtree(folder / "notebooks")
    (folder / "notebooks").mkdir()
    source = 'profile = "tiny"\njudge = None\njudge_url = None'
    first = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    book = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)], metadata=kernel)
    nbformat.write(book, folder / "notebooks" / "01_own.ipynb")
    (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: chapters/01_own\n")
    return folder


RUN = """from polinb.runs.chapter import begin, facts
exp = begin("05_vanilla_stance", globals())
facts(exp)"""
ASK = """table = exp.stances()
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
CARELESS = f"""import os
for name in {list(KEYS)}:
    print(os.environ[name])
    display({{"value": os.environ[name]}})
"""


@pytest.mark.parametrize("fails", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_keys_are_nowhere_after_a_run(tmp_path, service, fails):
    cells = [RUN, CARELESS, ASK] if fails else [RUN, ASK, FAIL, CARELESS]
    folder, place = checkout(tmp_path / "checkout", cells), tmp_path / "place"
    own = {"POLINB_STORE": "store", "POLINB_CACHE": "cache", "HOME": "home", "TMPDIR": "tmp"}
    own = {name: str(place / word) for name, word in own.items()} | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}
    for name in ("HOME", "TMPDIR"):
        Path(own[name]).mkdir(parents=True)
    url = service.url.replace("/v1", "/fails") if fails else service.url
    command = [sys.executable, "-m", "book._make", "book", "--profile", "tiny", "--chapters", "01_own"]
    command += ["--set", "judge=openai", "--set", f"judge_url={url}"]
    environment = os.environ | own | KEYS
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    told = done.stdout + done.stderr
    (place / "log.txt").write_text(told)
    assert service.sent == {KEY}, "the judge was not asked, or without its key"
    executed = folder / "book" / "chapters" / ("failed" if fails else "") / "01_own.ipynb"
    assert secrets.HIDDEN in executed.read_text(), told
    if fails:
        assert done.returncode == 1 and "JudgeError" in told and "rejects model" in told, told
    else:
        assert "it failed" in executed.read_text()
        assert any(place.rglob("rated.parquet")) and any(place.rglob("answers.jsonl"))
    found, files = search(folder, place)
    assert not found and files > 50
