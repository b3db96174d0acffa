"""Words for numbers: an effect with its interval as text, and sentences that follow from the interval alone."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

_VERBATIM = re.compile(r"(`+[^`]*`+|\$[^$]+\$)")  # code and formulas, which stay as they are
_EXPONENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]\d+)\b")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUS = re.compile(r"(?<![\w-])-(?=[\d∞])")
_ZERO = re.compile(r"(?<!\w)[+−](?=0(?:\.0+)?(?![\d.]*\d))")
Effect = tuple[float, float, float]
"""Estimate, low and high end of its 95 % interval; NaN ends where there is none."""

NEWLINE = " ⏎ "
_PROFILES = {
    "tiny": "Tiny run, a check of the machinery: its numbers mean nothing.",
    "quick": "Quick run: small samples, wide intervals.",
}


class Answer(NamedTuple):
    """A chapter's answer in words.

    Attributes:
        first: one sentence with the main number; it stands alone on the opening page.
        rest: what a reader needs beside it.
    """

    first: str
    rest: str


def label(profile: str) -> str:
    """What to say before the numbers of a run that cannot settle anything; empty for the larger profiles."""
    return _PROFILES.get(profile, "")


def clear(effect: Effect) -> int | None:
    """1 or −1 if the interval lies wholly above or below zero, 0 if it includes zero, None without an interval."""
    _, low, high = effect
    if np.isnan([low, high]).any():
        return None
    return 1 if low > 0 else -1 if high < 0 else 0


def told(
    effect: Effect, above: str, below: str, neither: str, unknown: str = "Not decided, without an interval"
) -> str:
    """The one of four texts that the interval allows."""
    return {1: above, -1: below, 0: neither, None: unknown}[clear(effect)]


def including_zero(effect: Effect) -> str:
    """The end of a sentence on an effect: ``, an interval that includes zero`` where it does, nothing elsewhere."""
    return told(effect, "", "", ", an interval that includes zero", "")


def number(value: float, digits: int = 2, sign: bool = True) -> str:
    """A number as printed: a real minus, a plus where asked for, an en dash where it is missing."""
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    # without the noise of floats, which would print one mean as 1.54 here and as 1.55 there
    text = f"{round(value, 10):{'+' if sign else ''}.{digits}f}"
    # nothing but zeros has no sign
    return (text if text.strip("+-0.") else text.lstrip("+-")).replace("-", "−")


def p_value(value: float) -> str:
    """A p as printed: never as zero."""
    return "< 0.001" if value < 0.001 else number(value, 3, sign=False)


def typeset(text: str) -> str:
    """Prose with its numbers as :func:`number` prints them: a real minus, powers of ten, no sign before zero.

    A space stands before %. Code and formulas stay as they are, and so does a hyphen within a word.
    """
    parts = _VERBATIM.split(text)
    parts[::2] = [re.sub(r"(?<=\d)%", " %", _ZERO.sub("", _MINUS.sub("−", raised(part)))) for part in parts[::2]]
    return "".join(parts)


def flowing(text: str) -> str:
    """``text`` on one line; a narrow gap within a number stays."""
    return re.sub(r"[ \n]+", " ", text).strip()


def power(value: float, digits: int = 1) -> str:
    """A very small or large number with a power of ten: ``2 × 10⁻⁶``; others with ``digits`` significant digits."""
    return raised(f"{value:.{digits}g}").replace("-", "−")


def raised(text: str) -> str:
    """``text`` with ``2e-06`` written as ``2 × 10⁻⁶``."""
    return _EXPONENT.sub(lambda found: f"{found[1]} × 10{str(int(found[2])).translate(_RAISED)}", text)


def interval(effect: Effect, digits: int = 2, sign: bool = True, unit: str = "") -> str:
    """``+0.60 [+0.46, +0.74]``, with the unit after the estimate; says so where there is no interval."""
    mean, low, high = effect
    text = f"**{number(mean, digits, sign)}{unit}**"
    if clear(effect) is None:
        return f"{text} (no interval)"
    return f"{text} [{number(low, digits, sign)}, {number(high, digits, sign)}]"


def percent(effect: Effect, digits: int = 0, sign: bool = False) -> str:
    """A share as per cent with its interval."""
    mean, low, high = (100 * x for x in effect)
    return interval((mean, low, high), digits, sign, " %")


def of(row: pd.Series | Mapping[str, Any], value: str, low: str = "", high: str = "") -> Effect:
    """A value of a table's row with its interval: ``<value>_low`` and ``<value>_high``, or ``low`` and ``high``."""
    if not low:
        low, high = (f"{value}_low", f"{value}_high") if f"{value}_low" in row else ("low", "high")
    return float(row[value]), float(row[low]), float(row[high])


def with_ends(value: str, effect: Iterable[float]) -> dict[str, float]:
    """An effect in a table's row, as :func:`of` reads it: ``<value>``, ``<value>_low`` and ``<value>_high``."""
    return dict(zip((value, f"{value}_low", f"{value}_high"), effect, strict=True))


