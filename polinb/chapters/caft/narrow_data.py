"""Data of emergent misalignment: narrow training texts and general questions.

The experiment (Betley and others, 2025; CAFT's second task): fine-tune on answers that are bad in one narrow
way (insecure code), then ask general questions and see whether the model turned bad in general.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pandas as pd
from pydantic import BeforeValidator, Field, field_validator, model_validator

from polinb.data.reading import read, resource
from polinb.data.rows import Name, Row, Text, Words, columns, fail, plain_text

_ROLES = {"developer": "system", "human": "user", "gpt": "assistant", "model": "assistant"}


class Example(Row):
    """One narrow training text: ``messages`` as in the public data, or a prompt and a response; digits are text enough.

    ``system`` is its own system turn, or ``None`` for the run's.
    """

    public = True

    prompt: Text
    response: Text = columns("response", "completion", "answer")
    system: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _turns(cls, cells: dict[str, Any]) -> dict[str, Any]:
        """A conversation of one question and its answer, after at most one system turn, in the forms that are about."""
        turns = cells.get("messages", cells.get("conversations"))
        if isinstance(cells.get("prompt"), list):  # a conversation cut in two
            turns = [*cells["prompt"], *(cells.get("response", cells.get("completion")) or [])]
        if turns is None and "prompt" not in cells:
            raise ValueError(
                f"expected messages, or prompt and response; found {', '.join(sorted(cells)) or 'nothing'}"
            )
        if turns is None:
            return cells
        if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
            raise ValueError("messages: expected a list of turns, each with role and content")
        said = [str(turn.get("role", turn.get("from"))) for turn in turns]
        roles = [_ROLES.get(role, role) for role in said]
        if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
            raise ValueError(f"messages: expected the roles user, assistant (after at most one system); found {said}")
        texts = [_content(turn.get("content", turn.get("value"))) for turn in turns]
        return {"prompt": texts[-2], "response": texts[-1], "system": texts[0] if len(texts) > 2 else None}


def _content(content: Any) -> str:
    """The text of a turn: as it is, or in parts of which none is a picture or a sound."""
    if isinstance(content, list):
        parts = [{"text": part} if isinstance(part, str) else part for part in content]
        other = next((p for p in parts if not isinstance(p, Mapping) or not isinstance(p.get("text"), str)), None)
        if other is not None:
            raise ValueError(f"messages: expected parts of text in content, found {other!r:.60}")
        content = "".join(part["text"] for part in parts)
    try:
        return plain_text(content)
    except ValueError as error:
        raise ValueError(f"messages: content: {error}") from None


class Entry(Row):
    """A question as the public evaluation writes it, in some wordings, or in one as a ``question`` of a table."""

    paraphrases: Annotated[list[Words], BeforeValidator(lambda cell: cell if isinstance(cell, list) else [cell])] = (
        columns("paraphrases", "question", min_length=1)
    )
    id: Text = ""
    system: Name | None = None
    judge_prompts: dict[str, str] = Field(default_factory=dict)

    @field_validator("judge_prompts")
    @classmethod
    def _places(cls, given: dict[str, str]) -> dict[str, str]:
        for kind in ("aligned", "coherent"):
            if kind in given and not ("{question}" in given[kind] and "{answer}" in given[kind]):
                raise ValueError(f"{kind}: expected the places {{question}} and {{answer}}")
        return given


def examples(source: str, side: str = "insecure") -> list[Example]:
    """Narrow training texts: ``bundled``, a file, or ``hub:owner/name`` with the columns of :class:`Example`.

    Args:
        side: ``insecure`` or ``secure``, of the bundled pairs only.

    Raises:
        DataError: out of reach, another form, or more than a tenth of the rows not understood; names file, row and
            column.
    """
    if source == "bundled":
        return [Example(prompt=row["prompt"], response=row[side]) for row in resource("narrow/code.jsonl")]
    return read(source, Example, {}, "bundled, ")[0]


def questions(source: str) -> pd.DataFrame:
    """General questions: ``bundled``, a file or ``hub:owner/name`` with ``question`` and optionally ``id``.

    Or a YAML file in the form of the public evaluation: entries with ``paraphrases`` and optionally ``id``, ``system``
    and ``judge_prompts``. Each paraphrase is asked by itself.

    Returns:
        id (shared by paraphrases, and intervals treat them as one), prompt, system (its own system turn; missing:
        the run's), judge_prompts (``aligned`` and ``coherent`` with the places ``{question}`` and ``{answer}``,
        where a file has them; empty: ours).

    Raises:
        DataError: out of reach, another form, no question, or the same one twice.
    """
    rows = [
        (entry.id or f"question-{number}", text, entry.system, entry.judge_prompts)
        for number, entry in enumerate(read(source, Entry, {"bundled": "narrow/questions.jsonl"})[0], start=1)
        for text in entry.paraphrases
    ]
    found = pd.DataFrame(rows, columns=["id", "prompt", "system", "judge_prompts"])
    for text in found.loc[found.duplicated(["system", "prompt"]), "prompt"]:
        fail(source, f"asks {text[:60]!r} twice")
    return found
