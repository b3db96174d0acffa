"""Every chapter: its form, what its run on the tiny profile shows, and a run with another parameter."""

import re
from pathlib import Path

import nbformat
import pytest
from golden.oracle import run_here

from polinb.errors import ParameterError
from polinb.runs.chapter import parameters_source
from polinb_book import results

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path):
    return nbformat.read(path, 4)


def test_form():
    for path in NOTEBOOKS:
        book = read(path)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        assert all(not cell.outputs and cell.execution_count is None for cell in code), f"{path.stem}: make fmt"
        [parameters] = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
        assert parameters.source == parameters_source(path.stem), "python -m book._make sync"
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


def test_a_chapter_runs_with_another_value_and_names_a_wrong_name(book_store, monkeypatch):
    monkeypatch.setenv("POLINB_STORE", str(book_store))
    shown = run_here("04_distribution", gamma=20.0)
    assert "γ = 20 %" in shown[2].text
    with pytest.raises(ParameterError, match=r"'gama'.*Did you mean 'gamma'"):
        run_here("04_distribution", gama=20)
