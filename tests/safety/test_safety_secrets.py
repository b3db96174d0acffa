"""Keys are refused as parameters before anything is written, and hidden wherever text is shown."""

from __future__ import annotations

import json

import pytest
from keys import KEYS, leaks

from book._make.build import make_book
from polinb import secrets
from polinb.errors import ParameterError
from polinb.lab.serve import environment
from polinb.runs.checkout import Layout, parse_settings
from polinb.runs.params import Params, from_namespace
from polinb.stance.chat_judge import OpenAIJudge

SHAPES = (
    "sk-proj-" + "a1B2" * 8,
    "hf_" + "AbCdEfGhIj" * 3,
    "ghp_" + "a1B2c3D4" * 4,
    "github_pat_" + "a1B2c3D4" * 4,
    "glpat-" + "a1B2c3D4" * 3,
    "AKIA" + "ABCDEFGH12345678",
    "AIza" + "SyA1-b2_" * 5,
    "xoxb-" + "1234567890-abc",
    "eyJhbGciOiJI." + "eyJzdWIiOiIx." + "SflKxwRJSMeK",
    "-----BEGIN RSA PRIVATE KEY-----",
    "https://user:hunter2@example.org/v1",
    "https://a1b2c3d4@example.org/v1",
    "https://example.org/v1?api_key=a1b2c3d4",
)


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


def test_the_value_of_a_variable_that_holds_a_key_is_refused(monkeypatch):
    monkeypatch.setenv("NDIF_API_KEY", "an ordinary looking text 7")
    with pytest.raises(ParameterError, match="no secret"):
        Params.from_profile("tiny", statement_prefix="say: an ordinary looking text 7.")
    monkeypatch.delenv("NDIF_API_KEY")
    assert Params.from_profile("tiny", statement_prefix="an ordinary looking text 7").profile == "tiny"


def test_ordinary_values_and_words_in_place_of_a_key_are_taken(monkeypatch):
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
        {"model": "org/sk-model"},
    ):
        assert Params.from_profile("tiny", **given).profile == "tiny"


def test_papermill_and_the_lab_never_see_a_key(tmp_path):
    settings = {"judge_url": SHAPES[-1]}
    with pytest.raises(ParameterError):
        make_book("tiny", settings, ["all"], Layout(tmp_path))
    with pytest.raises(ParameterError):
        environment("tiny", settings)
    assert not list(tmp_path.iterdir()), "something was written"


def test_hiding(monkeypatch, tmp_path):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for value in KEYS.values():
        for text in (value, json.dumps(value)):
            for shown in (secrets.hide(f"before {text} after"), secrets.hide(f"before {text} after", forms=False)):
                assert not leaks(shown.encode()) and shown.startswith("before ") and shown.endswith(" after")
    assert secrets.hide("nothing to hide: max_tokens=5") == "nothing to hide: max_tokens=5"
    assert secrets.hide("https://user:pass@host/x?token=abc&y=1") == "https://[secret]@host/x?token=[secret]&y=1"
    judge = OpenAIJudge(base_url="http://127.0.0.1:9/v1", cache=tmp_path / "c.jsonl")
    assert not leaks((repr(judge) + str(judge) + repr(vars(judge))).encode())
    monkeypatch.setenv("SSL_KEY", "/etc/ssl/private/key.pem")  # says where a key lies
    assert secrets.hide("/etc/ssl/private/key.pem") == "/etc/ssl/private/key.pem"
