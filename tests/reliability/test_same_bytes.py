"""The same inputs give the same bytes: in another process, folder, hash seed, locale, time zone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import Reference
from stores import contents


def test_another_process_folder_and_hash_seed(reference: Reference, tmp_path: Path) -> None:
    root = tmp_path / "another store ü" / "deep"
    other = {"PYTHONHASHSEED": "123", "TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    (tmp_path / "elsewhere").mkdir()
    code = "import sys, small_run; from pathlib import Path; small_run.everything(Path(sys.argv[1]), lambda told: None)"
    line = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(
        line, cwd=tmp_path / "elsewhere", env=os.environ | other, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert contents(root) == reference.contents
    texts = [p for p in root.glob("*/*/*") if str(tmp_path).encode() in p.read_bytes()]
    assert texts == [], "no path of this machine is in any artifact"
