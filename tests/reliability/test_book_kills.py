"""Chapters: killed, with a kernel that dies, unfinished; the next run ends with the same bytes."""

import subprocess
import sys
import tempfile

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from small_book import checkout, notebook
from stores import finished, leftovers
from waiting import until

from book._make import build as book
from polinb.errors import BookError
from polinb.runs.artifacts import store_root

PIECES = 6
FILL = f"""
import os, time
from pathlib import Path
from polinb.runs.artifacts import Store, store_root

def piece(n):
    def make(folder):
        (folder / "piece.txt").write_text(str(n) * 2000)
        time.sleep(0.4)  # longer together than the second in which a kernel notices that its parent is gone
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
    root.mkdir()
    cells = [new_markdown_cell("# Fill\n\n$a^2$."), *(new_code_cell(code.strip()) for code in (FILL, *more))]
    return checkout(root, **{"01_fill": notebook(*cells)})


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


def test_a_chapter_killed_and_then_one_whose_kernel_dies(tmp_path):
    """Kill -9 of the process alone, as for want of memory: its kernel ends by itself, and the next run goes on."""
    layout, store = made(tmp_path / "checkout", DIES), store_root()
    page, failed = (folder / "01_fill.ipynb" for folder in (layout.chapters, layout.failed))
    code = "from pathlib import Path; from book._make import build as book; from polinb.runs.checkout import Layout"
    code += f"; book.run_chapter(Layout(Path({str(layout.root)!r})), '01_fill', {PARAMETERS!r})"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        until(lambda: process.poll() is not None or finished(store), 600)
        kernel = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    gone_in_time(kernel)
    kept = finished(store)
    assert 0 < len(kept) < PIECES and not page.exists()

    (layout.root / "die").touch()
    with pytest.raises(BookError, match=r"01_fill: its process died.*memory.*book/chapters/failed/01_fill.ipynb"):
        book.run_chapter(layout, "01_fill", PARAMETERS)
    assert "pieces [0, 1" in failed.read_text() and not page.exists()
    every = finished(store)
    assert every.items() >= kept.items() and len(every) == PIECES and leftovers(store) == []

    (layout.root / "die").unlink()
    assert not book.run_chapter(layout, "01_fill", PARAMETERS).reused
    assert finished(store) == every and not layout.failed.exists() and not list(layout.chapters.glob(".*"))
    assert book.run_chapter(layout, "01_fill", PARAMETERS).reused


def test_what_an_outage_left_undone_is_shown_and_run_again(tmp_path, monkeypatch, capsys):
    """A judge that is down must not stay in the book for good."""
    monkeypatch.setattr(book, "build_pages", lambda layout, builder: layout.build)
    layout = made(tmp_path / "checkout", OUTAGE)
    (layout.root / "down").touch()
    told, texts = [], []
    for _ in range(3):
        book.make_book(**PARAMETERS, layout=layout)
        told.append(capsys.readouterr().out)
        cells = nbformat.read(layout.chapters / "01_fill.ipynb", 4).cells
        texts.append(str([cell.get("outputs") for cell in cells]))
        (layout.root / "down").unlink(missing_ok=True)
    undone = "not finished, tried again by the next run: 01_fill: rating: 7 of 9 answers were not rated (HTTP 503"
    assert undone in told[0] and "unrated" in texts[0]
    assert "not finished" not in told[1] and "unchanged" not in told[1] and "left" in texts[1]
    assert "unchanged" in told[2]


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
