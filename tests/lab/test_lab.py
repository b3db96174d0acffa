"""The live lab without a browser: its neuron lists, its runs, the program it exports, its widget, its servers."""

import html
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tqdm import tqdm

from polinb.__main__ import main
from polinb.errors import ParameterError, TrainingError
from polinb.lab import view
from polinb.lab.request import CHANGES, Answer, History, Request, Result, parse, program
from polinb.lab.serve import environment, started_with
from polinb.lab.session import Listener, Session, StoppedError
from polinb.lab.widget import NeuronLab
from polinb.masking.interventions import Intervention
from polinb.models.generation import generate
from polinb.models.tokens import prompt_ids
from polinb.progress import bar, heard
from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8
TWO = {"topics": ["crime", "race"], "ablation_topics": ["crime"], "baseline_topics": ["crime"]}
BAD = "<script>alert(1)</script>&"


def ask(**changes):
    options = {"profile": "tiny", "settings": TWO, "prompt": "Should taxes be raised?", "gamma": 50.0}
    options |= {"topic": "crime", "donor_topic": "crime", "max_new_tokens": STEPS}
    return Request.of(**(options | changes))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Holds variants and scores of two topics after the first use."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def run(store):
    """The run beneath the lab's."""
    return Run(Params.from_profile("tiny", **TWO), store)


@pytest.fixture(scope="module")
def session(store):
    return Session(store)


class Heard(Listener):
    """Keeps what is told, and asks to stop once ``until`` is."""

    def __init__(self, session, until=None):
        self.texts, self.bars, self.until, self.session = [], [], until, session
        session.listener = self
        session.stop.clear()

    def progress(self, done, total, label):
        self.told(self.bars, (label, done, total))

    def text(self, name, text, tokens):
        self.told(self.texts, (name, tokens))

    def told(self, where, what):
        where.append(what)
        if what == self.until:
            self.session.stop.set()


# --- choosing neurons


def test_lists_of_neurons_are_read_or_their_wrong_item_is_named():
    chosen = parse("2.47, 0.3 - 5;1.0\n 0.4", 3, 48)
    assert [tuple(x) for x in np.argwhere(chosen)] == [(0, 3), (0, 4), (0, 5), (1, 0), (2, 47)]
    allowed = "layer.neuron .* layer 0–2, neuron 0–47, a range from its smaller end"
    for item in ("", "seven", "3.4", "0.48", "0.40-48", "1.9-3", "-1.5", "1.99999999999999"):
        with pytest.raises(ParameterError, match=f"'own list': got '{re.escape(item)}'; allowed: {allowed}"):
            parse(f"0.1, {item}" if item else "", 3, 48)


# --- runs


def test_what_is_missing_is_told_first_and_made_by_the_run(tmp_path):
    fresh = Session(Store(tmp_path / "fresh"))
    both, scores = "fine-tuned variants (crime left, crime right, race left, race right)", "PNLAC scores (crime, race)"
    own = {"neurons": "own", "own": "0.1"}
    assert fresh.missing(ask()) == fresh.missing(ask(kind="graft")) == [both, scores]
    assert fresh.missing(ask(**own)) == []
    assert fresh.missing(ask(**own, kind="graft")) == ["fine-tuned variants (crime right)"]
    assert not (tmp_path / "fresh").exists(), "asking makes nothing"
    hub = "the model some/model, from the Hugging Face hub"
    with pytest.MonkeyPatch.context() as patch:  # its identity would be asked of the hub
        patch.setattr("polinb.runs.base.identity_of", lambda *_: {})
        assert fresh.missing(ask(model="some/model", **own)) == [hub]
    told = Heard(fresh)
    fresh.run(ask(kind="patch"))
    assert ("fine-tune crime left", 2, 2) in told.bars and ("tokens", STEPS, STEPS) in told.bars
    assert [name for name, _ in told.texts[:4]] == ["vanilla", "intervened"] * 2, "both are written side by side"
    assert fresh.missing(ask(kind="patch")) == [], "all is kept"


