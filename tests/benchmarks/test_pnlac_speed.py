"""PNLAC's pass over the plain forward passes it contains, in time and memory; and against other ways and libraries."""

import copy
import json
import os
import subprocess
from functools import partial
from pathlib import Path

import measure
import numpy as np
import pytest
import torch
from oracles import on_responses
from transformers import LlamaConfig, LlamaForCausalLM

from polinb.models.architectures import down_modules
from polinb.models.embedded import embedded_folder
from polinb.models.lm import LM
from polinb.models.tiny import tiny_tokenizer
from polinb.models.tokens import batches
from polinb.scoring.tracing import contrast

ROOT = Path(__file__).resolve().parents[2]
BYTES = "bytes of tensors, PyTorch's own account"


def plain(models, prompts, responses):
    """The same passes, with as little of the output head; nothing is read."""
    for chunk in batches(models[0], prompts, responses, 16):
        measure.passes(models, chunk)


def cached(models, prompts, responses):
    """Cache everything, then reduce: the activations of all texts are kept, and averaged at the end."""
    kept = []
    for lm in models:
        read = [on_responses(lm, chunk) for chunk in batches(lm, prompts, responses, 16)]
        kept.append([torch.cat(layer) for layer in zip(*read, strict=True)])
    left, right, vanilla = kept
    squares = [(high - low).square().mean(0) for low, high in zip(left, right, strict=True)]
    own = [(v.mean(0), v.square().mean(0)) for v in vanilla]
    return torch.stack(squares), own


@pytest.fixture(scope="module")
def three(embedded):
    """Left, right and vanilla; the right one with other weights in its feed-forward parts."""
    right = LM(copy.deepcopy(embedded.model), embedded.tokenizer, "right", {})
    with torch.no_grad():
        for down in down_modules(right.model):
            down.weight.mul_(1.01)
    return embedded, right, embedded


@pytest.mark.slow
def test_time_and_memory_over_plain_passes_and_over_a_cache(three, keep):
    texts = measure.texts(16, 30, 60)
    ways = {"pnlac": lambda: contrast(*three, *texts), "plain": lambda: plain(three, *texts)}
    ways["cache"] = lambda: cached(three, *texts)
    expected, found = ways["cache"]()[0].sqrt().numpy(), ways["pnlac"]()
    np.testing.assert_allclose(found.score, expected, rtol=1e-3, atol=1e-5)
    times = measure.in_turns(**ways)
    what = "PNLAC pass ÷ the plain forward passes it contains"
    keep("PNLAC, time", what, measure.over(times["pnlac"], times["plain"]), at_most=1.05)
    what = "PNLAC pass ÷ “cache everything, then reduce”, time"
    keep("PNLAC, time against a cache", what, measure.over(times["pnlac"], times["cache"]), at_most=1.0)
    # The sums that are handed back share PyTorch's memory, so they are in its account.
    peak = {name: measure.peak_bytes(work) for name, work in ways.items()}
    assert peak["plain"] > 1e6
    allowed = three[0].neurons * (8 * 60 * 4 + 4 * 8)
    what = "PNLAC's peak memory above that of the plain passes ÷ "
    what += "(left's response tokens of half a batch, and four sums)"
    keep("PNLAC, memory", what, [(peak["pnlac"] - peak["plain"]) / allowed], at_most=1.0, clock=BYTES)
    what = "PNLAC's peak memory ÷ that of “cache everything, then reduce”"
    keep("PNLAC, memory against a cache", what, [peak["pnlac"] / peak["cache"]], at_most=1.0, clock=BYTES)


@pytest.mark.slow
def test_memory_is_flat_in_tokens(keep):
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    sizes = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=4, vocab_size=len(tokenizer))
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)
    models = [LM(LlamaForCausalLM(config).eval(), tokenizer, str(k), {}) for k in range(3)]
    peaks = {}
    for times in (1, 10, 100):
        texts = measure.texts(8 * times, 10, 30, vocabulary=705)
        peaks[times] = measure.peak_bytes(partial(contrast, *models, *texts, batch=8))
    for times in (10, 100):
        what = f"PNLAC's peak memory with {times} × the tokens ÷ with 1 ×"
        value = [peaks[times] / peaks[1]]
        keep(f"PNLAC, memory of {times} × the tokens", what, value, at_most=1.02, clock=BYTES, model="random Llama")


@pytest.mark.slow
def test_faster_than_other_libraries(keep):
    python = Path(os.environ.get("POLINB_BENCH_PYTHON", ROOT / ".venv-bench/bin/python"))
    if not python.is_file():
        pytest.skip("NOT MEASURED: TransformerLens or pyvene is missing; make bench-env, or set POLINB_BENCH_PYTHON")
    command = [python, Path(__file__).with_name("other_libraries.py"), embedded_folder(), str(measure.REPEATS)]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    times, packages = json.loads(done.stdout).values()
    for name, package in (("TransformerLens", "transformer-lens"), ("pyvene", "pyvene")):
        what = f"PNLAC pass ÷ the same sums with {name} {packages[package]}"
        keep(f"PNLAC against {name}", what, measure.over(times["polinb"], times[name]), at_most=1.0, packages=packages)
        what = f"{name}, the same sums ÷ the plain forward passes it contains"
        keep(f"{name}, time", what, measure.over(times[name], times["plain"]), packages=packages)
