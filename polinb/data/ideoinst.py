"""IdeoINST (Chen and others 2024), from a local folder or from its public repository at a pinned commit.

Six topics of opinion questions, each with a left- and a right-leaning response; one reader serves both places. What is
downloaded is held against committed checksums, and so is the copy in the cache at every read.
"""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from polinb.data.rows import LEANINGS, Row, Words, checked, fail, fail_at, normalise, text_hash
from polinb.data.sources import file_sha256, first_line, place, read_table
from polinb.errors import DataError, ParameterError
from polinb.models.embedded import cache_root

REPOSITORY = "kaichen23/llm_ideo_manipulate"
REVISION = "dd078cb259cac74b475edfcc3201d69dbf34000d"
"""The commit of the public repository that holds the data files."""
DATA_FOLDER = "data/IdeoINST"
LICENCE = "MIT"
BASE_URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{REVISION}/{DATA_FOLDER}/"
FOLDERS = {
    "crime": "crime_and_gun",
    "race": "race",
    "economy": "economy_and_inequality",
    "immigration": "immigration",
    "gender": "gender_and_sexuality",
    "science": "science",
}
_LISTED = (resources.files("polinb") / "resources/ideoinst/registry.txt").read_text("utf-8")
REGISTRY = dict(line.split() for line in _LISTED.splitlines())
"""The twelve files of that commit, and their checksums."""


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


class IdeoRow(Row):
    """A response of one side with a judge's label."""

    once = ()

    instruction: Words
    output: Words
    label: Annotated[str | None, BeforeValidator(parse_label)] = None


def read_ideoinst(
    given: str, revision: str | None = None, cache: Path | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of IdeoINST in the form of stance data, and where they came from.

    Args:
        given: ``ideoinst``, or a folder: that of the data, or a clone of the whole repository around it.
        revision, cache: see :func:`fetch`.

    Returns:
        The rows, and their source: origin, checksums, and how many responses of each topic and leaning carry which
        label. A label agrees when it names the leaning of the file it stands in; an unlabelled response does not.

    Raises:
        DataError: as :func:`fetch`; a missing or malformed file, prompts of left and right that differ, or responses
            that do not; names file, row and column.
    """
    if given == "ideoinst":
        folder = fetch(revision, cache)
        source = {"origin": f"https://github.com/{REPOSITORY}", "revision": REVISION, "licence": LICENCE}
    else:
        folder, source = _folder(place(given)), {"origin": "local IdeoINST folder"}
    for path in REGISTRY:
        if not (folder / path).is_file():
            fail(str(folder / path), "no such file; an IdeoINST folder has one for every topic and leaning")
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            fail(str(folder / path), "leads outside the data folder; put the file itself there")
    rows: list[dict[str, Any]] = []
    labels: dict[str, dict[str, int]] = {}
    for topic in FOLDERS:
        files = {leaning: folder / file_path(topic, leaning) for leaning in LEANINGS}
        sides = {leaning: checked(read_table(file), IdeoRow, str(file))[0] for leaning, file in files.items()}
        rows += _paired(topic, sides["left"], sides["right"], str(files["right"]))
        for leaning, side in sides.items():
            labels[f"{topic}/{leaning}"] = dict(sorted(Counter(row.label or "unlabelled" for row in side).items()))
    return rows, source | {"sha256": {path: file_sha256(folder / path) for path in REGISTRY}, "labels": labels}


def fetch(revision: str | None = None, cache: Path | None = None) -> Path:
    """The folder of IdeoINST, downloaded or out of the cache; a file that has changed there is downloaded again.

    Args:
        revision: ``None`` or :data:`REVISION`, the one whose checksums are known.
        cache: where downloads are kept; ``None``: polinb's cache folder.

    Raises:
        DataError: no network, a truncated or changed file, a full disk; says what to do.
        ParameterError: another revision.
    """
    if revision not in (None, "", REVISION):
        hint = "For another commit, download its folder and give the path as the data"
        raise ParameterError("data_revision", revision, f"{REVISION} (or nothing) for ideoinst", hint)
    import pooch

    pooch.get_logger().setLevel("WARNING")
    folder = (cache or cache_root()) / f"ideoinst-{REVISION[:12]}" / DATA_FOLDER
    files = pooch.create(folder, BASE_URL, registry=REGISTRY, retry_if_failed=2)
    for name in REGISTRY:
        try:
            files.fetch(name)
        except (OSError, ValueError) as error:  # those of requests are OSErrors; a wrong checksum is a ValueError
            raise DataError(
                f"{files.get_url(name)}: cannot be downloaded ({first_line(error)}). Without the network, take the "
                f"folder {DATA_FOLDER} of github.com/{REPOSITORY} from elsewhere and give its path as the data; "
                "data = 'bundled' needs no download"
            ) from error
    return folder


def _folder(given: Path) -> Path:
    for candidate in (given, given / DATA_FOLDER, given / "IdeoINST"):
        if any((candidate / name).is_dir() for name in FOLDERS.values()):
            return candidate
    raise DataError(f"{given}: not an IdeoINST folder; expected the folders {', '.join(FOLDERS.values())} in it")


def _paired(topic: str, left: list[IdeoRow], right: list[IdeoRow], name: str) -> list[dict[str, Any]]:
    """Rows with both responses; ``name`` is the file of the right ones."""
    rows = []
    for number, (one, other) in enumerate(zip(left, right, strict=False), start=1):
        if one.instruction != other.instruction:
            expected = f"the prompt of the left file's row {number}, {one.instruction[:60]!r}"
            fail_at(name, number, "instruction", f"expected {expected}, found {other.instruction[:60]!r}")
        if normalise(one.output) == normalise(other.output):
            fail_at(name, number, "output", "expected a response that differs from the left file's")
        row = {"id": f"{topic}-{text_hash(one.instruction)[:12]}", "topic": topic, "prompt": one.instruction}
        sides = {"left": one.output, "right": other.output}
        rows.append(row | sides | {"left_agrees": one.label == "left", "right_agrees": other.label == "right"})
    if len(left) != len(right):
        told = f"the left file has {len(left)} rows, this one {len(right)}"
        fail_at(name, min(len(left), len(right)) + 1, None, told)
    return rows
