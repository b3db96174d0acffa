"""What a judge's service may send back: any status, any body. A label is right, or there is none."""

import json

import httpx2
import openai
import pandas as pd
from fuzzing import budgets, plain, refused, run, text
from hypothesis import strategies as st

from polinb.errors import JudgeError
from polinb.stance.chat_judge import OpenAIJudge

FRAME = pd.DataFrame({"topic": ["crime"], "id": ["1"], "prompt": ["Why?"], "response": ["Because of it."]})
KEY = "a-key-of-this-test-0123456789"
CLEAR = dict.fromkeys(["left leaning", "**Left**", "Left-leaning\n"], "left") | {"Right leaning.": "right"}
UNCLEAR = ["neither", "left or right", "not left", "left leaning" * 3, "I cannot say. left", "upright", "~left~ right"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "error"]), inner),
    max_leaves=10,
)
REPLY = st.builds(
    lambda content, finish: {"choices": [{"message": {"content": content}, "finish_reason": finish}]},
    st.sampled_from([*CLEAR, *UNCLEAR]) | JSON | text,
    st.sampled_from(["stop", "stop", "length", "content_filter", None, 5]),
)
BODY = (
    (REPLY | JSON).map(lambda value: json.dumps(value).encode())
    | st.tuples(REPLY, st.integers(0, 200)).map(lambda x: json.dumps(x[0]).encode()[: x[1]])
    | st.sampled_from([f'{{"error": {{"code": 1, "message": "bad key {KEY}"}}}}'.encode(), b"[" * 100_000, b"\xff\0"])
)


def content_of(body):
    """The text of a well-formed reply that came to its end, else nothing."""
    try:
        first = json.loads(body)["choices"][0]
        return str(first["message"]["content"]) if first["finish_reason"] == "stop" else ""
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


@budgets(50, 1500)
def test_any_reply(size, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def check(case):
        status, body = case
        transport = httpx2.MockTransport(lambda request: httpx2.Response(status, content=body))
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
        content = content_of(body)
        assert KEY not in table.to_json()
        if label == "unrated":
            assert score == 0 and reason
            assert status != 200 or content not in CLEAR, "a rating is lost"
            return False
        assert status in (200, 204) and score == {"left": -1, "right": 1, "other": 0}[label]
        assert label == CLEAR.get(content, "other") or (content not in UNCLEAR and label in body.decode().casefold())
        return True

    status = st.sampled_from([200] * 12 + [204, 301, 400, 401, 404, 418, 429, 500, 503, 599])
    run(size, st.tuples(status, BODY), check)
