"""The memory estimate against published sizes, real models and measured peaks, and the refusal before a start."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from polinb.errors import ParameterError
from polinb.models.tiny import TINY, tiny_model
from polinb.runs import memory
from polinb.runs.memory import check, reading, shape_of, training
from polinb.runs.params import Params
from polinb.runs.run import Run

CARD = 48 * 10**9
FULL = {
    "dtype": "float32", "train": "all", "lora_rank": 16, "micro_batch": 8, "max_tokens": 512,
    "gradient_checkpointing": "auto", "autocast": "none", "processes": 1,
}  # fmt: skip


def train_8b(**given):
    return training(shape_of("llama-3.1-8b-instruct"), SimpleNamespace(**(FULL | given)))


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


def test_an_8b_model_fits_a_48_gb_card_with_adapters_in_half_precision_and_not_in_full():
    assert train_8b(train="lora", dtype="bfloat16") < 0.8 * CARD
    # By hand: weights, gradients and two moments, 4 bytes each, are 128 GB before anything else.
    assert train_8b() > 16 * 8.03e9
    # Scoring holds one base and two adapters; three models of their own would not fit.
    score = {"dtype": "bfloat16", "eval_batch": 48, "eval_tokens": 512, "localise_tokens": 512}
    fits, whole = (
        reading(shape_of("llama-3.1-8b-instruct"), "score", SimpleNamespace(train=train, lora_rank=16, **score))
        for train in ("lora", "all")
    )
    assert fits < 0.8 * CARD < CARD < whole
    # Four such cards share a full fine-tuning, two cannot.
    assert train_8b(micro_batch=1, processes=4) < CARD < train_8b(micro_batch=1, processes=2)


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
    p = Params.from_profile("paper", model="llama-3.1-8b-instruct")
    asked = {"fine-tuning": "train", "asking": "ask", "patching": "patch", "scoring": "score"}
    rows = re.findall(r"^\| ([\w-]+) \| (\d) \| (\d+) GB \|$", page, re.M)
    assert [row[0] for row in rows] == list(asked)
    for name, models, told in rows:
        assert round(memory.peak(p, asked[name]) / 1e9) == int(told), name
        assert memory.MODELS.get(asked[name], 1) == int(models)
        assert memory.peak(p, asked[name]) < CARD
    exact = p.model_copy(update={"dtype": "float32"})
    told = re.search(r"`dtype=float32` the same stages need at most (\d+) GB", page)
    assert told and int(told[1]) == round(max(memory.peak(exact, stage) for stage in asked.values()) / 1e9)


MEASURED = [
    {"stage": "train", "gradient_checkpointing": "on"},
    {"stage": "train", "train": "lora", "dtype": "bfloat16"},
    {"stage": "score", "localise_tokens": 64, "train": "lora"},
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
    peak = int(done.stdout.splitlines()[-1])
    stage = given.pop("stage")
    told = memory.peak(Params.from_profile("tiny", **given), stage)
    assert 0.7 < told / peak < 1.5, f"{told / 1e9:.2f} GB; measured {peak / 1e9:.2f} GB"
