"""The API pages: public names stand on them with their text, and docstrings come out as they are meant."""

from __future__ import annotations

import io
import re
from importlib import import_module
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

import polinb

REPO = Path(__file__).resolve().parents[2]


def test_every_name_the_package_offers_has_its_text_on_a_page() -> None:
    pages = "".join(path.read_text("utf-8") for path in (REPO / "book" / "api").glob("*.md"))
    modules = re.findall(r"^## `(polinb[\w.]+)`\n\n```\{eval-rst\}\n\.\. automodule:: \1\n   :members:", pages, re.M)
    assert len(modules) == len(set(modules)) == pages.count("automodule::") > 30
    assert all(getattr(polinb, name).__module__ in modules for name in polinb.__all__ if name != "__version__")
    for module in map(import_module, modules):
        own = [thing for thing in vars(module).values() if getattr(thing, "__module__", None) == module.__name__]
        assert all(thing.__doc__ for thing in [module, *own] if getattr(thing, "__name__", "_")[0] != "_"), module


def build(tmp_path: Path, index: str, api: str) -> tuple[str, list[str]]:
    """HTML of an API page, by plain Sphinx with our extension, every unknown reference a warning; and the warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    (tmp_path / "api").mkdir()
    (tmp_path / "index.rst").write_text(index)
    (tmp_path / "api" / "page.rst").write_text(api)
    shown = yaml.safe_load((REPO / "_config.yml").read_text("utf-8"))["sphinx"]["config"]
    config = {name: value for name, value in shown.items() if name.startswith(("autodoc", "add_module", "python_"))}
    config |= {"nitpicky": True, "html_theme": "basic", "smartquotes": False}
    config |= {"extensions": ["sphinx.ext.autodoc", "polinb_book"], "polinb_repository": "none"}
    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        out, trees = str(tmp_path / "out"), str(tmp_path / "trees")
        app = Sphinx(str(tmp_path), None, out, trees, "html", config, io.StringIO(), warnings, freshenv=True)
        app.build()
    return (tmp_path / "out" / "api" / "page.html").read_text(), warnings.getvalue().splitlines()


def test_a_page_of_real_modules(tmp_path: Path) -> None:
    modules = ("errors", "scoring.pnlac", "runs.groups", "runs.params", "runs.chapter", "runs.run")
    text = "Title\n=====\n\n" + "".join(f".. automodule:: polinb.{name}\n   :members:\n\n" for name in modules)
    wrong = ["polinb.scoring.pnlac.no_such_function", "Nobody", "numpy.ndarray"]
    index = "Title\n=====\n\n" + " ".join(f":func:`{name}`" for name in wrong)
    page, warnings = build(tmp_path, f"{index}\n\n.. toctree::\n\n   api/page\n", text)
    assert len(warnings) == 3 and all(name in line for name, line in zip(wrong, warnings, strict=True)), warnings
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
