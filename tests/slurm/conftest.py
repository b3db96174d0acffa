"""One SLURM for all tests of this folder, or a loud reason why there is none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, cluster, missing


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A running SLURM of one node; skipped with the reason where there can be none, a failure in CI."""
    why = missing()
    if why:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="polinb-slurm-", dir="/tmp"))  # short: it holds a socket
    try:
        with cluster(folder / "c") as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
