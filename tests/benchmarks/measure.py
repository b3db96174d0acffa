"""How benchmarks measure: in turns, garbage collector off, one thread, processor time; exact bytes from PyTorch.

And where their figures go: ``POLINB_BENCHMARKS``, default ``_build/benchmarks.json``.
"""

import gc
import json
import os
import platform
import re
import time
from pathlib import Path
from statistics import median

from filelock import FileLock

from polinb.runs.artifacts import provenance

REPEATS = int(os.environ.get("POLINB_BENCH_REPEATS", "5"))
CLOCK = "processor time of one thread"


def one_thread():
    import torch

    torch.set_num_threads(1)


def passes(models, chunk):
    """A plain forward pass of each model over a batch, with as little of the output head."""
    import torch

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


def in_turns(repeats=None, clock=seconds, **functions):
    """name → seconds of each repeat: A B C, B C A, C A B …, after one run of each that does not count."""
    for function in functions.values():
        clock(function)
    found = {name: [] for name in functions}
    names = list(functions)
    for turn in range(repeats or REPEATS):
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


def figure(name, what, values, *, at_most=None, at_least=None, **facts):
    """One figure: the median of ``values``, their spread, the target and whether it is reached.

    A later figure of the same name replaces an earlier one in the book's table; ``what`` says in words what is divided
    by what; none of the ``values`` may be dropped; ``facts`` (model, threads, clock) go into the provenance.
    """
    value = float(median(values))
    target = f"≤ {at_most:g}" if at_most is not None else f"≥ {at_least:g}" if at_least is not None else "none"
    return {
        "name": name,
        "what": what,
        "target": target,
        "value": value,
        "low": float(min(values)),
        "high": float(max(values)),
        "repeats": len(values),
        "reached": (at_most is None or value <= at_most) and (at_least is None or value >= at_least),
        "provenance": {**provenance(), "cpu": cpu(), **facts},
    }


def append(record, path=None):
    """Add a figure to the results file; the file is replaced in one step."""
    path = path or Path(os.environ.get("POLINB_BENCHMARKS") or "_build/benchmarks.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        figures = json.loads(path.read_text("utf-8"))["figures"] if path.exists() else []
        work = path.with_name(f".{path.name}.new")
        told = json.dumps({"figures": [*figures, record]}, indent=1, ensure_ascii=False, allow_nan=False)
        work.write_text(told + "\n", "utf-8")
        work.replace(path)


def cpu():
    """The processor in words."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)", facts.read_text("utf-8"), re.M) if facts.exists() else None
    return found[1] if found else platform.processor() or platform.machine()
