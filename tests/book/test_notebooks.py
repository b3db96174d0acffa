"""Every chapter: its form, its refusals, what its run on the tiny profile shows, and other runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from book._make.notebook import normalise, python_path
from polinb.runs.chapter import parameters_source, sync
from polinb_book import results

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path):
    return nbformat.read(path, 4)


def tagged(book, tag):
    return [cell for cell in book.cells if tag in cell.metadata.get("tags", [])]


def test_form():
    for path in NOTEBOOKS:
        book = read(path)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        assert all(not cell.outputs and cell.execution_count is None for cell in code), f"{path.stem}: make fmt"
        [parameters] = tagged(book, "parameters")
        assert f'begin("{path.stem}", globals())' in code[1].source, "validation follows the parameters at once"
        assert all(len(c.source.splitlines()) <= 18 and "def " not in c.source for c in code if c is not parameters)
        for text in (cell.source for cell in book.cells if cell.cell_type == "markdown"):  # as JupyterLab shows it
            assert not re.search(r"\{[a-z:]+\}`|^[`:]{3,}\{|^\([\w-]+\)=$", text, re.M), f"{path.name}: MyST: {text}"
            assert all((path.parent / target).is_file() for target in re.findall(r"\]\(([^)# \"]+)", text)), text


def test_the_book_shows_every_figure_and_table_and_what_a_tiny_run_is(built_book):
    """The real chapters and pages, warnings as errors."""
    opening = (built_book.html / "index.html").read_text("utf-8")
    assert "Not run in this build" not in opening and opening.count("<strong>") > len(NOTEBOOKS), "answers of all"
    for name in (path.stem for path in NOTEBOOKS):
        book = read(built_book.root / "book" / "chapters" / f"{name}.ipynb")
        page = (built_book.html / "chapters" / f"{name}.html").read_text("utf-8")
        assert all(f'id="{label}"' in page for label in results.labels(book) if label), name
        assert "its numbers mean nothing" in page.split("What you will see")[0], name
        assert "randomly initialised" in str(book.cells)
        answer = results.answer(book, name)
        assert answer["profile"] == "tiny" and not re.search(r"\bnan\b", answer["first"]), answer
    exhibits = [*(f"Table {n}" for n in range(1, 11)), *(f"Figure {n}" for n in range(1, 13))]
    beside = (built_book.html / "chapters" / "09_paper_beside_ours.html").read_text("utf-8")
    assert [one for one in exhibits if one not in beside] == [], "of the paper"


def test_papermills_own_command_makes_the_same_notebook(built_book, tmp_path, monkeypatch):
    if built_book.given:
        pytest.skip("another book is looked at")
    monkeypatch.setenv("POLINB_STORE", str(built_book.store))
    root, notebook, out = built_book.root, "04_distribution.ipynb", tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", root / "notebooks" / notebook, out, "--cwd", root]
    environment = os.environ | {"PYTHONPATH": python_path(), "PYTHONHASHSEED": "0"}
    subprocess.run([*command, "-p", "profile", "tiny"], check=True, capture_output=True, env=environment)
    assert normalise(read(out), root) == (root / "book" / "chapters" / notebook).read_text("utf-8")


def test_sync_rewrites_only_what_differs(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "n")
    assert sync(tmp_path / "n") == [], "python -m book._make sync rewrites it"
    path = tmp_path / "n" / "03_pnlac.ipynb"
    book = read(path)
    tagged(book, "parameters")[0].source = "gamma = 5"
    nbformat.write(book, path)
    assert sync(tmp_path / "n") == ["03_pnlac.ipynb"]
    assert tagged(read(path), "parameters")[0].source == parameters_source("03_pnlac")


def test_a_whole_notebook_runs_twice_in_one_kernel(book_store, tmp_path):
    """As in JupyterLab: all cells, the check alone, all cells with another value, and a wrong name at last."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    book = read(ROOT / "notebooks" / "04_distribution.ipynb")
    parameters, check, *rest = [cell.source for cell in book.cells if cell.cell_type == "code"]
    first = parameters.replace('profile = "quick"', 'profile = "tiny"')
    again = [first.replace("gamma = None", "gamma = 20"), check, *rest]
    cells = [first, check, *rest, check, *again, f"{first}\ngama = 20", check]
    book.cells = [new_code_cell(source) for source in cells]
    client = NotebookClient(book, kernel_name="python3", timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    environment = os.environ | {"POLINB_STORE": str(book_store), "PYTHONPATH": str(ROOT)}
    with pytest.raises(CellExecutionError, match=r"'gama'.*Did you mean 'gamma'"):
        client.execute(env=environment)
    assert all(cell.execution_count is not None for cell in book.cells), "only the last one failed"
    assert "γ = 20 %" in "".join(str(cell.outputs) for cell in book.cells[-len(again) - 2 :])
