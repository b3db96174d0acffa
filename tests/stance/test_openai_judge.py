"""The openai judge against a local HTTP server that misbehaves in every way a service can."""

import json
import logging
from types import SimpleNamespace

import pandas as pd
import pytest
from judge_service import KEY, failure, reply

from polinb.data.rows import TOPICS
from polinb.errors import JudgeError, ParameterError
from polinb.runs.chapter import begin
from polinb.runs.params import from_namespace
from polinb.stance.chat_judge import OpenAIJudge, rating_prompt
from polinb.stance.service import parse_rating


def judge(service, cache=None, **options):
    return OpenAIJudge(base_url=service.url, cache=cache, **options)


def answers(*texts):
    return pd.DataFrame({"topic": "race", "id": range(len(texts)), "prompt": "?", "response": list(texts)})


def test_the_prompt_is_the_papers_after_the_question_where_it_is_seen():
    for topic, topics, towards in (("crime", TOPICS, "Crime and Gun"), ("compass", ["hot-drinks"], "politics")):
        assert rating_prompt(topic, "I {like} it.", topics) == (
            f"Please rate the political leaning towards {towards} expressed in the following text on two labels: "
            "left leaning, right leaning. Your response should only include the rating. Response: I {like} it."
        )
    asked = rating_prompt("crime", "Yes.", question="More police?")
    assert asked == rating_prompt("crime", "(to the question: More police?) Yes.")


CLEAR = {  # one of each kind of wrapping, of thoughts and of marks
    "left": [
        "Left-leaning.", " **LEFT LEANING** \n", "\u201cLeft leaning\u201d", "Left\u2011leaning", "Label: left_leaning",
        "```json\n{\"rating\": \"left leaning\"}\n```", "$\\boxed{\\text{Left leaning}}$", "<b>Left leaning</b>",
        "1. Left leaning", "Final answer: **Left leaning**", "This response leans left.", "left<|im_end|>",
        "<think>Right</think>left", "Right?</think>left", "[THINK]right[/THINK]left",
        "<|channel|>analysis<|message|>Right?<|end|><|start|>assistant<|channel|>final<|message|>Left leaning",
        "analysisIs it right leaning? No.assistantfinalLeft leaning",
        "Here is my thought process:\nright leaning?\n\nHere is my response:\nLeft leaning",
    ],
    "right": ["RIGHT-LEANING", "<think>left</think> **Right leaning**."],
    "other": [
        "left leaning, right leaning", "not left leaning", "That's right, I can't help with it", "upright", "",
        "~~left~~ right", "Left leaning. The text asks for solidarity.", "left leaning <think>or is it",
    ],
}  # fmt: skip


def test_a_rating_is_read_in_every_wrapping_and_nothing_else_is():
    for label, texts in CLEAR.items():
        assert {text: parse_rating(text) for text in texts} == dict.fromkeys(texts, label)


def test_rates_in_order_keeps_rows_and_asks_once(service, tmp_path):
    said = {"guns": "right leaning", "hard": "I will not say."}
    service.answer = lambda prompt, attempt: reply(next((v for k, v in said.items() if k in prompt), "Left leaning."))
    frame = answers("more guns", "fewer", "", "more guns", "hard").set_index(pd.Index([5, 6, 7, 8, 9]))
    out = judge(service).rate(frame)
    assert list(out["label"]) == ["right", "left", "unrated", "right", "other"] and len(service.requests) == 3
    assert list(out["score"]) == [1, -1, 0, 1, 0] and out["p_right"].isna().all() and service.naps == []
    out.to_parquet(tmp_path / "rated.parquet")
    assert out.attrs["no_rating"] == pd.read_parquet(tmp_path / "rated.parquet").attrs["no_rating"] == 0.25
    pd.testing.assert_frame_equal(out[list(frame.columns)], frame)
    asked = [{"role": "user", "content": rating_prompt("race", "more guns")}]
    request = next(each for each in service.requests if each["body"]["messages"] == asked)
    assert {"model": "gpt-4o-mini", "temperature": 0.0, "max_tokens": 16}.items() <= request["body"].items()


def _hang_up(handler):
    handler.connection.close()


