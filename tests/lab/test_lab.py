"""The live lab without a browser: its neuron lists, its runs, the program it exports, its widget, its servers."""

import html
import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from waiting import until

from polinb.__main__ import main
from polinb.errors import ParameterError
from polinb.lab import view
from polinb.lab.request import SETS, Answer, History, Request, Result, parse, program
from polinb.lab.session import Listener, Session, StoppedError
from polinb.lab.widget import NeuronLab
from polinb.masking.interventions import Intervention
from polinb.models.generation import generate
from polinb.models.tokens import prompt_ids
from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run

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
    return Run(Params.from_profile("tiny", **TWO), store)


@pytest.fixture(scope="module")
def session(store):
    return Session(store)


class Heard(Listener):
    """Keeps what is told, and asks to stop once ``last`` is."""

    def __init__(self, session, last=None):
        self.texts, self.bars, self.last, self.stop = [], [], last, session.stop
        session.listener = self
        session.stop.clear()

    def progress(self, done, total, label):
        self.bars.append((label, done, total))
        if self.last == self.bars[-1]:
            self.stop.set()

    def written(self, name, answer):
        self.texts.append(name)


def test_lists_of_neurons_are_read_or_their_wrong_item_is_named():
    chosen = parse("2.47, 0.3 - 5;1.0\n 0.4", 3, 48)
    assert [tuple(x) for x in np.argwhere(chosen)] == [(0, 3), (0, 4), (0, 5), (1, 0), (2, 47)]
    allowed = "layer.neuron .* layer 0–2, neuron 0–47, a range from its smaller end"
    for item in ("", "seven", "3.4", "0.48", "0.40-48", "1.9-3", "-1.5", "1.99999999999999"):
        with pytest.raises(ParameterError, match=f"'own list': got '{re.escape(item)}'; allowed: {allowed}"):
            parse(f"0.1, {item}" if item else "", 3, 48)


def test_what_is_missing_is_told_first_and_made_by_the_run_and_after_a_stop_by_the_next(tmp_path, monkeypatch):
    fresh = Session(Store(tmp_path / "fresh"))
    both, scores = "fine-tuned variants (crime left, crime right, race left, race right)", "PNLAC scores (crime, race)"
    own = {"neurons": "own", "own": "0.1"}
    assert fresh.missing(ask()) == fresh.missing(ask(kind="graft")) == [both, scores]
    assert fresh.missing(ask(**own)) == []
    assert fresh.missing(ask(**own, kind="graft")) == ["fine-tuned variants (crime right)"]
    with monkeypatch.context() as patch:
        patch.setattr("polinb.runs.base.identity_of", lambda *_: {})  # it would be asked of the hub
        hub = "the model some/model, from the Hugging Face hub"
        assert fresh.missing(ask(model="some/model", **own)) == [hub]
    assert not (tmp_path / "fresh").exists(), "asking makes nothing"
    told = Heard(fresh, ("fine-tune race left", 1, 2))
    with pytest.raises(StoppedError):
        fresh.run(ask(kind="patch"))
    assert ("fine-tune crime left", 2, 2) in told.bars and told.bars[-1] == told.last and not told.texts
    assert fresh.missing(ask(kind="patch")) == ["fine-tuned variants (race left, race right)", "PNLAC scores (race)"]
    told = Heard(fresh)
    fresh.run(ask(kind="patch"))
    assert ("fine-tune race left", 2, 2) in told.bars and ("tokens", STEPS, STEPS) in told.bars
    assert told.texts[:4] == ["vanilla", "intervened"] * 2, "both are written side by side"
    assert fresh.missing(ask(kind="patch")) == [], "all is kept"


CASES = [("general", "graft"), ("specific", "graft"), ("strict", "patch"), ("uniform", "scale"), ("own", "ablate")]


