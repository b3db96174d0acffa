"""What a judge's service may send back: any status, any body, any header. A label is right, or there is none."""

import json
import re

import httpx2
import openai
import pandas as pd
from fuzzing import budgets, plain, refused, run, text
from hypothesis import strategies as st

from polinb.errors import JudgeError
from polinb.stance.chat_judge import OpenAIJudge
from polinb.stance.service import missing

FRAME = pd.DataFrame({"topic": ["crime"], "id": ["1"], "prompt": ["Why?"], "response": ["Because of it."]})
KEY = "a-key-of-this-test-0123456789"
WORDS = st.sampled_from(
    ["left leaning", "Right leaning.", "**Left**", "right", "neither", "left or right", "not left", "",
     "left-leaning\n", "Rating: right", '{"label": "left"}', "LEFT LEANING" * 3, "ｌｅｆｔ", "l\u200beft",
     "I cannot say. left"]
)  # fmt: skip
PARTS = ["choices", "message", "content", "refusal", "finish_reason", "model", "error", "code"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | plain | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS), inner, max_size=4),
    max_leaves=10,
)
REPLY = st.builds(
    lambda content, finish, more: {"choices": [{"message": {"content": content, **more}, "finish_reason": finish}]},
    WORDS | JSON | text,
    st.sampled_from(["stop", "stop", "length", "content_filter", None, 5]),
    st.dictionaries(st.sampled_from(["refusal", "tool_calls"]), WORDS | JSON, max_size=1),
)
BODY = (
    (REPLY | JSON).map(lambda value: json.dumps(value).encode())
    | st.tuples(REPLY, st.integers(0, 200)).map(lambda x: json.dumps(x[0]).encode()[: x[1]])
    | st.binary(max_size=60)
    | st.sampled_from([f'{{"error": {{"code": 1, "message": "bad key {KEY}"}}}}'.encode(), b"[" * 100_000])
)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "content-type", "content-encoding"]),
    st.sampled_from(["5", "-1", "1e400", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "gzip", "utf-7", "²"]),
    max_size=2,
)


def plain_label(body):
    """The label of a well-formed reply that is exactly one; ``other`` for other text; None: no reply at all."""
    try:
        choice = json.loads(body)["choices"][0]
        content, finish = choice["message"]["content"], choice.get("finish_reason")
        if not content and isinstance(choice["message"].get("refusal"), str):
            content = choice["message"]["refusal"]  # read like any other reply
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if not isinstance(content, str) or missing(content, str(finish or ""), False, 16):
        return None
    words = re.sub(r"[^a-z]+", " ", content.casefold()).split()
    if words in (["left"], ["left", "leaning"], ["right"], ["right", "leaning"]) and content.isascii():
        return words[0]
    clear = len({"left", "right"} & set(words)) == 1 and not {"not", "or"} & set(words)
    return "any" if clear or not words or not content.isascii() else "other"


@budgets(50, 1500)
def test_any_reply(size, monkeypatch):
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
        label, score, reason = table.loc[0, ["label", "score", "reason"]]
        assert KEY not in table.to_json()
        clear = plain_label(body)
        if label == "unrated":
            assert score == 0 and reason
            assert status != 200 or "gzip" in given.values() or clear not in ("left", "right"), "a rating is lost"
            return False
        assert status in (200, 204) and score == {"left": -1, "right": 1, "other": 0}[label]
        assert clear not in ("left", "right") if label == "other" else clear in (label, "any")
        return True

    status = st.sampled_from([200] * 12 + [204, 301, 400, 401, 404, 418, 429, 500, 503, 599])
    run(size, st.tuples(status, BODY, HEADERS), check)
