"""Civil and rude text: pairs for preference tuning, labelled comments for a judge, prompts that invite rudeness.

Three kinds of data, each from a place that :func:`polinb.data.reading.read` knows:

* pairs, one prompt with a civil and a rude response (bundled; the paired toxicity data of Lee and others, 2024);
* comments with a label and no prompt (Jigsaw's Wikipedia comments, Civil Comments);
* challenge prompts (bundled; RealToxicityPrompts).

Public collections have rows that nobody can use: up to a tenth of the rows may be wrong, is left out, told and counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ValidationInfo, field_validator, model_validator

from polinb.data.pairs import first
from polinb.data.reading import read
from polinb.data.rows import Name, Row, Text, Words, differing, fail, normalise, plain_text, show
from polinb.errors import DataError

FORMS = ("reply", "continuation")
"""``reply``: an answer to a message, through the chat template. ``continuation``: plain text that goes on."""


class CivilPair(Row):
    """One prompt with a civil and a rude response; ``setting`` is where it is said, where the data tells.

    The columns are under our names, as in preference data, or as Lee and others (2024) write them (ajyl/dpo_toxic).
    """

    columns: ClassVar = {
        "prompt": ("prompt", "prompt_text"),
        "civil": ("civil", "chosen", "unpert_gen_text"),
        "rude": ("rude", "rejected", "pert_gen_text"),
    }
    public = True

    prompt: Words
    civil: Text
    rude: Text
    setting: Name = ""

    @field_validator("civil", "rude")
    @classmethod
    def _response(cls, text: str, given: ValidationInfo) -> str:
        prompt = given.data.get("prompt")
        if prompt and text.startswith(prompt):
            text = plain_text(text[len(prompt) :])  # some collections repeat the prompt
        return differing(text, "civil", given)


class Prompt(Row):
    """A prompt that invites rudeness, in the way ``kind``; RealToxicityPrompts has an object with a ``text`` there."""

    public = True

    prompt: Words
    kind: Name = ""
    reference: Text = ""
    challenging: bool = True
    form: str = FORMS[0]

    @model_validator(mode="before")
    @classmethod
    def _opened(cls, cells: dict[str, Any]) -> dict[str, Any]:
        nested = isinstance(cells.get("prompt"), Mapping)
        prompt = {"prompt": cells["prompt"].get("text")} if nested else {}
        return cells | prompt | {"form": FORMS[nested]}


class Neutral(Prompt):
    """An everyday question with a reference answer."""

    reference: Text


def _share(value: Any) -> float | None:
    if isinstance(value, str):
        value = {"true": 1.0, "false": 0.0}.get(value.strip().lower(), value)
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = 2.0
    if share == -1:
        return None
    if not 0 <= share <= 1:
        raise ValueError(f"expected a number from 0 to 1 (or −1: unlabelled); found {show(value)}")
    return share


class Comment(Row):
    """A labelled comment: Jigsaw's Wikipedia comments have ``toxic``, Civil Comments a share of raters."""

    columns: ClassVar = {"text": ("comment_text", "text", "comment"), "label": ("toxic", "toxicity", "target", "rude")}
    once = ()
    public = True

    text: Text = ""
    label: Annotated[float | None, BeforeValidator(_share)] = None


@dataclass(frozen=True)
class CivilityData:
    """Pairs in the order of the file, each prompt once.

    ``form`` is how prompt and response hang together; ``civil_prompts`` says that the prompts are known to be civil.
    """

    name: str
    pairs: tuple[CivilPair, ...]
    form: str = "reply"
    civil_prompts: bool = False
    source: dict[str, Any] = field(default_factory=dict, compare=False)

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content; the order of the rows does not change it."""
        lines = sorted(json.dumps([p.id, p.prompt, p.civil, p.rude, p.setting]) for p in self.pairs)
        return hashlib.sha256("\n".join([self.form, *lines]).encode()).hexdigest()

    def split(self, name: str, limit: int | None = None) -> list[CivilPair]:
        """Pairs of one split, by the hash of the prompt: see :func:`polinb.data.pairs.first`.

        Raises:
            ParameterError: no such split, or a limit below 1.
            DataError: the split is empty.
        """
        own = first(self.pairs, name, limit)
        if not own:
            raise DataError(f"data {self.name!r}: none of {len(self.pairs)} pairs is in the split {name!r}; take more")
        return own


@dataclass(frozen=True)
class Comments:
    """Texts with a label and no prompt; ``rude[i]`` belongs to ``texts[i]``."""

    name: str
    texts: tuple[str, ...]
    rude: tuple[bool, ...]
    source: dict[str, Any] = field(default_factory=dict, compare=False)

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content."""
        return hashlib.sha256(json.dumps([self.texts, self.rude]).encode()).hexdigest()


