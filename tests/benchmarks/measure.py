"""How benchmarks measure: in turns, garbage collector off, one thread, processor time; exact bytes from PyTorch."""

import gc
import os
import time
from statistics import median

REPEATS = int(os.environ.get("POLINB_BENCH_REPEATS", "5"))
CLOCK = "processor time of one thread"
FACTS = {"threads": 1, "clock": CLOCK}


def one_thread():
    import torch

    torch.set_num_threads(1)


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


def in_turns(repeats=None, **functions):
    """name → seconds of each repeat: A B C, B C A, C A B …, after one run of each that does not count."""
    for function in functions.values():
        function()
    found = {name: [] for name in functions}
    names = list(functions)
    for turn in range(repeats or REPEATS):
        k = turn % len(names)
        for name in names[k:] + names[:k]:
            found[name].append(seconds(functions[name]))
    print({name: f"{median(each):.3f} s ({min(each):.3f} to {max(each):.3f})" for name, each in found.items()})
    return found


def over(above, below):
    """Ratio of each turn."""
    return [a / b for a, b in zip(above, below, strict=True)]


def peak_bytes(function):
    """Most bytes of tensors alive at once, above what was alive before: PyTorch's own account, exact."""
    from torch.profiler import ProfilerActivity, profile

    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def texts(count, prompt, response, seed=0):
    """Random token ids: ``count`` prompts and responses."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(5, 40000, (count, prompt + response), generator=generator).tolist()
    return [row[:prompt] for row in rows], [row[prompt:] for row in rows]
