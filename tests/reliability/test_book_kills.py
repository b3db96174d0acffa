"""Chapters: killed, with a kernel that dies, unfinished; the next run ends with the same bytes."""

import subprocess
import sys
import tempfile

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell
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
DIES = 'if Path("die").exists():\n    os.kill(os.getpid(), 9)'
OUTAGE = """
from pathlib import Path
from polinb.runs.artifacts import Store, store_root

def rate(folder):
    if Path("down").exists():
        raise RuntimeError("7 of 9 answers were not rated (HTTP 503: 7)")
    return {"label": "left"}

try:
    print(Store(store_root()).get("rating", {}, rate).summary)
except RuntimeError:
    print("unrated")
"""


@pytest.fixture(autouse=True)
def _short_temporary_folder(monkeypatch):
    """Sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


def test_a_chapter_killed_and_then_one_whose_kernel_dies(tmp_path):
    """Kill -9 of the process alone, as for want of memory: its kernel ends by itself, and the next run goes on."""
    cells = map(new_code_cell, (FILL, DIES))
    layout, store = checkout(tmp_path, **{"01_fill": notebook(*cells)}), store_root()
    page, failed = (folder / "01_fill.ipynb" for folder in (layout.chapters, layout.failed))
    code = "from pathlib import Path; from book._make import build as book; from polinb.runs.checkout import Layout"
    code += f"; book.run_chapter(Layout(Path({str(layout.root)!r})), '01_fill', {{'profile': 'quick'}})"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        until(lambda: process.poll() is not None or finished(store), 600)
        kernel = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert not psutil.wait_procs(kernel, timeout=30)[1], "still at work"
    kept = finished(store)
    assert 0 < len(kept) < PIECES and not page.exists()

    (layout.root / "die").touch()
    with pytest.raises(BookError, match=r"01_fill: its process died.*memory.*book/chapters/failed/01_fill.ipynb"):
        book.run_chapter(layout, "01_fill", {"profile": "quick"})
    assert "pieces [0, 1" in failed.read_text() and not page.exists()
    every = finished(store)
    assert every.items() >= kept.items() and len(every) == PIECES and leftovers(store) == []

    (layout.root / "die").unlink()
    assert not book.run_chapter(layout, "01_fill", {"profile": "quick"}).reused
    assert finished(store) == every and not layout.failed.exists() and not list(layout.chapters.glob(".*"))
    assert book.run_chapter(layout, "01_fill", {"profile": "quick"}).reused


def test_what_an_outage_left_undone_is_shown_and_run_again(tmp_path, monkeypatch, capsys):
    """A judge that is down must not stay in the book for good."""
    monkeypatch.setattr(book, "build_pages", lambda layout, builder: layout.build)
    layout = checkout(tmp_path, **{"01_rate": notebook(new_code_cell(OUTAGE))})
    (layout.root / "down").touch()
    told, texts = [], []
    for _ in range(3):
        book.make_book(layout=layout)
        told.append(capsys.readouterr().out)
        texts.append(str(nbformat.read(layout.chapters / "01_rate.ipynb", 4).cells[-1].outputs))
        (layout.root / "down").unlink(missing_ok=True)
    undone = "not finished, tried again by the next run: 01_rate: rating: 7 of 9 answers were not rated (HTTP 503"
    assert undone in told[0] and "unrated" in texts[0]
    assert "not finished" not in told[1] and "unchanged" not in told[1] and "left" in texts[1]
    assert "unchanged" in told[2]