@dataclass(frozen=True)
class PromptSet:
    """Prompts in file order, and their ``form``."""

    name: str
    prompts: tuple[Prompt, ...]
    form: str = "reply"
    source: dict[str, Any] = field(default_factory=dict, compare=False)

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content."""
        rows = [[p.id, p.prompt, p.kind, p.reference] for p in self.prompts]
        return hashlib.sha256(json.dumps([self.form, rows]).encode()).hexdigest()

    def first(self, limit: int) -> list[Prompt]:
        """``limit`` prompts by the hash of their text, so that every kind is among them; fewer if there are fewer."""
        return first(self.prompts, None, limit)


# --- loading


def load_pairs(name_or_path: str = "bundled", *, revision: str | None = None) -> CivilityData:
    """Load pairs: ``bundled``, a file, or ``hub:owner/name``.

    Columns: ``prompt, civil, rude``; or ``prompt, chosen, rejected``; or ``prompt_text, unpert_gen_text,
    pert_gen_text``, which are continuations of plain text. Repeated prompts are dropped after the first; ``source``
    counts them. A response that repeats its prompt loses it.

    Raises:
        DataError: a missing or malformed file, other columns, more than a tenth of wrong rows.
    """
    rows, name, source = read(name_or_path, CivilPair, {"bundled": "civility/pairs.jsonl"}, revision=revision)
    kept: dict[str, CivilPair] = {}
    for row in rows:
        kept.setdefault(normalise(row.prompt), row.named("pair", row.prompt))
    form = FORMS["prompt" not in source["columns"]]
    return CivilityData(name, tuple(kept.values()), form, name == "bundled", source | {"kept": len(kept)})


def load_comments(name_or_path: str, *, cut: float = 0.5, revision: str | None = None) -> Comments:
    """Load labelled comments from a file or ``hub:owner/name``.

    The text stands in ``comment_text``, ``text`` or ``comment``; the label in ``toxic``, ``toxicity``, ``target`` or
    ``rude``, a number from 0 to 1 (or true, false), rude from ``cut`` on. −1 or nothing means unlabelled: left out.

    Raises:
        DataError: a missing or malformed file, other columns, more than a tenth of wrong rows, one class only.
    """
    rows, name, source = read(name_or_path, Comment, revision=revision)
    for wanted in Comment.columns.values():
        if not set(wanted) & set(source["columns"]):
            fail(name_or_path, f"expected a column {' or '.join(wanted)}; found {', '.join(source['columns'])}")
    kept = [(row.text, row.label >= cut) for row in rows if row.text and row.label is not None]
    rude = sum(label for _, label in kept)
    if rude in (0, len(kept)):
        fail(name_or_path, f"expected rude and civil comments; found {rude} rude of {len(kept)}")
    source |= {"kept": len(kept), "rude": rude, "cut": cut}
    return Comments(name, tuple(text for text, _ in kept), tuple(label for _, label in kept), source)


def load_challenge(name_or_path: str = "bundled", *, revision: str | None = None) -> PromptSet:
    """Load prompts that invite rudeness: ``bundled``, a file or ``hub:owner/name``, with a column ``prompt``.

    RealToxicityPrompts (``hub:allenai/real-toxicity-prompts``) has an object with a ``text`` there: sentence
    openings, to be continued as plain text; only those marked ``challenging`` are kept.

    Raises:
        DataError: a missing or malformed file, no such column, no prompt left.
    """
    return _prompts(name_or_path, Prompt, "challenge", revision)


def load_neutral(name_or_path: str = "bundled", *, revision: str | None = None) -> PromptSet:
    """Load everyday questions with a reference answer: ``bundled``, a file or ``hub:``, columns ``prompt, reference``.

    Raises:
        DataError: a missing or malformed file, or a missing column.
    """
    return _prompts(name_or_path, Neutral, "neutral", revision)


def _prompts(given: str, row: type[Prompt], kind: str, revision: str | None) -> PromptSet:
    rows, name, source = read(given, row, {"bundled": f"civility/{kind}.jsonl"}, revision=revision)
    kept: dict[str, Prompt] = {}
    for each in rows:
        if each.challenging:
            kept.setdefault(normalise(each.prompt), each.named(kind, each.prompt))
    if not kept:
        fail(given, f"no challenging prompt among {len(rows)} rows")
    return PromptSet(name, tuple(kept.values()), rows[0].form, source | {"kept": len(kept)})
