"""What the book says about runs: the note on each chapter, the parts of the reference run's page, the answers; MyST."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from polinb.runs.params import profile_values
from polinb.wording import escape, label, thousands, typeset
from polinb_book.prose import LABEL
from polinb_book.results import Reference, answer, is_filled

PAGE = "sec-reference"  # label of the page
NONE = (
    "*This checkout holds no results of a reference run. `make reference` makes them: on a computer without a GPU "
    "in some hours, cut down as {ref}`sec-plan` says; it goes on where it was stopped.*"
)
SECOND = {"20_paper_recipe": "second run, the paper's recipe in two doses ({ref}`sec-plan-doses`)"}
"""Chapter → the run that its kept results are of, where that is not the reference run."""


def note(reference: Reference | None, name: str, own: bool) -> str:
    """A note for the top of a chapter; empty where there is nothing to say.

    Args:
        own: whether the chapter ran in this build: then the note says what stands beside its numbers.
    """
    missing = {"state": "missing"}
    chapter: Mapping[str, Any] = reference.run["chapters"].get(name, missing) if reference else missing
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


def part(reference: Reference | None, which: str, books: Mapping[str, dict[str, Any]]) -> str:
    """One of run, cuts, answers and here.

    Args:
        reference: None: there is none, which the first part says.
        books: chapters of this build, those too that show the reference run's results.
    """
    said = {name: (told, is_filled(book)) for name, book in books.items() if (told := answer(book, name))}
    if which == "here":
        return _here(said, books)
    if reference is None:
        return NONE if which == "run" else "*Nothing yet.*"
    if which == "answers":
        return _answers(reference, {name: told["first"] for name, (told, filled) in said.items() if not filled})
    return {"run": _run, "cuts": _cuts}[which](reference)


def _here(said: Mapping[str, tuple[dict[str, str], bool]], books: Mapping[str, dict[str, Any]]) -> str:
    """The opening page's box: which run the lines come from, then one line a chapter that answers something."""
    runs = list(dict.fromkeys((told["profile"], told["model"]) for told, filled in said.values() if not filled))
    start = "The chapters come from **different runs**; each line names its own."
    if not runs:
        start = "Nothing was run here: these are the {ref}`reference run's <sec-reference>` answers."
    elif len(runs) == 1:
        start = "Profile {}, model {}.".format(*map(escape, runs[0]))
    notes = [f"*{text}*" for text in dict.fromkeys(label(profile) for profile, _ in runs) if text]
    lines = []
    for name, (told, filled) in said.items():
        more = f" ({escape(told['profile'])}, {escape(told['model'])})" if len(runs) > 1 else ""
        section = LABEL.search("".join(books[name]["cells"][0]["source"]))
        title = f"{{ref}}`{section[1]}`" if section else _link(name)
        lines.append(f"- {title}: {told['first']}{' *(Reference run.)*' if filled and runs else more}")
    return "\n\n".join([" ".join([start, *notes]), "\n".join(lines)]) if lines else ""


def _run(reference: Reference) -> str:
    m = reference.run
    p, where = m["parameters"], m["provenance"]
    full = profile_values(m["profile"])
    apart = {each["name"] for each in m["cuts"]} | {"profile", "data"}
    more = {name: value for name, value in p.items() if name in full and name not in apart and value != full[name]}
    gpu = f", {escape(where['gpu'])}" if where.get("gpu") else ", no GPU"
    done = sum(chapter["state"] == "complete" for chapter in m["chapters"].values())
    began, ended = (m[moment][:16].replace("T", " ") for moment in ("started", "finished"))
    versions = {"polinb": where["polinb"], "Python": where["python"], **where["packages"]}
    facts = {
        "Profile": f"`{m['profile']}`, " + (f"{len(m['cuts'])} parameters cut (below)" if m["cuts"] else "nothing cut"),
        "Model": f"`{_code(p['model'])}`",
        "Data": _data(reference),
        "Set apart from that": ", ".join(f"`{name}` = {_value(value)}" for name, value in more.items()),
        "Chapters": f"{done} of {len(m['chapters'])} complete",
        "When": f"{began} to {ended} (UTC)",
        "Time in the notebooks": f"{took(m['seconds'])} when last executed; what stood ready was not made again",
        "Machine": f"{escape(where['platform'])}, {where['cpus']} processors{gpu}",
        "Software": ", ".join(f"{escape(name)} {escape(version)}" for name, version in versions.items()),
        "Plan": "{ref}`sec-plan`" + (f", last changed in commit `{m['plan'][:12]}`" if m["plan"] else ""),
    }
    return _table({"item": ":---", "reference run": ":---"}, [each for each in facts.items() if each[1]])


def _cuts(reference: Reference) -> str:
    cuts = reference.run["cuts"]
    rows = [(f"`{r['name']}`", _value(r["full"]), _value(r["taken"]), escape(r["why"])) for r in cuts]
    head = dict.fromkeys(("parameter", "full", "taken", "why"), ":---")
    return _table(head, rows) if rows else "Nothing was cut: every parameter has its value of the profile."


def _answers(reference: Reference, ours: Mapping[str, str]) -> str:
    rows = []
    for name, chapter in reference.run["chapters"].items():
        first = chapter.get("answer", {}).get("first", "")
        if first or name in ours:
            texts = (first or "*no answer*", ours.get(name, "*not run in this build*"))
            rows.append([_link(name), *(text.replace("|", "\\|").replace("\n", " ") for text in texts)])
    return _table(dict.fromkeys(("chapter", "reference run", "this run"), ":---"), rows)


def _table(head: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """Heads with their alignment, and cells, as a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, head.values(), *rows))


def _data(reference: Reference) -> str:
    data = reference.run["data"]
    return f"`{_code(data['name'])}` ({thousands(data['prompts'])} prompts)"


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
