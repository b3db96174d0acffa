"""What the book asks of Sphinx beyond its configuration: boxes, the reference run, API links, less weight.

Jupyter Book 1.x always loads sphinx-thebe, whose script throws on every page and would fetch code from
another host. It is taken out of each page here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sphinx.domains.std import StandardDomain

from polinb_book import api as sphinx_api
from polinb_book import box, epub
from polinb_book import reference as sphinx_reference
from polinb_book import theme as sphinx_theme
from polinb_book.benchmarks import Benchmarks
from polinb_book.reference_value import Value


class Numbered(StandardDomain):
    """Sphinx's labels; a page that numbered references lead to is unpickled once, not once for each of them."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._load = cache(env.get_doctree)

    def _resolve_numref_xref(self, env: Any, *given: Any) -> Any:
        env.get_doctree = self._load
        try:
            return super()._resolve_numref_xref(env, *given)
        finally:
            del env.get_doctree  # what others load they also change


def drop_thebe(_app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Handler of ``html-page-context``: no script or style of sphinx-thebe."""
    context["script_files"] = [file for file in context.get("script_files", []) if not _is_thebe(file)]
    context["css_files"] = [file for file in context.get("css_files", []) if not _is_thebe(file)]


def allow_parallel(app: Any) -> None:
    """Handler of ``builder-inited``: two extensions do not say that chapters may be read side by side.

    One acts on LaTeX only, the other after all is read.
    """
    for name in {"sphinx_jupyterbook_latex", "sphinx_multitoc_numbering"} & set(app.extensions):
        app.extensions[name].parallel_read_safe = True


def _is_thebe(file: Any) -> bool:
    body = (getattr(file, "attributes", None) or {}).get("body") or ""
    return "thebe" in f"{getattr(file, 'filename', file) or ''} {body}".lower()


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx; the handler of pages runs after sphinx-thebe's own."""
    app.add_config_value("polinb_repository", "", "html", [str])
    app.add_directive("polinb-benchmarks", Benchmarks)
    app.connect("config-inited", sphinx_theme.use_templates)
    app.connect("builder-inited", allow_parallel)
    app.connect("builder-inited", box.prepare)
    app.connect("build-finished", box.pack_notebooks)
    app.connect("html-page-context", sphinx_theme.describe)
    app.connect("html-page-context", sphinx_theme.load_apps)
    app.connect("build-finished", sphinx_theme.drop_files)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", epub.simplify, priority=900)
    app.connect("html-page-context", sphinx_theme.name_summaries, priority=900)
    sphinx_api.connect(app)
    sphinx_reference.connect(app)
    app.add_role("reference", Value())
    app.add_domain(Numbered, override=True)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
