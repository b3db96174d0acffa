"""The live lab without a browser: exactness of its engine, its neuron lists, its runs, its code export, its widget."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from tqdm import tqdm

from polinb.__main__ import main
from polinb.errors import ParameterError, TrainingError
from polinb.lab import view
from polinb.lab.app import NeuronLab, started_with
from polinb.lab.engine import NOTHING, Intervention, reference_gap, stream
from polinb.lab.export import code, history_json
from polinb.lab.needs import Need
from polinb.lab.request import Answer, Request, Result
from polinb.lab.run import Listener, Session
from polinb.lab.server import command, environment
from polinb.lab.sets import neurons, parse, written
from polinb.lab.worker import Worker
from polinb.models.generation import generate, log_likelihood
from polinb.models.tokens import prompt_ids
from polinb.progress import bar, heard
from polinb.runs.artifacts import Store

ROOT = Path(__file__).resolve().parents[1]
STEPS = 8


def some(lm, share=0.4, seed=3):
    return np.random.default_rng(seed).random((lm.layers, lm.width)) < share


def answers(both, change=NOTHING, donor=None, **options):
    options = {"max_new_tokens": STEPS} | options
    return [list(stream(both.left, prompt, change, donor, **options)) for prompt in both.prompts]


# --- the engine


def test_sampling_follows_its_seed_alone(pair):
    both = pair("llama")
    state = torch.random.get_rng_state()
    one = answers(both, temperature=1.0, seed=1)
    torch.manual_seed(77)
    assert one == answers(both, temperature=1.0, seed=1)
    assert one != answers(both, temperature=1.0, seed=2)
    assert answers(both, temperature=1e-4, seed=2) == answers(both), "cold sampling is greedy"
    torch.random.set_rng_state(state)


def test_the_likelihood_gap_is_that_of_plain_scoring(pair):
    both = pair("llama")
    prompt, left, right = both.prompts[0], both.responses[0], both.responses[1]
    plain = log_likelihood(both.left, [prompt, prompt], [left, right])
    assert reference_gap(both.left, prompt, left, right) == pytest.approx(plain[1] - plain[0], abs=1e-5)
    everything = np.ones((both.left.layers, both.left.width), bool)
    moved = reference_gap(both.left, prompt, left, right, Intervention("patch", everything), both.right)
    assert moved != pytest.approx(plain[1] - plain[0], abs=1e-3)


def test_engine_refuses(pair):
    both = pair("llama")

    def run(*change, **options):
        return stream(both.left, both.prompts[0], *change, **({"max_new_tokens": 4} | options))

    chosen = some(both.left)
    with pytest.raises(ParameterError, match="none, ablate, scale, patch"):
        Intervention("kill", chosen)
    with pytest.raises(ParameterError, match="0 \\(own activations\\) to 1"):
        Intervention("patch", chosen, 1.5)
    with pytest.raises(ParameterError, match="finite"):
        Intervention("scale", chosen, float("nan"))
    with pytest.raises(ParameterError, match="donor"):
        run(Intervention("patch", chosen))
    with pytest.raises(ParameterError, match="neurons"):
        run(Intervention("ablate", chosen[:1]))
    with pytest.raises(ParameterError, match="context"):
        run(max_new_tokens=5000)
    with pytest.raises(ParameterError, match="max_new_tokens"):
        run(max_new_tokens=0)
    with pytest.raises(ParameterError, match="temperature"):
        run(temperature=-1.0)


# --- choosing neurons


def test_lists_of_neurons_are_read_and_written():
    chosen = parse("2.47, 0.3 - 5;1.0\n 0.4", 3, 48)
    assert [tuple(x) for x in np.argwhere(chosen)] == [(0, 3), (0, 4), (0, 5), (1, 0), (2, 47)]
    assert written(chosen) == "0.3-5, 1.0, 2.47"
    assert (parse(written(chosen), 3, 48) == chosen).all()


@pytest.mark.parametrize(
    ("text", "item", "allowed"),
    [
        ("", "''", "layer.neuron"),
        ("0.1, seven", "'seven'", "layer.neuron"),
        ("0.1, 3.4", "'3.4'", "layer 0–2"),
        ("0.48", "'0.48'", "neuron 0–47"),
        ("0.40-48", "'0.40-48'", "neuron 0–47"),
        ("1.9-3", "'1.9-3'", "smaller end"),
        ("-1.5", "'-1.5'", "layer.neuron"),
        ("1.99999999999999", "'1.99999999999999'", "layer.neuron"),
    ],
)
def test_wrong_lists_are_refused_precisely(text, item, allowed):
    with pytest.raises(ParameterError) as error:
        parse(text, 3, 48)
    assert "'own list'" in str(error.value) and item in str(error.value) and allowed in str(error.value)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A run whose variants and scores of two topics are there after the first use."""
    return Session(Store(tmp_path_factory.mktemp("store")))


