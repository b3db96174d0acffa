"""Directive ``polinb-benchmarks``: the table of speed figures, from the committed results file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from polinb_book.benchmarks import markdown, read


class Benchmarks(Directive):
    """``{polinb-benchmarks} benchmarks.json``: the file beside the page; its figures are never typed by hand."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[Any]:
        """The table's nodes; a file that is missing or damaged ends the build."""
        environment = self.state.document.settings.env
        relative, path = environment.relfn2path(self.arguments[0])
        environment.note_dependency(relative)
        text = StringList(markdown(read(Path(path))).splitlines(), relative)
        holder = nodes.container()
        self.state.nested_parse(text, 0, holder)
        return list(holder.children)
