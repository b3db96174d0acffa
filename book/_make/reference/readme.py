"""The README's first screen: the main figure of the reference run and three of its answers, never typed by hand."""

from __future__ import annotations

import re
from pathlib import Path

from polinb.errors import ArtifactError
from polinb_book.manifest import FOLDER, Reference

BEGIN, END = "<!-- reference run: begin (written by make reference) -->", "<!-- reference run: end -->"
FIGURE = "fig-coupling-right"
FINDINGS = {
    "01_phenomenon": "Does training on one topic move the others?",
    "03_pnlac": "Which neurons does PNLAC find?",
    "07_inhibitft": "Does freezing them help?",
}
"""Chapters whose answers are shown, and the question each answers."""
_WIDTH = 120


def block(found: Reference) -> str:
    """What stands between the two marks, as Markdown.

    Raises:
        ArtifactError: the run has none of the chapters, or lacks the figure.
    """
    p, data = found.manifest["parameters"], found.manifest["data"]
    done = sum(chapter["state"] == "complete" for chapter in found.manifest["chapters"].values())
    cut = (
        f"{len(found.manifest['cuts'])} parameters cut to what two cores do"
        if found.manifest["cuts"]
        else "nothing cut"
    )
    picture = found.figure(FIGURE)
    answers = {name: found.chapter(name).get("answer", {}).get("first", "") for name in FINDINGS}
    told = [f"**{FINDINGS[name]}** {first}" for name, first in answers.items() if first]
    if picture is None or not told:
        raise ArtifactError(
            f"the reference run has no {FIGURE} or none of {', '.join(FINDINGS)}: nothing for the README"
        )
    alt = re.sub(r"[\[\]]|\s+", " ", picture["alt"])
    intro = (
        f"The reference run ({p['model']} on {data['name']}, {data['prompts']} prompts; "
        f"profile `{p['profile']}`, {cut}; "
        f"{done} of {len(found.manifest['chapters'])} chapters) was [planned in advance](book/reference_plan.md). "
        "In brackets: 95 % intervals over questions."
    )
    lines = [_wrapped(f"{number}. {_plain(text)}", "   ") for number, text in enumerate(told, 1)]
    return "\n".join(
        [
            _wrapped(intro),
            "",
            *lines,
            "",
            f"![{alt}](book/{FOLDER}/figures/{FIGURE}.png)",
            "",
            _wrapped(_plain(picture["caption"])),
        ]
    )


def write(readme: Path, found: Reference) -> bool:
    """Put the block into the README; whether it changed. A run that did not get to the figure leaves it as it is.

    Raises:
        ArtifactError: the README lacks a mark.
    """
    if not readme.is_file() or not found.has(f"figures/{FIGURE}.json"):
        return False
    text = readme.read_text("utf-8")
    start, end = text.find(BEGIN), text.find(END)
    if start < 0 or end < start:
        raise ArtifactError(f"{readme.name} lacks the marks {BEGIN!r} and {END!r}")
    fresh = f"{text[:start]}{BEGIN}\n\n{block(found)}\n\n{text[end:]}"
    if fresh != text:
        readme.write_text(fresh, "utf-8")
    return fresh != text


def _plain(text: str) -> str:
    """MyST of an answer or caption as GitHub shows it: roles give way to their text."""
    return re.sub(r"\{[a-z:]+\}`([^`<]*?)\s*(?:<[^>]*>)?`", r"\1", text)


def _wrapped(text: str, indent: str = "") -> str:
    import textwrap

    return textwrap.fill(" ".join(text.split()), _WIDTH, subsequent_indent=indent, break_on_hyphens=False)
