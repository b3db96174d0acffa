"""A judge that is down for an hour: what was rated is kept, the run says what is missing, and a rerun completes it.

The service is on this machine; its hour is a clock's that only moves when the judge pauses.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stores import finished
from test_openai_judge import Clock, Service, failure, reply

from polinb.runs.artifacts import Store
from polinb.runs.experiment import Experiment
from polinb.runs.params import Params
from polinb.stance.chat_judge import OpenAIJudge
from polinb.trouble import UNFINISHED

HOUR = 3600.0
COUNT = 60


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    running = Service()
    yield running
    running.server.shutdown()
    running.server.server_close()


def answers() -> pd.DataFrame:
    rows = {"topic": "crime", "id": [f"q{n}" for n in range(COUNT)], "prompt": "?"}
    return pd.DataFrame({**rows, "response": [f"text {n}" for n in range(COUNT)]})


def experiment(service: Service, root: Path, clock: Clock, **options: Any) -> Experiment:
    """A run whose judge lives by ``clock``."""
    exp = Experiment(Params.from_profile("tiny", judge="openai", judge_url=service.url), Store(root))
    cache = root / "judge" / "answers.jsonl"
    given = {"sleep": clock.sleep, "clock": clock, "concurrency": 1, **options}
    exp.__dict__["judge"] = OpenAIJudge(base_url=service.url, cache=cache, **given)
    return exp


def refuse(handler: Any) -> None:
    """Hang up without an answer, as a host that is not there does after a while."""


@pytest.mark.parametrize("how", ["503", pytest.param("hangs up", marks=pytest.mark.slow)])
def test_an_hour_without_the_judge(service: Service, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = Clock(), []
    down = threading.Event()

    def answer(prompt: str, attempt: int) -> Any:
        asked.append(prompt)
        if len(set(asked)) > 20 and clock.now < HOUR:  # dies after twenty answers
            down.set()
            return refuse if how == "hangs up" else failure(503, message="overloaded")
        return reply("right leaning" if "text 7" in prompt else "left leaning")

    service.answer = answer
    notes = tmp_path / "notes"
    monkeypatch.setenv(UNFINISHED, str(notes))
    root = tmp_path / "store"
    exp = experiment(service, root, clock)
    first = exp.rated(answers())
    assert down.is_set() and (first["label"] != "unrated").sum() == 20, "what came before is kept"
    assert clock.now < HOUR, "it gives up on a dead service long before that"
    assert set(first.loc[first["label"] == "unrated", "reason"]) <= {
        "HTTP 503",
        "no connection (RemoteProtocolError)",
        "not asked: the service does not answer",
    }
    told = notes.read_text()
    assert "rated: 40 of 60 answers were not rated (" in told and "run again when the judge answers" in told
    assert [name for name in finished(root) if name.startswith("rated/")] == [], "not stored as finished"

    # a second try while it is still down asks for nothing that is known, and loses nothing
    requests = len(service.requests)
    again = experiment(service, root, clock).rated(answers())
    assert (again["label"] != "unrated").sum() == 20
    assert all("text" in prompt for prompt in asked[requests:]) and len(service.requests) <= requests + 5 * 6

    clock.now = HOUR + 1
    asked.clear()
    last = experiment(service, root, clock).rated(answers())
    assert (last["label"] != "unrated").all() and len(asked) == 40, "only what was missing is asked for"
    assert [name for name in finished(root) if name.startswith("rated/")] != []
    asked.clear()
    assert experiment(service, root, clock).rated(answers()).equals(last) and asked == []


def test_an_hour_of_pauses_that_the_service_asks_for(service: Service, tmp_path: Path) -> None:
    """Retry-After within reason is honoured: the judge waits as long as its budget, and no longer."""
    clock = Clock()
    service.answer = lambda prompt, attempt: (
        failure(503, {"Retry-After": "50"}) if clock.now < HOUR / 2 else reply("left")
    )
    exp = experiment(service, tmp_path / "store", clock, attempts=100)
    assert (exp.rated(answers())["label"] == "left").all(), "half an hour is waited for"
    assert HOUR / 2 <= clock.now < HOUR
    clock.now = 0.0
    service.answer = lambda prompt, attempt: failure(503, {"Retry-After": "50"})
    exp = experiment(service, tmp_path / "other", clock, attempts=1000)
    assert (exp.rated(answers())["label"] == "unrated").all()
    assert HOUR - 120 < clock.now <= HOUR, "the budget is an hour"


def test_a_killed_judging_has_its_replies_on_the_disk(service: Service, tmp_path: Path) -> None:
    """Every reply is in the file before the next is asked for: a kill costs one request at most."""
    clock, seen = Clock(), []
    cache = tmp_path / "store" / "judge" / "answers.jsonl"

    def answer(prompt: str, attempt: int) -> Any:
        seen.append(len(cache.read_text().splitlines()) if cache.exists() else 0)
        return reply("left")

    service.answer = answer
    experiment(service, tmp_path / "store", clock).rated(answers())
    assert seen == list(range(COUNT))
    lines = [json.loads(line) for line in cache.read_text().splitlines()]
    assert len({line["key"] for line in lines}) == COUNT
