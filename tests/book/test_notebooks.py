"""Every chapter: its form, its refusals, what its run on the tiny profile shows, and other runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from golden.oracle import run_here
from nbformat.v4 import new_code_cell

from book._make import build
from book._make.notebook import normalise, python_path
from polinb.chapters.paper import paper
from polinb.display.tables import Table
from polinb.runs.chapter import parameters_source, sync
from polinb.runs.checkout import Layout, core_names
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb_book import results
from polinb_book.outputs import found

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
        assert re.match(r'<a id="sec-[a-z]+"></a>\n# ', book.cells[0].source), path.stem
        [made] = [cell for cell in book.cells if "answers.show(" in cell.source]
        assert "remove-cell" in made.metadata["tags"], "the page shows it on top"
        for cell in code:
            assert len(cell.source.splitlines()) <= 18 or cell is parameters, cell.source
            assert "def " not in cell.source, "logic belongs in the package"
        for text in (cell.source for cell in book.cells if cell.cell_type == "markdown"):  # as JupyterLab shows it
            assert not re.search(r"\{[a-z:]+\}`|^[`:]{3,}\{|^\([\w-]+\)=$", text, re.M), f"{path.name}: MyST: {text}"
            assert all((path.parent / target).is_file() for target in re.findall(r"\]\(([^)# \"]+)", text)), text


def all_labels(notebooks=NOTEBOOKS):
    made = []
    for path in notebooks:
        for cell in read(path).cells:
            if cell.cell_type == "code":
                made += re.findall(r"\"(tbl-[a-z-]+)\"", cell.source)
                figure = cell.metadata.get("mystnb", {}).get("figure")
                made += [figure["name"]] if figure else []
    return made


def test_labels_are_unique_and_every_reference_leads_somewhere():
    """Also in a book without the chapters beyond the paper: what its chapters and pages name, they make."""
    labels = all_labels()
    assert len(labels) == len(set(labels)) > 40
    assert {label for each in paper.exhibits()["counterparts"] for label in each} <= set(labels)
    paper_only = [ROOT / "notebooks" / f"{name}.ipynb" for name in core_names(Layout(ROOT))]
    pages = "\n".join(path.read_text("utf-8") for path in [*(ROOT / "book").glob("*.md"), *paper_only])
    made = {*all_labels(paper_only), *re.findall(r"^:name: (tbl-\S+)", pages, re.M)}
    named = set(re.findall(r"(?:\{numref\}`|\]\(#)((?:tbl|fig)-[\w-]+)", pages))
    assert len(named) > 10 and named <= made, named - made


def test_outputs_on_tiny(built_book):
    for path in NOTEBOOKS:
        name = path.stem
        book = read(built_book.root / "book" / "chapters" / f"{name}.ipynb")
        for cell in book.cells:
            for column in [column for _, table in found(cell) for column in table.get("columns", [])]:
                assert "_" not in re.sub(r"\$[^$]*\$", "", column["header"].replace("\\_", "")), column["header"]
            for output in cell.get("outputs", []):
                shown = output.get("data", {}).get("text/markdown", "")
                assert not re.search(r"\{[a-z:]+\}`|^```|&#\d", shown, re.M), (cell.source, shown)
        text = "".join(str(o) for cell in book.cells for o in cell.get("outputs", []))
        assert "randomly initialised" in text, "numbers of a tiny run are labelled as such"
        answer = results.answer(book, name)
        assert answer and answer["profile"] == "tiny", "it stands on the opening page"
        assert not re.search(r"\bnan\b", answer["first"]), answer["first"]


def test_a_fork_a_kernel_and_papermills_command_make_the_same_notebook(built_book, tmp_path, monkeypatch):
    if built_book.given:
        pytest.skip("another book is looked at")
    monkeypatch.setenv("POLINB_STORE", str(built_book.store))
    name, layout, out = "04_distribution", Layout(built_book.root), tmp_path / "out.ipynb"
    by_kernel, unfinished = build.execute(layout, name, {"profile": "tiny"})
    command = [sys.executable, "-m", "papermill", layout.notebooks / f"{name}.ipynb", out, "--cwd", layout.root]
    environment = os.environ | {"PYTHONPATH": python_path(), "PYTHONHASHSEED": "0"}
    subprocess.run([*command, "-p", "profile", "tiny"], check=True, capture_output=True, env=environment)
    by_fork = (layout.chapters / f"{name}.ipynb").read_text("utf-8")
    forks, kernels, papermills = map(json.loads, (by_fork, by_kernel, normalise(read(out), layout.root)))
    for made in (forks, kernels, papermills):
        del made["metadata"]["language_info"]  # that of the kernel, or of the notebook
    assert not unfinished and forks == kernels == papermills


def test_the_book_builds_and_holds_every_figure_and_table(built_book):
    """The real chapters and pages, warnings as errors."""
    html = {p.name: p.read_text("utf-8") for p in built_book.html.rglob("*.html")}
    everything = "".join(html.values())
    for label in all_labels():
        assert f'id="{label}"' in everything, label
    opening = (built_book.html / "index.html").read_text("utf-8")
    assert "Not run in this build" not in opening and opening.count("<strong>") > len(NOTEBOOKS), "answers of all"
    for path in NOTEBOOKS:
        assert "its numbers mean nothing" in html[f"{path.stem}.html"].split("What you will see")[0], path.stem
    exhibits = [*(f"Table {n}" for n in range(1, 11)), *(f"Figure {n}" for n in range(1, 13))]
    assert [one for one in exhibits if one not in html["09_paper_beside_ours.html"]] == [], "of the paper"


def test_api_pages_show_docstrings_as_they_are_meant(built_book):
    def entry(page, name):
        soup = BeautifulSoup((built_book.html / "api" / f"{page}.html").read_text("utf-8"), "html.parser")
        found = soup.find(id=f"polinb.{name}")
        return found.get_text(" ", strip=True), found.find_parent("dl")

    signature, share = entry("scoring", "scoring.pnlac.top_share")
    assert signature.startswith("top_share ( score : ndarray , gamma : float")
    assert "Parameters" in share.get_text() and share.select_one('a[href="runs.html#polinb.errors.ParameterError"]')
    _, generate = entry("models", "models.generation.generate")
    assert generate.select_one('a[href="#polinb.models.lm.LM"]'), "imported for type checkers only"
    _, params = entry("runs", "runs.params.Params")
    assert "ercentage of all FFN neurons kept per topic" in params.select_one("dl.field-list").get_text()
    assert not params.find(id="polinb.runs.params.Params.model_config")


def test_sync_rewrites_only_what_differs(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "n")
    assert sync(tmp_path / "n") == [], "python -m book._make sync rewrites it"
    path = tmp_path / "n" / "03_pnlac.ipynb"
    book = read(path)
    tagged(book, "parameters")[0].source = "gamma = 5"
    nbformat.write(book, path)
    assert sync(tmp_path / "n") == ["03_pnlac.ipynb"]
    assert tagged(read(path), "parameters")[0].source == parameters_source("03_pnlac")


def test_a_chapter_runs_with_other_parameters():
    given = {"model": "tiny:gpt2", "gamma": 30.0, "pool": "layer", "topics": ["crime", "race"]}
    given |= {"response_source": "dataset", "normalise": "vanilla_std"}
    shown = run_here("03_pnlac", **given)
    general = Run(Params.from_profile("tiny", **given)).sets().general
    [table] = [each.payload for each in shown if isinstance(each, Table) and each.payload["label"] == "tbl-sets"]
    kinds, _, counts, _ = (column["values"] for column in table["columns"])
    assert (kinds[0], counts[0]) == ("general", general.sum()) and general.any()
    assert "tiny:gpt2" in shown[2].text


def test_a_whole_notebook_runs_twice_in_one_kernel(book_store, tmp_path):
    """As in JupyterLab: all cells, the check alone, all cells with another value, and a wrong name at last."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    book = read(ROOT / "notebooks" / "04_distribution.ipynb")
    parameters, check, *rest = [cell.source for cell in book.cells if cell.cell_type == "code"]
    assert "begin(" in check
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
