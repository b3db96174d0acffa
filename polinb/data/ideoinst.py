"""IdeoINST (Chen and others 2024), from a local folder or from its public repository at a pinned commit.

Six topics of opinion questions, each with a left- and a right-leaning response; one reader serves both
places.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from polinb.data.download import API_BASE, RAW_BASE, PinnedFiles
from polinb.data.rows import LEANINGS, TOPICS, fail, fail_at, normalise, require_columns, text_cell, text_hash
from polinb.data.sources import file_sha256, read_table
from polinb.errors import DataError
from polinb.models.embedded import cache_root

REPOSITORY = "kaichen23/llm_ideo_manipulate"
REVISION = "dd078cb259cac74b475edfcc3201d69dbf34000d"
"""A commit of the public repository that holds the data files."""
DATA_FOLDER = "data/IdeoINST"
LICENCE = "MIT"
FOLDERS = {
    "crime": "crime_and_gun",
    "race": "race",
    "economy": "economy_and_inequality",
    "immigration": "immigration",
    "gender": "gender_and_sexuality",
    "science": "science",
}
_ADVICE = (
    f"Without the network, take the folder {DATA_FOLDER} of github.com/{REPOSITORY} from elsewhere and "
    "give its path as the data; data = 'bundled' needs no download"
)


def file_path(topic: str, leaning: str) -> str:
    """Path of one file inside an IdeoINST folder."""
    folder = FOLDERS[topic]
    return f"{folder}/{leaning}/{folder}_{leaning}_eval.json"


def parse_label(text: object) -> str | None:
    """``left``, ``right`` or ``neutral``; ``None`` (unlabelled) for anything else, garbage included."""
    if not isinstance(text, str):
        return None
    words = normalise(text).replace("-", " ").rstrip(".")
    return {"left leaning": "left", "right leaning": "right", "neutral": "neutral"}.get(words)


def fetch(
    revision: str | None = None,
    cache_dir: Path | None = None,
    raw_base: str = RAW_BASE,
    api_base: str = API_BASE,
    **retry: Any,
) -> tuple[Path, dict[str, Any]]:
    """Download IdeoINST, or verify the copy in the cache; its folder, and where it came from.

    Args:
        revision: full commit hash; ``None``: :data:`REVISION`.
        cache_dir: where downloads are kept; ``None``: polinb's cache folder.
        raw_base, api_base: addresses of GitHub's two services (tests use a local server).
        retry: ``attempts``, ``wait`` and ``timeout`` of :class:`polinb.data.download.PinnedFiles`.

    Raises:
        DataError: no network, a truncated or changed file, a full disk; says what to do.
        ParameterError: the revision is not a commit hash.
    """
    revision = revision or REVISION
    paths = tuple(f"{DATA_FOLDER}/{file_path(topic, leaning)}" for topic in TOPICS for leaning in LEANINGS)
    root = (cache_dir or cache_root()) / f"ideoinst-{revision[:12]}"
    files = PinnedFiles(REPOSITORY, revision, paths, root, _ADVICE, raw_base, api_base, **retry)
    sums = files.ensure()
    origin = {
        "origin": f"https://github.com/{REPOSITORY}",
        "revision": revision,
        "licence": LICENCE,
        "sha256": sums,
    }
    return root / DATA_FOLDER, origin


def find_folder(folder: Path) -> Path:
    """The IdeoINST folder itself, also where ``folder`` is a clone of the whole repository around it.

    Raises:
        DataError: neither holds the topic folders.
    """
    for candidate in (folder, folder / DATA_FOLDER, folder / "IdeoINST"):
        if any((candidate / name).is_dir() for name in FOLDERS.values()):
            return candidate
    raise DataError(f"{folder}: not an IdeoINST folder; expected the folders {', '.join(FOLDERS.values())} in it")


def folder_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of the twelve files of a local folder.

    Raises:
        DataError: a file is missing, or is a link to somewhere outside the folder.
    """
    root = folder.resolve()
    sums = {}
    for topic in TOPICS:
        for leaning in LEANINGS:
            path = folder / file_path(topic, leaning)
            if not path.is_file():
                fail(
                    str(path),
                    "no such file; an IdeoINST folder has one for every topic and leaning",
                )
            if not path.resolve().is_relative_to(root):
                fail(str(path), "leads outside the data folder; put the file itself there")
            sums[file_path(topic, leaning)] = file_sha256(path)
    return sums


def read_folder(folder: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Checked rows of all twelve files, and how many responses of each topic and leaning carry which label.

    A row has ``id``, ``topic``, ``prompt``, ``left``, ``right``, ``left_agrees`` and ``right_agrees``. A
    label agrees when it names the leaning of the file it stands in; an unlabelled response does not agree.

    Raises:
        DataError: a missing or malformed file, or left and right prompts that differ; names file, row and
            column.
    """
    rows: list[dict[str, Any]] = []
    labels: dict[str, dict[str, int]] = {}
    for topic in TOPICS:
        left, right = (_read_side(folder, topic, leaning) for leaning in LEANINGS)
        name = str(folder / file_path(topic, "right"))
        for number, (one, other) in enumerate(zip(left, right, strict=False), start=1):
            if one["prompt"] != other["prompt"]:
                expected = f"the prompt of the left file's row {number}, {one['prompt'][:60]!r}"
                fail_at(name, number, "instruction", f"expected {expected}, found {other['prompt'][:60]!r}")
            rows.append(
                {
                    "id": f"{topic}-{text_hash(one['prompt'])[:12]}",
                    "topic": topic,
                    "prompt": one["prompt"],
                    "left": one["text"],
                    "right": other["text"],
                    "left_agrees": one["label"] == "left",
                    "right_agrees": other["label"] == "right",
                }
            )
        if len(left) != len(right):
            fail_at(
                name,
                min(len(left), len(right)) + 1,
                None,
                f"the left file has {len(left)} rows, this one {len(right)}",
            )
        for leaning, side in (("left", left), ("right", right)):
            labels[f"{topic}/{leaning}"] = dict(sorted(Counter(row["label"] or "unlabelled" for row in side).items()))
    return rows, labels


def _read_side(folder: Path, topic: str, leaning: str) -> list[dict[str, Any]]:
    path = folder / file_path(topic, leaning)
    name = str(path)
    rows = read_table(path, name)
    require_columns(rows, ("instruction", "output", "label"), name)
    return [
        {
            "prompt": text_cell(row, number, "instruction", name),
            "text": text_cell(row, number, "output", name),
            "label": parse_label(row.get("label")),
        }
        for number, row in enumerate(rows, start=1)
    ]
