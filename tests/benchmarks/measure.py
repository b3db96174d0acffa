"""How benchmarks measure: in turns, garbage collector off, one thread, processor time; exact bytes from PyTorch."""

import gc
import os
import time
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

REPEATS = int(os.environ.get("POLINB_BENCH_REPEATS", "5"))
CLOCK = "processor time of one thread"


def one_thread():
    torch.set_num_threads(1)


def passes(models, chunk):
    """A plain forward pass of each model over a batch, with as little of the output head."""
    with torch.no_grad():
        for lm in models:
            lm.model(**chunk.inputs, use_cache=False, logits_to_keep=1)


def seconds(function):
    """Processor time: what other programs do meanwhile does not count."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        function()
        return time.process_time() - start
    finally:
        gc.enable()


def in_turns(repeats=REPEATS, clock=seconds, **functions):
    """name → seconds of each repeat: A B C, B C A, C A B …, after one run of each that does not count."""
    for function in functions.values():
        clock(function)
    found = {name: [] for name in functions}
    names = list(functions)
    for turn in range(repeats):
        k = turn % len(names)
        for name in names[k:] + names[:k]:
            found[name].append(clock(functions[name]))
    print({name: f"{median(each):.3f} s ({min(each):.3f} to {max(each):.3f})" for name, each in found.items()})
    return found


def over(above, below):
    """Ratio of each turn."""
    return [a / b for a, b in zip(above, below, strict=True)]


def peak_bytes(function):
    """Most bytes of tensors alive at once, above what was alive before: PyTorch's own account, exact."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def texts(count, prompt, response, vocabulary=40000):
    """Random token ids: ``count`` prompts and responses."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(5, vocabulary, (count, prompt + response), generator=generator).tolist()
    return [row[:prompt] for row in rows], [row[prompt:] for row in rows]
