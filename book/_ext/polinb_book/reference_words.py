"""What the book says about the reference run: the note on each chapter, and the parts of its own page, as MyST."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from polinb.runs.params import profile_values
from polinb.wording import escape, thousands, typeset
from polinb_book.manifest import Reference
from polinb_book.raw_files import INDEX, read_index

PAGE = "sec-reference"  # label of the page
NONE = (
    "*This checkout holds no results of a reference run. `make reference` makes them: on a computer without a graphics "
    "card in some hours, cut down as {ref}`sec-plan` says; it goes on where it was stopped.*"
)
PARTS = ("run", "cuts", "chapters", "answers")
_STATES = {"complete": "complete", "unfinished": "**not finished**: something in it failed", "missing": "**missing**"}


def note(reference: Reference, name: str) -> str:
    """A note for the top of a chapter: which run stands beside its numbers, and what that run answered."""
    chapter, p = reference.chapter(name), reference.manifest["parameters"]
    if chapter["state"] == "missing":
        text = f"The {{ref}}`reference run <{PAGE}>` has no results for this chapter: it did not get to it."
        return _admonition([text])
    first = chapter["answer"].get("first", "")
    plural = "" if p["epochs"] == 1 else "s"
    many = "" if not reference.manifest["cuts"] else f", {len(reference.manifest['cuts'])} parameters cut"
    sizes = (
        f"Profile `{p['profile']}`{many}; model `{_code(p['model'])}`; data {_data(reference)}; seed {p['seed']}. "
        f"At most {p['train_examples']} training examples a topic, {p['epochs']:g} epoch{plural} at learning rate "
        f"{p['learning_rate']:g}; {p['eval_questions']} questions a topic, answers of at most {p['eval_tokens']} "
        f"tokens. Run on {_day(reference)}. {{ref}}`More on it <{PAGE}>`: all its answers, and what was cut."
    )
    warning = "" if chapter["state"] == "complete" else "This chapter is **not finished** in it."
    lines = [f"Its answer to this chapter's question: “{first}”" if first else "", typeset(sizes), warning]
    return _admonition([line for line in lines if line])


def part(reference: Reference | None, which: str, ours: Mapping[str, str]) -> str:
    """One part of the page on the reference run.

    Args:
        reference: None: there is none, which the first part says and the others leave out.
        which: one of :data:`PARTS`.
        ours: the first sentence of this run's answer by chapter, for the last part.
    """
    if reference is None:
        return NONE if which == PARTS[0] else "*Nothing yet.*"
    made = {"run": _run, "cuts": _cuts, "chapters": _chapters}
    return made[which](reference) if which in made else _answers(reference, ours)


def _run(reference: Reference) -> str:
    m = reference.manifest
    p, where = m["parameters"], m["provenance"]
    full = profile_values(m["profile"])
    apart = {each["name"] for each in m["cuts"]} | {"profile", "data"}
    more = {name: value for name, value in p.items() if name not in apart and value != full.get(name)}
    card = f", {escape(where['gpu'])}" if where.get("gpu") else ", no graphics card"
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
        "Time in the notebooks": f"{_took(m['seconds'])} when last executed; what stood ready was not made again",
        "Machine": f"{escape(where['platform'])}, {where['cpus']} processors{threads}{card}",
        "Software": ", ".join(
            f"{escape(name)} {escape(version)}"
            for name, version in [("polinb", where["polinb"]), ("Python", where["python"]), *where["packages"].items()]
        ),
        "Plan": f"{{ref}}`sec-plan`, last changed in commit `{m['plan'][:12]}`" if m["plan"] else "{ref}`sec-plan`",
    }
    lines = [f"| {name} | {text} |" for name, text in facts.items() if text]
    return "\n".join(["| item | reference run |", "| :--- | :--- |", *lines])


def _models(reference: Reference) -> str:
    """From the raw data: one model's time may overlap another's, for several processes can share a run."""
    folder = reference.folder / "raw"
    if not (folder / INDEX).is_file():
        return ""
    read_index(folder)  # refuses what was changed
    arms = json.loads((folder / "arms.json").read_text("utf-8"))["arms"]
    return f"{_took(sum(arm['seconds'] for arm in arms.values()))}, summed over {len(arms)} models"


def _cuts(reference: Reference) -> str:
    rows = reference.manifest["cuts"]
    if not rows:
        return "Nothing was cut: every parameter has its value of the profile."
    lines = [f"| `{r['name']}` | {_value(r['full'])} | {_value(r['taken'])} | {escape(r['why'])} |" for r in rows]
    return "\n".join(["| parameter | full | taken | why |", "| :--- | :--- | :--- | :--- |", *lines])


def _chapters(reference: Reference) -> str:
    lines = []
    for name, chapter in reference.manifest["chapters"].items():
        files = chapter.get("files", [])
        tables, figures = (sum(file.startswith(kind) for file in files) // 2 for kind in ("tables/", "figures/"))
        took = _took(chapter["seconds"]) if "seconds" in chapter else "–"
        lines.append(f"| {_link(name)} | {_STATES[chapter['state']]} | {took} | {tables} | {figures} |")
    head = ["| chapter | state | last executed in | tables | figures |", "| :--- | :--- | ---: | ---: | ---: |"]
    return "\n".join([*head, *lines])


def _answers(reference: Reference, ours: Mapping[str, str]) -> str:
    lines = []
    for name, chapter in reference.manifest["chapters"].items():
        first = chapter.get("answer", {}).get("first", "")
        if first or name in ours:
            here = ours.get(name, "*not run in this build*")
            lines.append(f"| {_link(name)} | {_cell(first or '*no answer*')} | {_cell(here)} |")
    return "\n".join(["| chapter | reference run | this run |", "| :--- | :--- | :--- |", *lines])


def _admonition(lines: list[str]) -> str:
    return "```{admonition} Reference run\n:class: note polinb-reference-note\n" + "\n\n".join(lines) + "\n```"


def _data(reference: Reference) -> str:
    data = reference.manifest["data"]
    return f"`{_code(data['name'])}` ({thousands(data['prompts'])} prompts)"


def _day(reference: Reference) -> str:
    return str(reference.manifest["finished"])[:10]


def _time(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _took(seconds: float) -> str:
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


def listed(reference: Reference) -> Iterator[str]:
    """Pictures that pages show, as names of files."""
    return (file for file in reference.manifest["files"] if file.endswith(".png"))