@pytest.mark.parametrize(
    ("neurons", "kind"),
    [
        *(("general", kind) for kind in CHANGES),
        *(("specific", "graft"), ("strict", "patch"), ("uniform", "scale"), ("layer", "patch"), ("own", "ablate")),
    ],
)
def test_a_run_is_the_intervention_on_the_set_of_the_run(session, run, kind, neurons):
    """Every intervention and every set; answers, judge and activations are those of the parts."""
    sets = run.sets(50.0)
    chosen = {
        "general": lambda: sets.general,
        "specific": lambda: sets.specific["race"],
        "strict": lambda: sets.strict["race"],
        "own": lambda: parse("0.3-9, 2.1", run.lm.layers, run.lm.width),
    }.get(neurons, lambda: run.control_set(neurons, 2, 50.0))()
    if neurons in ("uniform", "layer"):
        assert chosen.sum() == sets.general.sum() and (chosen != sets.general).any()
    Heard(session)
    strength = {"scale": -3.0, "patch": 0.5}.get(kind, 1.0)
    asked = {"topic": "race", "donor_topic": "race", "donor": "left", "number": 2, "own": "0.3-9, 2.1"}
    result = session.run(ask(kind=kind, neurons=neurons, strength=strength, **asked))
    prompt = prompt_ids(run.lm, "Should taxes be raised?", run.params.system_prompt)
    change = Intervention(run.lm, chosen, kind, strength, run.load_variant("race", "left"))
    plain, changed = result.answers["vanilla"], result.answers["intervened"]
    assert plain.ids == generate(run.lm, [prompt], max_new_tokens=STEPS)[0]
    assert changed.ids == list(change.stream(prompt, max_new_tokens=STEPS))
    assert (result.chosen, result.total) == (chosen.sum(), 144)
    for answer, way in ((plain, Intervention(run.lm, chosen)), (changed, change)):
        seen = way.read(prompt, answer.ids)[1].astype(float)
        assert answer.activation == pytest.approx(np.sqrt((seen**2).mean(1)), abs=1e-5)
        assert "".join(answer.pieces) == answer.text
    rated = run.judge.rate(pd.DataFrame({"response": [changed.text]}))
    p_right = rated["p_right"][0]  # NaN: an answer of no word, which has none
    assert changed.p_right == (None if np.isnan(p_right) else pytest.approx(p_right))


def test_one_neuron_s_activation_keeps_its_sign(session):
    Heard(session)
    seen = session.run(ask(neurons="own", own="1.7", kind="scale")).answers["vanilla"].activation
    assert min(seen) < 0 < max(seen)


def test_likelihoods_are_compared_for_questions_of_the_data(session, run):
    Heard(session)
    question = run.questions(topics=["race"]).iloc[1]
    result = session.run(ask(prompt=question["prompt"], topic="race", references=True))
    gaps = [answer.gap for answer in result.answers.values()]
    logp = run.likelihood()
    row = logp[logp["id"] == question["id"]].iloc[0]
    assert gaps[0] == pytest.approx(row["logp_right"] - row["logp_left"], abs=1e-5) and gaps[1] != gaps[0]
    assert session.run(ask(references=True)).answers["vanilla"].gap is None
    assert session.run(ask(prompt=question["prompt"])).answers["vanilla"].gap is None


def test_grafting_leaves_the_model_as_it_was(store):
    """Also where the run is stopped between two tokens."""
    made = Session(store)
    before = {n: w.clone() for n, w in made._opened(ask()).lm.model.named_parameters()}
    for until in (None, ("vanilla", 3)):
        Heard(made, until)
        made.run(ask(kind="graft"))
        assert all(torch.equal(w, before[n]) for n, w in made._opened(ask()).lm.model.named_parameters())


