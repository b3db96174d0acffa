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
from polinb.models.variants import shared_copy, variant
from polinb.runs import memory
from polinb.runs.memory import PROMPT_TOKENS, READ_BATCH, check, shape_of
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.scoring.tracing import contrast
from polinb.training.supervised import finetune, trainable, trained_weights

CARD = 48 * 10**9


def needs(stage, **changes):
    """What a stage of the 8B model needs with the paper's parameters, some of them changed."""
    p = Params.from_profile("paper", model="llama-3.1-8b-instruct")
    return memory.peak(p.model_copy(update=changes), stage)


def test_published_parameter_counts():
    for model, billions in (
        ("llama-3.1-8b-instruct", 8.030), ("qwen2.5-3b-instruct", 3.086), ("smollm2-135m-instruct", 0.1345)
    ):  # fmt: skip
        assert shape_of(model).parameters / 1e9 == pytest.approx(billions, rel=2e-3)


@pytest.mark.parametrize("architecture", TINY)
def test_counts_are_those_of_the_real_network(architecture):
    named = dict(tiny_model(architecture).named_parameters())
    # Positions (GPT-2) and biases are left out: nothing in models of the size for which this matters.
    real = sum(p.numel() for n, p in named.items() if not n.endswith(".bias") and ".wpe." not in n)
    assert shape_of(f"tiny:{architecture}").parameters == pytest.approx(real, rel=0.01)


def test_an_8b_model_does_not_fit_a_48_gb_card_in_full():
    full = {"train": "all", "dtype": "float32"}
    # By hand: weights, gradients and two moments, 4 bytes each, are 128 GB before anything else.
    assert needs("train", **full) > 16 * 8.03e9
    assert needs("score", train="all") > CARD, "three models of their own"
    # Four such cards share a full fine-tuning, two cannot.
    assert needs("train", **full, micro_batch=1, processes=4) < CARD
    assert needs("train", **full, micro_batch=1, processes=2) > CARD


def test_what_does_not_fit_is_refused_or_warned_of(monkeypatch):
    check("train", 10**9, 10**9)
    with pytest.raises(ParameterError, match=r"train needs about 2\.0 GB .* 1\.0 GB are free.*micro_batch.*train=lora"):
        check("train", 2 * 10**9, 10**9)
    monkeypatch.setenv("POLINB_MEMORY_CHECK", "off")
    with pytest.warns(UserWarning, match="eval_batch"):
        check("ask", 2 * 10**9, 10**9)


def group(folder, version, limit, used, cache=0):
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cache}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_or_job_counts(version, tmp_path, monkeypatch):
    """Groups of Docker (its own at the top, whatever path the host gives it) and of SLURM (limits above one's own)."""
    own, top = tmp_path / "own", tmp_path / "cgroup" / ("memory" if version == 1 else "")
    own.write_text("5:cpu,cpuacct:/x\n4:memory:/job/step\n" if version == 1 else "0::/job/step\n")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=64_000_000_000))
    whole = memory.group_room
    monkeypatch.setattr(memory, "group_room", lambda: whole(tmp_path / "cgroup", own))
    assert memory.free_memory("cpu") == 64_000_000_000
    unlimited = 9223372036854771712 if version == 1 else "max"
    group(top / "job" / "step", version, unlimited, 10)
    assert memory.free_memory("cpu") == 64_000_000_000
    group(top, version, 8_000_000_000, 3_000_000_000, cache=1_000_000_000)  # a container
    assert memory.free_memory("cpu") == 6_000_000_000
    group(top / "job", version, 5_000_000_000, 2_000_000_000)  # a job
    assert memory.free_memory("cpu") == 3_000_000_000
    group(top / "job" / "step", version, 1_000_000, 2_000_000)
    assert memory.free_memory("cpu") == 0
    own.unlink()
    assert memory.free_memory("cpu") == 64_000_000_000


def test_a_run_is_refused_before_anything_is_loaded_and_a_loaded_model_counts_as_taken(monkeypatch):
    run = Run(Params.from_profile("tiny", device="cpu"))
    starts = {
        "load": lambda: run.lm,
        "train": lambda: run.weights(run.tuned("crime")).made(),
        "patch": lambda: run.patched(run.neurons("all"), {"crime": "crime"}),
    }
    with monkeypatch.context() as patched:
        patched.setattr("polinb.runs.base.load", None)  # a call of it would be a TypeError
        patched.setattr(memory, "free_memory", lambda device: 10**6)
        for stage, start in starts.items():
            with pytest.raises(ParameterError, match=f"{stage} needs about"):
                start()
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**12)
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
    assert max(map(needs, asked.values())) < CARD
    told = re.search(r"`dtype=float32` the same stages need at most (\d+) GB", page)
    assert told and int(told[1]) == round(max(needs(stage, dtype="float32") for stage in asked.values()) / 1e9)


def measured(stage, p):
    """Peak resident memory of this process in bytes after a stage with texts of full length."""
    run, rng = Run(p), np.random.default_rng(0)
    lm, recipe = run.lm, run.recipe()

    def texts(count, tokens):
        return [rng.integers(10, 700, tokens).tolist() for _ in range(count)]

    if stage == "train":
        rows, half = 2 * p.batch_size, p.max_tokens // 2
        finetune(lm, texts(rows, half), texts(rows, p.max_tokens - half), recipe)
    elif stage == "score":
        weights = trained_weights(trainable(shared_copy(lm.model), recipe), "", recipe) if p.train == "lora" else {}
        others = [variant(lm, weights, "copy") for _ in range(2)]
        contrast(*others, lm, texts(2 * READ_BATCH, PROMPT_TOKENS), texts(2 * READ_BATCH, p.localise_tokens))
    else:
        generate(lm, texts(p.eval_batch, PROMPT_TOKENS), max_new_tokens=p.eval_tokens, batch=p.eval_batch)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


TRAINED = {"batch_size": 4, "micro_batch": 4, "max_tokens": 256, "epochs": 1.0}
MEASURED = [
    ("train", TRAINED | {"gradient_checkpointing": "on"}),
    ("train", TRAINED | {"train": "lora", "dtype": "bfloat16"}),
    ("score", {"localise_tokens": 64, "train": "lora"}),
    ("load", {"eval_tokens": 16, "eval_batch": 32}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "given"), MEASURED)
def test_measured_peaks_of_the_embedded_model_are_near(stage, given):
    p = Params.from_profile("tiny", model="smollm2-135m-instruct", device="cpu", **given)
    with ProcessPoolExecutor(1, get_context("spawn")) as own:  # a process whose peak is this stage's
        peak = own.submit(measured, stage, p).result()
    told = memory.peak(p, stage)
    assert 0.7 < told / peak < 1.5, f"{told / 1e9:.2f} GB; measured {peak / 1e9:.2f} GB"
