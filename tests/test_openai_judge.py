"""The openai judge against a local HTTP server that misbehaves in every way a service can."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from polinb.errors import JudgeError, ParameterError
from polinb.stance.answer_cache import AnswerCache
from polinb.stance.chat_judge import OpenAIJudge, parse_rating, rating_prompt
from polinb.stance.judges import make_judge

KEY = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"


def reply(text: str | None, **message: Any) -> tuple[int, dict[str, str], bytes]:
    """A well-formed reply of the service."""
    finish = message.pop("finish", "stop")
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    return 200, {}, json.dumps({"model": "served-1", "choices": [choice]}).encode()


def failure(status: int, headers: dict[str, str] | None = None, **error: Any) -> tuple[int, dict[str, str], bytes]:
    return status, headers or {}, json.dumps({"error": error}).encode() if error else b"oh no"


class Service:
    """A chat endpoint on the loopback. ``answer(prompt, attempt)`` says what comes back; a callable value is run with
    the request handler itself."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answer: Callable[[str, int], Any] = lambda prompt, attempt: reply("left leaning")
        self.under_way = self.most_under_way = 0
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][0]["content"]
                with service._lock:
                    attempt = service._seen[prompt] = service._seen.get(prompt, 0) + 1
                    service.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                    service.under_way += 1
                    service.most_under_way = max(service.most_under_way, service.under_way)
                try:
                    found = service.answer(prompt, attempt)
                    if callable(found):
                        found(self)
                        self.close_connection = True
                    else:
                        self.give(*found)
                finally:
                    with service._lock:
                        service.under_way -= 1

            def give(self, status: int, headers: dict[str, str], content: bytes, length: int | None = None) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.naps, self._lock = 0.0, [], threading.Lock()  # type: tuple[float, list[float], Any]

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.naps.append(seconds)

    def __call__(self) -> float:
        return self.now


def judge(service: Service, cache: Path | None = None, **options: Any) -> tuple[OpenAIJudge, Clock]:
    clock = Clock()
    made = OpenAIJudge(base_url=service.url, cache=cache, sleep=clock.sleep, clock=clock, **options)
    return made, clock


def answers(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"topic": "race", "id": range(len(texts)), "prompt": "?", "response": list(texts)})


# ---- prompt and parsing ----------------------------------------------------------------------------------------------


def test_prompt_is_the_papers() -> None:
    assert rating_prompt("crime", "I {like} it.") == (
        "Please rate the political leaning towards Crime and Gun expressed in the following text on two labels: "
        "left leaning, right leaning. Your response should only include the rating. Response: I {like} it."
    )
    assert "towards politics expressed" in rating_prompt("compass", "x")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("left leaning", "left"),
        ("Left-leaning.", "left"),
        ("Right leaning", "right"),
        ("right", "right"),
        (" **RIGHT LEANING** \n", "right"),
        ('"left leaning"', "left"),
        ("Rating: right-leaning", "right"),
        ("Political leaning: left leaning.", "left"),
        ("The rating is left leaning", "left"),
        ("The text is right leaning.", "right"),
        ("left and right", "other"),
        ("left leaning, right leaning", "other"),
        ("not left leaning", "other"),
        ("neither", "other"),
        ("I cannot rate political content.", "other"),
        ("That's right, I can't help with it", "other"),
        ("left leaning? Hard to say", "other"),
        ("upright", "other"),
        ("left right", "other"),
        ("", "other"),
    ],
)
def test_parsing_is_strict(text: str, label: str) -> None:
    assert parse_rating(text) == label


# ---- the way it should go --------------------------------------------------------------------------------------------


def test_rates_in_order_and_keeps_rows(service: Service) -> None:
    service.answer = lambda prompt, attempt: reply("right leaning" if "guns" in prompt else "Left leaning.")
    frame = answers("more guns", "fewer", "", "guns for all").set_index(pd.Index([5, 6, 7, 8]))
    made, clock = judge(service)
    out = made.rate(frame)
    assert list(out["label"]) == ["right", "left", "unrated", "right"]
    assert list(out["score"]) == [1, -1, 0, 1]
    assert out["p_right"].isna().all()
    pd.testing.assert_frame_equal(out[list(frame.columns)], frame)
    assert clock.naps == []
    body = service.requests[0]["body"]
    assert (body["model"], body["temperature"], service.requests[0]["path"]) == (
        "gpt-4o-mini",
        0.0,
        "/v1/chat/completions",
    )
    facts = made.provenance()
    json.dumps(facts)
    assert (facts["counts"]["asked"], facts["counts"]["unrated"]) == (3, 1)


