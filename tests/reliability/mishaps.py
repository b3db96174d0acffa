"""What can go wrong in a stage, planted: each function runs in a forked process that may be spoilt."""

import ctypes
import os
import resource
import time

import pandas as pd
import small_run
import torch

import polinb.masking.patching
import polinb.models.generation
import polinb.scoring.tracing
import polinb.stance.judges
import polinb.training.supervised
from polinb.runs.artifacts import Store

# what does the work of each stage
WORK = {
    "variants": (polinb.training.supervised, "finetune"),
    "scores": (polinb.scoring.tracing, "contrast"),
    "answers": (polinb.models.generation, "generate"),
    "judge": (polinb.stance.judges.LocalJudge, "rate"),
    "patching": (polinb.masking.patching, "patched_answers"),
    "inhibitft": (polinb.training.supervised, "finetune"),
}


def _machine(*_, **__):
    """PyTorch's own error for want of main memory."""
    return torch.empty(2**52)


def _card(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …\nmore of it")


MEMORY = {"machine": _machine, "card": _card}


def no_memory(root, stage, kind, say):
    """Every stage up to ``stage``, whose work finds no memory."""
    run = small_run.experiment(root)
    owner, name = WORK[stage]
    for each, work in small_run.STAGES.items():
        if each == stage:
            setattr(owner, name, MEMORY[kind])
        work(run)


def small_files(root, limit, say):
    """Every stage, where no file may be longer than ``limit`` bytes (what a quota does)."""
    run = small_run.experiment(root)
    assert run.lm and run.data and run.statement_sets  # the reader of data files writes, too, in the temporary folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for work in small_run.STAGES.values():
        work(run)


def not_finite(root, stage, say):
    """Every stage up to ``stage``, trained from a model with a weight that is NaN."""
    run = small_run.experiment(root)
    for each, work in small_run.STAGES.items():
        if each == stage:
            run = small_run.experiment(root)
            with torch.no_grad():
                run.lm.model.lm_head.weight[0] = float("nan")
        work(run)


def bound(root, say):
    """Every stage by one whom the modes of files bind, even if that is root."""
    if os.geteuid() == 0:
        _bound_by_modes()
    small_run.everything(root, say)


def _bound_by_modes():
    """Give up the capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (Linux: capset(2), version 3)."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(head, sets) == 0
    for place in range(3):
        sets[place] &= ~0b110
    assert libc.capset(head, sets) == 0, os.strerror(ctypes.get_errno())


# --- several that want the same


def make_slowly(root, log, seconds, say):
    """One artifact whose making takes ``seconds``; who made it stands in ``log``."""

    def make(folder):
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        say(("begin", "making"))
        pd.DataFrame({"a": range(100)}).to_parquet(folder / "table.parquet")
        time.sleep(seconds)
        return {"rows": 100}

    say(("begin", "asking"))
    found = Store(root).get("slow", {"n": 1}, make)
    return [str(found.path), found.meta["files"], found.summary, os.getpid()]
