"""The troubleshooting page against the source: the words of every entry are a message that polinb still says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "book" / "troubleshooting.md").read_text("utf-8")


def template(node: ast.AST) -> str:
    """A text of the source, with a gap for each value that is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return "".join(template(part) or "\0" for part in node.values) if isinstance(node, ast.JoinedStr) else ""


def test_every_message_of_the_page_is_one_of_the_source() -> None:
    texts = [(REPO / name).read_text("utf-8") for name in ("Makefile", ".ci/setup", ".ci/browser")]
    for path in [p for folder in ("polinb", "book") for p in (REPO / folder).rglob("*.py")]:
        texts += [found for node in ast.walk(ast.parse(path.read_text("utf-8"))) if (found := template(node))]
    headings = re.findall(r"^### (`.+`)$", PAGE, re.M)
    assert len(set(headings)) == len(headings) > 20
    for heading in set(headings) - {"`CUDA out of memory`"}:  # PyTorch's
        pattern = re.compile("[^\n]*?".join(map(re.escape, heading.strip("`").split("…"))))
        assert any(pattern.search(text) for text in texts), heading


def test_parameters_that_the_documents_give_are_taken() -> None:
    """Behind ``PARAMS=`` and ``--set``, in README, CONTRIBUTING and the book's pages."""
    given = []
    for page in (REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "book").glob("*.md"))):
        text = page.read_text("utf-8")
        given += [quoted[1:-1].split() for quoted in re.findall(r"""PARAMS=('[^']+'|"[^"]+")""", text)]
        given += [[word.strip("\"'")] for word in re.findall(r"""--set ("[^"]+"|'[^']+'|\w+=\S+)""", text)]
    assert len(given) > 8
    for settings in given:
        data = "preferences" if "holidays" in str(settings) else "bundled"  # whose topics are named
        Params.from_profile("quick", data=data, **parse_settings(settings))  # a ParameterError names what is wrong
