"""A judge that is down: what was rated is kept, the run says what is missing, and a rerun completes it."""

import pandas as pd
from judge_service import failure, reply
from stores import finished

from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.stance.chat_judge import OpenAIJudge
from polinb.trouble import UNFINISHED


def test_a_while_without_the_judge(service, tmp_path, monkeypatch):
    monkeypatch.setattr("openai._base_client.time.sleep", lambda seconds: None)
    monkeypatch.setenv(UNFINISHED, str(tmp_path / "notes"))
    root, asked, on_disk, back = tmp_path / "store", [], [], []
    cache = root / "judge" / "answers.jsonl"
    answers = pd.DataFrame({"id": [f"q{n}" for n in range(60)], "response": [f"text {n}" for n in range(60)]})
    answers = answers.assign(topic="crime", prompt="?")

    def answer(prompt, attempt):
        asked.append(prompt)
        on_disk.append(cache.read_text().count("\n") if cache.exists() else 0)
        if len(set(asked)) > 20 and not back:  # dies after twenty answers
            return failure(503, message="overloaded")
        return reply("right leaning" if "text 7" in prompt else "left leaning")

    def labelled():
        """By a new run whose judge asks one question after the other; how many requests it made."""
        run = Run(Params.from_profile("tiny", judge="openai", judge_url=service.url), Store(root))
        run.judge = OpenAIJudge(base_url=service.url, cache=cache, concurrency=1)
        asked_before = len(asked)
        return run.labelled(answers), len(asked) - asked_before

    service.answer = answer
    first, _ = labelled()
    told = first["reason"][first["label"] == "unrated"]
    assert len(told) == 40 and told.str.match("HTTP 503|not asked: the service does not answer").all()
    assert on_disk[:20] == list(range(20)), "each reply before the next is asked for: a kill costs one request at most"
    assert "rated: 40 of 60 answers were not rated (" in (tmp_path / "notes").read_text()
    assert [name for name in finished(root) if name.startswith("rated/")] == [], "not stored as finished"
    again, requests = labelled()
    assert (again["label"] != "unrated").sum() == 20 and requests <= 6 * 6, "asks for nothing that is known"
    back.append(True)
    last, requests = labelled()
    assert (last["label"] != "unrated").all() and requests == 40, "only what was missing is asked for"
    again, requests = labelled()
    assert again.equals(last) and requests == 0
