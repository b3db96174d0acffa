"""Civil and rude text: pairs for preference tuning, labelled comments for a judge, prompts that invite rudeness.

Three kinds of data, each bundled, from a file of the user's or from the Hugging Face hub by name:

* pairs, one prompt with a civil and a rude response (bundled; the paired toxicity data of Lee and others, 2024);
* comments with a label and no prompt (Jigsaw's Wikipedia comments, Civil Comments);
* challenge prompts (bundled; RealToxicityPrompts).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from polinb.data.hub import read_hub
from polinb.data.pairs import SPLITS, split_of
from polinb.data.rows import fail, fail_at, id_cell, normalise, require_columns, require_unique, text_cell, text_hash
from polinb.data.sources import SUFFIXES, file_sha256, read_table
from polinb.errors import DataError, ParameterError

FORMS = ("reply", "continuation")
"""``reply``: an answer to a message, through the chat template. ``continuation``: plain text that goes on."""

# columns of prompt, civil and rude response → form
PAIR_COLUMNS: dict[tuple[str, str, str], str] = {
    ("prompt", "civil", "rude"): "reply",
    ("prompt", "chosen", "rejected"): "reply",
    ("prompt_text", "unpert_gen_text", "pert_gen_text"): "continuation",  # Lee and others (2024), ajyl/dpo_toxic
}
COMMENT_TEXTS = ("comment_text", "text", "comment")
COMMENT_LABELS = ("toxic", "toxicity", "target", "rude")
"""Jigsaw's Wikipedia comments: toxic, 0 or 1; Civil Comments: toxicity (or target), the share of raters."""


@dataclass(frozen=True)
class CivilPair:
    """One prompt with a civil and a rude response; ``setting`` is where it is said, where the data tells."""

    id: str
    prompt: str
    civil: str
    rude: str
    setting: str = ""


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
        lines = sorted(json.dumps(astuple(pair)) for pair in self.pairs)
        return hashlib.sha256("\n".join([self.form, *lines]).encode()).hexdigest()

    def split(self, name: str, limit: int | None = None) -> list[CivilPair]:
        """Pairs of one split, by the hash of the prompt: see :func:`polinb.data.pairs.split_of`.

        Raises:
            ParameterError: no such split, or a limit below 1.
            DataError: the split is empty.
        """
        if name not in SPLITS:
            raise ParameterError("split", name, ", ".join(SPLITS))
        if limit is not None and limit < 1:
            raise ParameterError("limit", limit, "a whole number of at least 1")
        own = [pair for pair in self.pairs if split_of(pair.prompt) == name]
        if not own:
            raise DataError(f"data {self.name!r}: none of {len(self.pairs)} pairs is in the split {name!r}; take more")
        return sorted(own, key=lambda pair: text_hash(pair.prompt))[:limit]


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
class Prompt:
    """A prompt alone; ``reference`` is a good answer, ``kind`` how it invites what it invites, where known."""

    id: str
    prompt: str
    kind: str = ""
    reference: str = ""


