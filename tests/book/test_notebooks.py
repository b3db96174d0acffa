"""Every chapter: its form, its refusals, what its run on the tiny profile shows, and runs through papermill."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from polinb.chapters.paper import paper
from polinb.runs.chapter import parameters_source
from polinb.runs.params import chapter_class
from polinb_book import results
from polinb_book.outputs import found, payloads

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def read(path):
    return nbformat.read(path, 4)


def tagged(book, tag):
    return [cell for cell in book.cells if tag in cell.metadata.get("tags", [])]


def test_one_chapter_a_section_in_the_papers_order():
    assert NAMES == [
        "01_phenomenon", "02_data", "03_pnlac", "04_distribution", "05_vanilla_stance",
        "06_patching", "07_inhibitft", "08_gamma", "09_paper_beside_ours", "10_known_truth", "11_hard_controls",
        "12_where_the_shift_lives", "13_toxicity", "14_caft", "15_spurious_cue", "16_emergent_misalignment",
        "17_neuron_explorer", "18_responses", "19_what_moved", "20_paper_recipe",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_form(path):
    book = read(path)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), "outputs are stripped in git"
    parameters = tagged(book, "parameters")
    assert len(parameters) == 1 and parameters[0].source == parameters_source(path.stem), (
        "python -m book._make sync rewrites it"
    )
    first = book.cells[0].source
    assert (
        re.match(r'<a id="sec-[a-z]+"></a>\n# ', first)
        and "**Question.**" in first
        and "**What you will see.**" in first
    )
    assert f'begin("{path.stem}", globals())' in code[1].source, "validation follows the parameters at once"
    assert len(parameters[0].source.splitlines()) <= 66
    for cell in code:
        assert len(cell.source.splitlines()) <= 18 or cell is parameters[0], cell.source
        assert "def " not in cell.source, "logic belongs in the package"
        assert "%" + "%time" not in cell.source
    assert any(cell.source.startswith("## Summary") or "\n## Summary" in cell.source for cell in book.cells)


def test_labels_are_unique_and_every_counterpart_exists():
    labels = all_labels()
    for path in NOTEBOOKS:
        for cell in read(path).cells:
            if cell.metadata.get("mystnb", {}).get("figure"):
                assert cell.metadata["mystnb"]["figure"]["caption"].endswith((".", ")"))
    assert len(labels) == len(set(labels))
    wanted = {label for each in paper.exhibits()["counterparts"] for label in each}
    assert wanted <= set(labels)


def all_labels(notebooks=NOTEBOOKS):
    made = []
    for path in notebooks:
        for cell in read(path).cells:
            if cell.cell_type == "code":
                made += re.findall(r"\"(tbl-[a-z-]+)\"", cell.source)
                figure = cell.metadata.get("mystnb", {}).get("figure")
                made += [figure["name"]] if figure else []
    return made


def papermill(name, out, *arguments, store):
    environment = os.environ | {
        "POLINB_STORE": str(store),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TQDM_DISABLE": "1",
    }
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{name}.ipynb"), str(out), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture
def store(book_store):
    return book_store


def unprinted(text):
    """What a reader should not meet in prose: a hyphen as minus, signed zeros."""
    plain = re.sub(r"`[^`]*`|\$[^$]*\$", "", text)
    return re.findall(r"(?<![\w-])-\d[\d.]*|[+−-]0\.0+(?!\d)|\d%|\w*\(s\)", plain)


def test_what_a_reader_should_not_meet_is_found():
    assert unprinted("by -0.5 `-1` $-1$ and +0.00, 47% of 2 case(s)") == ["-0.5", "+0.00", "7%", "case(s)"]
    assert not unprinted("by −0.5, 0.00 and +0.001, 47 % of 2-3 cases (sic)")


@pytest.mark.parametrize("name", NAMES)
def test_outputs_on_tiny(name, built_book):
    book = read(built_book.root / "book" / "chapters" / f"{name}.ipynb")
    for cell in book.cells:
        made = [each for _, each in found(cell)]
        if cell.metadata.get("mystnb", {}).get("figure"):
            assert [each["kind"] for each in made] == ["chart"], cell.source
        if "numbered_table(" in cell.source:
            assert any(each["kind"] == "table" for each in made), cell.source
        for table in made:
            for column in table.get("columns", []):
                assert "_" not in re.sub(r"\$[^$]*\$", "", column["header"].replace("\\_", "")), column["header"]
        for _, payload in payloads(cell):
            said = payload.get("text", "")
            assert not unprinted(said), (cell.source, unprinted(said))
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get("text/markdown", "")
            assert not re.search(r"\{[a-z:]+\}`|^```|&#\d", shown, re.M), (cell.source, shown)
    text = "".join(str(o) for cell in book.cells for o in cell.get("outputs", []))
    assert "randomly initialised" in text, "numbers of a tiny run are labelled as such"
    answer = results.answer(book, name)
    assert answer and answer["profile"] == "tiny", "it stands on the opening page"
    assert not re.search(r"\bnan\b", answer["first"]), answer["first"]


def test_the_book_builds_and_holds_every_figure_and_table(built_book):
    """The real chapters and pages, warnings as errors."""
    html = {p.name: p.read_text("utf-8") for p in built_book.html.rglob("*.html")}
    everything = "".join(html.values())
    labels = all_labels()
    assert len(labels) > 40
    for label in labels:
        assert f'id="{label}"' in everything, label
    opening = (built_book.html / "index.html").read_text("utf-8")
    assert "Not run in this build" not in opening and opening.count("<strong>") > len(NAMES), "answers of all chapters"
    assert all("its numbers mean nothing" in html[f"{name}.html"].split("What you will see")[0] for name in NAMES)
    closing = html["09_paper_beside_ours.html"]
    for number in range(1, 11):
        assert f"Table {number}" in closing
    for number in range(1, 13):
        assert f"Figure {number}" in closing
    assert 'src="http' not in everything and "//cdn" not in everything


def test_chapters_of_the_paper_refer_only_to_what_they_make():
    """A book built without the chapters beyond the paper must have no reference that leads nowhere."""
    pages = " ".join(path.read_text("utf-8") for path in (ROOT / "book").glob("*.md"))
    core = set(all_labels([path for path in NOTEBOOKS if path.stem < "10"])) | set(
        re.findall(r"^:name: (tbl-\S+)", pages, re.M)
    )
    pages = [*(ROOT / "book").glob("*.md"), *(path for path in NOTEBOOKS if path.stem < "10")]
    named = {
        label
        for path in pages
        for label in re.findall(r"(?:\{numref\}`|\]\(#)((?:tbl|fig)-[\w-]+)", path.read_text("utf-8"))
    }
    assert len(named) > 10 and named <= core, named - core


def test_every_equation_is_in_the_table_with_a_function_and_a_test():
    """Notation and equations: label → function → test, and each of them is there."""
    labels = {
        label
        for path in [*NOTEBOOKS, ROOT / "book" / "notation.md"]
        for cell in ([c.source for c in read(path).cells] if path.suffix == ".ipynb" else [path.read_text("utf-8")])
        for label in re.findall(r"(?:^\$\$ \(|:label: )(eq-[a-z-]+)", cell, re.M)
    }
    table = (ROOT / "book" / "notation.md").read_text("utf-8")
    rows = re.findall(
        r"^\| \{eq\}`(eq-[a-z-]+)` \|[^|]+\| \{py:func\}`polinb\.([\w.]+)\.(\w+)` \| `(tests/[\w/]+\.py)` \|",
        table,
        re.M,
    )
    assert {row[0] for row in rows} == labels, {row[0] for row in rows} ^ labels
    for label, module, function, test in rows:
        found = getattr(importlib.import_module(f"polinb.{module}"), function)
        assert callable(found) and found.__doc__, label
        assert function in (ROOT / test).read_text("utf-8"), f"{label}: {test} never calls {function}"


def test_sync_rewrites_only_what_differs(tmp_path):
    from polinb.runs.chapter import sync

    shutil.copytree(ROOT / "notebooks", tmp_path / "n")
    assert sync(tmp_path / "n") == []
    path = tmp_path / "n" / "03_pnlac.ipynb"
    book = read(path)
    tagged(book, "parameters")[0].source = "gamma = 5"
    nbformat.write(book, path)
    assert sync(tmp_path / "n") == ["03_pnlac.ipynb"]
    assert tagged(read(path), "parameters")[0].source == parameters_source("03_pnlac")


def test_runs_with_other_parameters(store, tmp_path):
    arguments = [
        "-p",
        "profile",
        "tiny",
        "-p",
        "model",
        "tiny:gpt2",
        "-p",
        "gamma",
        "30",
        "-y",
        "topics: [crime, race]",
    ]
    arguments += ["-p", "pool", "layer", "-p", "response_source", "dataset", "-p", "normalise", "vanilla_std"]
    done = papermill("03_pnlac", tmp_path / "out.ipynb", *arguments, store=store)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "tiny:gpt2" in (tmp_path / "out.ipynb").read_text()


def test_a_whole_notebook_runs_twice_in_one_kernel(store, tmp_path):
    """As in JupyterLab: all cells, the check alone, all cells with another value, and a wrong name at last."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    book = read(ROOT / "notebooks" / "04_distribution.ipynb")
    parameters = tagged(book, "parameters")[0]
    at = book.cells.index(parameters)
    parameters.source = parameters.source.replace('profile = "quick"', 'profile = "tiny"')
    changed = nbformat.from_dict({**parameters, "source": parameters.source.replace("gamma = None", "gamma = 20")})
    wrong = nbformat.from_dict({**parameters, "source": f"{parameters.source}\ngama = 20"})
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    check = book.cells[at + 1 :][0]
    assert "begin(" in check.source
    again = [changed if cell is parameters else cell for cell in code]
    book.cells = [nbformat.from_dict(dict(cell)) for cell in [*code, check, *again, wrong, check]]
    for number, cell in enumerate(book.cells):
        cell.id = f"cell-{number}"
    client = NotebookClient(book, kernel_name="python3", timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    environment = os.environ | {"POLINB_STORE": str(store), "PYTHONPATH": str(ROOT)}
    with pytest.raises(CellExecutionError, match=r"'gama'.*Did you mean 'gamma'"):
        client.execute(env=environment)
    ran = [cell for cell in book.cells if cell.execution_count is not None]
    assert len(ran) == len(book.cells), "only the last one failed"
    shown = "".join(str(cell.outputs) for cell in ran[-len(again) - 2 :])
    assert "γ = 20 %" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-p", "gama", "5"], "parameter 'gama': got 5; allowed: no parameter has this name. Did you mean 'gamma'?"),
        (["-p", "gamma", "500"], "parameter 'gamma': got 500; allowed: less than 100"),
        (["-p", "profile", "fast"], "parameter 'profile': got 'fast'; allowed: tiny, quick, full, paper"),
    ],
)
def test_wrong_parameters_are_refused_at_once(arguments, told, store, tmp_path):
    import time

    start = time.monotonic()
    done = papermill("07_inhibitft", tmp_path / "out.ipynb", *arguments, store=store)
    assert done.returncode != 0 and told in done.stderr
    assert time.monotonic() - start < 60
    assert len(tagged(read(tmp_path / "out.ipynb"), "injected-parameters")) == 1


def test_help_lists_every_parameter(store, tmp_path):
    done = papermill("03_pnlac", tmp_path / "out.ipynb", "--help-notebook", store=store)
    assert done.returncode == 0
    assert not re.search(r"^  cue_rate: ", done.stdout, re.M), "only those that the chapter uses"
    fields = chapter_class("03_pnlac").model_fields
    for name, field in fields.items():
        if "seldom" in (field.json_schema_extra or {}):  # named in one comment of the cell
            continue
        assert re.search(rf"^  {name}: ", done.stdout, re.M), name
        assert " ".join(field.description.split())[:30] in " ".join(done.stdout.split())
