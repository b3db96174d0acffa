"""Speed and memory of the tool against what the model itself costs: the book's table of ``book/benchmarks.json``.

The figures are measured by ``make bench`` (tests/benchmarks), each one a ratio within one run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

HEAD = """
| What is compared | Target | Measured | Lowest to highest | Repeats | Reached | Date |
| --- | --- | --- | --- | --- | --- | --- |
"""


class Benchmarks(SphinxDirective):
    """``{polinb-benchmarks} benchmarks.json``: the file beside the page; its figures are never typed by hand."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table's nodes; a file that is missing or damaged ends the build."""
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        return self.parse_text_to_nodes(markdown(Path(path)))


def markdown(path: Path) -> str:
    """Verdict, table and provenance of a results file as Markdown; the newest figure of a name counts."""
    found = {each["name"]: each for each in json.loads(path.read_text("utf-8"))["figures"]}
    aimed = {name: each["reached"] for name, each in found.items() if each["target"] != "none"}
    rows = [
        f"| {f['what']} | {f['target']} | {f['value']:.4f} | {f['low']:.3f} to {f['high']:.3f} | {f['repeats']} "
        f"| {('yes' if aimed[name] else '**no**') if name in aimed else '–'} | {f['provenance']['date'][:10]} |"
        for name, f in found.items()
    ]
    missed = [name for name, reached in aimed.items() if not reached]
    verdict = f"{len(aimed) - len(missed)} of {len(aimed)} targets are reached."
    verdict += f" Not reached: {', '.join(missed)}." if missed else ""
    sources = dict.fromkeys(_source(each["provenance"]) for each in found.values())  # one a machine or set-up
    return "\n".join([verdict, HEAD + "\n".join(rows), "", *sources])


def _source(p: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in sorted(p["packages"].items()))
    machine = f"{p['cpu']}, {p['platform']}, {p['cpus']} processors, of which {p.get('threads', '?')} used"
    measured = f"model: {p.get('model', '?')}; measured: {p.get('clock', '?')}"
    return f"Machine: {machine}; {measured}; polinb {p['polinb']}, Python {p['python']}, {packages}."