@dataclass(frozen=True)
class PromptSet:
    """Prompts in file order, and their ``form``."""

    name: str
    prompts: tuple[Prompt, ...]
    form: str = "reply"
    source: dict[str, Any] = field(default_factory=dict, compare=False)

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content."""
        return hashlib.sha256(json.dumps([self.form, [astuple(p) for p in self.prompts]]).encode()).hexdigest()

    def first(self, limit: int) -> list[Prompt]:
        """``limit`` prompts by the hash of their text, so that every kind is among them; fewer if there are fewer."""
        return sorted(self.prompts, key=lambda item: text_hash(item.prompt))[:limit]


def load_pairs(name_or_path: str = "bundled", *, revision: str | None = None) -> CivilityData:
    """Load pairs: ``bundled``, a CSV, JSON, JSONL or Parquet file, or ``hub:owner/name``.

    Columns: ``prompt, civil, rude``; or ``prompt, chosen, rejected``; or ``prompt_text, unpert_gen_text,
    pert_gen_text``, which are continuations of plain text. Repeated prompts are dropped after the first; ``source``
    counts them. A response that repeats its prompt loses it.

    Raises:
        DataError: a missing or malformed file, other columns, comments instead of pairs, a pair of equal texts.
    """
    rows, name, source = _rows(name_or_path, "pairs", revision)
    present = _columns(rows)
    found = [names for names in PAIR_COLUMNS if set(names) <= present]
    if not found:
        hint = ""
        if present & set(COMMENT_TEXTS) and present & set(COMMENT_LABELS):
            hint = "; labelled comments can train a judge, but a preference needs two responses to a prompt"
        allowed = " or ".join(", ".join(names) for names in PAIR_COLUMNS)
        fail(name, f"expected the columns {allowed}; found {', '.join(sorted(present)) or 'none'}{hint}")
    columns = found[0]
    kept: dict[str, CivilPair] = {}
    ids = []
    for number, row in enumerate(rows, start=1):
        prompt, civil, rude = (text_cell(row, number, column, name) for column in columns)
        civil, rude = _without(prompt, civil), _without(prompt, rude)
        if not civil or not rude or normalise(civil) == normalise(rude):
            fail_at(name, number, columns[2], f"expected a text that differs from {columns[1]!r} and from the prompt")
        ids.append(id_cell(row, number, name))
        key = ids[-1] or f"pair-{text_hash(prompt)[:12]}"
        kept.setdefault(normalise(prompt), CivilPair(key, prompt, civil, rude, str(row.get("setting") or "")))
    require_unique(ids, name)
    source |= {"rows": len(rows), "kept": len(kept), "columns": list(columns)}
    return CivilityData(name, tuple(kept.values()), PAIR_COLUMNS[columns], name_or_path == "bundled", source)


def load_comments(name_or_path: str, *, cut: float = 0.5, revision: str | None = None) -> Comments:
    """Load labelled comments from a file or ``hub:owner/name``.

    The text stands in ``comment_text``, ``text`` or ``comment``; the label in ``toxic``, ``toxicity``, ``target`` or
    ``rude``, a number from 0 to 1 (or true, false), rude from ``cut`` on. −1 or nothing means unlabelled: left out.

    Raises:
        DataError: a missing or malformed file, other columns, a label out of range, one class only.
    """
    rows, name, source = _rows(name_or_path, "comments", revision)
    present = _columns(rows)
    text = next((column for column in COMMENT_TEXTS if column in present), None)
    label = next((column for column in COMMENT_LABELS if column in present), None)
    if text is None or label is None:
        fail(
            name,
            f"expected a text in one of {', '.join(COMMENT_TEXTS)} and a label in one of {', '.join(COMMENT_LABELS)}; "
            f"found the columns {', '.join(sorted(present)) or 'none'}",
        )
    texts: list[str] = []
    rude: list[bool] = []
    for number, row in enumerate(rows, start=1):
        value = _share(row.get(label), number, label, name)
        words = row.get(text)
        if value is None or not isinstance(words, str) or not words.strip():
            continue
        texts.append(words.strip())
        rude.append(value >= cut)
    if not any(rude) or all(rude):
        fail_at(name, None, label, f"expected rude and civil comments; found {sum(rude)} rude of {len(rude)}")
    source |= {"rows": len(rows), "kept": len(texts), "rude": sum(rude), "columns": [text, label], "cut": cut}
    return Comments(name, tuple(texts), tuple(rude), source)


def load_challenge(name_or_path: str = "bundled", *, revision: str | None = None) -> PromptSet:
    """Load prompts that invite rudeness: ``bundled``, a file or ``hub:owner/name``, with a column ``prompt``.

    RealToxicityPrompts (``hub:allenai/real-toxicity-prompts``) has an object with a ``text`` there: sentence
    openings, to be continued as plain text; only those marked ``challenging`` are kept.

    Raises:
        DataError: a missing or malformed file, no such column, no prompt left.
    """
    return _prompt_set(name_or_path, "challenge", revision)


def load_neutral(name_or_path: str = "bundled", *, revision: str | None = None) -> PromptSet:
    """Load everyday questions with a reference answer: ``bundled``, a file or ``hub:``, columns ``prompt, reference``.

    Raises:
        DataError: a missing or malformed file, or a missing column.
    """
    return _prompt_set(name_or_path, "neutral", revision)


def _prompt_set(given: str, kind: str, revision: str | None) -> PromptSet:
    rows, name, source = _rows(given, kind, revision)
    require_columns(rows, ("prompt", "reference") if kind == "neutral" else ("prompt",), name)
    nested = isinstance(rows[0].get("prompt"), Mapping)
    kept: dict[str, Prompt] = {}
    for number, row in enumerate(rows, start=1):
        if nested and row.get("challenging") is False:
            continue
        cell = row.get("prompt")
        prompt = text_cell(cell if isinstance(cell, Mapping) else {"text": cell}, number, "text", name)
        reference = text_cell(row, number, "reference", name) if kind == "neutral" else ""
        key = id_cell(row, number, name) or f"{kind}-{text_hash(prompt)[:12]}"
        kept.setdefault(normalise(prompt), Prompt(key, prompt, str(row.get("kind") or ""), reference))
    if not kept:
        fail(name, f"no challenging prompt among {len(rows)} rows")
    source |= {"rows": len(rows), "kept": len(kept)}
    return PromptSet(name, tuple(kept.values()), "continuation" if nested else "reply", source)


def _rows(given: str, kind: str, revision: str | None) -> tuple[list[dict[str, Any]], str, dict[str, Any]]:
    """Rows, a name for messages, and where they came from."""
    if given == "bundled" and kind != "comments":
        with resources.as_file(resources.files("polinb") / "resources" / "civility" / f"{kind}.jsonl") as path:
            rows = read_table(path, f"bundled civility/{kind}.jsonl")
            origin = {"origin": "bundled with polinb", "licence": "CC BY 4.0", "sha256": file_sha256(path)}
        return rows, "bundled", origin
    if given.startswith("hub:"):
        hub_id = given.removeprefix("hub:")
        rows, commit = read_hub(hub_id, revision)
        return rows, hub_id, {"origin": f"https://huggingface.co/datasets/{hub_id}", "revision": commit}
    path = Path(given).expanduser()
    if not path.exists() and path.suffix.lower() not in SUFFIXES:
        bundled = "" if kind == "comments" else "bundled, "
        raise DataError(
            f"{given}: no such {kind} data; expected {bundled}a {', '.join(SUFFIXES)} file or hub:owner/name"
        )
    return read_table(path), path.name, {"origin": "file", "file": path.name, "sha256": file_sha256(path)}


def _columns(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    return set().union(*(row.keys() for row in rows[:1000]))


def _without(prompt: str, response: str) -> str:
    return response[len(prompt) :].strip() if response.startswith(prompt) else response


def _share(value: Any, number: int, column: str, name: str) -> float | None:
    """A label as a number from 0 to 1, or ``None`` where there is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = {"true": 1.0, "false": 0.0}.get(str(value).strip().lower(), math.inf)
    if math.isnan(share) or share == -1:
        return None
    if not 0 <= share <= 1:
        fail_at(name, number, column, f"expected a number from 0 to 1 (or −1: unlabelled); found {value!r}")
    return share
