"""Chapters: killed, with a kernel that dies, damaged, unfinished; the next run ends with the same bytes."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time

import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from small_book import checkout, notebook
from stores import contents, finished, leftovers

from book._make import build as book
from polinb.errors import BookError

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


def made(root, *more):
    """A checkout with the chapter ``01_fill``."""
    root.mkdir(parents=True, exist_ok=True)
    cells = [new_markdown_cell("# Fill\n\n$a^2$."), *(new_code_cell(code.strip()) for code in (FILL, *more))]
    return checkout(root, **{"01_fill": notebook(*cells)})


def executed(layout):
    """An executed chapter, and its record without the seconds it took."""
    record = json.loads((layout.chapters / "01_fill.json").read_text())
    record.pop("seconds")
    return (layout.chapters / "01_fill.ipynb").read_bytes(), record


class Worker:
    """A process that runs the chapter, as ``make book`` does."""

    def __init__(self, layout, store):
        code = "from pathlib import Path; from book._make import build as book; from polinb.runs.checkout import Layout"
        code += f"; book.run_chapter(Layout(Path({str(layout.root)!r})), '01_fill', {PARAMETERS!r})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | {"POLINB_STORE": str(store)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        while self.process.poll() is None and not self.helpers():
            time.sleep(0.02)
        self.started = time.monotonic()  # its kernel is there

    def helpers(self):
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def killed(self, after):
        """Kill -9 this process alone, as for want of memory: its kernel must end by itself. Whether it was at work."""
        try:
            self.process.wait(after)
        except subprocess.TimeoutExpired:
            left = self.helpers()
            self.process.kill()
            self.process.communicate()
            gone_in_time(left)
            return True
        self.end()
        return False

    def end(self):
        told = self.process.communicate(timeout=300)[0].decode()
        assert self.process.returncode == 0, told[-3000:]
        return time.monotonic() - self.started


def gone_in_time(processes):
    _, alive = psutil.wait_procs(processes, timeout=30)
    for each in alive:
        each.kill()
    assert not alive, f"still at work after 30 s: {alive}"


@pytest.fixture(autouse=True)
def _short_temporary_folder(monkeypatch):
    """Sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_chapter_killed_while_its_kernel_ran(tmp_path, kills):
    layout, store = made(tmp_path / "calm"), tmp_path / "store-calm"
    seconds = Worker(layout, store).end()
    again, torn = made(tmp_path / "torn"), tmp_path / "store-torn"
    draw, kept = random.Random(kills), {}
    while kills:
        if Worker(again, torn).killed(draw.uniform(0.0, seconds)):
            kills -= 1
        else:  # the end came first: the next one is to run, not to find that it stands
            (again.chapters / "01_fill.json").unlink()
        now = finished(torn)
        assert {name: now.get(name) for name in kept} == kept
        kept = now
    Worker(again, torn).end()
    assert executed(again) == executed(layout) and contents(torn) == contents(store)
    end = finished(torn)
    assert {name: end[name] for name in kept} == kept and len(end) == PIECES and leftovers(torn) == []
    assert not again.failed.exists() and not list(again.chapters.glob(".*"))


def test_a_kernel_that_dies_in_mid_chapter(tmp_path, monkeypatch):
    store = tmp_path / "store"
    monkeypatch.setenv("POLINB_STORE", str(store))
    layout = made(tmp_path / "checkout", DIES)
    (layout.root / "die").touch()
    with pytest.raises(BookError, match=r"01_fill: its process died.*book/chapters/failed/01_fill.ipynb") as told:
        book.run_chapter(layout, "01_fill", PARAMETERS)
    assert "memory" in str(told.value) and "pieces [0, 1" in (layout.failed / "01_fill.ipynb").read_text()
    assert not (layout.chapters / "01_fill.ipynb").exists()
    kept = finished(store)
    assert len(kept) == PIECES
    (layout.root / "die").unlink()
    assert not book.run_chapter(layout, "01_fill", PARAMETERS).reused
    assert finished(store) == kept and not layout.failed.exists()
    assert book.run_chapter(layout, "01_fill", PARAMETERS).reused


def test_what_an_outage_left_undone_is_shown_and_run_again(tmp_path, monkeypatch, capsys):
    """A judge that is down must not stay in the book for good."""
    monkeypatch.setenv("POLINB_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(book, "build_pages", lambda layout, builder: layout.build)
    layout = made(tmp_path / "checkout", OUTAGE)
    (layout.root / "down").touch()
    book.make_book(**PARAMETERS, layout=layout)
    told = capsys.readouterr().out
    assert "not finished, tried again by the next run: 01_fill: rating: 7 of 9 answers were not rated (HTTP 503" in told
    assert "unrated" in executed(layout)[0].decode()
    (layout.root / "down").unlink()
    book.make_book(**PARAMETERS, layout=layout)
    told = capsys.readouterr().out
    assert "not finished" not in told and "unchanged" not in told and "left" in executed(layout)[0].decode()
    book.make_book(**PARAMETERS, layout=layout)
    assert "unchanged" in capsys.readouterr().out


def test_a_damaged_chapter_is_named_and_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POLINB_STORE", str(tmp_path / "store"))
    layout = made(tmp_path / "checkout")
    book.run_chapter(layout, "01_fill", PARAMETERS)
    good, record = executed(layout)
    target = layout.chapters / "01_fill.ipynb"
    target.write_bytes(bytes([*good[:200], good[200] ^ 4, *good[201:]]))
    capsys.readouterr()
    assert not book.run_chapter(layout, "01_fill", PARAMETERS).reused
    assert "chapter 01_fill.ipynb is not what was written" in capsys.readouterr().out
    assert executed(layout) == (good, record)
    for bad in (b"{", b"[]", b"", b"\xff"):  # its record
        (layout.chapters / "01_fill.json").write_bytes(bad)
        assert book.stands(layout, "01_fill", PARAMETERS) == {}


def test_a_builder_of_pages_ends_with_the_process_that_started_it():
    """Left alone it would go on writing into the pages of the next build."""
    code = book._BUILD.partition('sys.modules["rfc3987_syntax"]')[0] + "time.sleep(600)"
    start = f"code = {code!r}; import os, subprocess, sys, time; "
    start += "child = subprocess.Popen([sys.executable, '-c', f'parent = {os.getpid()}' + code]); "
    start += "print(child.pid, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    gone_in_time([child])
