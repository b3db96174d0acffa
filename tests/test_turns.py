"""PNLAC on a card that holds two of its three models: the same bytes, and whoever is read sits on the card."""

import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_memory import CARD, LLAMA_8B, params

from polinb.errors import ParameterError
from polinb.models import generation, turns
from polinb.runs import memory
from polinb.runs.artifacts import Store
from polinb.runs.experiment import Experiment
from polinb.runs.params import Params
from polinb.scoring import tracing as neurons

CPU = torch.device("cpu")
PLACE = SimpleNamespace(type="card")
SMALL = {"topics": ["crime", "science"], "train_examples": 8, "localise_prompts": 4, "localise_tokens": 6}


class Model:
    def __init__(self, place=PLACE):
        self.place = place

    def to(self, place):
        self.place = place


class Seated:
    """A stand-in for a model and where it is."""

    def __init__(self, place=PLACE):
        self.model = Model(place)

    @property
    def device(self):
        return self.model.place


def test_who_is_brought_is_there_and_the_others_are_not():
    first, left, right = Seated(), Seated(CPU), Seated(CPU)
    with turns.turns(first, PLACE) as bring:
        assert first.device == CPU  # copies of it are made in the computer's memory
        for wanted in ((left,), (right,), (first,), (left, right), (first,)):
            bring(*wanted)
            there = [each for each in (first, left, right) if each.device == PLACE]
            assert sorted(map(id, there)) == sorted(map(id, wanted))
    assert (first.device, left.device, right.device) == (PLACE, CPU, CPU)


def test_after_an_error_only_the_first_model_is_there():
    first, other = Seated(), Seated(CPU)
    with pytest.raises(MemoryError), turns.turns(first, PLACE) as bring:
        bring(other)
        raise MemoryError
    assert (first.device, other.device) == (PLACE, CPU)


def test_a_model_twice_in_the_same_turn_stays():
    first = Seated()
    with turns.turns(first, PLACE) as bring:
        bring(first, first)
        assert first.device == PLACE


@pytest.fixture
def seats(monkeypatch):
    """Ids of the models on a card that holds two, as told by the moves; reading one that is not there fails."""
    there, most = set(), [0]

    def move(each, place):
        (there.discard if place == CPU else there.add)(id(each.model))
        most[0] = max(most[0], len(there))

    @contextmanager
    def card(first, _):
        there.add(id(first.model))
        with actual(first, PLACE) as bring:
            yield bring

    def seated(name, function):
        def asked(each, *args, **kwargs):
            assert id(each.model) in there, f"{name} of a model that is not on the card"
            return function(each, *args, **kwargs)

        return asked

    actual = turns.turns
    monkeypatch.setattr(turns, "_move", move)
    monkeypatch.setattr("polinb.runs.experiment.turns", card)
    monkeypatch.setattr(memory, "check", lambda _params, stage, **_: memory.Estimate(stage, {}, 2))
    monkeypatch.setattr(neurons, "envoys", seated("neurons", neurons.envoys))
    monkeypatch.setattr(generation, "generate", seated("answers", generation.generate))
    return SimpleNamespace(there=there, most=most)


@pytest.mark.parametrize("source", ["both", "vanilla", "dataset"])
def test_scores_are_the_same_bytes_with_two_models_at_a_time(tmp_path, request, source):
    options = Params.from_profile("tiny", device="cpu", response_source=source, **SMALL)
    plain = Experiment(options, Store(tmp_path / "plain")).scores("crime")
    seats = request.getfixturevalue("seats")
    exp = Experiment(options, Store(tmp_path / "turns"))
    taken = exp.scores("crime")
    names = ("sums.safetensors", "responses.parquet")
    assert [(taken.path / n).read_bytes() for n in names] == [(plain.path / n).read_bytes() for n in names]
    assert seats.most == [2] and seats.there == {id(exp.lm.model)}


def test_training_comes_before_vanilla_leaves_the_card(tmp_path, seats, monkeypatch):
    exp = Experiment(Params.from_profile("tiny", device="cpu", **SMALL), Store(tmp_path))
    train, order = exp.train, []

    def watched(arm):
        order.append((arm.leaning, not seats.there or id(exp.lm.model) in seats.there))
        return train(arm)

    monkeypatch.setattr(exp, "train", watched)
    exp.scores("crime")
    assert order == [("left", True), ("right", True)] and len(seats.there) == 1


def test_an_8b_model_is_scored_on_one_card_of_48_gb(monkeypatch):
    """Three of its models do not fit, two do; without the computer's memory to wait in, it is refused as before."""
    run = params(train="lora", dtype="bfloat16")
    monkeypatch.setattr("polinb.models.loading.pick_device", lambda _: torch.device("cuda"))
    host = {"cpu": 60 * 10**9}
    monkeypatch.setattr(memory, "free_memory", lambda device, spread=False: host.get(device, CARD))
    need = memory.check(run, "score")
    assert need is not None and need.models == 2 and need.total < CARD
    assert memory.estimate(LLAMA_8B, run, "score", on_cpu=False).total > CARD
    assert memory.check(run, "score", free=80 * 10**9).models == 3
    host["cpu"] = 40 * 10**9
    with pytest.raises(ParameterError, match="score needs about"):
        memory.check(run, "score")
    host["cpu"] = 60 * 10**9
    with pytest.raises(ParameterError, match="score needs about"):
        memory.check(run, "score", free=24 * 10**9)


def test_the_page_on_larger_models_tells_the_estimates():
    page = (Path(__file__).parents[1] / "book" / "scale.md").read_text("utf-8")
    run = Params.from_profile("paper")
    asked = {"fine-tuning": "train", "asking": "ask", "patching": "patch", "scoring": "score"}
    rows = re.findall(r"^\| ([\w-]+)(, in turns)? \| (\d) \| (\d+) GB \|$", page, re.M)
    assert [row[0] for row in rows] == [*asked, "scoring"]
    for name, taking, models, told in rows:
        need = memory.estimate(LLAMA_8B, run, asked[name], on_cpu=False, turns=bool(taking))
        assert (round(need.total / 1e9), need.models) == (int(told), int(models)), name


@pytest.mark.gpu
def test_on_a_real_card_a_model_less_is_there_at_the_peak(tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA card")
    options = Params.from_profile("tiny", model="smollm2-135m-instruct", device="cuda", train="lora", **SMALL)
    found, peaks = [], []
    for models in (3, 2):
        with monkeypatch.context() as patched:
            patched.setattr(memory, "check", lambda _, stage, models=models, **__: memory.Estimate(stage, {}, models))
            exp = Experiment(options, Store(tmp_path / str(models)))
            for side in ("left", "right"):
                exp.variant("crime", side)
            torch.cuda.reset_peak_memory_stats()
            found.append(exp.scores("crime").arrays("sums"))
            peaks.append(torch.cuda.max_memory_allocated())
            weights = sum(p.numel() * p.element_size() for p in exp.lm.model.parameters())
            assert exp.lm.device.type == "cuda"
    assert peaks[0] - peaks[1] > 0.8 * weights
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name])
