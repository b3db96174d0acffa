"""Loading stance data and lists of statements from wherever they are: the public face of polinb's data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator

from polinb.data.ideoinst import REVISION, read_ideoinst
from polinb.data.pairs import Pair, StanceData, distinct
from polinb.data.reading import place, read
from polinb.data.rows import Name, New, Row, Text, Words, columns, fail, normalise, own_id
from polinb.errors import ParameterError

BUNDLED = {"bundled": "opinions/pairs.jsonl", "preferences": "preferences/pairs.jsonl"}
"""The paper's six topics; and calm (left) or lively (right) on three without politics: topics are the data's."""


def load_data(name_or_path: str, *, label_filter: str = "none", revision: str | None = None) -> StanceData:
    """Load stance data by name or from a place of the user's.

    ``bundled``; ``preferences``; ``ideoinst`` (downloaded once); a folder in IdeoINST's layout; or a place that
    :func:`polinb.data.reading.read` knows, with the columns ``topic``, ``prompt``, ``left``, ``right`` and optionally
    ``id``, ``left_agrees`` and ``right_agrees``.

    The topics are the data's: the paper's six, under their names or titles, or any others
    (:func:`polinb.data.rows.topic_of`). Prompts that occur in two topics are dropped altogether, repeated prompts
    inside a topic after the first; ``source`` counts both.

    Args:
        label_filter: ``none``, or ``agree`` (see :meth:`StanceData.topic`).
        revision: commit of a hub data set (of ``ideoinst``: the pinned one or nothing).

    Raises:
        DataError: missing, malformed, changed or unreachable data, or a topic without a prompt of its own; names file,
            row and column.
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
    if given == "ideoinst" or (not given.startswith("hub:") and place(given).is_dir()):
        name, (found, source) = "ideoinst", read_ideoinst(given)
    else:
        found, name, source = read(given, Pair, BUNDLED, "ideoinst, an IdeoINST folder, ")
        _no_slip(found, given)
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


def _no_slip(pairs: Sequence[Pair], given: str) -> None:
    """Refuse a topic that is rare and written almost like a common one."""
    sizes = Counter(pair.topic for pair in pairs)
    for topic, size in sizes.items():
        common = [each for each, more in sizes.items() if more > 10 * size]
        for near in get_close_matches(topic, common, n=1, cutoff=0.8):
            what = f"{size} prompts have the topic {topic!r} and {sizes[near]} the topic {near!r}"
            fail(given, f"{what}: a slip? Write both alike, or remove the few")


# --- statements

BUNDLED_STATEMENTS = {
    "compass": "Compass statements (polinb's own wording, in the manner of the Political Compass)",
    "ideologies": "Ideology statements (polinb's own wording, in the manner of the IDRlabs ideologies test)",
    "compass-mirror": "Compass statements turned round: each says the contrary of the one with its id",
    "ideologies-mirror": "Ideology statements turned round: each says the contrary of the one with its id",
}
MIRROR = "-mirror"
"""What the name of a set of contraries ends with."""


class Statement(Row):
    """One statement, the leaning that agreement expresses, and its axis or school of thought where a file gives one."""

    text: Annotated[Words, New] = columns("statement", "text")
    direction: Annotated[Literal["left", "right", "none"], BeforeValidator(lambda cell: normalise(str(cell)))] = "none"
    group: Name = columns("axis", "ideology", "group", default="")
    id: Annotated[Text, New] = own_id("statement", "text")


class StatementSet(NamedTuple):
    """A statement list in file order."""

    name: str
    title: str
    statements: tuple[Statement, ...]


def load_statements(name_or_path: str) -> StatementSet:
    """Load a list of :data:`BUNDLED_STATEMENTS`, or one with the columns of :class:`Statement` from anywhere.

    Raises:
        DataError: missing or malformed data, or the same statement twice; names file, row and column.
    """
    given, bundled = str(name_or_path), {name: f"statements/{name}.jsonl" for name in BUNDLED_STATEMENTS}
    rows, name, _ = read(given, Statement, bundled)
    return StatementSet(name, BUNDLED_STATEMENTS.get(given, name), tuple(rows))