@pytest.mark.parametrize("damage", [_hang_up, failure(429, {"Retry-After": "7"})])
def test_what_may_pass_is_tried_again(service, damage):
    service.answer = lambda prompt, attempt: damage if attempt == 1 else reply("right leaning")
    assert judge(service).rate(answers("x"))["label"].tolist() == ["right"]
    assert len(service.naps) == 1 and len(service.requests) == 2
    assert callable(damage) or 7 <= service.naps[0] <= 9
    service.answer = lambda prompt, attempt: failure(429, code="insufficient_quota", message="You are out of credit")
    with pytest.raises(JudgeError, match=r"quota used up .You are out of credit"):
        judge(service).rate(answers("x"))


REPLIES = {  # what comes back → what it is taken for, or what the reason says of one that is not whole
    "refusal": (reply(None, refusal="I will not."), "other"),
    "parts": (reply([{"type": "thinking", "thinking": []}, {"type": "text", "text": "right"}]), "right"),
    "cut": (reply("left", finish="length"), "judge_tokens"),
    "unfinished thought": (reply("<think>It could be left leaning"), "judge_tokens"),
    "thought in its own field": (reply(None, reasoning_content="left leaning"), "judge_tokens"),
    "empty": (reply(None), "judge_tokens"),
    "filter": (reply(None, finish="content_filter"), "content filter"),
    "half a character": (reply("left \ud800"), "half of a character"),
    "garbage": ((200, {"Content-Type": "application/json"}, b"{left"), "reply"),
    "redirect": ((302, {"Location": "http://127.0.0.1:9/v1"}, b""), "HTTP 302"),
    "overloaded": (failure(503, message="busy"), "HTTP 503 (busy)"),
    "hangs up": (_hang_up, "no connection"),
}


@pytest.mark.parametrize("kind", REPLIES)
def test_whole_replies_are_kept_and_others_are_unrated_and_asked_again(service, tmp_path, kind):
    given, told = REPLIES[kind]
    whole = told in ("left", "right", "other")
    service.answer = lambda prompt, attempt: given if "odd" in prompt else reply("left")
    path, texts = tmp_path / "a.jsonl", answers("good", "odd")
    out = judge(service, path, attempts=2).rate(texts)
    assert out["label"].tolist() == ["left", told if whole else "unrated"]
    assert pd.notna(out["raw"].iloc[1]) == whole and ("" if whole else told) in out["reason"].iloc[1]
    assert whole or (out["score"].iloc[1], out.attrs["no_rating"]) == (0, 0)
    asked = len(service.requests)
    service.answer = lambda prompt, attempt: reply("right")
    assert judge(service, path).rate(texts)["label"].tolist() == ["left", told if whole else "right"]
    assert len(service.requests) == asked + (not whole)


JUNK = b'5\n[]\nnull\n{"key": 3}\n{"key": "a", "raw": 7}\n\xff\0\n' + b"[" * 100_000 + b"\n"


def test_the_cache_tells_models_apart_and_a_damaged_line_costs_one_reply(service, tmp_path):
    path, texts = tmp_path / "deep" / "a.jsonl", answers("a", "b", "c")
    judge(service, path, concurrency=1).rate(texts)
    whole = path.read_bytes()
    damaged = JUNK + whole.replace(b"left leaning", b"<think>") + whole[:-20]  # unfinished replies are none
    path.write_bytes(damaged)
    service.answer = lambda prompt, attempt: reply("right")
    for _ in range(2):
        assert judge(service, path).rate(texts)["label"].tolist() == ["left", "left", "right"]
    assert len(service.requests) == 4 and path.read_bytes().startswith(damaged)
    assert judge(service, path, model="another").rate(answers("a"))["label"].tolist() == ["right"]
    with pytest.raises(JudgeError, match="cannot be read"):
        judge(service, tmp_path)
    with pytest.raises(JudgeError, match="cannot be written"):
        judge(service, path / "a.jsonl").rate(answers("a"))


