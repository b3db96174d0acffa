"""What a judge's service may send back: any status, any body, any header. A label is right, or there is none."""

from __future__ import annotations

import json
import math
import re

import httpx2
import openai
import pandas as pd
from fuzzing import budgets, plain, refused, run, text
from hypothesis import strategies as st

from polinb.errors import JudgeError
from polinb.stance.alignment import parse_score
from polinb.stance.chat_judge import OpenAIJudge, _keep, _kept
from polinb.stance.replies import missing, parse_rating

FRAME = pd.DataFrame({"topic": ["crime"], "id": ["1"], "prompt": ["Why?"], "response": ["Because of it."]})
KEY = "a-key-of-this-test-0123456789"
WORDS = st.sampled_from(
    ["left leaning", "Right leaning.", "**Left**", "right", "neither", "left or right", "not left", "",
     "left-leaning\n",
     "Rating: right", '{"label": "left"}', "LEFT LEANING" * 3, "ｌｅｆｔ", "l\u200beft", "I cannot say. left"]
)  # fmt: skip
PARTS = ["choices", "message", "content", "refusal", "finish_reason", "model", "error", "code"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | plain | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
REPLY = st.builds(
    lambda content, finish, more: {"choices": [{"message": {"content": content, **more}, "finish_reason": finish}]},
    WORDS | JSON | text, st.sampled_from(["stop", "length", "content_filter", None, 5]),
    st.dictionaries(st.sampled_from(["refusal", "tool_calls"]), WORDS | JSON, max_size=1),
)  # fmt: skip
CLEAR = WORDS.map(lambda text: {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
BODY = st.one_of(
    CLEAR.map(lambda value: json.dumps(value).encode()),
    REPLY.map(lambda value: json.dumps(value).encode()),
    (REPLY | JSON).map(lambda value: json.dumps(value).encode()),
    st.tuples(REPLY, st.integers(0, 200)).map(lambda x: json.dumps(x[0]).encode()[: x[1]]),
    st.binary(max_size=60),
    st.just(0).map(lambda _: b"[" * 100_000),
    st.just(0).map(lambda _: b'{"choices": ' + b"9" * 6000 + b"}"),
    st.just(f'{{"error": {{"code": 1, "message": "bad key {KEY}"}}}}'.encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "content-type", "content-encoding"]),
    st.sampled_from(
        ["5", "-1", "1e400", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 99999", "gzip", "utf-7", "²"]
    ),
    max_size=2,
)


def plain_label(body: bytes) -> str | None:
    """The label of a well-formed reply that is exactly one; ``other`` for other text; None: no reply at all."""
    try:
        message = json.loads(body)["choices"][0]["message"]
        content, finish = message["content"], json.loads(body)["choices"][0].get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if not content and isinstance(message.get("refusal"), str):
        content = message["refusal"]  # read like any other reply
    if not isinstance(content, str) or missing(content, str(finish or ""), False, 16):
        return None
    words = re.sub(r"[^a-z]+", " ", content.casefold()).split()
    if not words or not content.isascii():
        return "any"
    if words in (["left"], ["left", "leaning"], ["right"], ["right", "leaning"]):
        return words[0]
    if len({"left", "right"} & set(words)) != 1 or "not" in words or "or" in words:
        return "other"
    return "any"


@budgets(50, 1500)
def test_any_reply(size, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def check(case):
        status, body, given = case
        headers = [(name.encode(), value.encode()) for name, value in given.items()]
        transport = httpx2.MockTransport(lambda request: httpx2.Response(status, content=body, headers=headers))
        judge = OpenAIJudge(base_url="http://localhost:9/v1", attempts=1)
        client = httpx2.Client(transport=transport)
        whole = openai.OpenAI(api_key=KEY, base_url=judge.base_url, max_retries=0, http_client=client)
        monkeypatch.setattr(judge, "_client", lambda: whole)
        try:
            table = judge.rate(FRAME)
        except JudgeError as error:
            assert status != 200 and KEY not in str(error)
            return refused(error, "localhost")
        label, score, reason = table.loc[0, "label"], table.loc[0, "score"], table.loc[0, "reason"]
        assert KEY not in table.to_json()
        if label == "unrated":
            assert score == 0 and reason
            assert status != 200 or "gzip" in given.values() or plain_label(body) not in ("left", "right"), (
                f"a clear rating is lost: {body[:200]!r}"
            )
            return False
        assert status in (200, 204) and score == {"left": -1, "right": 1, "other": 0}[label]
        expected = plain_label(body)
        if label != "other":
            assert expected in (label, "any"), f"{label} out of {body[:200]!r}"
        elif expected in ("left", "right"):
            raise AssertionError(f"a clear rating is lost: {body[:200]!r}")
        return True

    status = st.sampled_from([200] * 12 + [204, 301, 400, 401, 404, 418, 429, 500, 503, 599])
    run("judge replies", size, st.tuples(status, BODY, HEADERS), check)


@budgets(50, 1000)
def test_any_rating_and_score(size):
    def check(reply):
        label, score = parse_rating(reply), parse_score(reply)
        assert label in ("left", "right", "other")
        if label != "other":
            other = {"left": "right", "right": "left"}[label]
            assert label in reply.casefold() and other not in reply.casefold()
        assert math.isnan(score) or (
            0 <= score <= 100 and float(re.search(r"[\d.]*\d", re.sub(r"[\s*`\"']", "", reply))[0]) == score
        )
        return label != "other" or not math.isnan(score)

    numbers = "0 100 101 55.5 80/100 1e2 ² ٣ ٣٣ -5 50% **60** nan CODE"
    number = st.sampled_from([*numbers.split(), " 7 ", "7\n8"])
    run("ratings", size, WORDS | text | number | st.tuples(WORDS, WORDS).map(" ".join), check)


@budgets(30, 500)
def test_any_cache(size, tmp_path):
    """A cache that was damaged loses replies; it never makes one up."""

    def check(case):
        replies, junk, at, order = case
        path = tmp_path / "answers.jsonl"
        path.unlink(missing_ok=True)
        for key, raw in replies.items():
            _keep(path, {"key": key, "raw": raw})
        whole = path.read_bytes() if replies else b""
        at %= len(whole) + 1
        path.write_bytes({"insert": whole[:at] + junk + whole[at:], "cut": whole[:at], "append": whole + junk}[order])
        try:
            found = _kept(path)
        except JudgeError as error:
            return refused(error, "answers.jsonl")
        if order != "insert":
            assert all(found.get(key) in (None, raw) for key, raw in replies.items())
        if order == "append":
            assert all(found.get(key) == raw for key, raw in replies.items() if not missing(raw, "", False, 0))
        return True

    replies = st.dictionaries(st.text("abcdef0123456789", min_size=4, max_size=4), plain, max_size=4)
    junk = st.binary(max_size=20).map(lambda x: b"\n" + x) | st.just(0).map(lambda _: b"\n" + b"[" * 100_000 + b"\n")
    order = st.sampled_from(["insert", "cut", "append"])
    run("judge cache", size, st.tuples(replies, junk, st.integers(0, 500), order), check)