TWO = {"topics": ["crime", "race"], "ablation_topics": ["crime"], "baseline_topics": ["crime"]}


def ask(**changes):
    options = {"profile": "tiny", "settings": TWO, "prompt": "Should taxes be raised?", "gamma": 50.0}
    return Request(**(options | {"max_new_tokens": STEPS} | changes))


def test_sets_are_those_of_the_run(session):
    run = session.experiment("tiny", TWO)
    sets = run.sets(50.0)
    assert (neurons(run, "general", gamma=50.0) == sets.general).all()
    assert (neurons(run, "specific", topic="race", gamma=50.0) == sets.specific["race"]).all()
    assert (neurons(run, "strict", topic="race") == sets.strict["race"]).all(), "the run's own γ"
    for kind in ("uniform", "layer"):
        drawn = neurons(run, kind, gamma=50.0, number=1)
        assert drawn.sum() == sets.general.sum() and (drawn == run.control_set(kind, 1, 50.0)).all()
        assert (drawn != neurons(run, kind, gamma=50.0, number=2)).any()
    assert (neurons(run, "layer", gamma=50.0).sum(1) == sets.general.sum(1)).all()
    with pytest.raises(TrainingError, match="raise gamma"):
        neurons(run, "general", gamma=0.01)
    with pytest.raises(ParameterError, match="no neuron is strictly specific"):
        neurons(run, "strict", topic="race", gamma=99.99)
    with pytest.raises(ParameterError, match="general, specific"):
        neurons(run, "all")


# --- runs


class Heard(Listener):
    def __init__(self):
        self.texts, self.bars, self.said = [], [], []

    def status(self, text):
        self.said.append(text)

    def progress(self, done, total, label):
        self.bars.append((label, done, total))

    def text(self, arm, text, tokens):
        self.texts.append((arm, tokens))


def test_needs_are_told_first_and_met_by_the_run(tmp_path):
    fresh = Session(Store(tmp_path / "fresh"))
    request = ask(kind="patch", references=True)
    before = fresh.needs(request)
    assert [str(need).split(" (")[0] for need in before] == ["fine-tuning variants", "PNLAC scores"]
    assert "crime left, crime right, race left, race right" in before[0].what
    assert all(need.seconds and not need.measured and "a rough guess" in str(need) for need in before)
    heard = Heard()
    result = fresh.run(request, threading.Event(), heard)
    assert ("fine-tune crime left", 2, 2) in heard.bars and ("tokens", STEPS, STEPS) in heard.bars
    assert [arm for arm, _ in heard.texts[:4]] == ["vanilla", "intervened"] * 2, "both are written side by side"
    assert result.chosen == fresh.current.sets(50.0).general.sum() and result.total == 144
    assert fresh.needs(request) == [], "all is kept"
    other = Request("tiny", {**TWO, "seed": 1}, "Why?", gamma=50.0)
    again = fresh.needs(other)
    assert len(again) == 2 and all(need.measured and "as measured before" in str(need) for need in again)
    assert fresh.needs(ask(kind="none")) == [] and fresh.needs(ask(neurons="own", own="0.1")) == []


@pytest.mark.parametrize(("kind", "strength"), [("patch", 0.5), ("scale", -3.0)])
def test_a_run_gives_what_the_engine_gives(session, kind, strength):
    result = session.run(ask(kind=kind, strength=strength, donor="left", donor_topic="race"), threading.Event())
    run = session.current
    prompt = prompt_ids(run.lm, "Should taxes be raised?", run.params.system_prompt)
    change = Intervention(kind, run.general(50.0), strength)
    donor = run.load_variant("race", "left")
    assert result.answers["vanilla"].ids == generate(run.lm, [prompt], max_new_tokens=STEPS)[0]
    expected = list(stream(run.lm, prompt, change, donor, max_new_tokens=STEPS))
    assert result.answers["intervened"].ids == expected
    assert kind == "patch" or expected != result.answers["vanilla"].ids
    rated = run.judge.rate(pd.DataFrame({"response": [result.answers["intervened"].text]}))
    p_right = rated["p_right"][0]  # NaN: an answer of no word, which has none
    assert result.answers["intervened"].p_right == (None if np.isnan(p_right) else pytest.approx(p_right))


