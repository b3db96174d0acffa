"""What the live lab shows: ``resources/lab/view.html``, in which text of models and users is escaped, and its words."""

from __future__ import annotations

import base64
import traceback
from importlib import resources
from typing import Any

import jinja2

from polinb.lab.request import DONATED, RANGES, Request
from polinb.secrets import hide


def short(text: str, length: int) -> str:
    """``text``, cut to ``length`` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def change_words(r: Request) -> str:
    """The intervention of a request in few words."""
    donor = f" from {r.donor} {r.donor_topic}" if r.kind in DONATED else ""
    return r.kind + donor + (f", strength {r.strength:g}" if r.kind in RANGES else "")


def chosen_words(r: Request) -> str:
    """The neurons of a request in few words."""
    if r.neurons == "own":
        return f"own list: {short(r.own, 40)}"
    name = {"general": "G", "specific": f"S_{r.topic}", "strict": f"strict S_{r.topic}"}.get(r.neurons)
    return f"{name or f'random ({r.neurons}) no. {r.number}'}, γ = {r.gamma:g} %"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_FOLDER = resources.files("polinb") / "resources" / "lab"
STYLE = f"<style>{(_FOLDER / 'lab.css').read_text('utf-8')}</style>"
_PARTS = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    (_FOLDER / "view.html").read_text("utf-8"),
    {"short": short, "change": change_words, "chosen": chosen_words, "base64": _base64},
)


def part(name: str, *values: Any) -> str:
    """One part (macro) of the view: ``answer``, ``missing`` and so on."""
    return str(getattr(_PARTS.module, name)(*values))


def error(problem: BaseException) -> str:
    """What went wrong, in words; the traceback folded away. Keys and passwords are taken out."""
    known = type(problem).__module__.startswith("polinb.")
    words = str(problem) if known else f"{type(problem).__name__}: {problem}"
    return part("error", hide(words), hide("".join(traceback.format_exception(problem))))
