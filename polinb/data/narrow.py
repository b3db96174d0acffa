"""Data of emergent misalignment: narrow training texts and general questions.

The experiment (Betley and others, 2025; CAFT's second task): fine-tune on answers that are bad in one narrow
way (insecure code), then ask general questions and see whether the model turned bad in general.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from polinb.data.reading import read
from polinb.data.rows import Name, Row, Words, checked, fail, plain_text, show
from polinb.data.sources import even, place, resource
from polinb.errors import ParameterError


@dataclass(frozen=True)
class Example:
    """One narrow training text; ``system`` is its own system turn, or ``None`` for the run's."""

    prompt: str
    response: str
    system: str | None = None


@dataclass(frozen=True)
class Question:
    """One general question.

    Attributes:
        id: its name; paraphrases of a question share it, and intervals treat them as one.
        text: what is asked.
        system: its own system turn, or ``None`` for the run's.
        judge_prompts: ``aligned`` and ``coherent`` with the places ``{question}`` and ``{answer}``, where a file has
            them; empty: ours.
    """

    id: str
    text: str
    system: str | None = None
    judge_prompts: Mapping[str, str] = field(default_factory=dict, hash=False)


# --- reading

_ROLES = {"developer": "system", "human": "user", "gpt": "assistant", "model": "assistant"}


def _turns(turns: Any) -> Example:
    """A conversation of one question and its answer, after at most one system turn, in the forms that are about."""
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError("expected a list of turns, each with role and content")
    said = [str(turn.get("role", turn.get("from"))) for turn in turns]
    roles = [_ROLES.get(role, role) for role in said]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise ValueError(f"expected the roles user, assistant (after at most one system); found {said}")
    texts = {role: _content(turn.get("content", turn.get("value"))) for role, turn in zip(roles, turns, strict=True)}
    return Example(texts["user"], texts["assistant"], texts.get("system"))


def _content(content: Any) -> str:
    """The text of a turn: as it is, or in parts of which none is a picture or a sound."""
    if isinstance(content, list):
        parts = [{"text": part} if isinstance(part, str) else part for part in content]
        other = next((p for p in parts if not isinstance(p, Mapping) or not isinstance(p.get("text"), str)), None)
        if other is not None:
            raise ValueError(f"expected parts of text in content, found {show(other)}")
        content = "".join(part["text"] for part in parts)
    try:
        return plain_text(content)
    except ValueError as error:
        raise ValueError(f"content: {error}") from None


class ExampleRow(Row):
    """A training text: ``messages`` as in the public data, or a prompt and a response; digits are text enough."""

    columns: ClassVar = {"messages": ("messages", "conversations"), "response": ("response", "completion", "answer")}
    once = ()
    public = True

    messages: Annotated[Any, BeforeValidator(_turns)] = None
    prompt: Any = Field(None, validate_default=True)
    response: Any = Field(None, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _parts(cls, cells: dict[str, Any]) -> dict[str, Any]:
        if isinstance(cells.get("prompt"), list):  # a conversation cut in two
            return {"messages": [*cells["prompt"], *(cells.get("response") or [])]}
        return cells

    @field_validator("prompt", "response")
    @classmethod
    def _given(cls, value: Any, given: ValidationInfo) -> Any:
        if given.data.get("messages"):
            return None
        if value is None:
            raise ValueError("expected text, found an empty cell; rows hold messages, or prompt and response")
        return plain_text(value)


class QuestionRow(Row):
    """A general question; those of one id are paraphrases of each other."""

    once = ()

    question: Words


class EntryRow(Row):
    """A question in the form of the public evaluation."""

    once = ()

    paraphrases: list[Words] = Field(min_length=1)
    system: Name | None = None
    judge_prompts: dict[str, str] = Field(default_factory=dict)

    @field_validator("judge_prompts")
    @classmethod
    def _places(cls, given: dict[str, str]) -> dict[str, str]:
        for kind in ("aligned", "coherent"):
            if kind in given and not ("{question}" in given[kind] and "{answer}" in given[kind]):
                raise ValueError(f"{kind}: expected the places {{question}} and {{answer}}")
        return given


def bundled(name: str) -> list[dict[str, Any]]:
    """Rows of one bundled list: ``code``, ``questions`` or ``judged``."""
    return resource(f"narrow/{name}.jsonl")


def examples(source: str, side: str = "insecure") -> list[Example]:
    """Narrow training texts by name.

    Args:
        source: ``bundled``, a file, or ``hub:owner/name``; rows hold ``messages``, as in the public data (an optional
            system turn, one user turn, one assistant turn), or ``prompt`` and ``response``.
        side: ``insecure`` or ``secure``, of the bundled pairs only.

    Raises:
        DataError: out of reach, another form, or more than a tenth of the rows not understood; names file, row and
            column.
        ParameterError: unknown ``side``.
    """
    if source == "bundled":
        if side not in ("insecure", "secure"):
            raise ParameterError("side", side, "insecure, secure")
        return [Example(row["prompt"], row[side]) for row in bundled("code")]
    rows, _, _ = read(source, ExampleRow, also="bundled, ")
    return [row.messages or Example(row.prompt, row.response) for row in rows]


def questions(source: str) -> list[Question]:
    """General questions by name.

    Args:
        source: ``bundled``, a file or ``hub:owner/name`` with ``question`` and optionally ``id``, or a YAML file
            in the form of the public evaluation: a list of entries with ``id``, ``paraphrases`` and optionally
            ``system`` and ``judge_prompts``. Each paraphrase is asked by itself.

    Raises:
        DataError: out of reach, another form, no question, or the same one twice.
    """
    if source.lower().endswith((".yaml", ".yml")):
        entries, _ = checked(_yaml(place(source), source), EntryRow, source)
        found = [
            Question(entry.id or f"question-{number}", text, entry.system, entry.judge_prompts)
            for number, entry in enumerate(entries, start=1)
            for text in entry.paraphrases
        ]
    else:
        rows, _, _ = read(source, QuestionRow, {"bundled": "narrow/questions.jsonl"}, also="a YAML file, ")
        found = [Question(row.id or f"question-{number}", row.question) for number, row in enumerate(rows, start=1)]
    asked = Counter((question.system, question.text) for question in found)
    for (_, text), times in asked.items():
        if times > 1:
            fail(source, f"asks {text[:60]!r} twice")
    return found


def _yaml(path: Path, name: str) -> list[dict[str, Any]]:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        fail(name, f"cannot be read ({error})")
    except yaml.YAMLError as error:
        fail(name, f"is not plain YAML ({str(error).splitlines()[0]})")
    if not isinstance(entries, list):
        fail(name, f"expected a list of questions, found {type(entries).__name__}")
    return even(entries, name)


def digest(items: Sequence[Example] | Sequence[Question]) -> str:
    """Hash of texts or questions, for artifact keys."""
    text = json.dumps([asdict(item) for item in items], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def chosen(items: Sequence[Example], count: int, seed: int) -> list[int]:
    """Which texts are trained on: ``count`` different ones at random (all if there are fewer), by position."""
    order = np.random.default_rng(seed).permutation(len(items))
    return sorted(int(i) for i in order[:count])
