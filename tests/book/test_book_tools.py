"""Running notebooks, normalising them, the command line, and a small book built from them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from small_book import REPO, checkout, notebook

import polinb
from book._make import build as book
from book._make import vendor
from book._make.__main__ import main
from book._make.normalise import normalise, strip_progress
from polinb.errors import BookError, ParameterError
from polinb.runs.checkout import chapter_names, parse_settings
from polinb.runs.params import Params

# --- settings ---


def test_settings_are_typed_as_their_parameter_wants() -> None:
    given = ["gamma=5", "learning_rate=2e-5", "topics=[crime, race]", "gammas=[1e1, 5]", "model=1234", "seed=3"]
    assert parse_settings([*given, "system_prompt=false", "data=a=b"]) == {
        "gamma": 5,
        "learning_rate": 2e-5,
        "topics": ["crime", "race"],
        "gammas": [10.0, 5],
        "model": "1234",
        "seed": 3,
        "system_prompt": False,
        "data": "a=b",
    }


def test_a_setting_is_read_by_its_parameters_type_and_nothing_is_guessed() -> None:
    for text, value in (
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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "gama=5"], "Did you mean 'gamma'"),
        (["--set", "gamma=-1"], "'gamma'"),
        (["--profile", "huge"], "'profile'"),
    ],
)
def test_wrong_parameters_are_refused_first(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "find_layout", lambda: pytest.fail("something was touched before the check"))
    assert main(["book", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_notebooks_and_contents_must_agree(tmp_path: Path) -> None:
    layout = checkout(tmp_path, **{"01_a": notebook(), "02_b": notebook()})
    assert chapter_names(layout) == ["01_a", "02_b"]
    (layout.notebooks / "02_b.ipynb").rename(layout.notebooks / "03_c.ipynb")
    with pytest.raises(BookError, match=r"02_b\.ipynb: book/_toc\.yml lists it"):
        chapter_names(layout)


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
        new_output("stream", name="stdout", text="a" if seconds > 1 else "ab"),
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
    assert texts == ["ab", "cell:1: UserWarning: x\n", "<object>"]


def test_paths_become_relative_and_progress_bars_vanish() -> None:
    made = notebook(new_code_cell("x", outputs=[new_output("stream", name="stdout", text=f"in {REPO}/polinb/a.py")]))
    assert '"in polinb/a.py"' in normalise(made, REPO)
    for text, left in (
        ("\r 0%\r 50%\r     \rdone\n", "done\n"),
        ("x\n\r 0%\r100%\n", "x\n100%\n"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("\n\nkept blank\n", "\n\nkept blank\n"),
    ):
        assert strip_progress(text) == left


# --- fingerprints ---


def test_fingerprint_follows_notebook_parameters_data_and_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path, package = tmp_path / "checkout" / "notebooks" / "a.ipynb", tmp_path / "polinb"
    data = tmp_path / "mine" / "data.csv"
    for folder in (path.parent, data.parent, package / "resources"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(polinb, "__file__", str(package / "__init__.py"))
    made = notebook()
    made.cells[0].source = "profile = 'quick'\ndata = None\nstatements = None\ngamma = None"
    nbformat.write(made, path)
    seen: set[str] = set()
    for named in ("~/mine:label", "../mine", str(data)):  # however a place is named
        for text in ("a", "b", "longer"):
            data.write_text(f"{named} {text}" * 1000)
            seen.add(book.fingerprint(path, {"data": named}))
    given = {"profile": "quick", "statements": [str(data.parent)]}
    seen.add(book.fingerprint(path, given))
    assert book.fingerprint(path, given | {"cue_rate": 1.0}) in seen, "a parameter that it does not take"
    seen.add(book.fingerprint(path, given | {"gamma": 6}))
    made.cells.append(new_markdown_cell("new", id="new"))
    nbformat.write(made, path)
    seen.add(book.fingerprint(path, given))
    for name in ("build.py", "resources/x.toml"):
        (package / name).write_text("1")
        seen.add(book.fingerprint(path, given))
    assert len(seen) == 9 + 5
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


def test_a_notebook_without_parameters_cell_is_refused(tmp_path: Path) -> None:
    made = notebook()
    made.cells[0].metadata["tags"] = []
    layout = checkout(tmp_path, **{"01_a": made})
    with pytest.raises(BookError, match="tag 'parameters'"):
        book.run_chapter(layout, "01_a", {"profile": "quick"})


def test_small_book_from_notebook_to_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One build, looked at from every side: kernels and Sphinx take their time."""
    code = "import pandas as pd\nfrom polinb.display import charts, tables\nprint(profile, gamma, model)"
    row = "{'topic': ['race'], 'condition': 'a', 'stance': 0.1, 'low': 0.0, 'high': 0.2}"
    figure = f"charts.stance_dots(pd.DataFrame({row}))"
    table = "tables.numbered_table(pd.DataFrame({'a': ['x']}), 'tbl-said', 'What it said.')"
    layout = checkout(
        tmp_path,
        **{
            "01_first": notebook(
                new_markdown_cell("# First\n\n{numref}`fig-dots`, {numref}`tbl-said`, $a^2$."),
                new_code_cell(code),
                new_code_cell(figure, metadata={"mystnb": {"figure": {"name": "fig-dots", "caption": "Dots."}}}),
                new_code_cell(table, metadata={"mystnb": {"markdown_format": "myst"}}),
            ),
            "02_second": notebook(new_markdown_cell("# Second\n\nSee {numref}`fig-dots`."), new_code_cell("gamma")),
        },
    )
    page = book.make_book("quick", {"gamma": 7.5}, None, layout)
    assert page == layout.build / "html" / "index.html"
    times = json.loads((layout.build / "timings.json").read_text())
    assert [c["reused"] for c in times["chapters"]] == [False, False] and times["settings"] == {"gamma": 7.5}
    assert not layout.failed.exists()
    assert "earlier run" not in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(book, "build_pages", lambda layout, builder: page)
        book.make_book("quick", {"gamma": 9}, ["02_second"], layout)  # the other chapter shows gamma 7.5
    assert "show an earlier run with other settings or code: 01_first" in capsys.readouterr().out

    # only the parameters that were given, and a second run with the same bytes
    output = layout.chapters / "01_first.ipynb"
    first = output.read_bytes()
    assert b"quick 7.5 None" in first and str(tmp_path).encode() not in first
    output.write_bytes(first + b" ")  # a file that is not what was written is made again
    assert not book.run_chapter(layout, "01_first", {"profile": "quick", "gamma": 7.5}).reused
    assert output.read_bytes() == first
    assert book.run_chapter(layout, "01_first", {"profile": "quick", "gamma": 7.5}).reused

    soup = BeautifulSoup((page.parent / "chapters" / "01_first.html").read_text(), "html.parser")
    captions = [caption.get_text(" ", strip=True) for caption in soup.select("figcaption, table caption")]
    assert any("Fig. 1.1" in c and "Dots." in c for c in captions), captions
    assert any("Table 1.1" in c and "What it said." in c for c in captions), captions

    # warnings are errors
    (tmp_path / "book" / "index.md").write_text("# Small book\n\n{numref}`no-such-figure`\n")
    with pytest.raises(BookError, match="no-such-figure"):
        book.build_pages(layout)
    assert page.is_file(), "a build that fails leaves the book that stood there"


# --- browser files and Sphinx ---


def test_vendor_writes_once_and_mends(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    assert vendor.vendor(folder) is True
    assert vendor.vendor(folder) is False
    assert "MathJax" in (folder / "mathjax" / "tex-svg.js").read_text("utf-8")
    assert (folder / "vega-bundle.js").read_text("utf-8").startswith("(function(){")
    (folder / "vega-bundle.js").write_text("cut")
    assert vendor.vendor(folder) is True
    assert (folder / "vega-bundle.js").stat().st_size > 500_000
    assert list(tmp_path.iterdir()) == [folder]