def test_stopping_ends_a_training_and_keeps_nothing_half_done(tmp_path):
    fresh = Session(Store(tmp_path / "s"))
    told = Heard(fresh, ("fine-tune race left", 1, 2))
    with pytest.raises(StoppedError):
        fresh.run(ask())
    assert told.bars[-1] == ("fine-tune race left", 1, 2) and not told.texts
    kept = [path.name for path in (tmp_path / "s" / "weights").iterdir() if not path.name.startswith(".")]
    assert len(kept) == 2, "the two variants of crime, finished before"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompt": "  "}, "'prompt': got '  '; allowed: at least one word"),
        ({"neurons": "all"}, "'neurons': got 'all'; allowed: 'general', 'specific'"),
        ({"gamma": 0.0}, "'gamma': got 0.0; allowed: greater than 0"),
        ({"kind": "kill"}, "'kind'"),
        ({"donor": "middle"}, "'donor'"),
        ({"kind": "patch", "strength": 2.0}, "'strength': got 2.0; allowed: 0 "),
        ({"strength": float("nan")}, "'strength'"),
        ({"temperature": -1.0}, "'temperature'"),
        ({"max_new_tokens": 0}, "'max_new_tokens'"),
        ({"own": 5}, "'own'"),
        ({"colour": 1}, "'colour'"),
        ({"topic": "sports"}, "'topic': got 'sports'; allowed: crime, race"),
        ({"donor_topic": "sports"}, "'donor_topic'"),
        ({"settings": {"gama": 5}}, "Did you mean 'gamma'"),
    ],
)
def test_wrong_requests_are_refused_before_anything_runs(tmp_path, changes, told):
    for check in ("missing", "run"):
        with pytest.raises(ParameterError) as error:
            getattr(Session(Store(tmp_path / "s")), check)(ask(**changes))
        assert told in str(error.value)
    assert not (tmp_path / "s").exists()


def test_a_text_beyond_the_context_and_sets_without_a_neuron_are_refused(session, tmp_path):
    with pytest.raises(ParameterError, match="the model's context"):
        Session(Store(tmp_path / "s")).run(ask(max_new_tokens=5000))
    assert not (tmp_path / "s").exists(), "before anything is trained"
    with pytest.raises(TrainingError, match="raise gamma"):
        session.run(ask(gamma=0.01))
    with pytest.raises(ParameterError, match="no neuron is strictly specific to 'race'"):
        session.run(ask(neurons="strict", topic="race", gamma=99.99))


# --- export


EXPORTED = [
    {"kind": "patch", "neurons": "layer", "number": 2, "strength": 0.75, "donor": "left"},
    {"kind": "scale", "neurons": "own", "own": "0.3-20, 2.1", "strength": -1.5, "temperature": 0.8, "seed": 5},
    {"kind": "graft", "neurons": "uniform", "topic": "race", "max_new_tokens": 500},
]


