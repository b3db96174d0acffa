"""The API pages: every module has its place, every public name its text, and docstrings come out as they are meant."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from polinb_book.api import restructured

REPO = Path(__file__).resolve().parents[2]
API = REPO / "book" / "api"
DIRECTIVE = re.compile(
    r"^## `polinb\.([\w.]+)`\n\n```\{eval-rst\}\n\.\. automodule:: polinb\.([\w.]+)\n   :members:\n```$", re.M
)
PAGES = {path.stem: path.read_text("utf-8") for path in API.glob("*.md") if path.stem != "index"}
SHOWN = {page: [name for _, name in DIRECTIVE.findall(text)] for page, text in PAGES.items()}


def test_no_module_is_on_two_pages() -> None:
    shown = [name for names in SHOWN.values() for name in names]
    assert len(shown) == len(set(shown)) > 50


def test_pages_are_complete_and_listed() -> None:
    for page, text in PAGES.items():
        assert text.count("automodule") == len(SHOWN[page]) > 0, f"{page}: a module in another form"
        assert all(heading == name for heading, name in DIRECTIVE.findall(text)), page
        assert not re.search(r":(exclude|special|private|undoc|imported)-", text)
    index = (API / "index.md").read_text("utf-8")
    assert set(re.findall(r"\]\(\./(\w+)\.md\)", index)) == set(PAGES)
    toc = (REPO / "book" / "_toc.yml").read_text("utf-8")
    listed = re.findall(r"file: api/(\w+)", toc)
    assert sorted(listed) == sorted(["index", *PAGES])
    assert yaml.safe_load(toc)


def module_file(name: str) -> Path:
    path = REPO / "polinb" / Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("name", sorted(name for names in SHOWN.values() for name in names))
def test_public_names_have_a_text(name: str) -> None:
    """What is public, is defined there and has a docstring, autodoc shows: nothing else is left out."""
    tree = ast.parse(module_file(name).read_text("utf-8"))
    assert ast.get_docstring(tree)
    public = [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    for node in public:
        assert ast.get_docstring(node), f"polinb.{name}.{node.name} has no docstring"


# --- docstrings ---


def test_sections_become_fields() -> None:
    text = """What it does.

Args:
    score: (L, F), any
        numbers.
    ids, mask: |x| and ``a|b``.

Returns:
    name, value: one row a neuron.

Raises:
    ParameterError, ValueError: wrong.

Left: not a section."""
    made = "\n".join(restructured(text.splitlines()))
    assert "**ids, mask** – \\|x\\| and ``a|b``." in made and ":returns: name, value: one row a neuron." in made.lower()
    assert "Left: not a section." in made


# --- a build ---


def build(tmp_path: Path, page: str) -> tuple[str, list[str]]:
    """HTML of one page made by plain Sphinx with our extension, every unknown reference a warning; and the warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    source = tmp_path / "book"
    source.mkdir(exist_ok=True)
    (source / "index.rst").write_text(page)
    shown = yaml.safe_load((REPO / "_config.yml").read_text("utf-8"))["sphinx"]["config"]
    names = (
        "add_module_names",
        "autodoc_default_options",
        "autodoc_member_order",
        "autodoc_typehints",
        "python_maximum_signature_line_length",
    )
    config = {name: shown[name] for name in names} | {"nitpicky": True, "html_theme": "basic", "smartquotes": False}
    config |= {"extensions": ["sphinx.ext.autodoc", "polinb_book"], "polinb_repository": "none"}
    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        out, trees = str(tmp_path / "out"), str(tmp_path / "trees")
        app = Sphinx(str(source), None, out, trees, "html", config, io.StringIO(), warnings, freshenv=True)
        app.build()
    return (tmp_path / "out" / "index.html").read_text(), warnings.getvalue().splitlines()


def test_a_page_of_real_modules(tmp_path: Path) -> None:
    modules = (
        "errors", "scoring.pnlac", "runs.groups", "runs.params", "runs.chapter", "runs.run", "runs.artifacts",
        "data.loading", "data.pairs",
    )  # fmt: skip
    text = "Title\n=====\n\n" + "".join(f".. automodule:: polinb.{name}\n   :members:\n\n" for name in modules)
    page, warnings = build(tmp_path, text)
    # modules that are not on this page are not known on it; nothing else may be unknown
    strange = [line for line in warnings if "not found: polinb." not in line]
    assert strange == []
    soup = BeautifulSoup(page, "html.parser")
    share = soup.find(id="polinb.scoring.pnlac.top_share")
    assert share.get_text(" ", strip=True).startswith("top_share ( score : ndarray , gamma : float")
    body = share.find_next_sibling("dd")
    assert "Parameters" in body.get_text()
    assert body.select_one('a[href="#polinb.errors.ParameterError"]')
    # a type imported for type checkers only leads to its entry
    begin = soup.find(id="polinb.runs.chapter.begin")
    assert begin.select_one('a[href="#polinb.runs.run.Run"]')
    sets = soup.find(id="polinb.runs.groups.Sets")
    assert sets.get_text(strip=True).rstrip("¶") == "classSets"
    listed = sets.find_next_sibling("dd").select_one("dl.field-list").get_text()
    assert "gamma" in listed and "percentage of all FFN neurons kept per topic" in listed
    assert not soup.find(id="polinb.runs.groups.Sets.model_config") and not soup.select(".system-message")
    assert "numpy.ndarray[" not in soup.get_text()


def test_a_wrong_reference_is_still_noticed(tmp_path: Path) -> None:
    _, warnings = build(tmp_path, "Title\n=====\n\n:func:`polinb.scoring.pnlac.no_such_function` :class:`Nobody`\n")
    assert len(warnings) == 2 and "no_such_function" in warnings[0] and "Nobody" in warnings[1]
    _, warnings = build(tmp_path, "Title\n=====\n\n:class:`numpy.ndarray` :class:`torch.Tensor` :exc:`ValueError`\n")
    assert warnings == []