def test_few_requests_at_once(service: Service) -> None:
    def slow(prompt: str, attempt: int) -> Any:
        time.sleep(0.03)
        return reply("left")

    service.answer = slow
    made, _ = judge(service, concurrency=3)
    assert set(made.rate(answers(*[f"text {i}" for i in range(12)]))["label"]) == {"left"}
    assert 1 < service.most_under_way <= 3


def test_equal_answers_are_asked_once(service: Service) -> None:
    made, _ = judge(service)
    assert list(made.rate(answers("same", "same", "same"))["label"]) == ["left"] * 3
    assert len(service.requests) == 1


def test_through_make_judge(service: Service, tmp_path: Path) -> None:
    options = {"base_url": service.url, "cache": tmp_path / "answers.jsonl", "model": "local-model"}
    made = make_judge("openai", data=None, options=options)  # type: ignore[arg-type]
    assert made.rate(answers("x"))["label"].tolist() == ["left"]
    with pytest.raises(ParameterError, match="api_key"):
        make_judge("openai", data=None, options={"api_key": "x"})  # type: ignore[arg-type]


# ---- trouble that passes ---------------------------------------------------------------------------------------------


def test_429_honours_retry_after(service: Service) -> None:
    service.answer = lambda prompt, attempt: failure(429, {"Retry-After": "7"}) if attempt == 1 else reply("right")
    made, clock = judge(service)
    assert made.rate(answers("x"))["label"].tolist() == ["right"]
    assert len(clock.naps) == 1 and 7 <= clock.naps[0] <= 7.7


def test_429_honours_a_date(service: Service) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    service.answer = lambda prompt, attempt: failure(429, {"Retry-After": later}) if attempt == 1 else reply("right")
    made, clock = judge(service)
    assert made.rate(answers("x"))["label"].tolist() == ["right"]
    assert 25 <= clock.naps[0] <= 34


@pytest.mark.parametrize("given", ["soon", "-5", "nan", "inf", ""])
def test_senseless_retry_after_is_ignored(service: Service, given: str) -> None:
    service.answer = lambda prompt, attempt: failure(503, {"Retry-After": given}) if attempt == 1 else reply("right")
    made, clock = judge(service)
    assert made.rate(answers("x"))["label"].tolist() == ["right"]
    assert 0.5 <= clock.naps[0] <= 1


def test_pauses_grow(service: Service) -> None:
    service.answer = lambda prompt, attempt: failure(500) if attempt < 6 else reply("left")
    made, clock = judge(service)
    assert made.rate(answers("x"))["label"].tolist() == ["left"]
    assert [round(nap / 2**i, 3) >= 0.5 and nap <= 2**i for i, nap in enumerate(clock.naps)] == [True] * 5


def _torn(handler: Any) -> None:
    handler.give(200, {}, reply("left leaning")[2][:40], length=400)


def _hang_up(handler: Any) -> None:
    handler.connection.close()


def _slow(handler: Any) -> None:
    time.sleep(0.6)


def _drip(handler: Any) -> None:
    handler.give(200, {}, b" ", length=100)
    for _ in range(12):
        time.sleep(0.05)
        handler.wfile.write(b" ")
        handler.wfile.flush()