def test_likelihoods_are_compared_for_questions_of_the_data(session):
    question = session.experiment("tiny", TWO).questions(topics=["race"]).iloc[1]
    result = session.run(ask(prompt=question["prompt"], topic="race", references=True), threading.Event())
    gaps = [answer.gap for answer in result.answers.values()]
    logp = session.current._likelihoods(session.current.lm)
    row = logp[logp["id"] == question["id"]].iloc[0]
    assert gaps[0] == pytest.approx(row["logp_right"] - row["logp_left"], abs=1e-5) and gaps[1] != gaps[0]
    assert session.run(ask(references=True), threading.Event()).answers["vanilla"].gap is None


def test_stopping_ends_a_training_and_keeps_nothing_half_done(tmp_path):
    fresh, stop = Session(Store(tmp_path / "s")), threading.Event()

    class Impatient(Heard):
        def progress(self, done, total, label):
            super().progress(done, total, label)
            if label == "fine-tune race left" and done == 1:
                stop.set()

    heard = Impatient()
    assert fresh.run(ask(), stop, heard) is None
    assert heard.bars[-1] == ("fine-tune race left", 1, 2) and not heard.texts
    kept = [path.name for path in (tmp_path / "s" / "variant").iterdir() if not path.name.startswith(".")]
    assert len(kept) == 2, "the two variants of crime, finished before"


def test_stopped_answers_are_kept_and_exported_as_far_as_they_went(session):
    stop = threading.Event()

    class Impatient(Listener):
        def text(self, arm, text, tokens):
            if (arm, tokens) == ("vanilla", 3):
                stop.set()

    result = session.run(ask(max_new_tokens=500), stop, Impatient())
    assert result.stopped and [len(a.ids) for a in result.answers.values()] == [3, 2]
    assert "max_new_tokens=3)" in code(result) and "max_new_tokens=2)" in code(result)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompt": "  "}, "prompt"),
        ({"neurons": "all"}, "neurons"),
        ({"gamma": 0.0}, "gamma"),
        ({"kind": "kill"}, "intervention"),
        ({"donor": "middle"}, "donor"),
        ({"topic": "science"}, "topic"),
        ({"kind": "patch", "strength": 2.0}, "strength"),
        ({"settings": {"gama": 5}}, "Did you mean 'gamma'"),
    ],
)
def test_wrong_requests_are_refused_before_anything_runs(session, changes, told):
    with pytest.raises(ParameterError, match=told):
        session.needs(ask(**changes))


# --- export


EXPORTED = [
    {"kind": "patch", "neurons": "layer", "number": 2, "strength": 0.75, "donor": "left"},
    {"kind": "scale", "neurons": "own", "own": "0.3-20, 2.1", "strength": -1.5, "temperature": 0.8, "seed": 5},
    {"kind": "ablate", "neurons": "specific", "topic": "race"},
    {"kind": "none"},
]