@pytest.mark.parametrize(("neurons", "kind"), CASES)
def test_a_run_is_the_intervention_on_the_set_of_the_run(session, run, neurons, kind):
    """Every intervention; answers, judge and activations are those of the parts."""
    sets = run.sets(50.0)
    chosen = {
        "general": lambda: sets.general,
        "specific": lambda: sets.specific["race"],
        "strict": lambda: sets.strict["race"],
        "own": lambda: parse("0.3-9, 2.1", run.lm.layers, run.lm.width),
        "uniform": lambda: run.control_set("uniform", 2, 50.0),
    }[neurons]()
    Heard(session)
    strength = {"scale": -3.0, "patch": 0.5}.get(kind, 1.0)
    asked = {"topic": "race", "donor_topic": "race", "donor": "left", "number": 2, "own": "0.3-9, 2.1"}
    result = session.run(ask(kind=kind, neurons=neurons, strength=strength, **asked))
    prompt = prompt_ids(run.lm, "Should taxes be raised?", run.params.system_prompt)
    change = Intervention(run.lm, chosen, kind, strength, run.model(run.weights(run.tuned("race", "left"))))
    plain, changed = result.answers["vanilla"], result.answers["intervened"]
    assert plain.ids == generate(run.lm, [prompt], max_new_tokens=STEPS)[0]
    assert changed.ids == list(change.stream(prompt, max_new_tokens=STEPS))
    assert (result.chosen, result.total) == (chosen.sum(), 144)
    for answer, way in ((plain, Intervention(run.lm, chosen)), (changed, change)):
        seen = way.read(prompt, answer.ids)[1].astype(float)
        assert answer.activation == pytest.approx(np.sqrt((seen**2).mean(1)), abs=1e-5)
        assert "".join(answer.pieces) == answer.text
    p_right = run.judge.rate(pd.DataFrame({"response": [changed.text]}))["p_right"][0]
    # NaN: an answer of no word, which has none
    assert changed.p_right == (None if np.isnan(p_right) else pytest.approx(p_right))


def test_signs_and_likelihoods_are_those_of_the_run(session, run):
    Heard(session)
    seen = session.run(ask(neurons="own", own="1.7", kind="scale")).answers["vanilla"].activation
    assert min(seen) < 0 < max(seen), "one neuron's activation keeps its sign"
    question = run.questions(topics=["race"]).iloc[1]
    result = session.run(ask(prompt=question["prompt"], topic="race", references=True))
    gaps = [answer.gap for answer in result.answers.values()]
    row = run.likelihood().set_index("id").loc[question["id"]]
    assert gaps[0] == pytest.approx(row["logp_right"] - row["logp_left"], abs=1e-5) and gaps[1] != gaps[0]
    assert session.run(ask(references=True)).answers["vanilla"].gap is None, "no question of the data"


def test_wrong_requests_are_refused_before_anything_runs(session, tmp_path, capsys, monkeypatch):
    fresh = Session(Store(tmp_path / "s"))
    for changes, told in (
        ({"prompt": "  "}, "'prompt'"),
        ({"gamma": 0.0}, "'gamma'"),
        ({"kind": "patch", "strength": 2.0}, "'strength'"),
        ({"strength": float("nan")}, "'strength'"),
        ({"colour": 1}, "'colour'"),
        ({"topic": "sports"}, "'topic': got 'sports'; allowed: crime, race"),
        ({"settings": {"gama": 5}}, "Did you mean 'gamma'"),
        ({"max_new_tokens": 5000}, "the model's context"),
    ):
        with pytest.raises(ParameterError, match=told):
            fresh.run(ask(**changes))
    assert not (tmp_path / "s").exists()
    for neurons, gamma in (("general", 0.01), ("strict", 99.99)):
        with pytest.raises(ParameterError, match=f"'gamma': got {gamma}; .*{SETS[neurons]}' is not empty"):
            session.run(ask(neurons=neurons, gamma=gamma))
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("a server was started"))
    for arguments in (["--set", "gama=5"], ["--profile", "huge"], ["--port", "80"]):
        assert main(["lab", *arguments]) == 2
        assert "polinb: parameter" in capsys.readouterr().err


EXPORTED = [
    {"kind": "patch", "neurons": "layer", "number": 2, "strength": 0.75, "donor": "left"},
    {"kind": "scale", "neurons": "own", "own": "0.3-20, 2.1", "strength": -1.5, "temperature": 0.8, "seed": 5},
    {"kind": "graft", "neurons": "uniform", "topic": "race", "max_new_tokens": 500},
]


