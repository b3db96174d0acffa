"""A checkout with small chapters that fill a store, and processes that run or build it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell
from small_book import checkout, notebook

from polinb.runs.checkout import Layout

PIECES = 6
FILL = f"""
import os, time
from pathlib import Path
from polinb.runs.artifacts import Store, store_root

def piece(n):
    def make(folder):
        (folder / "piece.txt").write_text(str(n) * 2000)
        time.sleep(0.1)
        return {{"n": n}}
    return make

store = Store(store_root())
found = [store.get("piece", {{"n": n}}, piece(n)).summary["n"] for n in range({PIECES})]
print("pieces", found)
"""
DIES = """
if Path("die").exists():
    os.kill(os.getpid(), 9)
"""
OUTAGE = """
def rate(folder):
    if Path("down").exists():
        raise RuntimeError("7 of 9 answers were not rated (HTTP 503: 7)")
    return {"label": "left"}

try:
    print(store.get("rating", {}, rate).summary)
except RuntimeError:
    print("unrated")
"""
PARAMETERS = {"profile": "quick"}


def made(root: Path, *more: str) -> Layout:
    """A checkout with the chapter ``01_fill``."""
    root.mkdir(parents=True, exist_ok=True)
    cells = [new_markdown_cell("# Fill\n\n$a^2$."), *(new_code_cell(code.strip()) for code in (FILL, *more))]
    return checkout(root, **{"01_fill": notebook(*cells)})


class Worker:
    """A process that calls a function of ``book._make.build`` on a checkout, as ``make book`` does."""

    def __init__(self, layout: Layout, store: Path, call: str) -> None:
        code = "from pathlib import Path; from book._make import build as book; from polinb.runs.checkout import Layout"
        code += f"; at = Path({str(layout.root)!r}); layout = Layout(at)"
        environment = os.environ | {"POLINB_STORE": str(store)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{code}; {call}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def helped(self) -> float:
        """Wait for its kernel or its builder of pages; when that was there (monotonic seconds)."""
        while self.process.poll() is None and not self._children():
            time.sleep(0.02)
        return time.monotonic()

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self, after: float) -> bool:
        """Kill -9 this process alone, as the system does for want of memory, ``after`` seconds with its helper.

        What it had started must end by itself. Whether it was still at work.
        """
        self.helped()
        try:
            self.process.wait(after)
        except subprocess.TimeoutExpired:
            left = self._children()
            self.process.kill()
            self.process.communicate()
            _, alive = psutil.wait_procs(left, timeout=30)
            for each in alive:
                each.kill()
            assert not alive, f"still at work 30 s after the kill: {alive}"
            return True
        self.end()
        return False

    def end(self) -> str:
        """What it printed, once it ended well."""
        told = self.process.communicate(timeout=300)[0].decode()
        assert self.process.returncode == 0, told[-3000:]
        return told


RUN = f"book.run_chapter(layout, '01_fill', {PARAMETERS!r})"
PAGES = "book.build_pages(layout)"


def executed(layout: Layout, name: str = "01_fill") -> tuple[bytes, dict[str, object]]:
    """An executed chapter, and its record without the seconds it took."""
    record = json.loads((layout.chapters / f"{name}.json").read_text())
    record.pop("seconds")
    return (layout.chapters / f"{name}.ipynb").read_bytes(), record
