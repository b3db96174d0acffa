"""One process trains by its own settings, whatever a launcher or accelerate left in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Read by accelerate, transformers and torch: their switches, and what torchrun, MPI and SLURM tell each process.
_PREFIXES = (
    "ACCELERATE_", "FSDP_", "DEEPSPEED_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "TORCHELASTIC_", "SM_", "SAGEMAKER_",
    "OMPI_", "PMI_", "PMIX_", "MPI_", "MV2_", "SLURM_", "MASTER_", "GROUP_", "ROLE_",
)  # fmt: skip
_NAMES = {"RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "FORK_LAUNCHED"}


def _read() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}


@contextmanager
def alone() -> Iterator[None]:
    """The environment without these variables; afterwards it is as before.

    A mixed precision would change numbers; a rank or a world size would start a distributed run, or wait for one.
    """
    before = _read()
    for name in before:
        del os.environ[name]
    try:
        yield
    finally:
        for name in _read():  # accelerate sets some itself
            del os.environ[name]
        os.environ.update(before)
