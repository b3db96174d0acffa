"""IdeoINST (Chen and others 2024), from a local folder or from its public repository at a pinned commit.

Six topics of opinion questions, each with a left- and a right-leaning response; one reader serves both places. What is
downloaded is held against the checksums below, and so is the copy in the cache at every read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from polinb.data.rows import LEANINGS, Row, Words, checked, fail, fail_at, normalise, text_hash
from polinb.data.sources import file_sha256, read_table
from polinb.errors import DataError, ParameterError
from polinb.models.embedded import cache_root
from polinb.trouble import notice

REPOSITORY = "kaichen23/llm_ideo_manipulate"
REVISION = "dd078cb259cac74b475edfcc3201d69dbf34000d"
"""The commit of the public repository that holds the data files."""
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
SHA256 = {
    "crime_and_gun_left": "7fee1a6a70e4fbe5bbeb4903e9e3ed062ed484f1c039be2b66c429831594fd19",
    "crime_and_gun_right": "6b2d358d86b2e8c0ef47a87324635cbcd92984a24972ae9751d8efb73e349bb2",
    "economy_and_inequality_left": "aef5c1c19b28aa4cebf91c8718407a1e9e701297a358d08906217353afbf77bc",
    "economy_and_inequality_right": "7a94e37c4d9b1315ea13147863168ce4f562c34fd37e0572a799baf3e1178fba",
    "gender_and_sexuality_left": "6b150972c6fd1b1d98addc58d93f2b151f9eb7e79002c32d0c50b49eb323c0fb",
    "gender_and_sexuality_right": "7b1c91d439a63e5d9d5c83fe4d664450f83e555f6e4a421eadf35758e886aae9",
    "immigration_left": "38d2c9fec665eb4804751ca7020ef4e65d934e2b6fbeab8f56e0eba6896e16e5",
    "immigration_right": "4925be7019633bdc65657bfebe45aac6c0d157fa39a078d4906e5a8b7563dbae",
    "race_left": "eb5fc5097fb87e5733f814da4516f685aa4b4b287a5ae1b948337662ffa1eaec",
    "race_right": "a74e2e78a3044d258a659acd9c2d20fb839ee9f329a023d711c0efb0ef62b44d",
    "science_left": "677c4dcffdad92e0a77faf2c87f0795c316f4c2e8ff327a91e134c3b1f0c1b25",
    "science_right": "ada7d3a0c4f823a2424a8b454e711a20b8c8dfaea1b45870ac77f00bfb810309",
}
"""Checksums of the twelve files."""
RAW_BASE = "https://raw.githubusercontent.com"
WAITS = (1.0, 2.0)
"""Seconds before the second and the third attempt of a download."""
_ADVICE = (
    f"Without the network, take the folder {DATA_FOLDER} of github.com/{REPOSITORY} from elsewhere and "
    "give its path as the data; data = 'bundled' needs no download"
)


def file_path(topic: str, leaning: str) -> str:
    """Path of one file inside an IdeoINST folder."""
    folder = FOLDERS[topic]
    return f"{folder}/{leaning}/{folder}_{leaning}_eval.json"


_PATHS = {f"{FOLDERS[topic]}_{leaning}": file_path(topic, leaning) for topic in FOLDERS for leaning in LEANINGS}


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


def fetch(
    revision: str | None = None, cache_dir: Path | None = None, base: str = RAW_BASE
) -> tuple[Path, dict[str, Any]]:
    """Download IdeoINST, or verify the copy in the cache; its folder, and where it came from.

    A file that is no longer what was downloaded is reported, set aside under a new name and downloaded again.

    Args:
        revision: ``None`` or :data:`REVISION`, the one whose checksums are known.
        cache_dir: where downloads are kept; ``None``: polinb's cache folder.
        base: address of GitHub's raw files (tests use a local server).

    Raises:
        DataError: no network, a truncated or changed file, a full disk; says what to do.
        ParameterError: another revision.
    """
    if revision not in (None, "", REVISION):
        hint = "For another commit, download its folder and give the path as the data"
        raise ParameterError("data_revision", revision, f"{REVISION} (or nothing) for ideoinst", hint)
    folder = (cache_dir or cache_root()) / f"ideoinst-{REVISION[:12]}" / DATA_FOLDER
    try:
        for name, path in _PATHS.items():
            _ensure(folder / path, f"{base}/{REPOSITORY}/{REVISION}/{DATA_FOLDER}/{path}", SHA256[name])
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        why = "the disk is full" if full else error.strerror or str(error)
        raise DataError(f"the data cache {folder} cannot be used: {why}. {_ADVICE}") from error
    sums = {f"{DATA_FOLDER}/{path}": SHA256[name] for name, path in _PATHS.items()}
    origin = {"origin": f"https://github.com/{REPOSITORY}", "revision": REVISION, "licence": LICENCE, "sha256": sums}
    return folder, origin


def _ensure(file: Path, url: str, expected: str) -> None:
    """Have the file with this checksum in its place."""
    if file.is_file():
        if (found := file_sha256(file)) == expected:
            return
        aside = file.replace(file.with_name(f"{file.name}.damaged-{time.time_ns()}"))
        told = f"{file}: wrong checksum: expected SHA-256 {expected}, found {found}"
        notice(f"{told}; set aside as {aside.name}, downloading it again")
    content = _download(url, expected)
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=file.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(part).replace(file)
    finally:
        Path(part).unlink(missing_ok=True)


def _download(url: str, expected: str) -> bytes:
    """The content behind an address, tried again where that can help."""
    import httpx

    waits = (0.0, *WAITS)
    for attempt in range(1, len(waits) + 1):
        time.sleep(waits[attempt - 1])
        passing = True
        try:
            answer = httpx.get(url, timeout=30.0)
        except httpx.RemoteProtocolError as error:
            why = f"truncated download ({error})"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = f"cannot be reached ({type(error).__name__}: {error})"
        else:
            found = hashlib.sha256(answer.content).hexdigest()
            if answer.status_code == 200 and found == expected:
                return answer.content
            why = f"wrong checksum: expected SHA-256 {expected}, found {found}"
            if answer.status_code != 200:
                why = f"the server answered {answer.status_code}"
                passing = answer.status_code in {403, 429} or answer.status_code >= 500  # busy, or too many requests
        if not passing:
            break
    raise DataError(f"{url}: {why} (attempt {attempt} of {len(waits)}). {_ADVICE}")


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
    for path in _PATHS.values():
        if not (folder / path).is_file():
            fail(str(folder / path), "no such file; an IdeoINST folder has one for every topic and leaning")
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            fail(str(folder / path), "leads outside the data folder; put the file itself there")
    return {path: file_sha256(folder / path) for path in _PATHS.values()}


def read_folder(folder: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Checked rows of all twelve files, and how many responses of each topic and leaning carry which label.

    A row has ``id``, ``topic``, ``prompt``, ``left``, ``right``, ``left_agrees`` and ``right_agrees``. A
    label agrees when it names the leaning of the file it stands in; an unlabelled response does not agree.

    Raises:
        DataError: a missing or malformed file, prompts of left and right that differ, or responses that do not; names
            file, row and column.
    """
    rows: list[dict[str, Any]] = []
    labels: dict[str, dict[str, int]] = {}
    for topic in FOLDERS:
        files = {leaning: folder / file_path(topic, leaning) for leaning in LEANINGS}
        sides = {leaning: checked(read_table(file), IdeoRow, str(file))[0] for leaning, file in files.items()}
        name = str(files["right"])
        for number, (one, other) in enumerate(zip(*sides.values(), strict=False), start=1):
            if one.instruction != other.instruction:
                expected = f"the prompt of the left file's row {number}, {one.instruction[:60]!r}"
                fail_at(name, number, "instruction", f"expected {expected}, found {other.instruction[:60]!r}")
            if normalise(one.output) == normalise(other.output):
                fail_at(name, number, "output", "expected a response that differs from the left file's")
            rows.append(
                {
                    "id": f"{topic}-{text_hash(one.instruction)[:12]}",
                    "topic": topic,
                    "prompt": one.instruction,
                    "left": one.output,
                    "right": other.output,
                    "left_agrees": one.label == "left",
                    "right_agrees": other.label == "right",
                }
            )
        lengths = [len(side) for side in sides.values()]
        if lengths[0] != lengths[1]:
            fail_at(name, min(lengths) + 1, None, f"the left file has {lengths[0]} rows, this one {lengths[1]}")
        for leaning, side in sides.items():
            labels[f"{topic}/{leaning}"] = dict(sorted(Counter(row.label or "unlabelled" for row in side).items()))
    return rows, labels