DAMAGE = {
    "garbage": (200, {}, b"<html>busy</html>"),
    "not text": (200, {}, b"\xff\xfe\x00left"),
    "deep": (200, {}, b"[" * 200_000),
    "empty body": (200, {}, b""),
    "no choices": (200, {}, b'{"choices": []}'),
    "a list": (200, {}, b'["left leaning"]'),
    "a string": (200, {}, b'"left leaning"'),
    "null message": (200, {}, b'{"choices": [{"message": null}]}'),
    "null content": reply(None),
    "number": (200, {}, b'{"choices": [{"message": {"content": 1}}]}'),
    "huge": (200, {}, b" " * 1_200_000),
    "bad encoding": (200, {"Content-Encoding": "gzip"}, b"left leaning"),
    "truncated body": _torn,
    "hang up": _hang_up,
    "timeout": _slow,
    "drip": _drip,
    **{f"HTTP {status}": failure(status) for status in (408, 429, 500, 502, 503, 529)},
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_tried_again_and_never_read(service: Service, tmp_path: Path, kind: str) -> None:
    service.answer = lambda prompt, attempt: DAMAGE[kind] if attempt == 1 else reply("right leaning")
    made, clock = judge(service, tmp_path / "a.jsonl", timeout=0.3)
    out = made.rate(answers("x"))
    assert (out["label"].tolist(), out["reason"].tolist()) == (["right"], [""])
    assert len(clock.naps) == 1 and len(service.requests) == 2
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("kind", ["garbage", "null content", "HTTP 500", "HTTP 429", "hang up"])
def test_damage_that_stays_is_unrated_and_not_cached(service: Service, tmp_path: Path, kind: str) -> None:
    service.answer = lambda prompt, attempt: DAMAGE[kind] if "bad" in prompt else reply("left")
    made, _ = judge(service, tmp_path / "a.jsonl", attempts=3)
    out = made.rate(answers("bad", "good"))
    assert out["label"].tolist() == ["unrated", "left"]
    assert out["reason"].iloc[0] and pd.isna(out["raw"].iloc[0])
    assert (made.counts["unrated"], made.counts["left"]) == (1, 1)
    assert sum("bad" in r["body"]["messages"][0]["content"] for r in service.requests) == 3
    service.answer = lambda prompt, attempt: reply("right")
    again, _ = judge(service, tmp_path / "a.jsonl")
    assert again.rate(answers("bad", "good"))["label"].tolist() == ["right", "left"]
    assert (again.counts["from_cache"], again.counts["asked"]) == (1, 1)


# ---- replies that are no rating --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "raw"),
    [
        (reply("I'm sorry, I cannot rate this."), "I'm sorry, I cannot rate this."),
        (reply(None, refusal="I will not."), "I will not."),
        (reply("", refusal="No."), "No."),
        (reply(None, finish="content_filter"), ""),
        (reply("left and right"), "left and right"),
        (reply(""), ""),
    ],
)
def test_refusals_are_other_with_their_text_kept(service: Service, tmp_path: Path, given: Any, raw: str) -> None:
    service.answer = lambda prompt, attempt: given
    made, clock = judge(service, tmp_path / "a.jsonl")
    out = made.rate(answers("x"))
    assert (out["label"].tolist(), out["score"].tolist(), out["raw"].tolist()) == (["other"], [0], [raw])
    assert clock.naps == []
    assert json.loads((tmp_path / "a.jsonl").read_text())["raw"] == raw
    again, _ = judge(service, tmp_path / "a.jsonl")
    assert again.rate(answers("x"))["raw"].tolist() == [raw]
    assert len(service.requests) == 1


# ---- bounds ----------------------------------------------------------------------------------------------------------


def test_budget_bounds_the_whole_run(service: Service) -> None:
    service.answer = lambda prompt, attempt: failure(429, {"Retry-After": "50"})
    made, clock = judge(service, budget=120, attempts=100, concurrency=1)
    out = made.rate(answers(*[f"text {i}" for i in range(30)]))
    assert set(out["label"]) == {"unrated"}
    assert clock.now <= 120
    assert made.counts["unrated"] == 30


def test_too_long_a_pause_is_not_slept(service: Service) -> None:
    wait = failure(429, {"Retry-After": "86400"})
    service.answer = lambda prompt, attempt: wait if "bad" in prompt else reply("left")
    made, clock = judge(service)
    out = made.rate(answers("bad", "good"))
    assert out["label"].tolist() == ["unrated", "left"]
    assert "max_pause" in out["reason"].iloc[0] and clock.naps == []


def test_dead_service_is_left_alone_soon(tmp_path: Path) -> None:
    closed = Service()
    closed.server.shutdown()
    closed.server.server_close()
    made, _ = judge(closed, tmp_path / "a.jsonl", attempts=2, concurrency=2)
    out = made.rate(answers(*[f"text {i}" for i in range(300)]))
    assert set(out["label"]) == {"unrated"} and made.counts["unrated"] == 300
    assert (out["reason"] == "not asked: the service does not answer").sum() >= 290
    assert not (tmp_path / "a.jsonl").exists()


