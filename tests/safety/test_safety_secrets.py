"""Keys are refused as parameters, hidden where text is shown, and found nowhere in what a run leaves."""

import base64
import gzip
import json
import re
from contextlib import nullcontext

import pandas as pd
import pytest
from judge_service import failure, reply
from nbformat.v4 import new_code_cell
from small_book import checkout, notebook

from book._make import build
from polinb import secrets
from polinb.errors import BookError, ParameterError
from polinb.lab.serve import environment
from polinb.runs.checkout import Layout, parse_settings
from polinb.runs.params import Params, from_namespace

# quotes are written otherwise in JSON
KEYS = {
    "OPENAI_API_KEY": "sk-planted+judge/0123456789<abc>&",
    "HF_TOKEN": "hf_PlantedHubTokenAbCdEfGhIjKlMn",
    "NDIF_API_KEY": "planted-ndif/key+0123456789==",
    "MY_SERVICE_PASSWORD": 'planted "pass" word/0123+456789',
}
KEY = KEYS["OPENAI_API_KEY"]
NEEDLES = {form.encode(): name for name, value in KEYS.items() for form in (value, json.dumps(value)[1:-1])}
SHAPES = (
    "sk-proj-" + "a1B2" * 8, "hf_" + "AbCdEfGhIj" * 3, "ghp_" + "a1B2c3D4" * 4, "github_pat_" + "a1B2c3D4" * 4,
    "glpat-" + "a1B2c3D4" * 3, "AKIA" + "ABCDEFGH12345678", "AIza" + "SyA1-b2_" * 5, "xoxb-" + "1234567890-abc",
    "eyJhbGciOiJI." + "eyJzdWIiOiIx." + "SflKxwRJSMeK", "-----BEGIN RSA PRIVATE KEY-----",
    "https://user:hunter2@example.org/v1", "https://a1b2c3d4@example.org/v1",
    "https://example.org/v1?api_key=a1b2c3d4",
)  # fmt: skip


def leaks(content):
    """Names of the keys in a file's content, also inside the packed data of pages."""
    found = {name for needle, name in NEEDLES.items() if needle in content}
    for packed in re.findall(rb"H4sI[A-Za-z0-9+/]{20,}={0,2}", content):
        try:
            found |= leaks(gzip.decompress(base64.b64decode(packed)))
        except (OSError, ValueError, EOFError):
            continue
    return found


def contents(*roots):
    """File → its content; of tables also the text."""
    found = {path: path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()}
    tables = (path for path in found if path.suffix == ".parquet")
    return found | {path: found[path] + pd.read_parquet(path).to_csv().encode() for path in tables}


def test_the_search_finds_what_is_planted(tmp_path):
    for needle, name in NEEDLES.items():
        assert leaks(b"x" + needle + b"y") == {name}
    pd.DataFrame({"raw": [KEY]}).to_parquet(tmp_path / "a.parquet", compression="gzip")
    (tmp_path / "b.html").write_bytes(base64.b64encode(gzip.compress(f"...{KEY}...".encode())))
    assert [leaks(content) for content in contents(tmp_path).values()] == [{"OPENAI_API_KEY"}] * 2


def test_what_looks_like_a_key_or_is_named_like_one_is_refused_by_every_way_in_and_not_repeated():
    named = [(name, "correct horse") for name in ("openai_api_key", "HF_TOKEN", "db_password", "client_secret", "key")]
    shaped = [("judge_url", shape) for shape in SHAPES] + [(n, SHAPES[0]) for n in ("profile", "gamma", "unknown")]
    for name, value in named + shaped:
        with pytest.raises(ParameterError, match="no secret") as error:
            Params.from_profile(value) if name == "profile" else Params.from_profile("tiny", **{name: value})
        assert value not in str(error.value) + repr(error.value) + repr(error.value.given)
        with pytest.raises(ParameterError, match=r"no secret|'profile'"):
            from_namespace("14_caft", {"profile": "tiny", name: value})
        if (name, value) in shaped:
            with pytest.raises(ParameterError) as error:
                parse_settings([f"{name}={value}"])
            assert value not in str(error.value)
    with pytest.raises(ParameterError, match="no secret"):
        Params.from_profile("tiny", statements=[SHAPES[0]])


def test_the_value_of_a_variable_that_holds_a_key_is_refused_and_ordinary_words_are_taken(monkeypatch):
    monkeypatch.setenv("NDIF_API_KEY", "an ordinary looking text 7")
    with pytest.raises(ParameterError, match="no secret"):
        Params.from_profile("tiny", statement_prefix="say: an ordinary looking text 7.")
    monkeypatch.delenv("NDIF_API_KEY")
    for dummy in ("anything", "EMPTY", "not-needed", "sk-no-key-required", "x1"):
        monkeypatch.setenv("OPENAI_API_KEY", dummy)
        text = f"They say {dummy}, whatever {dummy} means."
        assert secrets.hide(text) == text
        assert Params.from_profile("tiny", statement_prefix=text).statement_prefix == text
    for given in (
        {"data": "task-risk-asking-people-what-they-think.csv"},
        {"max_tokens": 64},
        {"judge_url": "http://localhost:1/v1"},
        {"statement_prefix": "The key to it is a token of password hygiene: sk-ip the rest. Ask a@b.org, 12:30."},
        {"statement_prefix": "an ordinary looking text 7"},
        {"model": "org/sk-model"},
    ):
        assert Params.from_profile("tiny", **given).profile == "tiny"


def test_papermill_and_the_lab_never_see_a_key(tmp_path):
    for start in (
        lambda settings: build.make_book("tiny", settings, ["all"], Layout(tmp_path)),
        lambda settings: environment("tiny", settings),
    ):
        with pytest.raises(ParameterError):
            start({"judge_url": SHAPES[-1]})
    assert not list(tmp_path.iterdir()), "something was written"


def test_hiding(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for needle in NEEDLES:
        for forms in (True, False):
            shown = secrets.hide(f"before {needle.decode()} after", forms=forms)
            assert not leaks(shown.encode()) and shown.startswith("before ") and shown.endswith(" after")
    assert secrets.hide("nothing to hide: max_tokens=5") == "nothing to hide: max_tokens=5"
    assert secrets.hide("https://user:pass@host/x?token=abc&y=1") == "https://[secret]@host/x?token=[secret]&y=1"
    monkeypatch.setenv("SSL_KEY", "/etc/ssl/private/key.pem")  # says where a key lies
    assert secrets.hide("/etc/ssl/private/key.pem") == "/etc/ssl/private/key.pem"


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
    print("it", "failed")"""
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
    refused = pytest.raises(BookError, match=r"(?s)JudgeError.*rejects model") if fails else nullcontext()
    with refused as error:
        build.run_chapter(layout, "01_own", {"profile": "tiny", "judge": "openai", "judge_url": url})
    (place / "log.txt").write_text("".join([str(error and error.value), *capfd.readouterr()]))
    assert service.sent == {KEY}, "the judge was not asked, or without its key"
    executed = ((layout.failed if fails else layout.chapters) / "01_own.ipynb").read_text()
    assert secrets.HIDDEN in executed
    if not fails:
        assert "it failed" in executed
        assert any(place.rglob("rated.parquet")) and any(place.rglob("answers.jsonl"))
    found = contents(folder, place)
    assert not {path: leaks(content) for path, content in found.items() if leaks(content)} and len(found) > 20
