"""Chapters and pages: killed, with a kernel that dies, damaged, unfinished; the next run ends with the same bytes."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from chapters import DIES, OUTAGE, PAGES, PARAMETERS, PIECES, RUN, Worker, executed, made
from nbformat.v4 import new_markdown_cell
from small_book import checkout, notebook
from stores import contents, finished, leftovers

from book._make import build as book
from polinb.errors import BookError
from polinb.runs.checkout import Layout


@pytest.fixture(autouse=True)
def _short_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_chapter_killed_while_its_kernel_ran(tmp_path: Path, kills: int) -> None:
    layout, store = made(tmp_path / "calm"), tmp_path / "store-calm"
    seconds = timed(Worker(layout, store, RUN))
    again, torn = made(tmp_path / "torn"), tmp_path / "store-torn"
    draw, kept = random.Random(kills), {}
    while kills:
        if Worker(again, torn, RUN).kill(draw.uniform(0.0, seconds)):
            kills -= 1
        else:  # the end came first: the next one is to run, not to find that it stands
            (again.chapters / "01_fill.json").unlink()
        now = finished(torn)
        assert {name: now.get(name) for name in kept} == kept
        kept = now
    Worker(again, torn, RUN).end()
    assert executed(again) == executed(layout) and contents(torn) == contents(store)
    end = finished(torn)
    assert {name: end[name] for name in kept} == kept and len(end) == PIECES and leftovers(torn) == []
    assert not again.failed.exists() and not list(again.chapters.glob(".*"))


def timed(worker: Worker) -> float:
    """Seconds from the start of its helper to its end."""
    started = worker.helped()
    worker.end()
    return time.monotonic() - started


def pages(layout: Layout) -> dict[str, bytes]:
    html = layout.build / "html"
    return {str(p.relative_to(html)): p.read_bytes() for p in sorted(html.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_pages_killed_5_times(tmp_path: Path) -> None:
    from book._make.vendor import vendor

    layout, draw = made(tmp_path / "checkout"), random.Random(3)
    Worker(layout, tmp_path / "store", RUN).end()
    vendor(layout.vendor)
    seconds = timed(Worker(layout, tmp_path / "store", PAGES))
    calm, kills = pages(layout), 0
    while kills < 5:
        kills += Worker(layout, tmp_path / "store", PAGES).kill(draw.uniform(0.0, seconds))
    Worker(layout, tmp_path / "store", PAGES).end()
    torn = pages(layout)
    assert sorted(torn) == sorted(calm) and len(calm) > 20
    assert [name for name in calm if torn[name] != calm[name]] == []


def test_a_kernel_that_dies_in_mid_chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_an_outage_left_undone_is_shown_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_a_damaged_chapter_is_named_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_a_damaged_chapter_that_is_not_run_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a notebook would end the build of the pages deep inside; it counts as missing instead."""
    monkeypatch.setattr(book, "build_pages", lambda layout, builder: layout.build)
    layout = checkout(tmp_path, **{name: notebook(new_markdown_cell("# A")) for name in ("01_a", "02_b")})
    book.make_book("quick", {}, None, layout)
    (layout.chapters / "01_a.ipynb").write_bytes(b'{"cells": [')
    capsys.readouterr()
    book.make_book("quick", {}, ["02_b"], layout)
    assert "the reference run's results are shown: 01_a" in capsys.readouterr().out


def test_a_builder_of_pages_ends_with_the_process_that_started_it() -> None:
    """Left alone it would go on writing into the pages of the next build."""
    code = book._BUILD.partition('sys.modules["rfc3987_syntax"]')[0] + "time.sleep(600)"
    start = f"code = {code!r}; import os, subprocess, sys, time; "
    start += "child = subprocess.Popen([sys.executable, '-c', f'parent = {os.getpid()}' + code]); "
    start += "print(child.pid, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=30)
    for each in alive:
        each.kill()
    assert gone and not alive