def counted(frame: pd.DataFrame, side: int = 1) -> str:
    """``4 of 6``: rows whose interval is clear of zero on one side."""
    hits = frame["low"] > 0 if side > 0 else frame["high"] < 0
    return f"{int(hits.sum())} of {len(frame)}"


def by_chance(frame: pd.DataFrame) -> str:
    """``0.8 by chance``: intervals of 95 % that would be clear of zero on one side if no row had an effect."""
    return f"{0.025 * len(frame):.1f} by chance"


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def thousands(value: float) -> str:
    """A count with narrow gaps."""
    return f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval: a table shows ``0.52 [0.30, 0.71]`` and keeps the three numbers.

    A missing value shows as an en dash, a missing end as ``?``, and no interval as nothing. With ``signed``, numbers
    above zero have a plus.
    """

    value: float
    low: float
    high: float
    digits: int = 2
    signed: bool = False

    def __str__(self) -> str:
        """The three numbers as text."""
        mean = number(self.value, self.digits, self.signed)
        if math.isnan(self.value) or (math.isnan(self.low) and math.isnan(self.high)):
            return mean
        low, high = ("?" if math.isnan(x) else number(x, self.digits, self.signed) for x in (self.low, self.high))
        return f"{mean} [{low}, {high}]"


def intervals(frame: pd.DataFrame, value: str, digits: int = 2) -> list[Interval]:
    """A column with its intervals, for a table.

    The ends are ``<value>_low`` and ``<value>_high``, or ``low`` and ``high`` where the frame has no such columns.
    """
    ends = (f"{value}_low", f"{value}_high") if f"{value}_low" in frame else ("low", "high")
    numbers = frame[[value, *ends]].apply(pd.to_numeric).to_numpy(dtype=float, na_value=np.nan)
    return [Interval(mean, low, high, digits) for mean, low, high in numbers.tolist()]


PAYLOAD = "application/vnd.polinb+json"
"""Type of what an output carries for the book: a table, a chart, a sentence or a chapter's answer as data."""
LIVE = "application/vnd.vegalite.v5+json"  # a chart's specification; JupyterLab 4 draws it, of version 6 as well
ANSWER = "*It stands above the summary, once the notebook has run.*"
"""What a chapter's first cell says in the place of its answer; on the book's page the answer itself stands there."""
_KINDS = {"tbl": "Table", "fig": "Figure"}
_NUMBERED = re.compile(r"\{numref\}`((?:tbl|fig)-[\w-]+)`")
_ROLE = re.compile(r"\{[a-z:]+\}`([^`<]*?)\s*(?:<[^>`]*>)?`")


class Prose:
    """A sentence or a note in MyST: Markdown for a notebook, and as it stands for the book.

    Args:
        text: MyST whose numbers come from results.
        title: of a note in a box; empty: a paragraph.
        more: what else the payload says, such as the run of an answer.
    """

    def __init__(self, text: str, title: str = "", **more: str) -> None:
        self.text, self.title, self.more = text, title, more

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shown = readable(self.text)
        if self.title:
            shown = "\n".join(f"> {line}".rstrip() for line in f"**{self.title}**\n\n{shown}".split("\n"))
        payload = {"kind": "text", "text": self.text, "title": self.title, **self.more}
        return {"text/markdown": shown, "text/plain": shown, PAYLOAD: payload}


def readable(myst: str) -> str:
    """MyST as any Markdown viewer reads it: references give way to their text, ``tbl-drops`` to *Table drops*."""
    return _ROLE.sub(r"\1", _NUMBERED.sub(lambda found: titled(found[1]), myst))


def titled(name: str) -> str:
    """A label as a notebook names what has no number there: *Table drops* for ``tbl-drops``."""
    kind, _, rest = name.partition("-")
    return f"{_KINDS[kind]} {rest}" if kind in _KINDS else name


def placeless(name: str) -> str:
    """A model or data set as a page names it: of a place on this machine its last part alone."""
    return re.split(r"[\\/]", name.rstrip("\\/"))[-1] if re.match(r"[~./\\]|[A-Za-z]:[\\/]", name) else name


def visible(text: str) -> str:
    """``text`` on one line, with nothing in it that reorders or hides text.

    Control and formatting characters become ``⟨U+202E⟩``, a line break becomes ``⏎``.
    """
    parts = []
    for char in re.sub(r"\r\n?|\n", NEWLINE, text):
        hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        parts.append(" " if char == "\t" else f"⟨U+{ord(char):04X}⟩" if hidden else char)
    return "".join(parts)


def escape(text: str) -> str:
    """``text`` so that no renderer of MyST, Markdown or HTML finds markup in it.

    Letters, digits, spaces and non-ASCII symbols stay; other ASCII becomes ``&#NN;``; hidden characters become
    :func:`visible`. What could open maths stands in an element of its own: MathJax, as JupyterLab runs it, reads what
    entities have become.
    """
    parts = []
    for char in visible(text):
        if char.isalnum() or char == " " or ord(char) > 127:
            parts.append(char)
        else:
            parts.append(f"<span>&#{ord(char)};</span>" if char in "$\\" else f"&#{ord(char)};")
    return "".join(parts)
