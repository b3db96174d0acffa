"""The README's first screen: the main figure of the reference run and three of its answers, never typed by hand."""

from __future__ import annotations

import re
from pathlib import Path

from polinb.errors import ArtifactError
from polinb_book.manifest import FOLDER, Reference
from polinb_book.reference_value import value

BEGIN, END = "<!-- reference run: begin (written by make reference) -->", "<!-- reference run: end -->"
FIGURE = "fig-coupling-right"
FINDINGS = {
    "01_phenomenon": "Does training on one topic move the others?",
    "03_pnlac": "Which neurons does PNLAC find?",
    "07_inhibitft": "Does freezing them help?",
}
"""Chapters whose answers are shown, and the question each answers."""
BESIDE = {
    "01_phenomenon": (
        "By this judge R stands at {tbl-ceiling | economy | percent .0f} to "
        "{tbl-ceiling | immigration | percent .0f} % of the largest possible, a second judge hears less, and a share "
        "of {tbl-leakage | right & all | leaked} of those answers is about the topic trained on. Without a judge the "
        "shift is {tbl-likelihood-shift | right & other topics | shift} nats a token, of which "
        "{tbl-side-parts | other topics & common | questions} come with training on either side. On statements no "
        "move of the position is shown."
    ),
    "07_inhibitft": (
        "That is by a judge near its ceiling. By likelihood R changes by "
        "{tbl-likelihood-changes | InhibitFT (G) & right fine-tune & R | topics .1f} %, with random neurons of the "
        "same layers frozen by {tbl-likelihood-changes | random, layer-matched & right fine-tune & R | topics .1f} %, "
        "and the wanted shift by "
        "{tbl-likelihood-changes | InhibitFT (G) & right fine-tune & shift on the trained topic | topics .1f} %; R per "
        "unit of the wanted shift by "
        "{tbl-likelihood-changes | InhibitFT (G) & right fine-tune & R / own shift | topics .1f} %. More than training "
        "less is not shown."
    ),
}
"""What must stand beside an answer, with values of the run's tables that were not planned (:mod:`unplanned`)."""
_WIDTH = 120


def block(found: Reference) -> str:
    """What stands between the two marks, as Markdown.

    Raises:
        ArtifactError: the run has none of the chapters, or lacks the figure.
    """
    p, data = found.manifest["parameters"], found.manifest["data"]
    planned = [chapter for chapter in found.manifest["chapters"].values() if chapter.get("planned", True)]
    done = sum(chapter["state"] == "complete" for chapter in planned)
    cut = (
        f"{len(found.manifest['cuts'])} parameters cut to what two cores do"
        if found.manifest["cuts"]
        else "nothing cut"
    )
    picture = found.figure(FIGURE)
    answers = {name: found.chapter(name).get("answer", {}).get("first", "") for name in FINDINGS}
    told = [f"**{FINDINGS[name]}** {first} {_beside(found, name)}" for name, first in answers.items() if first]
    if picture is None or not told:
        raise ArtifactError(
            f"the reference run has no {FIGURE} or none of {', '.join(FINDINGS)}: nothing for the README"
        )
    alt = re.sub(r"[\[\]]|\s+", " ", picture["alt"])
    intro = (
        f"The reference run ({p['model']} on {data['name']}, {data['prompts']} prompts; "
        f"profile `{p['profile']}`, {cut}; "
        f"{done} of {len(planned)} chapters) was [planned in advance](book/reference_plan.md). "
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


def _beside(found: Reference, name: str) -> str:
    """:data:`BESIDE` with its values; empty where the run has not all of these tables."""
    text = BESIDE.get(name, "")
    asked = re.findall(r"\{([^}]+)\}", text)
    if not all(found.has(f"tables/{each.partition(' |')[0]}.csv") for each in asked):
        return ""
    return re.sub(r"\{([^}]+)\}", lambda each: value(found, each[1]), text)


def _plain(text: str) -> str:
    """MyST of an answer or caption as GitHub shows it: roles give way to their text."""
    return re.sub(r"\{[a-z:]+\}`([^`<]*?)\s*(?:<[^>]*>)?`", r"\1", text)


def _wrapped(text: str, indent: str = "") -> str:
    import textwrap

    return textwrap.fill(" ".join(text.split()), _WIDTH, subsequent_indent=indent, break_on_hyphens=False)
