"""NDIF: what cannot work there is refused before anything starts; what can, equals reading on this machine."""

import copy

import numpy as np
import pytest

from polinb import remote
from polinb.errors import ModelError, ParameterError
from polinb.experiment import Arm, Experiment
from polinb.models import LM
from polinb.neurons import contrast
from polinb.params import Params
from polinb.remote import Connection, check_remote, connect, remote_contrast, remote_read, remote_scores
from polinb.text import batches

HUB = "qwen2.5-3b-instruct"


@pytest.fixture
def far(pair):
    """Three models as nnsight sees hub models; a trace is shipped and run as NDIF would, in this process."""
    import nnsight

    both = pair("llama")

    def make(how):
        made = {}
        for side in ("left", "right", "vanilla"):
            lm = getattr(both, side)
            root = nnsight.TransformersModel(copy.deepcopy(lm.model), task="text-generation", tokenizer=lm.tokenizer)
            made[side] = Connection(LM(root._module, lm.tokenizer, side, {}), root, how)
        return both, made

    return make


def test_one_model_a_job_gives_the_sums_of_reading_here(far):
    both, there = far({"remote": "local"})
    here = contrast(both.left, both.right, both.vanilla, both.prompts, both.responses)
    sums = remote_contrast(there["left"], there["right"], there["vanilla"], both.prompts, both.responses)
    assert sums.tokens == here.tokens
    for name in ("squared_difference", "difference", "vanilla", "vanilla_squared"):
        np.testing.assert_allclose(getattr(sums, name), getattr(here, name), rtol=1e-4, atol=1e-5)
    assert sums.squared_difference.max() > 0


def test_a_server_that_uses_one_model_for_all_would_be_seen(far):
    """The trap of two models in a job: their difference is then exactly 0, as for one model twice."""
    both, there = far({"remote": "local"})
    silent = remote_contrast(there["left"], there["left"], there["vanilla"], both.prompts, both.responses)
    assert not silent.squared_difference.any()
    right = remote_contrast(there["left"], there["right"], there["vanilla"], both.prompts, both.responses)
    assert right.squared_difference.all(axis=1).any()


def test_every_job_names_one_model_and_carries_no_weights(far):
    from nnsight.tracing.backend import Backend

    jobs = []

    class Planted(Backend):
        def __call__(self, tracer=None):
            jobs.append(tracer)
            raise ModelError("sent")

    both, there = far({"backend": Planted()})
    (chunk,) = batches(both.left, both.prompts, both.responses, 8)
    with pytest.raises(ModelError, match="sent"):
        remote_read(there["left"], chunk)
    assert len(jobs) == 1


def test_models_of_other_size_are_refused(far, pair):
    _, there = far({"remote": "local"})
    there["right"].lm.layers += 1
    with pytest.raises(ModelError, match="different size"):
        remote_contrast(there["left"], there["right"], there["vanilla"], [[5]], [[6]])


# --- refusals before anything starts


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "tiny:llama", "nowhere", "/tmp"])
def test_only_hub_models(model):
    with pytest.raises(ParameterError) as told:
        Params.from_profile("tiny", model=model, remote=True)
    assert told.value.name == "model"


@pytest.mark.parametrize(("given", "name"), [
    ({"engine": "vllm"}, "engine"), ({"device_map": "auto"}, "device_map"),
    ({"processes": 2, "sharding": "ddp", "batch_size": 4, "micro_batch": 2}, "processes"),
])  # fmt: skip
def test_parameters_of_this_machines_cards(given, name):
    with pytest.raises(ParameterError) as told:
        Params.from_profile("tiny", model=HUB, remote=True, **given)
    assert told.value.name == name
    check_remote(HUB)


@pytest.mark.parametrize(("stage", "why"), [
    ("load", "on this machine"), ("train", "fine-tuning"), ("score", "fine-tuned variants"),
    ("patch", "silently uses one of them"), ("ask", "interventions"),
])  # fmt: skip
def test_stages_that_cannot_run_there(stage, why, monkeypatch):
    import polinb.experiment

    monkeypatch.setattr(polinb.experiment, "load", None)
    exp = Experiment(Params.from_profile("tiny", model=HUB, remote=True))
    arm = Arm("fine-tune", "crime", "right")
    starts = {
        "load": lambda: exp.answers(),
        "train": lambda: exp.variant("crime", "right"),
        "score": lambda: exp.scores("crime"),
        "patch": lambda: exp.patched("G", np.ones((36, 11008), dtype=bool), {"crime": "crime"}),
        "ask": lambda: exp.answers(arm),
    }
    with pytest.raises(ParameterError, match=why) as told:
        starts[stage]()
    assert told.value.name == "remote" and not list(exp.store.root.rglob("*.safetensors"))


def test_the_key_comes_from_the_environment_only(monkeypatch):
    monkeypatch.delenv(remote.KEY, raising=False)
    with pytest.raises(ModelError, match="environment variable NDIF_API_KEY"):
        connect(HUB)
    exp = Experiment(Params.from_profile("tiny", model=HUB, remote=True))
    with pytest.raises(ModelError, match="NDIF_API_KEY"):
        remote_scores(exp, "crime", "someone/left", "someone/right")
    assert not any("ndif" in name for name in Params.model_fields)


def test_the_skeleton_of_a_hub_model_has_sizes_and_no_weights(pair, tmp_path, monkeypatch):
    lm = pair("llama").left
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    monkeypatch.setenv(remote.KEY, "planted")
    monkeypatch.setattr(remote, "check_remote", lambda *_: None)
    there = connect(str(tmp_path))
    assert (there.lm.layers, there.lm.width, there.how) == (lm.layers, lm.width, {"remote": True})
    assert {p.device.type for p in there.lm.model.parameters()} == {"meta"}
    assert len(remote._downs(there)) == lm.layers
    (chunk,) = batches(there.lm, [[5, 6], [7]], [[8], [9]], 2)
    assert chunk.ids.tolist() == [[5, 6, 8], [there.lm.tokenizer.pad_token_id, 7, 9]], "texts are real and here"


def test_scores_of_two_hub_models_are_kept(far, monkeypatch):
    both, there = far({"remote": "local"})
    asked = {"someone/left": "left", "someone/right": "right", HUB: "vanilla"}
    seen = []

    def planted(name, revision=""):
        seen.append(name)
        return there[asked[name]]

    monkeypatch.setattr(remote, "connect", planted)
    exp = Experiment(Params.from_profile("tiny", model=HUB, remote=True))
    made = remote_scores(exp, "crime", "someone/left", "someone/right")
    assert made.arrays("sums")["squared_difference"].shape == (3, both.left.width)
    assert made.arrays("sums")["squared_difference"].any() and made.summary["tokens"] > 0
    assert remote_scores(exp, "crime", "someone/left", "someone/right").meta["key"] == made.meta["key"]
    assert sorted(seen) == sorted(asked)
    with pytest.raises(ParameterError, match="hub model"):
        remote_scores(exp, "crime", "tiny:llama", "someone/right")
    with pytest.raises(ParameterError, match="remote"):
        remote_scores(Experiment(Params.from_profile("tiny")), "crime", "someone/left", "someone/right")
