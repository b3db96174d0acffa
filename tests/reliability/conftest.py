"""One undisturbed run for all: what every disturbed run must end with."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = os.pathsep.join(  # of the fork server and of every other process started here
    [str(Path(__file__).parent), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
)


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its store, what that holds, and how long each stage took (seconds) and what it made."""

    root: Path
    contents: dict[str, str]
    seconds: dict[str, float]
    made: dict[str, list[str]]

    def until(self, stage, target):
        """A store with what the stages before ``stage`` made (an empty name: all of them)."""
        stages = list(self.made)
        for each in stages[: stages.index(stage) if stage else len(stages)]:
            for name in self.made[each]:
                shutil.copytree(self.root / name, target / name)
        return target


@pytest.fixture(scope="session")
def reference(shared):
    import forked
    import stores

    root, told = shared / "reference" / "store", shared / "reference.json"
    with FileLock(shared / "reference.lock"):  # made once for all processes of the test run
        if not told.exists():
            with forked.Process("small_run.everything", root) as process:
                ended = process.join()
            assert ended is not None and ended[0] == "done", ended
            begun = itertools.pairwise(process.begun.items())
            told.write_text(json.dumps([{name: after - at for (name, at), (_, after) in begun}, ended[1]]))
    seconds, made = json.loads(told.read_text())
    assert list(seconds) == [*stores.STAGES]
    return Reference(root, stores.contents(root), seconds, made)