def test_exported_code_makes_the_same_answers_in_a_fresh_process(session):
    """The prompt tries to break out of its literal. Each program runs in a namespace of its own."""
    prompt = "Why?\n'''\"\"\"); raise SystemExit(3) #\\ {x} <script>"
    results = [session.run(ask(prompt=prompt, **changes), threading.Event()) for changes in EXPORTED]
    runner = "import json, sys\nfor program in json.load(sys.stdin):\n    names = {}\n    exec(program, names)\n"
    runner += "    print(json.dumps(names['answers']))\n"
    environ = os.environ | {"POLINB_STORE": str(session.current.store.root), "PYTHONPATH": str(ROOT)}
    programs = json.dumps([code(result) for result in results])
    done = subprocess.run(
        [sys.executable, "-c", runner], input=programs, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"vanilla"')]
    assert printed == [{arm: a.text for arm, a in result.answers.items()} for result in results]
    assert printed[1]["intervened"] != printed[1]["vanilla"]
    records = json.loads(history_json(results))["runs"]
    assert [Request(**record["request"]) for record in records] == [result.request for result in results]
    assert records[0]["answers"]["vanilla"]["ids"] == results[0].answers["vanilla"].ids


# --- worker and widget


def test_the_worker_does_one_job_at_a_time_and_ends():
    worker, go, done = Worker(), threading.Event(), threading.Event()
    assert not worker.alive
    assert worker.submit(go.wait) and worker.busy and not worker.submit(done.set)
    go.set()
    until(lambda: not worker.busy)
    assert worker.submit(done.set) and done.wait(5)
    worker.close(timeout=5)
    assert not worker.alive and not worker.submit(done.set) and worker.stop.is_set()


def test_bars_of_other_threads_stay_as_they_are():
    seen, theirs = [], []
    with heard(lambda *what: seen.append(what)):
        other = threading.Thread(target=lambda: theirs.append(bar(3, "theirs")))
        other.start()
        other.join()
        with bar(2, "mine") as mine:
            mine.update(2)
    assert seen == [(0, 2, "mine"), (2, 2, "mine")]
    assert isinstance(theirs[0], tqdm) and isinstance(bar(1, "after"), tqdm)


def until(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def lab(session):
    """The widget on the module's store; it is closed afterwards."""
    made = NeuronLab(session._store, profile="tiny", **TWO)
    made.session = session
    until(lambda: not made.worker.busy)
    yield made
    made.close()


def pressed(lab, button="go"):
    getattr(lab.screen, button).click()
    until(lambda: not lab.worker.busy)


def test_widget_from_click_to_answers_and_back(lab):
    assert len(lab.controls.example.options) > 4 and lab.controls.prompt.value, "examples are there"
    lab.use("0.1-30, 2.7")
    lab.controls.tokens.value = STEPS
    lab.controls.kind.value = "scale"
    lab.controls.exact.value = -2.0
    pressed(lab)
    assert "Done." in lab.screen.said.value and not lab.screen.error.value
    [first] = lab.results
    assert (first.request.own, first.request.strength, first.chosen) == ("0.1-30, 2.7", -2.0, 31)
    for arm in ("vanilla", "intervened"):
        assert lab.screen.texts[arm].value == view.text_html(first.answers[arm].text)
        assert view.gauge_html(first.answers[arm]) in lab.screen.gauges[arm].value
    lab.controls.kind.value = "patch"
    assert lab.controls.exact.value == 0.0, "a strength outside the new range is moved into it"
    lab.controls.kind.value = "ablate"
    pressed(lab)
    assert len(lab.results) == 2 and lab.screen.code.value == code(lab.results[1])
    lab.screen.back.value = 0
    assert lab.controls.kind.value == "scale" and lab.controls.exact.value == -2.0
    assert lab.screen.code.value == code(first) and len(json.loads(lab.screen.json.value)["runs"]) == 2


def test_widget_asks_before_it_trains(lab, tmp_path):
    lab.session = Session(Store(tmp_path / "fresh"))
    pressed(lab)
    assert (
        "fine-tuning variants" in lab.screen.needs.value
        and lab.screen.question.layout.display == ""
        and not lab.results
    )
    assert not (tmp_path / "fresh").exists(), "nothing is computed before the word is given"
    pressed(lab, "no")
    assert lab.screen.question.layout.display == "none" and not (tmp_path / "fresh").exists()
    pressed(lab)
    pressed(lab, "yes")
    assert len(lab.results) == 1 and (tmp_path / "fresh" / "scores").is_dir()


def test_widget_shows_errors_as_text_and_stays_usable(lab):
    lab.use("0.1, <img src=x onerror=alert(1)>")
    pressed(lab)
    assert (
        "layer.neuron" in lab.screen.error.value
        and "&lt;img" in lab.screen.error.value
        and "<img" not in lab.screen.error.value
    )
    assert lab.screen.error.value.index("<details>") < lab.screen.error.value.index("Traceback"), (
        "the traceback is folded away"
    )
    lab.controls.model.value, lab.controls.other.value = "", "no-such-model"
    pressed(lab)
    assert "no-such-model" in lab.screen.error.value
    lab.controls.model.value = "tiny:llama"
    lab.use("0.1")
    lab.controls.tokens.value = STEPS
    pressed(lab)
    assert not lab.screen.error.value and len(lab.results) == 1


def test_widget_refuses_a_second_run_and_stops(lab):
    lab.use("0.1")
    lab.controls.tokens.value = 900
    lab.screen.go.click()
    until(
        lambda: "1 of" in lab.screen.count.value or "2 of" in lab.screen.count.value or "3 of" in lab.screen.count.value
    )
    lab.screen.go.click()
    assert "Still busy" in lab.screen.said.value
    pressed(lab, "stop")
    [result] = lab.results
    assert result.stopped and len(result.answers["vanilla"].ids) < 900
    pressed(lab, "stop")
    assert "Nothing is running" in lab.screen.said.value


def test_closing_ends_the_thread(session):
    made = NeuronLab(session._store, profile="tiny", **TWO)
    until(lambda: not made.worker.busy)
    assert made.worker.alive
    made.close()
    until(lambda: not made.worker.alive, 5)


def test_wrong_parameters_are_an_error_in_the_widget():
    made = NeuronLab(profile="tiny", gama=5)
    assert "Did you mean" in made.screen.error.value and len(made.children) == 2 and not made.worker.alive
    made.close()


def test_the_gauge_says_it_in_a_number_a_word_and_a_place():
    shown = view.gauge_html(Answer([1], "x", 1.0, "right", 0.731, -0.25))
    assert 'aria-label="P(right) = 0.73: leans right"' in shown and "left:73.1%" in shown
    assert "the left one is likelier" in shown and "-0.25 nats" in shown
    assert "no P(right)" in view.gauge_html(Answer(label="unrated"))


def test_text_of_models_and_users_is_escaped_everywhere():
    bad = "<script>alert(1)</script>&"
    request = ask(prompt=bad, neurons="own", own=bad)
    result = Result(request, {arm: Answer([1], bad, 1.0, bad, 0.5, 0.1) for arm in ("vanilla", "intervened")}, 1, 2,
                    False, "")  # fmt: skip
    shown = [view.text_html(bad), view.gauge_html(result.answers["vanilla"]), view.history_html([result])]
    shown += [view.error_html(ValueError(bad)), view.needs_html([Need(bad, None, False)])]
    shown += [view.download_html(bad, "a.txt", "text/plain")]
    assert all("<script" not in text for text in shown)
    assert all("&lt;script" in text for text in shown[:-1])


def test_a_neuron_opened_in_the_explorer_becomes_the_own_list(lab):
    pressed(lab, "more")
    assert "cards" in lab.screen.needs.value and not lab.screen.explorer.children, "asks first"
    pressed(lab, "yes")
    assert not lab.screen.error.value
    [explorer] = lab.screen.explorer.children
    assert explorer.payload["layers"] == 3
    explorer.selected = [2, 17]
    assert (lab.controls.neurons.value, lab.controls.own.value) == ("own", "2.17")


# --- starting it


def test_started_with_reads_the_environment(monkeypatch):
    monkeypatch.delenv("POLINB_LAB", raising=False)
    assert started_with() == {}
    monkeypatch.setenv("POLINB_LAB", environment("tiny", {"model": "tiny:gpt2"})["POLINB_LAB"])
    assert started_with() == {"profile": "tiny", "model": "tiny:gpt2"}
    monkeypatch.setenv("POLINB_LAB", "[1]")
    with pytest.raises(ParameterError, match="JSON object"):
        started_with()


def test_servers_listen_here_only_and_ask_nobody():
    for kind, port in (("lab", "8888"), ("app", "8866")):
        line = command(kind)
        assert any(part.endswith("ip=127.0.0.1") for part in line) and f"--port={port}" in line
        assert (ROOT / "notebooks" / "lab" / "neuron_lab.ipynb").samefile(line[3])
    assert {"--LabApp.news_url=None", "--LabApp.extension_manager=readonly"} <= set(command("lab"))
    assert not any("token" in part for part in command("lab")), "the token stays on"
    with pytest.raises(ParameterError, match="1024 to 65535"):
        command("lab", 80)


@pytest.mark.parametrize("arguments", [["--set", "gama=5"], ["--profile", "huge"], ["--port", "80"]])
def test_wrong_parameters_stop_before_a_server_starts(arguments, capsys, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("a server was started"))
    assert main(["lab", *arguments]) == 2
    assert "polinb: parameter" in capsys.readouterr().err


def test_the_notebook_is_stripped_and_starts_the_lab():
    book = nbformat.read(ROOT / "notebooks" / "lab" / "neuron_lab.ipynb", 4)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert cells and all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert "NeuronLab(**started_with())" in cells[0].source
