"""The browser files that the book ships, so that its pages need no network: Vega and MathJax.

Both come out of installed Python packages (vl-convert-python, django-static-mathjax); nothing is downloaded.
Beside them lie the package's own scripts. All of it is in ``book/_assets/vendor``, which git ignores.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path
from typing import Any

from polinb.display.charts import VEGA_LITE
from polinb.display.webdata import ALONE, APPS, joined
from polinb.errors import ArtifactError
from polinb_book.results import as_json, read_json

MATHJAX_PACKAGE = "django-static-mathjax"
MATHJAX_FILES = {
    "mathjax/static/mathjax/es5/tex-svg.js": "mathjax/tex-svg.js",  # fonts are inside
    "mathjax/static/mathjax/LICENSE": "mathjax/LICENSE",
}
_NEED = {"vega-bundle.js": 500_000, "mathjax/tex-svg.js": 1_000_000}  # smallest plausible size in bytes


def vendor(folder: Path) -> bool:
    """Put the browser files into ``folder`` unless they are there; True if something was written.

    Raises:
        ArtifactError: a package that brings the files is not installed or holds something else.
    """
    versions = _versions()
    stamp = folder / "versions.json"
    if _complete(folder) and read_json(stamp) == versions:
        return _own(folder)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        (fresh / "mathjax").mkdir(parents=True)
        (fresh / "vega-bundle.js").write_text(vega_bundle(), "utf-8")
        for source, target in MATHJAX_FILES.items():
            # importing the package would ask for Django
            file = importlib.metadata.distribution(MATHJAX_PACKAGE).locate_file(source)
            shutil.copyfile(str(file), fresh / target)
        (fresh / "versions.json").write_text(as_json(versions), "utf-8")
        _own(fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.replace(folder)
    except FileNotFoundError as error:
        raise ArtifactError(f"{MATHJAX_PACKAGE} is installed but lacks {error.filename}; reinstall it") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return True


def _own(folder: Path) -> bool:
    """The package's scripts and styles, written where they differ; True if one did."""
    changed = False
    files = {
        f"{app}{end}": part for app, parts in APPS.items() for end, part in zip((".js", ".css"), parts, strict=True)
    }
    for name, parts in (files | {name: (name,) for name in ALONE}).items():
        target, text = folder / name, joined(parts)
        if not target.is_file() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")
            changed = True
    return changed


def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed in one script, in a function of its own so that no name leaks."""
    import vl_convert

    bundle: Any = vl_convert.javascript_bundle  # its stub asks for an argument that it does not need
    script = bundle(vl_version=VEGA_LITE)
    return f"(function(){{\n{script}\n}})();\n"


def _versions() -> dict[str, str]:
    found = {"vega-lite": VEGA_LITE}
    for package in ("vl-convert-python", MATHJAX_PACKAGE):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            hint = "make setup installs it; by hand: pip install --no-deps"
            raise ArtifactError(f"the book's formulas and charts need {package}: {hint}") from None
    return found


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() and (folder / name).stat().st_size >= size for name, size in _NEED.items())
