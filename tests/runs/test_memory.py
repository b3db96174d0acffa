"""The memory estimate against published sizes, real models and measured peaks, and the refusal before a start."""

import re
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from polinb.errors import ParameterError
from polinb.models.generation import generate
from polinb.models.tiny import TINY, tiny_model
from polinb.runs import memory
from polinb.runs.memory import PROMPT_TOKENS, check, shape_of
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.training.supervised import finetune

GB = 10**9
CARD = 48 * GB


def needs(stage, **changes):
    """What a stage of the 8B model needs with the paper's parameters, some of them changed."""
    p = Params.from_profile("paper", model="llama-3.1-8b-instruct")
    return memory.peak(p.model_copy(update=changes), stage)


def test_counts_are_those_of_published_models_and_real_networks():
    for model, billions in (("llama-3.1-8b-instruct", 8.030), ("smollm2-135m-instruct", 0.1345)):
        assert shape_of(model).parameters / 1e9 == pytest.approx(billions, rel=2e-3)
    for architecture in TINY:
        named = dict(tiny_model(architecture).named_parameters())
        # Positions (GPT-2) and biases are left out: nothing in models of the size for which this matters.
        real = sum(p.numel() for n, p in named.items() if not n.endswith(".bias") and ".wpe." not in n)
        assert shape_of(f"tiny:{architecture}").parameters == pytest.approx(real, rel=0.01), architecture


def test_an_8b_model_does_not_fit_a_48_gb_card_in_full():
    full = {"train": "all", "dtype": "float32", "micro_batch": 1}
    assert needs("train", **full) > 16 * 8.03e9, "weights, gradients and two moments, 4 bytes each"
    assert needs("train", **full, processes=4) < CARD < needs("train", **full, processes=2)
    assert needs("score", train="all") > CARD, "three models of their own"


def test_what_does_not_fit_is_refused_or_warned_of(monkeypatch):
    check("train", GB, GB)
    with pytest.raises(ParameterError, match=r"train needs about 2\.0 GB .* 1\.0 GB are free.*micro_batch.*train=lora"):
        check("train", 2 * GB, GB)
    monkeypatch.setenv("POLINB_MEMORY_CHECK", "off")
    with pytest.warns(UserWarning, match="eval_batch"):
        check("ask", 2 * GB, GB)


FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_or_job_counts(version, tmp_path, monkeypatch):
    """Groups of Docker (its own at the top, whatever path the host gives it) and of SLURM (limits above one's own)."""
    own, top = tmp_path / "own", tmp_path / "cgroup" / ("memory" if version == 1 else "")
    own.write_text("5:cpu,cpuacct:/x\n4:memory:/job/step\n" if version == 1 else "0::/job/step\n")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=64 * GB))
    whole, (most, taken, cached) = memory.group_room, FILES[version]
    monkeypatch.setattr(memory, "group_room", lambda: whole(tmp_path / "cgroup", own))
    unlimited = 9223372036854771712 if version == 1 else "max"
    for folder, limit, used, cache, free in (
        ("job/step", unlimited, 10, 0, 64 * GB),
        (".", 8 * GB, 3 * GB, GB, 6 * GB),  # a container
        ("job", 5 * GB, 2 * GB, 0, 3 * GB),
        ("job/step", 10**6, 2 * 10**6, 0, 0),
    ):
        (top / folder).mkdir(parents=True, exist_ok=True)
        for name, text in ((most, limit), (taken, used), ("memory.stat", f"anon 1\n{cached} {cache}")):
            (top / folder / name).write_text(f"{text}\n")
        assert memory.free_memory("cpu") == free
    own.unlink()
    assert memory.free_memory("cpu") == 64 * GB


def test_a_run_is_refused_before_anything_is_loaded_and_a_loaded_model_counts_as_taken(monkeypatch):
    run = Run(Params.from_profile("tiny", device="cpu"))
    with monkeypatch.context() as patched:
        patched.setattr("polinb.runs.base.load", None)  # a call of it would be a TypeError
        patched.setattr(memory, "free_memory", lambda device: 10**6)
        for stage, start in (
            ("load", lambda: run.lm),
            ("train", lambda: run.weights(run.tuned("crime")).made()),
            ("patch", lambda: run.patched(run.neurons("all"), {"crime": "crime"})),
        ):
            with pytest.raises(ParameterError, match=f"{stage} needs about"):
                start()
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000 * GB)
    assert run.lm
    monkeypatch.setattr(memory, "free_memory", lambda device: memory.peak(run.params, "train") - 1)
    run.afford("train")
    with pytest.raises(ParameterError):
        Run(run.params).afford("train")


def test_the_page_on_larger_models_tells_the_estimates():
    page = (Path(__file__).parents[2] / "book" / "scale.md").read_text("utf-8")
    asked = {"fine-tuning": "train", "asking": "ask", "patching": "patch", "scoring": "score"}
    rows = re.findall(r"^\| ([\w-]+) \| (\d) \| (\d+) GB \|$", page, re.M)
    expected = [(name, memory.MODELS.get(stage, 1), round(needs(stage) / 1e9)) for name, stage in asked.items()]
    assert [(name, int(models), int(told)) for name, models, told in rows] == expected


def measured(stage, p):
    """Peak resident memory of this process in bytes after a stage with texts of full length."""
    lm, rng = Run(p).lm, np.random.default_rng(0)

    def texts(count, tokens):
        return rng.integers(10, 700, (count, tokens)).tolist()

    if stage == "train":
        half = p.max_tokens // 2
        finetune(lm, texts(8, half), texts(8, half), Run(p).recipe())
    else:
        generate(lm, texts(p.eval_batch, PROMPT_TOKENS), max_new_tokens=p.eval_tokens, batch=p.eval_batch)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


TRAINED = {"batch_size": 4, "micro_batch": 4, "max_tokens": 256, "epochs": 1.0}
MEASURED = [
    ("train", TRAINED | {"gradient_checkpointing": "on"}),
    ("train", TRAINED | {"train": "lora", "dtype": "bfloat16"}),
    ("load", {"eval_tokens": 16, "eval_batch": 32}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "given"), MEASURED)
def test_measured_peaks_of_the_embedded_model_are_near(stage, given):
    p = Params.from_profile("tiny", model="smollm2-135m-instruct", device="cpu", **given)
    with ProcessPoolExecutor(1, get_context("spawn")) as own:  # a process whose peak is this stage's
        peak = own.submit(measured, stage, p).result()
    assert 0.7 < memory.peak(p, stage) / peak < 1.5
