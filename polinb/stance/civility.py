"""Civil and rude text: pairs for preference tuning, labelled comments for a judge, prompts that invite rudeness.

Three kinds of data, each from a place that :func:`polinb.data.reading.read` knows:

* pairs, one prompt with a civil and a rude response (bundled; the paired toxicity data of Lee and others, 2024);
* comments with a label and no prompt (Jigsaw's Wikipedia comments, Civil Comments);
* challenge prompts (bundled; RealToxicityPrompts).

Public collections have rows that nobody can use: up to a tenth of the rows may be wrong, is left out and told. More, a
missing or malformed file, or other columns are a DataError that names file, row and column.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, model_validator

from polinb.data.loading import distinct, first
from polinb.data.reading import read
from polinb.data.rows import Name, New, Row, Text, Words, columns, fail, own_id, plain_text, text_hash, unlike
from polinb.errors import DataError

FORMS = ("reply", "continuation")
"""``reply``: an answer to a message, through the chat template. ``continuation``: plain text that goes on."""


def _response(text: str, given: ValidationInfo) -> str:
    """A response without the prompt, which some collections repeat."""
    prompt = given.data.get("prompt")
    return plain_text(text[len(prompt) :]) if prompt and text.startswith(prompt) else text


class CivilPair(Row):
    """One prompt with a civil and a rude response; ``setting`` is where it is said, where the data tells.

    The columns are under our names, as in preference data, or as Lee and others (2024) write them (ajyl/dpo_toxic).
    """

    public = True

    prompt: Words = columns("prompt", "prompt_text")
    civil: Annotated[Text, AfterValidator(_response)] = columns("civil", "chosen", "unpert_gen_text")
    rude: Annotated[Text, AfterValidator(_response), unlike("civil")] = columns("rude", "rejected", "pert_gen_text")
    setting: Name = ""
    id: Annotated[Text, New] = own_id("pair", "prompt")


class Prompt(Row):
    """A prompt that invites rudeness, in the way ``kind``; RealToxicityPrompts has an object with a ``text`` there."""

    public = True

    prompt: Words
    kind: Name = ""
    reference: Text = ""
    challenging: bool = True
    form: str = FORMS[0]
    id: Annotated[Text, New] = own_id("challenge", "prompt")

    @model_validator(mode="before")
    @classmethod
    def _opened(cls, cells: dict[str, Any]) -> dict[str, Any]:
        nested = isinstance(cells.get("prompt"), Mapping)
        return cells | ({"prompt": cells["prompt"].get("text")} if nested else {}) | {"form": FORMS[nested]}


class Neutral(Prompt):
    """An everyday question with a reference answer."""

    reference: Text
    id: Annotated[Text, New] = own_id("neutral", "prompt")


def _share(value: Any) -> float | None:
    try:
        share = float({"true": 1.0, "false": 0.0}.get(str(value).strip().lower(), value))
    except (TypeError, ValueError):
        share = math.nan
    if share == -1:
        return None
    if not 0 <= share <= 1:
        raise ValueError(f"expected a number from 0 to 1 (or −1: unlabelled); found {value!r:.60}")
    return share


class Comment(Row):
    """A labelled comment: Jigsaw's Wikipedia comments have ``toxic``, Civil Comments a share of raters."""

    public = True

    text: Text = columns("comment_text", "text", "comment", default="")
    label: Annotated[float | None, BeforeValidator(_share)] = columns(
        "toxic", "toxicity", "target", "rude", default=None
    )


@dataclass(frozen=True)
class CivilityData:
    """Pairs in the order of the file, each prompt once.

    ``form`` is how prompt and response hang together; ``civil_prompts`` says that the prompts are known to be civil.
    """

    name: str
    pairs: tuple[CivilPair, ...]
    form: str = "reply"
    civil_prompts: bool = False

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content; the order of the rows does not change it."""
        rows = sorted(json.dumps([p.id, p.prompt, p.civil, p.rude, p.setting]) for p in self.pairs)
        return hashlib.sha256("\n".join([self.form, *rows]).encode()).hexdigest()

    def split(self, name: str, limit: int | None = None) -> list[CivilPair]:
        """Pairs of one split, by the hash of the prompt: see :func:`polinb.data.loading.first`.

        Raises:
            DataError: the split is empty.
        """
        own = first(self.pairs, name, limit)
        if not own:
            raise DataError(f"data {self.name!r}: none of {len(self.pairs)} pairs is in the split {name!r}; take more")
        return own


class Comments(NamedTuple):
    """Texts with a label and no prompt; ``rude[i]`` belongs to ``texts[i]``."""

    texts: tuple[str, ...]
    rude: tuple[bool, ...]

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content."""
        return hashlib.sha256(json.dumps([self.texts, self.rude]).encode()).hexdigest()

    def first(self, limit: int) -> tuple[list[int], list[int]]:
        """Numbers of ``limit`` civil and of ``limit`` rude texts, by the hash of the text; fewer if there are fewer."""
        order = sorted(range(len(self.texts)), key=lambda i: text_hash(self.texts[i]))
        civil, rude = ([i for i in order if self.rude[i] is side][:limit] for side in (False, True))
        return civil, rude


# --- loading


def load_pairs(name_or_path: str = "bundled") -> CivilityData:
    """Load pairs: ``bundled``, a file, or ``hub:owner/name``, with the columns of :class:`CivilPair`.

    Data with ``prompt_text`` are continuations of plain text. Repeated prompts are dropped after the first. A response
    that repeats its prompt loses it.
    """
    rows, name, source = read(name_or_path, CivilPair, {"bundled": "civility/pairs.jsonl"})
    return CivilityData(name, distinct(rows), FORMS["prompt" not in source["columns"]], name == "bundled")


def load_comments(name_or_path: str) -> Comments:
    """Load labelled comments from a file or ``hub:owner/name``, with the columns of :class:`Comment`.

    The label is a number from 0 to 1 (or true, false), rude from one half on. −1 or nothing means unlabelled: left out.

    Raises:
        DataError: comments of one class only.
    """
    rows, _, source = read(name_or_path, Comment, {})
    for wanted in (Comment.names(each) for each in ("text", "label")):
        if not set(wanted) & set(source["columns"]):
            fail(name_or_path, f"expected a column {' or '.join(wanted)}; found {', '.join(source['columns'])}")
    kept = [(row.text, row.label >= 0.5) for row in rows if row.text and row.label is not None]
    rude = sum(label for _, label in kept)
    if rude in (0, len(kept)):
        fail(name_or_path, f"expected rude and civil comments; found {rude} rude of {len(kept)}")
    return Comments(*zip(*kept, strict=True))


def load_challenge(name_or_path: str = "bundled") -> tuple[Prompt, ...]:
    """Load prompts that invite rudeness: ``bundled``, a file or ``hub:owner/name``, with a column ``prompt``.

    RealToxicityPrompts (``hub:allenai/real-toxicity-prompts``) has an object with a ``text`` there: sentence
    openings, to be continued as plain text; only those marked ``challenging`` are kept.

    Raises:
        DataError: no prompt is left.
    """
    rows = read(name_or_path, Prompt, {"bundled": "civility/challenge.jsonl"})[0]
    kept = distinct(each for each in rows if each.challenging)
    if not kept:
        fail(name_or_path, f"no challenging prompt among {len(rows)} rows")
    return kept


def load_neutral() -> tuple[Neutral, ...]:
    """The bundled everyday questions, each with a reference answer."""
    return distinct(read("bundled", Neutral, {"bundled": "civility/neutral.jsonl"})[0])
