"""Models spread over several devices: the same activations, answers and patches as on one device."""

import copy

import numpy as np
import pytest

from polinb.errors import ParameterError
from polinb.masking.patching import patched_answers
from polinb.models.generation import generate, log_likelihood
from polinb.models.loading import LM, spread
from polinb.runs.experiment import Experiment
from polinb.runs.params import Params
from polinb.scoring.tracing import contrast


def on_disk(lm, folder):
    """A copy whose middle block is read from disk whenever it is needed: its weights are nowhere in memory."""
    model = copy.deepcopy(lm.model)
    parts = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    parts |= {f"model.layers.{i}": "disk" if i == 1 else "cpu" for i in range(lm.layers)}
    return spread(LM(model, lm.tokenizer, lm.name, lm.identity), parts, offload_dir=str(folder))


def test_a_block_on_disk_changes_no_number(pair, tmp_path):
    both = pair("llama")
    ours = {name: getattr(both, name) for name in ("left", "right", "vanilla")}
    far = {name: on_disk(lm, tmp_path / name) for name, lm in ours.items()}
    away = [p for p in far["left"].model.parameters() if p.is_meta]
    assert away, "nothing was moved away, so nothing was tested"
    near, there = (contrast(*each.values(), both.prompts, both.responses) for each in (ours, far))
    for name in ("squared_difference", "vanilla", "vanilla_squared"):
        np.testing.assert_array_equal(getattr(near, name), getattr(there, name))
    chosen = np.zeros((both.left.layers, both.left.width), dtype=bool)
    chosen[:, ::3] = True
    for mode in ("lockstep", "recorded"):
        answers = [
            patched_answers(each["vanilla"], each["right"], chosen, both.prompts, max_new_tokens=6, mode=mode)
            for each in (ours, far)
        ]
        assert answers[0] == answers[1], mode
    plain = generate(ours["left"], both.prompts, max_new_tokens=8)
    assert plain == generate(far["left"], both.prompts, max_new_tokens=8)
    np.testing.assert_array_equal(
        log_likelihood(ours["left"], both.prompts, both.responses),
        log_likelihood(far["left"], both.prompts, both.responses),
    )


def test_automatic_map_is_used_and_trains_and_scores_the_same():
    runs = {}
    for value in ("none", "auto"):
        exp = Experiment(
            Params.from_profile(
                "tiny",
                device="cpu",
                device_map=value,
                topics=["crime", "race"],
                ablation_topics=["crime"],
                baseline_topics=["crime"],
            )
        )
        assert bool(getattr(exp.lm.model, "hf_device_map", None)) == (value == "auto")
        runs[value] = exp.score_sums("crime").score
        assert ("device_map" in exp.identity) == (value == "auto")
    np.testing.assert_array_equal(runs["none"], runs["auto"])
    assert runs["auto"].any()


@pytest.mark.parametrize("wrong", [{"device": "cuda:1"}, {"patch": "mean"}, {"device": "mps"}])
def test_what_cannot_be_spread_is_refused(wrong):
    with pytest.raises(ParameterError):
        Params.from_profile("tiny", device_map="auto", **wrong)


def test_inputs_of_a_spread_model_start_on_the_cpu(pair, tmp_path):
    lm = on_disk(pair("llama").left, tmp_path)
    assert lm.device.type == "cpu"
    # A map that needs no hooks (one card) leaves nobody to move the inputs: they go where the weights are.
    alone = pair("llama").left
    alone.model.to("meta").hf_device_map = {"": "meta"}
    assert alone.device.type == "meta"


@pytest.mark.gpu
def test_two_real_devices(pair):
    """Half of the blocks on the CPU, half on a card: traced, patched and asked as on one device."""
    both = pair("llama")
    halves = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": 0, "lm_head": 0}
    halves |= {f"model.layers.{i}": "cpu" if i == 0 else 0 for i in range(3)}
    ours = [getattr(both, name) for name in ("left", "right", "vanilla")]
    far = [spread(LM(copy.deepcopy(lm.model), lm.tokenizer, "far", {}), halves, main_device="cpu") for lm in ours]
    assert {p.device.type for p in far[0].model.parameters()} == {"cpu", "cuda"}
    near, there = (contrast(*each, both.prompts, both.responses) for each in (ours, far))
    np.testing.assert_allclose(near.squared_difference, there.squared_difference, rtol=1e-3, atol=1e-6)
    chosen = np.ones((3, both.left.width), dtype=bool)
    assert patched_answers(ours[2], ours[1], chosen, both.prompts, max_new_tokens=5) == patched_answers(
        far[2], far[1], chosen, both.prompts, max_new_tokens=5
    )
