"""Settings, normalised notebooks, fingerprints, chapters that fail, browser files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from small_book import REPO, checkout, notebook

import polinb
from book._make import build as book
from book._make import vendor
from book._make.normalise import normalise, strip_progress
from polinb.errors import BookError, ParameterError
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params

# --- settings ---


def test_a_setting_is_read_by_its_parameters_type_and_nothing_is_guessed() -> None:
    for text, value in (
        ("gamma=5", 5),
        ("learning_rate=2e-5", 2e-5),
        ("topics=[crime, race]", ["crime", "race"]),
        ("model=1234", "1234"),
        ("data=a=b", "a=b"),
        ("seed=010", 10),  # YAML: 8
        ("gammas=[010, 1e1, .5]", [10, 10.0, 0.5]),
        ("seed=1:30", "1:30"),  # YAML: 90; as text it is refused
        ("seed=", ""),  # YAML: nothing, and so the profile's value
        ("system_prompt=Be brief. # really", "Be brief. # really"),
        ("system_prompt=null", "null"),
        ("system_prompt=False", False),
        ('system_prompt="false"', "false"),
        ("statements=[no, 1:30, a#b, 'c, d']", ["no", "1:30", "a#b", "c, d"]),
    ):
        name = text.partition("=")[0]
        assert parse_settings([text]) == {name: value} and type(parse_settings([text])[name]) is type(value), text
        if name == "seed" and isinstance(value, str):
            with pytest.raises(ParameterError, match=name):
                Params.from_profile("tiny", **{name: value})
    for texts in (["gamma"], ["=5"], ["a b=5"], ["topics=[crime"], ["topics="], ["statements=[a] # b"], ["seed=1"] * 2):
        with pytest.raises(ParameterError):
            parse_settings(texts)


def test_no_page_loads_data() -> None:
    for path in (REPO / "book" / "_ext").rglob("*.py"):
        assert "polinb.data" not in path.read_text("utf-8"), f"{path.name}: a build of pages must fetch nothing"


def test_every_equation_is_one_function_and_one_test() -> None:
    """A label heads the docstring of exactly one function, which the page names, and stands in the name of one test."""
    text = (REPO / "book" / "notation.md").read_text()
    rows = re.findall(r"\{eq\}`(eq-[\w-]+)` \|.*?`polinb\.([\w.]+)`.*?`(tests/[\w/]+\.py)`", text)
    sources = [text, *(c.source for path in (REPO / "notebooks").glob("*.ipynb") for c in nbformat.read(path, 4).cells)]
    labels = {label for each in sources for label in re.findall(r"(?:^\$\$ \(|:label: )(eq-[a-z-]+)", each, re.M)}
    assert len(rows) == text.count("{eq}`") > 20 and {label for label, _, _ in rows} == labels
    heads: dict[str, list[str]] = {}
    for path in (REPO / "polinb").rglob("*.py"):
        module = ".".join(path.relative_to(REPO / "polinb").with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                label = re.match(r"(eq-[\w-]+)\. ", ast.get_docstring(node) or "")
                if label:
                    heads.setdefault(label[1], []).append(f"{module}.{node.name}")
    for label, function, test in rows:
        assert heads.pop(label, []) == [function], label
        named = f"def test_{label.replace('-', '_')}_"
        homes = [path for path in (REPO / "tests").rglob("test_*.py") if named in path.read_text("utf-8")]
        assert homes == [REPO / test], f"{label}: {homes}"
    assert not heads, "an equation that the notation page does not name"


# --- normalising ---


def executed(word: str, seconds: float) -> nbformat.NotebookNode:
    """An executed notebook in which ids, times, addresses and chunks of streams vary, and what it shows."""
    outputs = [
        new_output("stream", name="stdout", text=f"in {REPO}/polinb/a" if seconds > 1 else f"in {REPO}/polinb/ab"),
        *([new_output("stream", name="stdout", text="b")] if seconds > 1 else []),
        new_output("stream", name="stderr", text=f"\r 10% {seconds}\r 100%\r      \r"),
        new_output("stream", name="stderr", text=f"/tmp/ipykernel_{int(seconds * 9)}/77.py:1: UserWarning: x\n"),
        new_output("execute_result", {"text/plain": f"<{word} at 0x7f{int(seconds * 1e6):08x}>"}, execution_count=1),
    ]
    cell = new_code_cell("x", outputs=outputs, execution_count=1, metadata={"papermill": {"duration": seconds}})
    cell.metadata["execution"] = {"iopub.status.busy": str(seconds)}
    made = notebook(new_code_cell("gamma = 5", metadata={"tags": ["injected-parameters"]}), cell)
    made.cells[1]["id"] = f"id{int(seconds)}"
    made.metadata["papermill"] = {"duration": seconds, "parameters": {"gamma": 5}}
    made.metadata["widgets"] = {"state": {str(seconds): {}}}
    return made


def test_two_runs_normalise_to_the_same_bytes() -> None:
    one = normalise(executed("object", 0.5), REPO)
    assert one == normalise(executed("object", 7.25), REPO) != normalise(executed("other", 0.5), REPO)
    read = nbformat.reads(one, 4)
    nbformat.validate(read)
    assert read.metadata.papermill == {"parameters": {"gamma": 5}}
    assert read.cells[1].metadata.tags == ["injected-parameters", "hide-input"]
    texts = [output.get("text") or output.data["text/plain"] for output in read.cells[2].outputs]
    assert texts == ["in polinb/ab", "cell:1: UserWarning: x\n", "<object>"]


def test_progress_bars_vanish() -> None:
    for text, left in (
        ("\r 0%\r 50%\r     \rdone\n", "done\n"),
        ("x\n\r 0%\r100%\n", "x\n100%\n"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("\n\nkept blank\n", "\n\nkept blank\n"),
    ):
        assert strip_progress(text) == left


# --- fingerprints ---


def test_fingerprint_follows_notebook_parameters_data_and_package(tmp_path: Path, monkeypatch) -> None:
    path, data, package = tmp_path / "notebooks" / "a.ipynb", tmp_path / "mine" / "data.csv", tmp_path / "polinb"
    for folder in (path.parent, data.parent, package / "resources"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(polinb, "__file__", str(package / "__init__.py"))
    made = notebook()
    made.cells[0].source = "profile = 'quick'\ndata = None\ngamma = None"
    nbformat.write(made, path)
    seen: set[str] = set()
    for text in ("a", "b", "longer"):
        data.write_text(text * 1000)
        seen.add(book.fingerprint(path, {"data": str(data)}))
    given = {"profile": "quick"}
    seen.add(book.fingerprint(path, given))
    assert book.fingerprint(path, given | {"cue_rate": 1.0}) in seen, "a parameter that it does not take"
    seen.add(book.fingerprint(path, given | {"gamma": 6}))
    made.cells.append(new_markdown_cell("new", id="new"))
    nbformat.write(made, path)
    seen.add(book.fingerprint(path, given))
    for name in ("build.py", "resources/x.toml"):
        (package / name).write_text("1")
        seen.add(book.fingerprint(path, given))
    assert len(seen) == 8
    (package / "resources" / "README.md").write_text("for people")
    assert book.fingerprint(path, given) in seen


# --- execution ---


def test_a_failing_chapter_says_where_and_keeps_what_ran(tmp_path: Path) -> None:
    bad = notebook(new_code_cell("print('before')"), new_code_cell("# comment\n1 / 0"))
    layout = checkout(tmp_path, **{"01_bad": bad})
    with pytest.raises(BookError) as caught:
        book.run_chapter(layout, "01_bad", {"profile": "quick"})
    told = str(caught.value)
    assert "chapter 01_bad failed in cell" in told and "ZeroDivisionError: division by zero" in told
    assert "book/chapters/failed/01_bad.ipynb" in told and "\x1b" not in told
    partial = nbformat.read(layout.failed / "01_bad.ipynb", 4)
    assert any("before" in str(cell.get("outputs")) for cell in partial.cells)
    assert not (layout.chapters / "01_bad.ipynb").exists()
    bad.cells[0].metadata["tags"] = []
    nbformat.write(bad, layout.notebooks / "01_bad.ipynb")
    with pytest.raises(BookError, match="tag 'parameters'"):
        book.run_chapter(layout, "01_bad", {"profile": "quick"})


# --- browser files and Sphinx ---


def test_vendor_writes_once_and_mends(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    assert vendor.vendor(folder) is True
    assert vendor.vendor(folder) is False
    assert "MathJax" in (folder / "mathjax" / "tex-svg.js").read_text("utf-8")
    assert (folder / "vega-bundle.js").read_text("utf-8").startswith("(function(){")
    (folder / "vega-bundle.js").write_bytes(b"cut \xff")
    assert vendor.vendor(folder) is True
    assert (folder / "vega-bundle.js").stat().st_size > 500_000
    assert list(tmp_path.iterdir()) == [folder]