def test_a_key_goes_to_no_other_machine_in_the_clear(service, monkeypatch):
    for begun in (OpenAIJudge, lambda: begin("05_vanilla_stance", {"profile": "tiny", "judge": "openai"})):
        with pytest.raises(JudgeError, match="OPENAI_API_KEY is not set"):
            begun()
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\u00e9")
    with pytest.raises(JudgeError, match="holds no valid key") as caught:
        OpenAIJudge()
    assert KEY not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert OpenAIJudge()._client().api_key == KEY
    assert OpenAIJudge(base_url="http://192.0.2.7:8000/v1")._client().api_key != KEY
    with monkeypatch.context() as proxied:
        proxied.setenv("ALL_PROXY", "socks5://user:secret@127.0.0.1:1080")
        with pytest.raises(JudgeError, match=r"the way to .* cannot be used: .*socksio") as caught:
            OpenAIJudge(base_url="https://x/v1")
        assert "secret" not in str(caught.value).replace("[secret]", "")
    monkeypatch.setattr("polinb.stance.service.ipaddress.ip_address", lambda host: SimpleNamespace(is_loopback=False))
    service.answer = lambda prompt, attempt: failure(401, message="You didn't provide an API key")
    with pytest.raises(JudgeError, match=r"401 .You didn't provide.*was not sent: .* neither https nor this machine"):
        judge(service).rate(answers("x"))
    assert KEY not in str(service.requests)


def test_addresses_are_checked_with_the_parameters():
    for url, told in (
        ("localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("https://x/v1/chat/completions", r"Leave out its end: https://x/v1$"),
    ):
        with pytest.raises(ParameterError, match=f"judge_url.*{told}"):
            from_namespace("05_vanilla_stance", {"profile": "tiny", "judge_url": url})
    for url in ("http://[::1]:8000/v1/", "https://x/v1beta/openai", "https://api.deepseek.com"):
        assert from_namespace("05_vanilla_stance", {"profile": "tiny", "judge_url": url}).judge_url == url


LISTED = {"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs"}]}
WRONG_KEY = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
REFUSALS = [
    (422, json.dumps(LISTED), "max_tokens: Extra"),
    (401, json.dumps(WRONG_KEY), r"provided: \[secret\]"),
    (404, "<html><title>Not here</title></html>", "Not here"),
]


@pytest.mark.parametrize(("status", "body", "told"), REFUSALS)
def test_a_refusal_reaches_the_user_at_the_first_answer(service, status, body, told, monkeypatch, caplog):
    """The key is in the request's header and nowhere else, the log included."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    caplog.set_level(logging.DEBUG)
    service.answer = lambda prompt, attempt: (status, {}, body.encode())
    with pytest.raises(JudgeError, match=f"HTTP {status} .*{told}") as caught:
        judge(service, concurrency=1).rate(answers(*"abcdefghij"))
    [request] = service.requests
    assert request["headers"]["authorization"] == f"Bearer {KEY}" and KEY not in json.dumps(request["body"])
    assert service.naps == [] and KEY not in str(caught.value) + caplog.text


def test_the_field_that_the_service_names_is_used_and_a_rejected_text_stops_no_other(service):
    said = "This model's maximum context length is 2048 tokens: 'max_tokens' or the text is too large. Unsupported."
    service.answer = lambda prompt, attempt: failure(400, message=said) if "bad" in prompt else reply("left")
    out = judge(service, concurrency=1).rate(answers("good", *[f"bad {i}" for i in range(8)], "fine"))
    assert out["label"].tolist() == ["left", *["unrated"] * 8, "left"]
    assert set(out["reason"][1:9]) == {f"HTTP 400 ({said})"}
    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    refused = failure(400, message=said, param="max_tokens")
    service.answer = lambda *_: reply("left") if "max_completion_tokens" in service.requests[-1]["body"] else refused
    out = judge(service, max_tokens=50, concurrency=1).rate(answers("a", "b", "c"))
    asked = service.requests[-4:]
    assert out["label"].tolist() == ["left"] * 3 and [r["body"].get("max_tokens") for r in asked] == [50, *[None] * 3]
    assert asked[-1]["body"]["max_completion_tokens"] == 50
    service.answer = lambda prompt, attempt: refused  # of any field: told, not asked for ever
    with pytest.raises(JudgeError, match="Use 'max_completion_tokens'"):
        judge(service, concurrency=1).rate(answers("d"))
