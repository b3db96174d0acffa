"""What the book says about the reference run: the note on each chapter, and the parts of its own page, as MyST."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from polinb.runs.params import profile_values
from polinb.wording import escape, thousands, typeset
from polinb_book.results import Reference, shown

PAGE = "sec-reference"  # label of the page
NONE = (
    "*This checkout holds no results of a reference run. `make reference` makes them: on a computer without a GPU "
    "in some hours, cut down as {ref}`sec-plan` says; it goes on where it was stopped.*"
)
PARTS = ("run", "cuts", "chapters", "answers")
SECOND = {"20_paper_recipe": "second run, the paper's recipe in two doses ({ref}`sec-plan-doses`)"}
"""Chapter → the run that its kept results are of, where that is not the reference run."""
_STATES = {
    "complete": "complete",
    "under way": "**under way**",
    "unfinished": "**not finished**: something in it failed",
    "missing": "**missing**",
}


def note(reference: Reference | None, name: str, own: bool) -> str:
    """A note for the top of a chapter; empty where there is nothing to say.

    Args:
        own: whether the chapter ran in this build: then the note says what stands beside its numbers.
    """
    chapter: Mapping[str, Any] = reference.chapter(name) if reference else {"state": "missing"}
    if own and chapter["state"] == "missing":
        return ""
    what = "its tables, figures and numbers are made when it runs"
    if reference:
        p, day = reference.run["parameters"], chapter.get("finished", reference.run["finished"])[:10]
        run = f"{{ref}}`reference run <{PAGE}>` (profile `{p['profile']}`, model `{_code(p['model'])}`, data "
        run = SECOND.get(name, f"{run}{_data(reference)}, {day})")
        what = f"it shows the tables, figures and answer of the {run}"
    if own:
        told = f"The {run} stands beside this run, in columns or tabs."
        told += "" if chapter["state"] == "complete" else " This chapter is **not finished** in it."
        first = chapter.get("answer", {}).get("first", "")
        told += f" Its answer: “{first}”" if first else ""
    else:
        told = f"This build did not run the chapter: {what}. `make book CHAPTERS={name}` runs it."
    return f"```{{admonition}} Reference run\n:class: note\n{told}\n```"


def part(reference: Reference | None, which: str, ours: Mapping[str, str]) -> str:
    """One part of the page on the reference run.

    Args:
        reference: None: there is none, which the first part says and the others leave out.
        which: one of :data:`PARTS`.
        ours: the first sentence of this run's answer by chapter, for the last part.
    """
    if reference is None:
        return NONE if which == PARTS[0] else "*Nothing yet.*"
    if which == "answers":
        return _answers(reference, ours)
    return {"run": _run, "cuts": _cuts, "chapters": _chapters}[which](reference)


def _run(reference: Reference) -> str:
    m = reference.run
    p, where = m["parameters"], m["provenance"]
    full = profile_values(m["profile"])
    apart = {each["name"] for each in m["cuts"]} | {"profile", "data"}
    more = {name: value for name, value in p.items() if name in full and name not in apart and value != full[name]}
    gpu = f", {escape(where['gpu'])}" if where.get("gpu") else ", no GPU"
    many = where.get("threads", 0)
    threads = f", {many} thread{'' if many == 1 else 's'}" if many else ""
    done = sum(chapter["state"] == "complete" for chapter in m["chapters"].values())
    facts = {
        "Profile": f"`{m['profile']}`"
        + (f", {len(m['cuts'])} parameters cut (below)" if m["cuts"] else ", nothing cut"),
        "Model": f"`{_code(p['model'])}`",
        "Data": _data(reference),
        "Set apart from that": ", ".join(f"`{name}` = {_value(value)}" for name, value in more.items()),
        "Chapters": f"{done} of {len(m['chapters'])} complete",
        "When": f"{_time(m['started'])} to {_time(m['finished'])} (UTC)",
        "Time to train and ask": _models(reference),
        "Time in the notebooks": f"{took(m['seconds'])} when last executed; what stood ready was not made again",
        "Machine": f"{escape(where['platform'])}, {where['cpus']} processors{threads}{gpu}",
        "Software": ", ".join(
            f"{escape(name)} {escape(version)}"
            for name, version in [("polinb", where["polinb"]), ("Python", where["python"]), *where["packages"].items()]
        ),
        "Plan": f"{{ref}}`sec-plan`, last changed in commit `{m['plan'][:12]}`" if m["plan"] else "{ref}`sec-plan`",
    }
    lines = [f"| {name} | {text} |" for name, text in facts.items() if text]
    return "\n".join(["| item | reference run |", "| :--- | :--- |", *lines])


def _models(reference: Reference) -> str:
    """One model's time may overlap another's, for several processes can share a run."""
    known = reference.folder / "results" / "arms.json"
    if not known.is_file():
        return ""
    models = json.loads(known.read_text("utf-8"))["arms"]
    summed = took(sum(each["seconds"] for each in models.values()))
    return f"{summed}, summed over {len(models)} models; several processes ran at once"


def _cuts(reference: Reference) -> str:
    rows = reference.run["cuts"]
    if not rows:
        return "Nothing was cut: every parameter has its value of the profile."
    lines = [f"| `{r['name']}` | {_value(r['full'])} | {_value(r['taken'])} | {escape(r['why'])} |" for r in rows]
    return "\n".join(["| parameter | full | taken | why |", "| :--- | :--- | :--- | :--- |", *lines])


def _chapters(reference: Reference) -> str:
    lines = []
    for name, chapter in reference.run["chapters"].items():
        kinds = [each["kind"] for each in shown(reference.notebooks.get(name, {"cells": []})) if each["label"]]
        tables, figures = kinds.count("table"), kinds.count("chart")
        ran = took(chapter["seconds"]) if chapter.get("seconds") else "–"
        lines.append(f"| {_link(name)} | {_STATES[chapter['state']]} | {ran} | {tables} | {figures} |")
    head = ["| chapter | state | last executed in | tables | figures |", "| :--- | :--- | ---: | ---: | ---: |"]
    return "\n".join([*head, *lines])


def _answers(reference: Reference, ours: Mapping[str, str]) -> str:
    lines = []
    for name, chapter in reference.run["chapters"].items():
        first = chapter.get("answer", {}).get("first", "")
        if first or name in ours:
            here = ours.get(name, "*not run in this build*")
            lines.append(f"| {_link(name)} | {_cell(first or '*no answer*')} | {_cell(here)} |")
    return "\n".join(["| chapter | reference run | this run |", "| :--- | :--- | :--- |", *lines])


def _data(reference: Reference) -> str:
    data = reference.run["data"]
    return f"`{_code(data['name'])}` ({thousands(data['prompts'])} prompts)"


def _time(moment: str) -> str:
    return moment[:16].replace("T", " ")


def took(seconds: float) -> str:
    """A time in words, such as ``1 h 3 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_value(each) for each in value)
    if isinstance(value, float):
        return typeset(f"{value:g}")
    return escape(str(value)) if value != "" else "empty"


def _link(name: str) -> str:
    return f"{{doc}}`/chapters/{name}`"


def _code(text: str) -> str:
    """Text between backticks, in a table or not."""
    return re.sub(r"[`|\\\s]", " ", str(text))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
