"""Keys are refused as parameters, hidden where text is shown, and found nowhere in what a run leaves."""

import json
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
NEEDLES = [form.encode() for value in KEYS.values() for form in (value, json.dumps(value)[1:-1])]
SHAPES = (
    "sk-proj-" + "a1B2" * 8, "hf_" + "AbCdEfGhIj" * 3, "ghp_" + "a1B2c3D4" * 4, "github_pat_" + "a1B2c3D4" * 4,
    "glpat-" + "a1B2c3D4" * 3, "AKIA" + "ABCDEFGH12345678", "AIza" + "SyA1-b2_" * 5, "xoxb-" + "1234567890-abc",
    "eyJhbGciOiJI." + "eyJzdWIiOiIx." + "SflKxwRJSMeK", "-----BEGIN RSA PRIVATE KEY-----",
    "https://user:hunter2@example.org/v1", "https://a1b2c3d4@example.org/v1",
    "https://example.org/v1?api_key=a1b2c3d4",
)  # fmt: skip


def leaking(*roots):
    """Files that hold a key, and how many files there are; of tables the text is searched, too."""
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    tables = {path: pd.read_parquet(path).to_csv().encode() for path in files if path.suffix == ".parquet"}
    found = {path: path.read_bytes() + tables.get(path, b"") for path in files}
    return [path for path in files if any(needle in found[path] for needle in NEEDLES)], len(files)


def test_what_looks_like_a_key_or_is_named_like_one_is_refused_by_every_way_in_and_not_repeated(tmp_path):
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
    for start in (
        lambda: Params.from_profile("tiny", statements=[SHAPES[0]]),
        lambda: build.make_book("tiny", {"judge_url": SHAPES[-1]}, ["all"], Layout(tmp_path)),
        lambda: environment("tiny", {"judge_url": SHAPES[-1]}),
    ):
        with pytest.raises(ParameterError, match="no secret"):
            start()
    assert not list(tmp_path.iterdir()), "something was written"


def test_the_value_of_a_variable_that_holds_a_key_is_refused_and_ordinary_words_are_taken(monkeypatch):
    monkeypatch.setenv("NDIF_API_KEY", "an ordinary looking text 7")
    with pytest.raises(ParameterError, match="no secret"):
        Params.from_profile("tiny", statement_prefix="say: an ordinary looking text 7.")
    monkeypatch.delenv("NDIF_API_KEY")
    texts = [
        "The key to it is a token of password hygiene: sk-ip the rest. Ask a@b.org, 12:30.",
        "http://localhost:1/v1",
    ]
    for dummy in ("anything", "EMPTY", "not-needed", "sk-no-key-required", "x1"):
        monkeypatch.setenv("OPENAI_API_KEY", dummy)
        for text in (*texts, f"They say {dummy}, whatever {dummy} means."):
            assert secrets.hide(text) == text
            assert Params.from_profile("tiny", statement_prefix=text).statement_prefix == text
    assert Params.from_profile("tiny", data="task-risk-asking-people-what-they-think.csv", max_tokens=64)


def test_hiding(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for needle in NEEDLES:
        for forms in (True, False):
            assert secrets.hide(f"before {needle.decode()} after", forms=forms) == "before [secret] after"
    assert secrets.hide("https://user:pass@host/x?token=abc&y=1") == "https://[secret]@host/x?token=[secret]&y=1"
    monkeypatch.setenv("SSL_KEY", "/etc/ssl/private/key.pem")  # says where a key lies
    assert secrets.hide("/etc/ssl/private/key.pem") == "/etc/ssl/private/key.pem"


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
CRASH = 'raise RuntimeError(os.environ["OPENAI_API_KEY"])'


@pytest.mark.parametrize("crashes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_keys_are_nowhere_after_a_run(tmp_path, service, monkeypatch, capfd, crashes):
    """The judge repeats the key it is sent, in replies and in errors."""
    sent = set()

    def echo(handler):
        key = handler.headers["Authorization"].removeprefix("Bearer ")
        sent.add(key)
        told = failure(401, code="invalid_api_key", message=f"Incorrect API key provided: {key}")
        handler.give(*(told if "fails" in handler.path else reply(f"left leaning, and your key is {key}")))

    service.answer = lambda prompt, attempt: echo
    made = notebook(*map(new_code_cell, [RUN, ASK, FAIL, CARELESS, CRASH][: 5 if crashes else 4]))
    made.cells[0].source = PARAMETERS
    folder, place = tmp_path / "checkout", tmp_path / "place"
    folder.mkdir()
    layout = checkout(folder, **{"01_own": made})
    for name in ("POLINB_STORE", "POLINB_CACHE", "HOME", "TMPDIR"):
        (place / name[-4:]).mkdir(parents=True)
        monkeypatch.setenv(name, str(place / name[-4:]))
    for name, value in {**KEYS, "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BookError, match=r"RuntimeError: \[secret\]") if crashes else nullcontext() as error:
        build.run_chapter(layout, "01_own", {"profile": "tiny", "judge": "openai", "judge_url": service.url})
    (place / "log.txt").write_text("".join([str(error and error.value), *capfd.readouterr()]))
    assert sent == {KEYS["OPENAI_API_KEY"]}, "the judge was not asked, or without its key"
    executed = ((layout.failed if crashes else layout.chapters) / "01_own.ipynb").read_text()
    assert secrets.HIDDEN in executed and "it failed" in executed
    assert any(place.rglob("rated.parquet")) and any(place.rglob("answers.jsonl"))
    found, searched = leaking(folder, place)
    assert not found and searched > 20
