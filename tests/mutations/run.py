"""Do the tests notice? Plants each fault of ``faults.py`` in a copy of the package and runs the tests it names.

python tests/mutations/run.py [--only 3 17 20-29]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]


def survivors(numbers: Sequence[int]) -> Iterator[int]:
    """Numbers of the faults that no test notices; each is planted in a checkout where everything else is a link."""
    with tempfile.TemporaryDirectory() as folder:
        for path in ROOT.iterdir():
            if path.name in ("polinb", "tests"):
                shutil.copytree(path, Path(folder) / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            elif not path.name.startswith("."):
                (Path(folder) / path.name).symlink_to(path)
        for number in numbers:
            fault = FAULTS[number]
            found = caught(Path(folder), fault)
            print(f"{number:3} {'caught  ' if found else 'SURVIVED'} {fault.file}: {fault.new!r}", flush=True)
            if not found:
                yield number


def caught(root: Path, fault: Fault) -> bool:
    """Whether one of the named tests fails with the fault planted; the copy is whole again afterwards."""
    path = root / "polinb" / fault.file
    text = path.read_text("utf-8")
    assert text.count(fault.old) == 1, f"{fault.file}: {fault.old!r} occurs {text.count(fault.old)} times"
    path.write_text(text.replace(fault.old, fault.new), "utf-8")
    # a compiled file is told from its source by second and size, which a fault may share
    environ = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{root}:{root / 'book' / '_ext'}"}
    named = [str(next((root / "tests").rglob(n))) if n.endswith(".py") else n for n in fault.tests.split()]
    line = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *named]
    done = subprocess.run(line, cwd=root / "tests", env=environ, capture_output=True, text=True, check=False)
    path.write_text(text, "utf-8")
    assert done.returncode in (0, 1), (done.stdout + done.stderr)[-2000:]  # neither passed nor failed
    return done.returncode == 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[f"0-{len(FAULTS) - 1}"])
    ends = [[int(end) for end in text.split("-")] for text in parser.parse_args().only]
    chosen = [number for end in ends for number in range(end[0], end[-1] + 1)]
    left = list(survivors(chosen))
    print(f"caught {len(chosen) - len(left)} of {len(chosen)} ({1 - len(left) / len(chosen):.0%}); survived: {left}")
