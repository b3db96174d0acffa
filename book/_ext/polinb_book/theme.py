"""What the theme brings that the book does without, and what its pages lack: our scripts, names.

Jupyter Book 1.x always loads sphinx-thebe, whose script throws on every page and would fetch code from another host.
The theme draws its icons twice, by a script of 1.5 MB and by a font; the font stays. Maps for debugging go too.
An EPUB has text, tables, formulas as MathML and pictures of the charts; nothing that needs a script.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

from polinb.display.webdata import APPS, web_folder

ICONS = "fontawesome.js"  # the font has the same icons, in a tenth of the bytes
_TEX = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]", re.S)
_TOGETHER = re.compile(r"(?<=[\d\]]) (?=%)|(?<=,) (?=[−+]?[\d.∞?]+\])")  # 5 %, and the two ends of an interval
_UNKNOWN = re.compile(r"\\[bB]ig[lr]?(?![a-z])|\\(?:begin|end)\{split\}")  # to docutils; brackets grow by themselves


def use_templates(app: Any, config: Any) -> None:
    """Handler of ``config-inited``: our template, which leaves the script of the icons out."""
    # from the book's folder: the path is hashed into .buildinfo, which must not depend on where the checkout lies
    folder = os.path.relpath(web_folder() / "templates", app.confdir)
    config.templates_path = [*config.templates_path, folder]


def drop_files(app: Any, failure: Exception | None) -> None:
    """Handler of ``build-finished``: no file that no page asks for."""
    if failure or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for path in {*static.rglob("*.map"), *static.rglob(f"{ICONS}*")}:
        path.unlink()


def hold_together(_app: Any, doctree: Any, _page: str) -> None:
    """Handler of ``doctree-resolved``: no line ends within a percentage or an interval."""
    for text in list(doctree.findall(nodes.Text)):
        if _TOGETHER.search(text) and not isinstance(text.parent, nodes.FixedTextElement | nodes.literal | nodes.math):
            text.parent.replace(text, nodes.Text(_TOGETHER.sub("\u00a0", text)))


def finish_page(app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Handler of ``html-page-context``, after all others: what stands on a page beside its text; an EPUB's as XML."""
    body = context.get("body", "")
    if 'class="polinb-vega"' in body:  # what draws charts and interactive parts, on the pages that hold them alone
        app.add_js_file("vendor/vega-bundle.js", defer="defer")
        app.add_js_file("polinb-charts.js", defer="defer")
    for name in APPS:
        if f'data-app="{name}"' in body:
            app.add_js_file(f"vendor/{name}.js", defer="defer")
            app.add_css_file(f"vendor/{name}.css")
    for files in ("script_files", "css_files"):
        context[files] = [file for file in context.get(files, []) if "thebe" not in str(file).lower()]
    if made := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *given, **options: _named(made(*given, **options))
    if app.builder.name == "epub":
        _simplify(context)


def _named(toctree: Any) -> Any:
    """The sidebar's list, parsed or not at all: an arrow that opens a list says whose list it is."""
    for summary in toctree.select("summary") if hasattr(toctree, "select") else []:
        entry = summary.find_parent("li")
        if link := entry and entry.find("a"):
            summary["aria-label"] = f"Pages below: {link.get_text().strip()}"
    return toctree


def _simplify(context: dict[str, Any]) -> None:
    """A page's text as well-formed XML that every reader of EPUBs shows."""
    soup = BeautifulSoup(context.get("body", ""), "html.parser")
    for node in soup.select("script, .polinb-links, .headerlink"):
        node.decompose()
    for link in soup.select('a[href*="_downloads/"], a[href*="try.html"]'):  # to what the file does not hold
        link.unwrap()
    for text in (text for node in soup.select(".math") for text in node.find_all(string=_TEX)):
        if found := _TEX.search(text):
            inline, display = found.groups()
            tex = _UNKNOWN.sub("", inline or display).replace("gathered", "aligned").strip()
            text.replace_with(BeautifulSoup(tex2mathml(tex, as_block=bool(display)), "html.parser"))
    context["body"] = str(soup)
    context["css_files"] = [f for f in context["css_files"] if not re.search("mystnb|vendor", str(f.filename))]
