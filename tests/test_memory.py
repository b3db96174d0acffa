"""The memory estimate against published sizes, real models and measured peaks, and the refusal before a start."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from polinb.errors import ParameterError
from polinb.models.shapes import Shape, from_config, shape_of
from polinb.models.tiny import TINY, tiny_config, tiny_model
from polinb.runs import memory
from polinb.runs.chapter import facts
from polinb.runs.experiment import Arm, Experiment
from polinb.runs.memory import check, estimate, report
from polinb.runs.params import Params

# Llama-3.1-8B's published configuration; 8.03 billion parameters by its model card.
LLAMA_8B = Shape(
    hidden=4096, ffn=14336, layers=32, heads=32, kv_heads=8, head_dim=128, vocabulary=128256, tied=False
)  # fmt: skip
CARD = 48 * 10**9


def params(**given):
    """The paper's settings, by default with all weights in float32."""
    usual = {"model": "llama-3.1-8b-instruct", "device": "cpu", "train": "all", "dtype": "auto", "micro_batch": 8}
    return Params.from_profile("paper", **(usual | given))


@pytest.mark.parametrize(("model", "billions"), [
    ("llama-3.1-8b-instruct", 8.030), ("llama-3.2-3b-instruct", 3.213), ("qwen2.5-3b-instruct", 3.086),
    ("qwen2.5-7b-instruct", 7.616), ("smollm2-135m-instruct", 0.1345),
])  # fmt: skip
def test_published_parameter_counts(model, billions):
    assert shape_of(model).parameters / 1e9 == pytest.approx(billions, rel=2e-3)


@pytest.mark.parametrize("architecture", TINY)
def test_counts_are_those_of_the_real_network(architecture):
    model, shape = tiny_model(architecture), from_config(tiny_config(architecture))
    real = sum(p.numel() for p in model.parameters())
    # Positions (GPT-2) and biases are left out: nothing in models of the size for which this matters.
    extra = sum(p.numel() for n, p in model.named_parameters() if n.endswith(".bias") or ".wpe." in n)
    assert shape.parameters == pytest.approx(real - extra, rel=0.01)
    assert shape_of(f"tiny:{architecture}") == shape


def test_adapters_have_the_size_that_peft_gives_them():
    from polinb.training.supervised import Recipe, _trainable

    recipe = Recipe(1, 4, 4, 1e-3, 0.0, 0.0, "lora", 4, 0)
    model, _ = _trainable(tiny_model("llama"), recipe)
    real = sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n)
    assert from_config(tiny_config("llama")).adapter(4) == real


def test_an_8b_model_fits_a_48_gb_card_with_adapters_in_half_precision_and_not_in_full():
    assert shape_of("llama-3.1-8b-instruct") == LLAMA_8B
    adapters = estimate(LLAMA_8B, params(train="lora", dtype="bfloat16"), "train", on_cpu=False)
    full = estimate(LLAMA_8B, params(train="all"), "train", on_cpu=False)
    assert adapters.total < 0.8 * CARD, adapters
    assert adapters.parts["weights"] == pytest.approx(2 * 8.03e9, rel=2e-3), "one copy of the weights"
    # By hand: weights, gradients and two moments, 4 bytes each, are 128 GB before anything else.
    assert full.total > 16 * 8.03e9 > 2 * CARD
    # Even all weights in half precision (which AdamW could not train well) would not fit.
    half = estimate(LLAMA_8B, params(train="lora", dtype="bfloat16").model_copy(update={"train": "all"}), "train")
    assert half.total > CARD
    # Four such cards share a full fine-tuning, two cannot.
    by = {n: estimate(LLAMA_8B, params(micro_batch=1, processes=n), "train", on_cpu=False).total for n in (2, 4)}
    assert by[4] < CARD < by[2]


def test_each_choice_moves_the_estimate_its_way():
    def train(**given):
        return estimate(LLAMA_8B, params(**given), "train", on_cpu=False)

    plain = train()
    assert train(gradient_checkpointing="off").parts["activations"] > 3 * plain.parts["activations"]
    assert train(micro_batch=1).parts["logits"] * 8 == plain.parts["logits"]
    assert train(max_tokens=1024).parts["logits"] == 2 * plain.parts["logits"]
    shared = train(micro_batch=1, processes=4)
    assert shared.parts["optimiser"] * 4 == plain.parts["optimiser"]
    on_cpu = estimate(LLAMA_8B, params(micro_batch=1, processes=4), "train", on_cpu=True)
    assert on_cpu.total > 4 * (shared.total - 1)
    for stage in ("load", "ask", "score", "patch"):
        one, four = (estimate(LLAMA_8B, params(device_map="auto"), stage, gpus=n) for n in (1, 4))
        assert one.parts["weights"] == 4 * four.parts["weights"]
    assert estimate(LLAMA_8B, params(), "score").parts["sums"] == 4 * 32 * 14336 * 8
    assert estimate(LLAMA_8B, params(), "patch").parts["key-value cache"] == 2 * 48 * (96 + 128) * 2 * 32 * 8 * 128 * 4