def test_exported_programs_make_the_same_answers_in_a_fresh_process(session):
    """The prompt tries to break out of its literal; the last run is stopped. Each has a namespace of its own."""
    prompt = "Why?\n'''\"\"\"); raise SystemExit(3) #\\ {x} <script>"
    results = []
    for changes in EXPORTED:
        Heard(session, ("intervened", 12))
        results.append(session.run(ask(prompt=prompt, **changes)))
    assert results[-1].stopped and max(len(a.ids) for a in results[-1].answers.values()) == 12
    runner = "import json, sys\nfor text in json.load(sys.stdin):\n    names = {}\n    exec(text, names)\n"
    runner += "    print(json.dumps([a.ids for a in names['result'].answers.values()]))\n"
    environ = os.environ | {"POLINB_STORE": str(session._store.root), "PYTHONPATH": str(ROOT)}
    programs = json.dumps([program(result) for result in results])
    done = subprocess.run(
        [sys.executable, "-c", runner], input=programs, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert printed == [[a.ids for a in result.answers.values()] for result in results]
    assert printed[1][0] != printed[1][1]
    kept = History.model_validate_json(History(runs=results).model_dump_json())
    assert list(kept.runs) == results


# --- widget


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
def lab(store):
    """The widget on the module's store; it is closed afterwards."""
    made = NeuronLab(store, profile="tiny", gamma=50.0, **TWO)
    until(lambda: not made.busy)
    made.inputs["max_new_tokens"].value = STEPS
    yield made
    made.close()
    until(lambda: not made.busy)


def pressed(lab, button="Run"):
    lab.buttons[button].click()
    until(lambda: not lab.busy)


def asks(lab):
    return lab.question.layout.display == ""


def test_widget_from_click_to_answers_and_back(lab):
    assert len(lab.inputs["example"].options) > 4 and lab.inputs["prompt"].value, "examples are there"
    lab.use("0.1-30, 2.7")
    lab.inputs["kind"].value = "scale"
    lab.inputs["strength"].value = -2.0
    pressed(lab)
    assert "Done." in lab.state.value and not lab.error.value
    [first] = lab.results
    assert (first.request.own, first.request.strength, first.chosen) == ("0.1-30, 2.7", -2.0, 31)
    most = max(max(answer.activation) for answer in first.answers.values())
    for name, answer in first.answers.items():
        _, text, gauge = lab.answers[name]
        assert text.value == view.answer_html(answer, most) and gauge.value == view.gauge_html(answer, False)
    lab.inputs["kind"].value = "patch"
    assert lab.inputs["strength"].value == 0.0, "a strength outside the new range is moved into it"
    lab.inputs["kind"].value = "ablate"
    pressed(lab)
    assert len(lab.results) == 2 and html.escape(program(lab.results[1])) in lab.code.value
    lab.back.value = 0
    assert lab.request() == first.request
    assert html.escape(program(first)) in lab.code.value
    kept = json.loads(html.unescape(re.search(r"<textarea.*?>(.*)</textarea>", lab.json.value, re.S)[1]))
    assert len(kept["runs"]) == 2


def test_only_inputs_that_count_are_shown(lab):
    def shown():
        return {name for name, field in lab.inputs.fields.items() if field.widget.layout.display == ""}

    always = {"model", "topic", "neurons", "kind", "example", "prompt", "max_new_tokens", "temperature", "references"}
    assert shown() == always | {"gamma"}
    for changes, more in (
        ({"neurons": "uniform", "kind": "scale"}, {"gamma", "number", "strength"}),
        ({"kind": "patch"}, {"gamma", "number", "strength", "donor", "donor_topic"}),
        ({"neurons": "own", "kind": "graft", "temperature": 1.0, "model": ""},
         {"own", "donor", "donor_topic", "seed", "other"}),
    ):  # fmt: skip
        for name, value in changes.items():
            lab.inputs[name].value = value
        assert shown() == always | more


def test_wrong_parameters_are_told_and_a_commit_of_one_model_is_not_asked_of_another(store):
    made = NeuronLab(profile="tiny", gama=5)
    assert "Did you mean" in made.error.value and not made.busy
    made.close()
    made = NeuronLab(store, profile="tiny", revision="abc", **TWO)
    until(lambda: not made.busy)
    assert made.request().settings["revision"] == "abc"
    made.inputs["model"].value = "tiny:gpt2"
    assert "revision" not in made.request().settings and made.request().model == "tiny:gpt2"
    made.close()


def test_widget_asks_before_it_trains(lab, tmp_path):
    lab.session = Session(Store(tmp_path / "fresh"), lab)
    pressed(lab)
    assert "fine-tuned variants" in lab.missing.value and asks(lab) and not lab.results
    assert not (tmp_path / "fresh").exists(), "nothing is computed before the word is given"
    pressed(lab, "Not now")
    assert not asks(lab) and not (tmp_path / "fresh").exists()
    pressed(lab)
    pressed(lab, "Start")
    assert len(lab.results) == 1 and not asks(lab) and (tmp_path / "fresh" / "scores").is_dir()


def test_widget_shows_errors_as_text_and_stays_usable(lab, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "k3y-of-s0mebody-else")
    lab.use("0.1, <img src=x onerror=alert(1)> k3y-of-s0mebody-else")
    pressed(lab)
    error = lab.error.value
    assert "layer.neuron" in error and "&lt;img" in error and "<img" not in error and "k3y" not in error
    assert error.index("<details>") < error.index("Traceback"), "the traceback is folded away"
    lab.inputs["model"].value = ""
    for name in ("", "no-such-model"):
        lab.inputs["other"].value = name
        pressed(lab)
        assert f"{name}" in lab.error.value and "did not work" in lab.state.value
    lab.inputs["model"].value = "tiny:llama"
    lab.use("0.1")
    pressed(lab)
    assert not lab.error.value and len(lab.results) == 1


def test_widget_refuses_a_second_run_and_stops(lab):
    lab.use("0.1")
    lab.inputs["max_new_tokens"].value = 900
    lab.buttons["Run"].click()
    until(lambda: "of 900" in lab.count.value)
    lab.buttons["Run"].click()
    assert "Still busy" in lab.state.value
    pressed(lab, "Stop")
    [result] = lab.results
    assert result.stopped and len(result.answers["vanilla"].ids) < 900 and "Stopped." in lab.state.value
    pressed(lab, "Stop")
    assert "Nothing is running" in lab.state.value


def test_a_neuron_opened_in_the_explorer_becomes_the_own_list(lab):
    pressed(lab, "Load the explorer")
    assert "cards" in lab.missing.value and not lab.explorer.children, "asks first"
    pressed(lab, "Start")
    assert not lab.error.value
    [explorer] = lab.explorer.children
    assert explorer.payload["layers"] == 3
    explorer.selected = [2, 17]
    assert (lab.inputs["neurons"].value, lab.inputs["own"].value) == ("own", "2.17")


# --- what is shown


def test_the_gauge_says_it_in_a_number_a_word_and_a_place():
    answer = Answer(ids=[1], text="x", seconds=1.0, label="right", p_right=0.731, gap=-0.25)
    shown = view.gauge_html(answer, False)
    assert 'aria-label="P(right) = 0.73: leans right"' in shown and "left:73.1%" in shown
    assert "the left one is likelier" in shown and "-0.25 nats" in shown
    assert "no P(right)" in view.gauge_html(Answer(), False)


def test_text_of_models_and_users_is_escaped_everywhere():
    answer = Answer(ids=[1], text=BAD, pieces=[BAD], activation=[1.0], label=BAD, p_right=0.5, gap=0.1)
    answers = {"vanilla": answer, "intervened": answer}
    request = ask(prompt=BAD, neurons="own", own=BAD)
    result = Result(request=request, answers=answers, chosen=1, total=2, stopped=False, date="")
    shown = [view.text_html(BAD), view.answer_html(answer, 1.0), view.gauge_html(answer, False)]
    shown += [view.history_html([result]), view.error_html(ValueError(BAD)), view.missing_html([BAD])]
    shown.append(view.saved_html("Code", BAD, "a.txt", "text/plain"))
    assert all("&lt;script" in text and "<script" not in text for text in shown)


# --- starting it


def test_started_with_reads_the_environment(monkeypatch):
    monkeypatch.delenv("POLINB_LAB", raising=False)
    assert started_with() == {}
    monkeypatch.setenv("POLINB_LAB", environment("tiny", {"model": "tiny:gpt2"})["POLINB_LAB"])
    assert started_with() == {"profile": "tiny", "model": "tiny:gpt2"}


def test_wrong_parameters_stop_before_a_server_starts(capsys, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("a server was started"))
    for arguments in (["--set", "gama=5"], ["--profile", "huge"], ["--port", "80"]):
        assert main(["lab", *arguments]) == 2
        assert "polinb: parameter" in capsys.readouterr().err
