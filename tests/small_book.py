"""A small checkout with a book of a few notebooks."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from polinb.runs.checkout import Layout

REPO = Path(__file__).resolve().parents[1]


PARAMETERS = 'profile = "quick"  # type: str\ngamma = None  # type: float\nmodel = None  # type: str'


def notebook(*cells: Any) -> nbformat.NotebookNode:
    """A notebook with a parameters cell and stable cell ids."""
    head = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = new_notebook(cells=[head, *cells], metadata={"kernelspec": kernel})
    for number, cell in enumerate(made.cells):
        cell["id"] = f"c{number}"
    return made


def checkout(root: Path, parts: dict[str, list[str]] | None = None, **notebooks: nbformat.NotebookNode) -> Layout:
    """A folder laid out like the repository, with its real configuration and assets and these notebooks.

    ``parts`` of the table of contents: caption → files.
    """
    shutil.copy(REPO / "_config.yml", root)
    shutil.copytree(REPO / "book" / "_assets", root / "book" / "_assets", ignore=shutil.ignore_patterns("vendor"))
    shutil.copy(REPO / "book" / "references.bib", root / "book")
    (root / "book" / "index.md").write_text("# Small book\n\nCites {cite:t}`zhang2026political`; $x^2$.\n")
    (root / "book" / "bibliography.md").write_text("# Bibliography\n\n```{bibliography}\n```\n")
    (root / "notebooks").mkdir()
    for name, made in notebooks.items():
        nbformat.write(made, root / "notebooks" / f"{name}.ipynb")
    parts = parts or {"All": [*(f"chapters/{name}" for name in sorted(notebooks)), "bibliography"]}
    listed = [{"caption": caption, "chapters": [{"file": file} for file in files]} for caption, files in parts.items()]
    toc = {"format": "jb-book", "root": "index", "defaults": {"numbered": True}, "parts": listed}
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    return Layout(root)


def whole_checkout(root: Path) -> Path:
    """A copy of what builds of the real book need."""
    for name, left in (("book", ["chapters", "vendor"]), ("notebooks", []), ("polinb", ["__pycache__"])):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns(*left, "__pycache__"))
    shutil.copy(REPO / "_config.yml", root)
    return root
