"""What is on the lab's screen as code that makes it again, and its history as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from polinb import __version__
from polinb.lab.request import Request, Result

_HEAD = '''"""One run of polinb's live lab (version {version}), made again: the same answers, token for token.

Fine-tuned variants and scores come from the folder in POLINB_STORE, or are computed again if they are not there.
"""
'''


def code(result: Result) -> str:
    """A Python program that makes both answers again and prints them. Text of the user stands in it as literals only.

    It fills ``answers``, a dict from ``vanilla`` and ``intervened`` to text. A run that was stopped is repeated up to
    the tokens that were there.
    """
    r = result.request
    patch = r.kind == "patch"
    names = "Intervention, stream" if r.kind != "none" else "stream"
    lines = [_HEAD.format(version=__version__)]
    lines += ["from polinb.runs.run import Run", "from polinb.models.generation import decode"]
    lines += [f"from polinb.lab.engine import {names}"]
    lines += ["from polinb.lab.sets import neurons"] if r.kind != "none" else []
    lines += ["from polinb.runs.params import Params", "from polinb.models.tokens import prompt_ids", ""]
    given = {"profile": r.profile, **r.settings}
    lines += [f"exp = Run(Params.from_profile({_arguments(given)}))"]
    lines += [f"prompt = prompt_ids(exp.lm, {r.prompt!r}, exp.params.system_prompt)"]
    change = "()"
    if r.kind != "none":
        lines += [f"chosen = neurons(exp, {r.neurons!r}{_choice(r)})"]
        lines += [f"change = Intervention({r.kind!r}, chosen, {float(r.strength)!r})"]
        lines += [f"donor = exp.load_variant({r.donor_topic!r}, {r.donor!r})"] if patch else []
        change = f"(change, {'donor' if patch else 'None'})"
    lines += ["answers = {}"]
    for arm, what in (("vanilla", "()"), ("intervened", change)):
        limit = len(result.answers[arm].ids) if result.stopped else r.max_new_tokens
        if not limit:
            lines += [f"answers[{arm!r}] = ''  # stopped before its first token"]
            continue
        options: dict[str, Any] = {"max_new_tokens": limit}
        options |= {"temperature": float(r.temperature), "seed": r.seed} if r.temperature else {}
        inputs = "".join(f", {each}" for each in what.strip("()").split(", ") if each)
        lines += [f"ids = list(stream(exp.lm, prompt{inputs}, {_arguments(options)}))"]
        lines += [f"answers[{arm!r}] = decode(exp.lm, ids)"]
    lines += ["for arm, text in answers.items():", '    print(arm, text, sep="\\n", end="\\n\\n")']
    return "\n".join(lines) + "\n"


def history_json(results: Sequence[Result]) -> str:
    """All runs, oldest first: requests, answers with token ids, the judge's P(right), times."""
    records = [result.record() for result in results]
    return json.dumps({"polinb": __version__, "runs": records}, indent=1, ensure_ascii=False, allow_nan=False)


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _choice(r: Request) -> str:
    """Keyword arguments of :func:`polinb.lab.sets.neurons`: those that count for the kind of set."""
    if r.neurons == "own":
        return f", own={r.own!r}"
    used: dict[str, Any] = {"topic": r.topic} if r.neurons in ("specific", "strict") else {}
    used["gamma"] = r.gamma
    if r.neurons in ("uniform", "layer"):
        used["number"] = r.number
    return f", {_arguments(used)}"
