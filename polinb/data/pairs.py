"""Prompts with their two reference responses, and their split by prompt."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from polinb.data.rows import LEANINGS, TOPICS, New, Row, Text, Topic, Words, normalise, own_id, text_hash, unlike
from polinb.errors import DataError, ParameterError

SPLITS = ("train", "localise", "evaluate")  # half of the prompts, a fifth, three tenths


class Pair(Row):
    """One prompt with its two reference responses.

    ``left_agrees`` and ``right_agrees`` say whether a judge's label of that response agrees with its side.
    IdeoINST has such labels; other data counts as agreeing.
    """

    topic: Topic
    prompt: Words
    left: Words
    right: Annotated[Words, unlike("left")]
    id: Annotated[Text, New] = own_id("topic", "prompt")
    left_agrees: bool = True
    right_agrees: bool = True

    def response(self, leaning: str) -> str:
        """The response of one side, ``left`` or ``right``."""
        if leaning not in LEANINGS:
            raise ParameterError("leaning", leaning, ", ".join(LEANINGS))
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

    Order and split depend on the prompt's own text only: rows added elsewhere never move it, and a smaller ``limit``
    always gives the beginning of a larger one.

    Raises:
        ParameterError: unknown split, or a limit below 1.
    """
    if split not in (None, *SPLITS):
        raise ParameterError("split", split, ", ".join(SPLITS))
    if limit is not None and limit < 1:
        raise ParameterError("limit", limit, "a whole number of at least 1")
    chosen = [item for item in prompted if split in (None, split_of(item.prompt))]
    return sorted(chosen, key=lambda item: text_hash(item.prompt))[:limit]


@dataclass(frozen=True)
class StanceData:
    """A stance set: every prompt occurs once, in one topic.

    ``source`` tells where it came from and what was dropped; it is not part of the content.
    """

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

        Args:
            split: ``train``, ``localise`` or ``evaluate``; ``None``: all three.
            limit: at most so many prompts (fewer where there are fewer); ``None``: all.
            leaning: whose response is going to be used: ``left``, ``right`` or ``both``. With the label filter
                ``agree``, prompts whose response of that side carries another label are left out. ``None``:
                only prompts are used, no label counts.

        Raises:
            ParameterError: unknown split or leaning, or a limit below 1.
            DataError: nothing is left, or there is no such topic.
        """
        if leaning not in (None, *LEANINGS, "both"):
            raise ParameterError("leaning", leaning, "left, right, both, or nothing")
        sides = LEANINGS if leaning == "both" else filter(None, [leaning])
        agree = [f"{side}_agrees" for side in sides if self.label_filter == "agree"]
        own = (pair for pair in self.pairs if pair.topic == topic and all(getattr(pair, each) for each in agree))
        chosen = first(own, split, limit)
        if not chosen:
            raise DataError(
                f"data {self.name!r} holds no prompts for topic {topic!r}, split {split or 'any'!r}, "
                f"leaning {leaning or 'any'!r}; topics with prompts: {', '.join(self.topics)}"
            )
        return chosen

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of prompts by topic and split."""
        found = Counter((pair.topic, split_of(pair.prompt)) for pair in self.pairs)
        return {topic: {split: found[topic, split] for split in SPLITS} for topic in self.topics}
