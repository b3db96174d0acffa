"""The browser files that the book ships, so that its pages need no network: Vega and MathJax.

Both come out of installed Python packages (vl-convert-python, django-static-mathjax); nothing is downloaded.
Beside them lie the package's own scripts. All of it is in ``book/_assets/vendor``, which git ignores.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from book._make.notebook import sha256
from polinb.display.charts import VEGA_LITE
from polinb.display.webdata import ALONE, APPS, joined, part_script
from polinb_book.results import as_json, read_json

MATHJAX_PACKAGE = "django-static-mathjax"
MATHJAX_FILES = {
    "mathjax/static/mathjax/es5/tex-svg.js": "mathjax/tex-svg.js",  # fonts are inside
    "mathjax/static/mathjax/LICENSE": "mathjax/LICENSE",
}


def vendor(folder: Path) -> None:
    """Put the browser files into ``folder`` where they are not there as they should be."""
    bundle, stamp = folder / "vega-bundle.js", folder / "versions.json"
    files = {folder / name: text for name, text in _texts()}
    versions = {name: importlib.metadata.version(name) for name in ("vl-convert-python", MATHJAX_PACKAGE)}
    versions["vega-lite"] = VEGA_LITE
    if read_json(stamp) != versions | {bundle.name: sha256(bundle)}:  # making it takes seconds
        files[bundle] = vega_bundle()
        files[stamp] = as_json(versions | {bundle.name: hashlib.sha256(files[bundle].encode()).hexdigest()})
    for file, text in files.items():
        if not file.is_file() or file.read_bytes() != text.encode():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")


def _texts() -> Iterator[tuple[str, str]]:
    """The package's own scripts and styles, and MathJax."""
    for app, (_, styles) in APPS.items():
        yield from ((f"{app}.js", part_script(app)), (f"{app}.css", joined(styles)))
    yield from ((name, joined([name])) for name in ALONE)
    package = importlib.metadata.distribution(MATHJAX_PACKAGE)  # importing it would ask for Django
    yield from ((to, Path(str(package.locate_file(name))).read_text("utf-8")) for name, to in MATHJAX_FILES.items())


def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed in one script, in a function of its own so that no name leaks."""
    import vl_convert

    bundle: Any = vl_convert.javascript_bundle  # its stub asks for an argument that it does not need
    script = bundle(vl_version=VEGA_LITE)
    return f"(function(){{\n{script}\n}})();\n"
