"""Loading stance data from wherever they are: the public face of polinb's data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from polinb.data.ideoinst import read_ideoinst
from polinb.data.pairs import Pair, StanceData
from polinb.data.reading import read
from polinb.data.rows import StanceRow, fail, normalise
from polinb.data.sources import place
from polinb.errors import ParameterError

BUNDLED = {"bundled": "opinions/pairs.jsonl", "preferences": "preferences/pairs.jsonl"}
"""The paper's six topics; and calm (left) or lively (right) on three without politics: topics are the data's."""


def load_data(
    name_or_path: str,
    *,
    label_filter: str = "none",
    revision: str | None = None,
    cache_dir: str | Path | None = None,
) -> StanceData:
    """Load stance data by name or from a place of the user's.

    ``bundled``; ``preferences``; ``ideoinst`` (downloaded once); a folder in IdeoINST's layout; or a place that
    :func:`polinb.data.reading.read` knows, with the columns ``topic``, ``prompt``, ``left``, ``right`` and optionally
    ``id``.

    The topics are the data's: the paper's six, under their names or titles, or any others
    (:func:`polinb.data.rows.topic_of`). Prompts that occur in two topics are dropped altogether, repeated prompts
    inside a topic after the first; ``source`` counts both.

    Args:
        label_filter: ``none``, or ``agree`` (see :meth:`StanceData.topic`).
        revision: commit of a hub data set (of ``ideoinst``: the pinned one or nothing).
        cache_dir: where downloads are kept; ``None``: the usual cache folders.

    Raises:
        DataError: missing, malformed, changed or unreachable data, or a topic without a prompt of its own; names file,
            row and column.
        ParameterError: a label filter or revision that is not allowed.
    """
    if label_filter not in ("none", "agree"):
        raise ParameterError("label_filter", label_filter, "none, agree")
    given = str(name_or_path)
    downloads = Path(cache_dir) if cache_dir else None
    if revision and given != "ideoinst" and not given.startswith("hub:"):
        raise ParameterError("revision", revision, "nothing here", "Only ideoinst and hub: data have revisions")
    if given == "ideoinst" or (not given.startswith("hub:") and place(given).is_dir()):
        name, (rows, source) = "ideoinst", read_ideoinst(given, revision, downloads)
    else:
        also = "ideoinst, an IdeoINST folder, "
        found, name, source = read(given, StanceRow, BUNDLED, revision=revision, cache=downloads, also=also)
        _no_slip([row.topic for row in found], given)
        rows = [dict(row.named(row.topic, row.prompt)) for row in found]
    return _clean(name, rows, source, label_filter, given)


def _no_slip(topics: Sequence[str], given: str) -> None:
    """Refuse a topic that is rare and written almost like a common one."""
    sizes = Counter(topics)
    for topic, size in sizes.items():
        common = [each for each, more in sizes.items() if more > 10 * size]
        for near in get_close_matches(topic, common, n=1, cutoff=0.8):
            what = f"{size} prompts have the topic {topic!r} and {sizes[near]} the topic {near!r}"
            fail(given, f"{what}: a slip? Write both alike, or remove the few")


def _clean(
    name: str, rows: Sequence[Mapping[str, Any]], source: dict[str, Any], label_filter: str, given: str
) -> StanceData:
    """Drop prompts of two topics and repeated prompts, and say how many."""
    topics_of: dict[str, set[str]] = {}
    for row in rows:
        topics_of.setdefault(normalise(row["prompt"]), set()).add(row["topic"])
    kept: dict[str, Pair] = {}
    own = 0
    for row in rows:
        key = normalise(row["prompt"])
        if len(topics_of[key]) == 1:
            own += 1
            kept.setdefault(key, Pair(**row))
    bare = {row["topic"] for row in rows} - {pair.topic for pair in kept.values()}
    if bare:
        topic = min(bare)
        others = f"all its {sum(row['topic'] == topic for row in rows)} prompts occur under other topics too"
        fail(given, f"nothing is left of the topic {topic!r}: {others}. Name the topic in each prompt, or leave it out")
    counts = {
        "prompts_in_two_topics": sum(len(topics) > 1 for topics in topics_of.values()),
        "rows_of_prompts_in_two_topics": len(rows) - own,
        "repeated_prompts_in_a_topic": own - len(kept),
    }
    source = source | {"rows": len(rows), "kept": len(kept), "dropped": counts, "label_filter": label_filter}
    return StanceData(name, tuple(kept.values()), source, label_filter)
