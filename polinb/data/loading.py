"""Stance data and lists of statements from wherever they are, and the split of prompts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator

from polinb.data.ideoinst import REVISION, read_ideoinst
from polinb.data.reading import place, read
from polinb.data.rows import TOPICS, New, Row, Text, Topic, Words, columns, fail, normalise, own_id, text_hash, unlike
from polinb.errors import DataError, ParameterError

SPLITS = ("train", "localise", "evaluate")  # half of the prompts, a fifth, three tenths


class Pair(Row):
    """One prompt with its two reference responses, and whether IdeoINST's label of each (if any) names its side."""

    topic: Topic
    prompt: Words
    left: Words
    right: Annotated[Words, unlike("left")]
    id: Annotated[Text, New] = own_id("topic", "prompt")
    left_agrees: bool = True
    right_agrees: bool = True

    def response(self, leaning: str) -> str:
        """The response of one side, ``left`` or ``right``."""
        return self.left if leaning == "left" else self.right


P = TypeVar("P", bound=Any)


def distinct(prompted: Iterable[P]) -> tuple[P, ...]:
    """Items with a ``prompt``, the first of each."""
    kept: dict[str, P] = {}
    for item in prompted:
        kept.setdefault(normalise(item.prompt), item)
    return tuple(kept.values())


def split_of(prompt: str) -> str:
    """The split a prompt belongs to: from the SHA-256 of its normal form alone, so no other row can move it."""
    place = int(text_hash(prompt)[:13], 16) / 16**13  # 52 bits: exact in a float, in [0, 1)
    return SPLITS[0] if place < 0.5 else SPLITS[1] if place < 0.5 + 0.2 else SPLITS[2]


def first(prompted: Iterable[P], split: str | None, limit: int | None) -> list[P]:
    """Items with a ``prompt`` of one split (``None``: all), ordered by the hash of their prompt; at most ``limit``.

    Rows added elsewhere so never move one, and a smaller ``limit`` gives the beginning of a larger one. A
    ParameterError tells an unknown split or a limit below 1.
    """
    if split not in (None, *SPLITS):
        raise ParameterError("split", split, ", ".join(SPLITS))
    if limit is not None and limit < 1:
        raise ParameterError("limit", limit, "a whole number of at least 1")
    chosen = [item for item in prompted if split in (None, split_of(item.prompt))]
    return sorted(chosen, key=lambda item: text_hash(item.prompt))[:limit]


