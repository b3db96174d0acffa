"""One undisturbed run for all: what every disturbed run must end with."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from forked import note, noted
from stores import contents


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its store, what that holds, how long each stage took in seconds, and what it made."""

    root: Path
    contents: dict[str, str]
    seconds: dict[str, float]
    made: dict[str, list[str]]

    def until(self, stage, target):
        """A store with what the stages before ``stage`` made (of no known name: all of them)."""
        for each in itertools.takewhile(lambda name: name != stage, self.made):
            for name in self.made[each]:
                shutil.copytree(self.root / name, target / name)
        return target


@pytest.fixture(scope="session")
def reference(shared):
    import small_run

    root, log, told = (shared / "reference" / name for name in ("store", "log", "made.json"))
    with FileLock(shared / "reference.lock"):  # made once for all processes of the test run
        if not told.exists():
            root.mkdir(parents=True)
            made = small_run.everything(root, log)
            note(log, "end")
            told.write_text(json.dumps(made))
    seconds = {stage: after - at for (stage, at), (_, after) in itertools.pairwise(noted(log))}
    return Reference(root, contents(root), seconds, json.loads(told.read_text()))