# --- the check before a start


def test_what_does_not_fit_is_refused_with_what_to_lower():
    with pytest.raises(ParameterError) as told:
        check(params(), "train", free=CARD)
    text = str(told.value)
    assert told.value.name == "train" and "48.0 GB that are free" in text and "train=lora" in text
    with pytest.raises(ParameterError, match="eval_batch") as told:
        check(params(), "ask", free=10**9)
    assert told.value.name == "model"


def test_a_loaded_model_counts_as_taken():
    run = params(train="lora", dtype="bfloat16")
    need = estimate(LLAMA_8B, run, "train").total
    with pytest.raises(ParameterError):
        check(run, "train", free=need - 10**9)
    assert check(run, "train", free=need - 10**9, loaded=True) is not None


def test_the_check_can_be_turned_into_a_warning(monkeypatch):
    monkeypatch.setenv("POLINB_MEMORY_CHECK", "off")
    with pytest.warns(UserWarning, match="would fit with"):
        assert check(params(), "train", free=CARD) is not None


@pytest.mark.parametrize("stage", ["load", "train", "score", "patch", "ask"])
def test_a_run_is_refused_before_anything_is_loaded(monkeypatch, stage):
    import numpy as np

    import polinb.runs.experiment

    monkeypatch.setattr(polinb.runs.experiment, "load", None)  # a call of it would be a TypeError
    monkeypatch.setattr(memory, "free_memory", lambda device, spread=False: 10**6)
    exp = Experiment(Params.from_profile("tiny", device="cpu"))
    chosen = np.ones((3, 48), dtype=bool)
    starts = {
        "load": lambda: exp.lm,
        "train": lambda: exp.train(Arm("fine-tune", "crime", "right")),
        "score": lambda: exp.scores("crime"),
        "patch": lambda: exp.patched("G", chosen, {"crime": "crime"}),
        "ask": lambda: exp.answers(Arm("fine-tune", "crime", "right")),
    }
    with pytest.raises(ParameterError, match=f"{stage} needs about"):
        starts[stage]()


def test_a_chapter_says_what_the_run_needs_and_the_same_on_every_machine(monkeypatch):
    run = Params.from_profile("quick")
    text = facts(Experiment(run)).data
    assert report(run) in text and re.search(r"fine-tuning \d+\.\d GB, scoring", text)
    monkeypatch.setattr(memory, "free_memory", None)
    assert report(run) in facts(Experiment(run)).data
    assert report(run.model_copy(update={"model": "/nowhere/at/all"})) == ""


# --- measured


MEASURED = [
    {"stage": "train", "gradient_checkpointing": "off"},
    {"stage": "train", "gradient_checkpointing": "on"},
    {"stage": "train", "train": "lora"},
    {"stage": "train", "train": "lora", "dtype": "bfloat16"},
    {"stage": "score", "localise_tokens": 64},
    {"stage": "load", "eval_tokens": 16, "eval_batch": 32},
]


@pytest.mark.slow
@pytest.mark.parametrize("asked", MEASURED, ids=lambda a: " ".join(map(str, a.values())))
def test_measured_peaks_of_the_embedded_model_are_near(asked):
    """Peak resident memory of a process of its own, between 0.7 and 1.5 times by the estimate."""
    sizes = {"batch_size": 4, "micro_batch": 4, "max_tokens": 256, "epochs": 1.0}
    given = {"model": "smollm2-135m-instruct", "device": "cpu", **(sizes if asked["stage"] == "train" else {}), **asked}
    script = Path(__file__).with_name("memory_peak.py")
    done = subprocess.run([sys.executable, script, json.dumps(given)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    peak = json.loads(done.stdout.splitlines()[-1])["peak"]
    stage = given.pop("stage")
    told = estimate(shape_of(given["model"]), Params.from_profile("tiny", **given), stage)
    assert 0.7 < told.total / peak < 1.5, f"{told}; measured {peak / 1e9:.2f} GB"
