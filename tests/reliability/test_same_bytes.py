"""The same inputs give the same bytes: in another process, folder, hash seed, locale, time zone.

With another number of threads PyTorch adds floating-point numbers in another order, so that the last bits of weights
and sums may differ; what does not depend on them (the texts read, the questions, the keys) must still be the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Reference
from safetensors.numpy import load_file
from stores import contents, finished


def fresh(root: Path, folder: Path, **environment: str) -> None:
    """A whole run in a new interpreter that nobody forked."""
    folder.mkdir(parents=True, exist_ok=True)
    threads = environment.get("OMP_NUM_THREADS", "1")
    code = (
        "import sys, small_run, torch; from pathlib import Path; "
        f"torch.set_num_threads({threads}); assert torch.get_num_threads() == {threads}; "
        "small_run.everything(Path(sys.argv[1]), lambda told: None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_another_process_folder_and_hash_seed(reference: Reference, tmp_path: Path) -> None:
    root = tmp_path / "another store ü" / "deep"
    other = {"PYTHONHASHSEED": "123", "TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    fresh(root, tmp_path / "elsewhere", **other)
    assert contents(root) == reference.contents
    texts = [p for p in root.glob("*/*/*") if str(tmp_path).encode() in p.read_bytes()]
    assert texts == [], "no path of this machine is in any artifact"


@pytest.mark.slow
def test_two_threads(reference: Reference, tmp_path: Path) -> None:
    """What holds: the same keys and texts read, weights and sums equal but for roundings; and twice the same bytes."""
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        fresh(root, tmp_path, OMP_NUM_THREADS="2")
    assert contents(roots[0]) == contents(roots[1]), "two threads are as deterministic as one"
    assert set(finished(roots[0])) >= {name for name in finished(reference.root) if name.startswith(("weights", "sco"))}
    differ = [name for name, digest in contents(roots[0]).items() if reference.contents.get(name) != digest]
    for name in finished(reference.root):
        if name.startswith("weights/"):
            ours, theirs = (load_file(root / name / "weights.safetensors") for root in (reference.root, roots[0]))
            assert ours.keys() == theirs.keys()
            for key, value in ours.items():
                np.testing.assert_allclose(theirs[key], value, rtol=0, atol=1e-4, err_msg=f"{name} {key}")
        inputs = [
            json.loads((root / name / "artifact.json").read_text())["inputs"] for root in (reference.root, roots[0])
        ]
        assert inputs[0] == inputs[1]
    print(f"two threads: {len(differ)} of {len(reference.contents)} files differ from one thread's: {sorted(differ)}")