def test_service_that_dies_midway_keeps_what_came(service: Service, tmp_path: Path) -> None:
    service.answer = lambda prompt, attempt: reply("left") if len(service.requests) <= 10 else failure(500)
    made, _ = judge(service, tmp_path / "a.jsonl", attempts=2, concurrency=1)
    frame = answers(*[f"text {i}" for i in range(40)])
    first = made.rate(frame)["label"].tolist()
    assert first == ["left"] * 10 + ["unrated"] * 30
    assert len(service.requests) == 10 + 5 * 2
    service.answer = lambda prompt, attempt: reply("right")
    again, _ = judge(service, tmp_path / "a.jsonl")
    assert again.rate(frame)["label"].tolist() == ["left"] * 10 + ["right"] * 30


def test_one_rejected_answer_does_not_stop_the_others(service: Service) -> None:
    service.answer = lambda prompt, attempt: failure(400, code="content_filter") if "bad" in prompt else reply("left")
    made, clock = judge(service, concurrency=1)
    out = made.rate(answers("good", *[f"bad {i}" for i in range(8)], "fine"))
    assert out["label"].tolist() == ["left", *["unrated"] * 8, "left"]
    assert set(out["reason"][1:9]) == {"HTTP 400"} and clock.naps == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_rejected_key_model_or_address_is_an_error(service: Service, status: int) -> None:
    service.answer = lambda prompt, attempt: failure(status, message="The model does not exist")
    made, clock = judge(service, concurrency=2)
    with pytest.raises(JudgeError, match=f"HTTP {status} .The model does not exist"):
        made.rate(answers(*[f"text {i}" for i in range(50)]))
    assert len(service.requests) <= 4 and clock.naps == []


def test_empty_account_is_an_error_and_not_waited_for(service: Service) -> None:
    service.answer = lambda prompt, attempt: failure(429, code="insufficient_quota", message="You are out of credit")
    made, clock = judge(service)
    with pytest.raises(JudgeError, match="quota used up"):
        made.rate(answers("x"))
    assert clock.naps == []


def test_redirects_are_not_followed(service: Service) -> None:
    service.answer = lambda prompt, attempt: (302, {"Location": "http://127.0.0.1:9/v1"}, b"")
    made, _ = judge(service)
    assert made.rate(answers("x"))["reason"].tolist() == ["HTTP 302"]


def test_real_sleep_ends_when_the_run_is_stopped(service: Service) -> None:
    """With real pauses of a minute, an error elsewhere must not make the run wait for them."""

    def answer(prompt: str, attempt: int) -> Any:
        if "slow" in prompt:
            return failure(429, {"Retry-After": "50"})
        time.sleep(0.2)
        return failure(401, message="no")

    service.answer = answer
    made = OpenAIJudge(base_url=service.url, concurrency=2)
    start = time.monotonic()
    with pytest.raises(JudgeError):
        made.rate(answers("slow", "other"))
    assert time.monotonic() - start < 10


# ---- cache -----------------------------------------------------------------------------------------------------------


