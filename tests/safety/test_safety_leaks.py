"""Keys in the environment of a run are found nowhere in what it leaves: its notebook, its store, what it tells."""

from __future__ import annotations

import base64
import gzip
from contextlib import nullcontext

import pandas as pd
import pytest
from judge_service import failure, reply
from keys import KEYS, NEEDLES, leaks, search
from nbformat.v4 import new_code_cell
from small_book import checkout, notebook

from book._make import build
from polinb import secrets
from polinb.errors import BookError

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


PARAMETERS = 'profile = "tiny"\njudge = None\njudge_url = None'
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
def test_keys_are_nowhere_after_a_run(tmp_path, service, monkeypatch, capfd, fails):
    made = notebook(*map(new_code_cell, [RUN, CARELESS, ASK] if fails else [RUN, ASK, FAIL, CARELESS]))
    made.cells[0].source = PARAMETERS
    folder, place = tmp_path / "checkout", tmp_path / "place"
    folder.mkdir()
    layout = checkout(folder, **{"01_own": made})
    for name, word in {"POLINB_STORE": "store", "POLINB_CACHE": "cache", "HOME": "home", "TMPDIR": "tmp"}.items():
        (place / word).mkdir(parents=True)
        monkeypatch.setenv(name, str(place / word))
    for name, value in {**KEYS, "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    url = service.url.replace("/v1", "/fails") if fails else service.url
    told = ""
    with pytest.raises(BookError) if fails else nullcontext() as error:
        build.run_chapter(layout, "01_own", {"profile": "tiny", "judge": "openai", "judge_url": url})
    if fails:
        told = str(error.value)
        assert "JudgeError" in told and "rejects model" in told
    (place / "log.txt").write_text(told + "".join(capfd.readouterr()))
    assert service.sent == {KEY}, "the judge was not asked, or without its key"
    executed = ((layout.failed if fails else layout.chapters) / "01_own.ipynb").read_text()
    assert secrets.HIDDEN in executed
    if not fails:
        assert "it failed" in executed
        assert any(place.rglob("rated.parquet")) and any(place.rglob("answers.jsonl"))
    found, files = search(folder, place)
    assert not found and files > 20