@dataclass(frozen=True)
class StanceData:
    """A stance set: every prompt once, in one topic; ``source`` (origin, what was dropped) is not its content."""

    name: str
    pairs: tuple[Pair, ...]
    source: dict[str, Any] = field(default_factory=dict, compare=False)
    label_filter: str = "none"

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that hold prompts: the usual ones in their order, then others by name."""
        present = {pair.topic for pair in self.pairs}
        return (*(topic for topic in TOPICS if topic in present), *sorted(present - set(TOPICS)))

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the content and the label filter; the order of the rows does not change it."""
        rows = [(p.id, p.topic, p.prompt, p.left, p.right, p.left_agrees, p.right_agrees) for p in self.pairs]
        return hashlib.sha256("\n".join([self.label_filter, *sorted(map(json.dumps, rows))]).encode()).hexdigest()

    def topic(
        self, topic: str, split: str | None = None, limit: int | None = None, leaning: str | None = None
    ) -> list[Pair]:
        """Prompts of one topic, in the order of :func:`first`.

        Under the label filter ``agree``, prompts whose response of the side ``leaning`` (``left``, ``right`` or
        ``both``), which is going to be used, carries another label are left out; ``None``: no label counts.

        Raises:
            ParameterError: unknown split or leaning, or a limit below 1.
            DataError: nothing is left, or there is no such topic.
        """
        if leaning not in (None, "left", "right", "both"):
            raise ParameterError("leaning", leaning, "left, right, both, or nothing")
        sides = [side for side in ("left", "right") if leaning in (side, "both") and self.label_filter == "agree"]
        own = (p for p in self.pairs if p.topic == topic and all(getattr(p, f"{side}_agrees") for side in sides))
        chosen = first(own, split, limit)
        if not chosen:
            asked = f"topic {topic!r}, split {split or 'any'!r}, leaning {leaning or 'any'!r}"
            held = ", ".join(self.topics)
            raise DataError(f"data {self.name!r} holds no prompts for {asked}; topics with prompts: {held}")
        return chosen

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of prompts by topic and split."""
        found = Counter((pair.topic, split_of(pair.prompt)) for pair in self.pairs)
        return {topic: {split: found[topic, split] for split in SPLITS} for topic in self.topics}


BUNDLED = {"bundled": "opinions/pairs.jsonl", "preferences": "preferences/pairs.jsonl"}
"""The paper's six topics; and calm (left) or lively (right) on three without politics: topics are the data's."""


def load_data(name_or_path: str, *, label_filter: str = "none", revision: str | None = None) -> StanceData:
    """Load stance data: ``bundled``, ``preferences``, ``ideoinst`` (downloaded once), or from a place of the user's.

    A place is a folder in IdeoINST's layout, or one that :func:`polinb.data.reading.read` knows, with the columns of
    :class:`Pair`. Prompts that occur in two topics are dropped altogether, repeated prompts inside a topic after the
    first; ``source`` counts both.

    Args:
        label_filter: ``none``, or ``agree`` (see :meth:`StanceData.topic`).
        revision: commit of a hub data set (of ``ideoinst``: the pinned one or nothing).

    Raises:
        DataError: missing, malformed, changed or unreachable data, a topic without a prompt of its own, or one that is
            rare and written almost like a common one; names file, row and column.
        ParameterError: a label filter or revision that is not allowed.
    """
    if label_filter not in ("none", "agree"):
        raise ParameterError("label_filter", label_filter, "none, agree")
    given = str(name_or_path)
    if revision and given.startswith("hub:"):
        given += f"@{revision}"
    elif revision and (given, revision) != ("ideoinst", REVISION):
        hint = "Only hub: data have other revisions; of IdeoINST, download the folder and give the path as the data"
        raise ParameterError("data_revision", revision, f"nothing, or for ideoinst {REVISION}", hint)
    if given == "ideoinst" or place(given).is_dir():
        name, (found, source) = "ideoinst", read_ideoinst(given, Pair)
    else:
        found, name, source = read(given, Pair, BUNDLED, "ideoinst, an IdeoINST folder, ")
        sizes = Counter(pair.topic for pair in found)
        for topic, size in sizes.items():
            common = [each for each, more in sizes.items() if more > 10 * size]
            for near in get_close_matches(topic, common, n=1, cutoff=0.8):
                what = f"{size} prompts have the topic {topic!r} and {sizes[near]} the topic {near!r}"
                fail(given, f"{what}: a slip? Write both alike, or remove the few")
    topics = Counter(prompt for prompt, _ in {(normalise(pair.prompt), pair.topic) for pair in found})
    own = [pair for pair in found if topics[normalise(pair.prompt)] == 1]
    kept = distinct(own)
    for topic in sorted({pair.topic for pair in found} - {pair.topic for pair in kept}):
        told = f"nothing is left of the topic {topic!r}: all its prompts occur under other topics too"
        fail(given, f"{told}. Name the topic in each prompt, or leave it out")
    dropped = {
        "prompts_in_two_topics": sum(count > 1 for count in topics.values()),
        "rows_of_prompts_in_two_topics": len(found) - len(own),
        "repeated_prompts_in_a_topic": len(own) - len(kept),
    }
    source |= {"rows": len(found), "kept": len(kept), "dropped": dropped, "label_filter": label_filter}
    return StanceData(name, kept, source, label_filter)


BUNDLED_STATEMENTS = {
    "compass": "Compass statements (polinb's own wording, in the manner of the Political Compass)",
    "ideologies": "Ideology statements (polinb's own wording, in the manner of the IDRlabs ideologies test)",
    "compass-mirror": "Compass statements turned round: each says the contrary of the one with its id",
    "ideologies-mirror": "Ideology statements turned round: each says the contrary of the one with its id",
}
MIRROR = "-mirror"  # what the name of a set of contraries ends with


class Statement(Row):
    """One statement, the leaning that agreement expresses, and its axis or school of thought where a file gives one."""

    text: Annotated[Words, New] = columns("statement", "text")
    direction: Annotated[Literal["left", "right", "none"], BeforeValidator(lambda cell: normalise(str(cell)))] = "none"
    group: Annotated[str, BeforeValidator(str)] = columns("axis", "ideology", "group", default="")
    id: Annotated[Text, New] = own_id("statement", "text")


class StatementSet(NamedTuple):
    """A statement list in file order."""

    name: str
    title: str
    statements: tuple[Statement, ...]


def load_statements(name_or_path: str) -> StatementSet:
    """One of :data:`BUNDLED_STATEMENTS`, or a list with the columns of :class:`Statement`; else a DataError."""
    given, bundled = str(name_or_path), {name: f"statements/{name}.jsonl" for name in BUNDLED_STATEMENTS}
    rows, name, _ = read(given, Statement, bundled)
    return StatementSet(name, BUNDLED_STATEMENTS.get(given, name), tuple(rows))
