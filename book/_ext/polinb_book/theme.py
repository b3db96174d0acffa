"""What the theme brings that the book does without, and a name that it forgets.

The theme draws its icons twice, by a script of 1.5 MB and by a font; the font stays. Maps for debugging go too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from polinb.display.webdata import web_folder

ICONS = "fontawesome.js"  # the font has the same icons, in a tenth of the bytes


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


def name_summaries(_app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Handler of ``html-page-context``: the sidebar's arrows that open a list say whose list it is."""
    made = context.get("generate_toctree_html")
    if made:
        context["generate_toctree_html"] = lambda *given, **options: named(made(*given, **options))


def named(toctree: Any) -> Any:
    """The sidebar's list, parsed or not at all, with a name for every ``summary`` in it."""
    for summary in toctree.select("summary") if hasattr(toctree, "select") else []:
        entry = summary.find_parent("li")
        link = entry.find("a") if entry else None
        if link:
            summary["aria-label"] = f"Pages below: {link.get_text().strip()}"
    return toctree
