"""Loading stance data and statements from wherever they are: the public face of polinb's data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from polinb.data import ideoinst
from polinb.data.hub import read_hub
from polinb.data.pairs import FRACTIONS, SPLITS, Pair, StanceData, split_of
from polinb.data.prompts import answer_prompt, statement_prompt
from polinb.data.rows import LEANINGS, TOPICS, normalise, stance_rows
from polinb.data.sources import SUFFIXES, check_path, file_sha256, read_table
from polinb.data.statements import Statement, StatementSet, load_statements
from polinb.errors import DataError, ParameterError

__all__ = [
    "FRACTIONS",
    "LEANINGS",
    "SPLITS",
    "TOPICS",
    "Pair",
    "StanceData",
    "Statement",
    "StatementSet",
    "answer_prompt",
    "load_data",
    "load_statements",
    "split_of",
    "statement_prompt",
]


def load_data(
    name_or_path: str,
    *,
    label_filter: str = "none",
    revision: str | None = None,
    cache_dir: str | Path | None = None,
) -> StanceData:
    """Load stance data by name or from a place of the user's.

    ``bundled``; ``ideoinst`` (downloaded once); a folder in IdeoINST's layout; a CSV, JSON, JSONL or Parquet
    file with the columns ``topic``, ``prompt``, ``left``, ``right`` and optionally ``id``; or
    ``hub:owner/name`` with the same columns.

    Prompts that occur in two topics are dropped altogether, repeated prompts inside a topic after the first;
    ``source`` counts both.

    Args:
        label_filter: ``none``, or ``agree`` (see :meth:`StanceData.topic`).
        revision: commit of ``ideoinst`` or of a hub data set.
        cache_dir: where downloads are kept; ``None``: the usual cache folders.

    Raises:
        DataError: missing, malformed, changed or unreachable data; names file, row and column.
        ParameterError: a label filter or revision that is not allowed.
    """
    if label_filter not in ("none", "agree"):
        raise ParameterError("label_filter", label_filter, "none, agree")
    given = str(name_or_path)
    downloads = Path(cache_dir) if cache_dir else None
    if revision and given != "ideoinst" and not given.startswith("hub:"):
        raise ParameterError("revision", revision, "nothing here", "Only ideoinst and hub: data have revisions")
    source: dict[str, Any]
    if given == "bundled":
        name, rows, source = "bundled", *_bundled()
    elif given == "ideoinst":
        folder, source = ideoinst.fetch(revision, downloads)
        name, (rows, labels) = "ideoinst", ideoinst.read_folder(folder)
        source |= {"labels": labels}
    elif given.startswith("hub:"):
        hub_id = given.removeprefix("hub:")
        table, commit = read_hub(hub_id, revision, downloads)
        name, rows = hub_id, stance_rows(table, given)
        source = {"origin": f"https://huggingface.co/datasets/{hub_id}", "revision": commit}
    else:
        name, rows, source = _local(Path(given))
    return _clean(name, rows, source, label_filter)


def _local(path: Path) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    check_path(path)
    if path.is_dir():
        folder = ideoinst.find_folder(path)
        sums = ideoinst.folder_sums(folder)
        rows, labels = ideoinst.read_folder(folder)
        return "ideoinst", rows, {"origin": "local IdeoINST folder", "sha256": sums, "labels": labels}
    if not path.exists() and path.suffix.lower() not in SUFFIXES:
        files = ", ".join(SUFFIXES)
        raise DataError(
            f"{path}: no such data; expected bundled, ideoinst, an IdeoINST folder, a {files} file or hub:owner/name"
        )
    rows = stance_rows(read_table(path), str(path))
    return path.stem, rows, {"origin": "file", "file": path.name, "sha256": file_sha256(path)}


@cache
def _bundled_rows() -> tuple[tuple[dict[str, Any], ...], dict[str, str]]:
    rows: list[dict[str, Any]] = []
    sums = {}
    for topic in TOPICS:
        with resources.as_file(resources.files("polinb") / "resources" / "opinions" / f"{topic}.jsonl") as path:
            table = read_table(path, f"bundled opinions/{topic}.jsonl")
            sums[f"{topic}.jsonl"] = file_sha256(path)
        rows += stance_rows([row | {"topic": topic} for row in table], f"bundled opinions/{topic}.jsonl")
    return tuple(rows), sums


def _bundled() -> tuple[Iterable[dict[str, Any]], dict[str, Any]]:
    rows, sums = _bundled_rows()
    return rows, {"origin": "bundled with polinb", "licence": "CC BY 4.0", "sha256": dict(sums)}


def _clean(name: str, rows: Iterable[Mapping[str, Any]], source: dict[str, Any], label_filter: str) -> StanceData:
    """Drop prompts of two topics and repeated prompts, and say how many."""
    rows = list(rows)
    topics_of: dict[str, set[str]] = {}
    for row in rows:
        topics_of.setdefault(normalise(row["prompt"]), set()).add(row["topic"])
    dropped: Counter[str] = Counter()
    kept: dict[str, Pair] = {}
    for row in rows:
        key = normalise(row["prompt"])
        if len(topics_of[key]) > 1:
            dropped["rows_of_prompts_in_two_topics"] += 1
        elif key in kept:
            dropped["repeated_prompts_in_a_topic"] += 1
        else:
            kept[key] = Pair(**row)
    shared = sum(len(topics) > 1 for topics in topics_of.values())
    counts = {
        "prompts_in_two_topics": shared,
        "rows_of_prompts_in_two_topics": dropped["rows_of_prompts_in_two_topics"],
        "repeated_prompts_in_a_topic": dropped["repeated_prompts_in_a_topic"],
    }
    source = source | {"rows": len(rows), "kept": len(kept), "dropped": counts, "label_filter": label_filter}
    return StanceData(name, tuple(kept.values()), source, label_filter)