def test_exported_programs_make_the_same_answers(session, monkeypatch):
    """The prompt tries to break out of its literal; the last run is stopped."""
    prompt = "Why?\n'''\"\"\"); raise SystemExit(3) #\\ {x} <script>"
    monkeypatch.setenv("POLINB_STORE", str(session._store.root))
    results = []
    for changes in EXPORTED:
        Heard(session, ("tokens", 12, 500))
        results.append(session.run(ask(prompt=prompt, **changes)))
        names = {}
        exec(program(results[-1]), names)
        again = [answer.ids for answer in names["result"].answers.values()]
        assert again == [answer.ids for answer in results[-1].answers.values()]
    assert results[-1].stopped and max(map(len, again)) == 12
    assert list(History.model_validate_json(History(runs=results).model_dump_json()).runs) == results


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


def test_widget_from_click_to_answers_and_back(lab):
    lab.use("0.1-30, 2.7")
    lab.inputs["kind"].value = "scale"
    lab.inputs["strength"].value = -2.0
    pressed(lab)
    [first] = lab.results
    assert (first.request.own, first.request.strength, first.chosen) == ("0.1-30, 2.7", -2.0, 31)
    for name, answer in first.answers.items():
        shown = lab.answers[name].value
        assert re.findall(r'span title="(.*?)"', shown) == [f"{value:.3g}" for value in answer.activation]
        assert answer.text in html.unescape(re.sub("<.*?>", "", shown)) and f"{len(answer.ids)} tokens" in shown
    assert sum(", 0.50)" in lab.answers[name].value for name in first.answers) == 1, "one scale of colours for both"
    lab.inputs["kind"].value = "ablate"
    pressed(lab)
    assert len(lab.results) == 2 and program(lab.results[1]) in html.unescape(lab.saved.value)
    lab.back.value = 0
    assert lab.request() == first.request
    code, kept = map(html.unescape, re.findall(r"<textarea.*?>\n(.*?)</textarea>", lab.saved.value, re.S))
    assert code == program(first) and len(json.loads(kept)["runs"]) == 2


def test_widget_asks_before_it_trains(lab, tmp_path):
    lab.session = Session(Store(tmp_path / "fresh"), lab)
    for answer in ("Not now", "Start"):
        pressed(lab)
        assert "fine-tuned variants" in lab.missing.value and lab.question.layout.display == "" and not lab.results
        assert not (tmp_path / "fresh").exists(), "nothing is computed before the word is given"
        pressed(lab, answer)
        assert lab.question.layout.display != ""
    assert len(lab.results) == 1 and (tmp_path / "fresh" / "scores").is_dir()


def test_widget_shows_errors_as_text_and_stays_usable(lab, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "k3y-of-s0mebody-else")
    lab.use("0.1, <img src=x onerror=alert(1)> k3y-of-s0mebody-else")
    pressed(lab)
    error = lab.error.value
    assert "layer.neuron" in error and "&lt;img" in error and "<img" not in error and "k3y" not in error
    assert error.index("<details>") < error.index("Traceback"), "the traceback is folded away"
    lab.use("0.1")
    pressed(lab)
    assert not lab.error.value and len(lab.results) == 1


def test_a_neuron_opened_in_the_explorer_becomes_the_own_list(lab):
    pressed(lab, "Load the explorer")
    assert "cards" in lab.missing.value and not lab.explorer.children, "asks first"
    pressed(lab, "Start")
    assert not lab.error.value
    [explorer] = lab.explorer.children
    assert explorer.payload["layers"] == 3
    explorer.selected = [2, 17]
    assert (lab.inputs["neurons"].value, lab.inputs["own"].value) == ("own", "2.17")


def test_text_of_models_and_users_is_escaped_everywhere():
    answer = Answer(ids=[1], text=BAD, pieces=[BAD], activation=[1.0], label=BAD, p_right=0.5, gap=0.1)
    request, answers = ask(prompt=BAD, neurons="own", own=BAD), {"vanilla": answer, "intervened": answer}
    result = Result(request=request, answers=answers, chosen=1, total=2, stopped=False, date="")
    shown = [view.part("answer", "vanilla", answer, BAD, 1.0), view.part("answer", BAD, Answer(text=BAD))]
    shown += [view.part("status", BAD), view.part("progress", 1, 2, BAD), view.part("missing", [BAD])]
    shown += [view.part("history", [result]), view.error(ValueError(BAD)), view.part("saved", BAD, BAD, BAD, BAD)]
    assert all("&lt;script" in text and "<script" not in text for text in shown)