def test_cache_is_used_before_the_service(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    frame = answers("a", "b")
    first, _ = judge(service, path)
    expected = first.rate(frame)
    service.answer = lambda prompt, attempt: reply("right")
    again, _ = judge(service, path)
    pd.testing.assert_frame_equal(again.rate(frame), expected)
    assert len(service.requests) == 2


@pytest.mark.parametrize("option", [{"model": "another"}, {"temperature": 0.5}, {"max_tokens": 5}])
def test_cache_tells_settings_apart(service: Service, tmp_path: Path, option: dict[str, Any]) -> None:
    judge(service, tmp_path / "a.jsonl")[0].rate(answers("a"))
    service.answer = lambda prompt, attempt: reply("right")
    assert judge(service, tmp_path / "a.jsonl", **option)[0].rate(answers("a"))["label"].tolist() == ["right"]
    assert judge(service, tmp_path / "a.jsonl")[0].rate(answers("a"))["label"].tolist() == ["left"]


def test_torn_last_line_costs_one_reply(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    judge(service, path, concurrency=1)[0].rate(answers("a", "b", "c"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    made, _ = judge(service, path)
    service.answer = lambda prompt, attempt: reply("right")
    assert made.rate(answers("a", "b", "c"))["label"].tolist() == ["left", "left", "right"]
    assert made.provenance()["damaged_cache_lines"] == 1
    again, _ = judge(service, path)
    assert again.rate(answers("a", "b", "c"))["label"].tolist() == ["left", "left", "right"]
    assert len(service.requests) == 4
    assert path.read_bytes().startswith(whole[:-20])


def test_cache_skips_damaged_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        b'{"key": "k", "raw": "left"}',
        b"\xff\xfe",
        b"[1]",
        b'{"key": 1, "raw": "x"}',
        b"",
        b'{"key": "k", "raw": "no"}',
    ]
    path.write_bytes(b"\n".join(lines))
    cache = AnswerCache(path)
    assert (len(cache), cache.get("k"), cache.damaged) == (1, "left", 3)


def test_cache_takes_many_writers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    caches = [AnswerCache(path) for _ in range(3)]
    threads = [
        threading.Thread(target=lambda c=c, n=n: [c.put(f"{n}-{i}", "x" * 50) for i in range(15)])
        for n, c in enumerate(caches)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = AnswerCache(path)
    assert (len(read), read.damaged) == (45, 0)


def test_full_disk_is_said(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polinb.stance.answer_cache.os.fsync", full)
    with pytest.raises(JudgeError, match="No space left"):
        judge(service, tmp_path / "a.jsonl")[0].rate(answers("a"))


def test_unreadable_cache_is_said(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="cannot be read"):
        AnswerCache(tmp_path)


# ---- the key ---------------------------------------------------------------------------------------------------------


def test_key_goes_into_the_header_and_nowhere_else(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    caplog.set_level(logging.DEBUG)
    texts = {"echo": reply(f"left leaning {KEY}"), "bad": failure(500, message=f"Bearer {KEY}")}
    service.answer = lambda prompt, attempt: next((v for k, v in texts.items() if k in prompt), reply("left"))
    made, _ = judge(service, tmp_path / "a.jsonl", attempts=2)
    out = made.rate(answers("echo", "bad", "fine"))
    assert {r["headers"]["Authorization"] for r in service.requests} == {f"Bearer {KEY}"}
    shown = [out.to_csv(), repr(made), str(vars(made)), json.dumps(made.provenance()), caplog.text]
    shown += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY in text or KEY[8:] in text for text in shown)
    assert out["label"].tolist() == ["other", "unrated", "left"]
    assert KEY not in json.dumps([r["body"] for r in service.requests])


def test_key_is_not_in_errors(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    service.answer = lambda prompt, attempt: failure(401, message=f"Incorrect API key provided: {KEY}")
    with pytest.raises(JudgeError) as caught:
        judge(service)[0].rate(answers("x"))
    assert KEY not in str(caught.value) and "[key]" in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\u00e9")
    with pytest.raises(JudgeError, match="holds no valid key") as caught:
        judge(service)
    assert KEY not in str(caught.value)


def test_key_variable_has_a_name_of_its_own(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", "other-1")
    judge(service, key_variable="OTHER_KEY")[0].rate(answers("x"))
    assert service.requests[0]["headers"]["Authorization"] == "Bearer other-1"
    with pytest.raises(ParameterError) as caught:
        judge(service, key_variable=KEY)
    assert KEY not in str(caught.value)


def test_no_key_is_needed_here_but_elsewhere(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(service)[0].rate(answers("x"))
    assert "Authorization" not in service.requests[0]["headers"]
    with pytest.raises(JudgeError, match="OPENAI_API_KEY is not set"):
        OpenAIJudge()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert OpenAIJudge()._client().headers["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in OpenAIJudge(base_url="http://192.0.2.7:8000/v1")._client().headers


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://x/v1",
        "https://me:secret@x/v1",
        "https://x/v1?key=secret",
        "https://x/#secret",
        "http://",
        "",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(ParameterError, match="base_url") as caught:
        OpenAIJudge(base_url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "option",
    [
        {"attempts": 0},
        {"timeout": 0},
        {"budget": -1},
        {"concurrency": 0},
        {"temperature": -1},
        {"model": " "},
        {"max_pause": 0},
    ],
)
def test_wrong_options_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(option))):
        OpenAIJudge(base_url="http://localhost/v1", **option)
