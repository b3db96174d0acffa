"""What can go wrong in a stage, planted: each function runs in a forked process that may be spoilt."""

import ctypes
import os
import resource
import time

import pandas as pd
import small_run
import torch
from forked import note

import polinb.training.supervised
from polinb.runs.artifacts import Store
from polinb.stance.judges import LocalJudge


def _machine(*_, **__):
    """PyTorch's own error for want of main memory."""
    return torch.empty(2**52)


def _card(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …\nmore of it")


NO_MEMORY = {"variants": (polinb.training.supervised, "finetune", _machine), "judge": (LocalJudge, "rate", _card)}


def no_memory(root, stage):
    """Every stage, where the work of ``stage`` finds no memory."""
    setattr(*NO_MEMORY[stage])
    small_run.everything(root)


def small_files(root, limit):
    """Every stage, where no file may be longer than ``limit`` bytes (what a quota does)."""
    run = small_run.experiment(root)
    assert run.lm and run.data and run.statement_sets  # the reader of data files writes, too, in the temporary folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for work in small_run.STAGES.values():
        work(run)


def not_finite(root):
    """What is missing, trained from a model with a weight that is NaN."""
    run = small_run.experiment(root)
    with torch.no_grad():
        run.lm.model.lm_head.weight[0] = float("nan")
    for work in small_run.STAGES.values():
        work(run)


def bound(root):
    """Every stage by one whom the modes of files bind, even if that is root."""
    if os.geteuid() == 0:  # give up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (Linux: capset(2), version 3)
        libc = ctypes.CDLL(None, use_errno=True)
        head = (ctypes.c_uint32 * 2)(0x20080522, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
        assert libc.capget(head, sets) == 0
        for place in range(3):
            sets[place] &= ~0b110
        assert libc.capset(head, sets) == 0, os.strerror(ctypes.get_errno())
    small_run.everything(root)


def make_slowly(root, log, seconds):
    """One artifact whose making takes ``seconds``; who made it stands in ``log``."""

    def make(folder):
        note(log, f"making-{os.getpid()}")
        pd.DataFrame({"a": range(100)}).to_parquet(folder / "table.parquet")
        time.sleep(seconds)
        return {"rows": 100}

    note(log, "asking")
    found = Store(root).get("slow", {"n": 1}, make)
    return found.path, found.meta["files"], found.summary
