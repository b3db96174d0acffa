"""The API pages: every module has its place, every public name its text, and docstrings come out as they are meant."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

REPO = Path(__file__).resolve().parents[2]
API = REPO / "book" / "api"
DIRECTIVE = re.compile(
    r"^## `polinb\.([\w.]+)`\n\n```\{eval-rst\}\n\.\. automodule:: polinb\.([\w.]+)\n   :members:\n```$", re.M
)
PAGES = {path.stem: path.read_text("utf-8") for path in API.glob("*.md") if path.stem != "index"}
SHOWN = {page: [name for _, name in DIRECTIVE.findall(text)] for page, text in PAGES.items()}


def module_file(name: str) -> Path:
    path = REPO / "polinb" / Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_pages_are_complete_and_listed() -> None:
    """Each module has one place; what is public has a docstring, and autodoc shows it: nothing else is left out."""
    shown = [name for names in SHOWN.values() for name in names]
    assert len(shown) == len(set(shown)) > 50
    for page, text in PAGES.items():
        assert text.count("automodule") == len(SHOWN[page]) > 0, f"{page}: a module in another form"
        assert all(heading == name for heading, name in DIRECTIVE.findall(text)), page
    index = (API / "index.md").read_text("utf-8")
    assert set(re.findall(r"\]\(\./(\w+)\.md\)", index)) == set(PAGES)
    toc = (REPO / "book" / "_toc.yml").read_text("utf-8")
    assert sorted(re.findall(r"file: api/(\w+)", toc)) == sorted(["index", *PAGES])
    for name in shown:
        tree = ast.parse(module_file(name).read_text("utf-8"))
        public = [
            node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"
        ]
        for node in [tree, *public]:
            assert ast.get_docstring(node), f"polinb.{name}.{getattr(node, 'name', '')} has no docstring"


# --- docstrings ---


# --- a build ---


def build(tmp_path: Path, page: str) -> tuple[str, list[str]]:
    """HTML of one page made by plain Sphinx with our extension, every unknown reference a warning; and the warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    (tmp_path / "index.rst").write_text(page)
    shown = yaml.safe_load((REPO / "_config.yml").read_text("utf-8"))["sphinx"]["config"]
    config = {name: value for name, value in shown.items() if name.startswith(("autodoc", "add_module", "python_"))}
    config |= {"nitpicky": True, "html_theme": "basic", "smartquotes": False}
    config |= {"extensions": ["sphinx.ext.autodoc", "polinb_book"], "polinb_repository": "none"}
    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        out, trees = str(tmp_path / "out"), str(tmp_path / "trees")
        app = Sphinx(str(tmp_path), None, out, trees, "html", config, io.StringIO(), warnings, freshenv=True)
        app.build()
    return (tmp_path / "out" / "index.html").read_text(), warnings.getvalue().splitlines()


def test_a_page_of_real_modules(tmp_path: Path) -> None:
    modules = ("errors", "scoring.pnlac", "runs.groups", "runs.params", "runs.chapter", "runs.run")
    text = "Title\n=====\n\n" + "".join(f".. automodule:: polinb.{name}\n   :members:\n\n" for name in modules)
    text += (
        ":func:`polinb.scoring.pnlac.no_such_function` :class:`Nobody` :class:`numpy.ndarray` :class:`torch.Tensor`\n"
    )
    page, warnings = build(tmp_path, text)
    # modules that are not on this page are not known on it; nothing else may be unknown but what is wrong
    known = [line for line in warnings if not re.search(r"not found: polinb\.(?!scoring\.pnlac)", line)]
    assert len(known) == 2 and "no_such_function" in known[0] and "Nobody" in known[1], known
    soup = BeautifulSoup(page, "html.parser")
    share = soup.find(id="polinb.scoring.pnlac.top_share")
    assert share.get_text(" ", strip=True).startswith("top_share ( score : ndarray , gamma : float")
    body = share.find_next_sibling("dd")
    assert "Parameters" in body.get_text() and body.select_one('a[href="#polinb.errors.ParameterError"]')
    # a type imported for type checkers only leads to its entry
    assert soup.find(id="polinb.runs.chapter.begin").select_one('a[href="#polinb.runs.run.Run"]')
    sets = soup.find(id="polinb.runs.groups.Sets")
    listed = sets.find_next_sibling("dd").select_one("dl.field-list").get_text()
    assert "percentage of all FFN neurons kept per topic" in listed
    assert not soup.find(id="polinb.runs.groups.Sets.model_config") and not soup.select(".system-message")
