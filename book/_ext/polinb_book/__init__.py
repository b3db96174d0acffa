"""What the book asks of Sphinx beyond its configuration: boxes, the reference run, API links, less weight."""

from __future__ import annotations

from functools import cache
from typing import Any

from sphinx.domains.std import StandardDomain

from polinb_book import api, box, reference, theme
from polinb_book.benchmarks import Benchmarks
from polinb_book.outputs import Shown


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


def allow_parallel(app: Any) -> None:
    """Handler of ``builder-inited``: two extensions do not say that chapters may be read side by side.

    One acts on LaTeX only, the other after all is read.
    """
    for name in {"sphinx_jupyterbook_latex", "sphinx_multitoc_numbering"} & set(app.extensions):
        app.extensions[name].parallel_read_safe = True


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx; the handler of pages runs after sphinx-thebe's and the theme's own."""
    app.add_config_value("polinb_repository", "", "html", [str])
    app.add_domain(Numbered, override=True)
    app.add_role("reference", reference.Value())
    parts = {"benchmarks": Benchmarks, "reference": reference.Page, "table": Shown, "chart": Shown}
    for name, directive in parts.items():
        app.add_directive(f"polinb-{name}", directive)
    app.connect("config-inited", theme.use_templates)
    app.connect("builder-inited", allow_parallel)
    app.connect("builder-inited", box.prepare)
    app.connect("builder-inited", reference.prepare)
    app.connect("source-read", reference.show)
    app.connect("doctree-resolved", theme.hold_together)
    app.connect("html-page-context", theme.finish_page, priority=900)
    app.connect("build-finished", box.pack_notebooks)
    app.connect("build-finished", theme.drop_files)
    api.connect(app)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
