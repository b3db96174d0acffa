"""IdeoINST (Chen and others 2024), from a local folder or from its public repository at a pinned commit.

Six topics of opinion questions, each with a left- and a right-leaning response; one reader serves both places. What is
downloaded is held against committed checksums, and so is the copy in the cache at every read.
"""

from __future__ import annotations

from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any

from polinb.data.pairs import Pair
from polinb.data.reading import file_sha256, place, read_table
from polinb.data.rows import LEANINGS, checked, fail, normalise, topic_of
from polinb.errors import DataError, first_line
from polinb.models.embedded import cache_root

REPOSITORY = "kaichen23/llm_ideo_manipulate"
REVISION = "dd078cb259cac74b475edfcc3201d69dbf34000d"
"""The commit of the public repository that holds the data files."""
DATA_FOLDER = "data/IdeoINST"
BASE_URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{REVISION}/{DATA_FOLDER}/"
_LISTED = (resources.files("polinb") / "resources/ideoinst/registry.txt").read_text("utf-8")
REGISTRY = dict(line.split() for line in _LISTED.splitlines())
"""The twelve files of that commit, such as ``race/left/race_left_eval.json``, and their checksums."""


def names_side(label: object, side: str) -> bool:
    """Whether a label says ``left leaning`` or ``right leaning``; neutral, garbage and nothing do not."""
    return normalise(str(label)).replace("-", " ").rstrip(".") == f"{side} leaning"


def read_ideoinst(given: str) -> tuple[list[Pair], dict[str, Any]]:
    """The pairs of IdeoINST, and where they came from.

    Args:
        given: ``ideoinst``, or a folder: that of the data, or a clone of the whole repository around it.

    Returns:
        The pairs, and their source: origin and checksums. A response agrees with its side when its label names the
        leaning of the file it stands in.

    Raises:
        DataError: as :func:`fetch`; a missing or malformed file, prompts of left and right that differ, or responses
            that do not; names file or folder, row and column.
    """
    if given == "ideoinst":
        folder = fetch()
        source: dict[str, Any] = {"origin": f"https://github.com/{REPOSITORY}", "revision": REVISION, "licence": "MIT"}
    else:
        folder, source = _folder(place(given)), {"origin": "local IdeoINST folder"}
    for path in REGISTRY:
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            fail(str(folder / path), "leads outside the data folder; put the file itself there")
    pairs: list[Pair] = []
    for name in dict.fromkeys(path.split("/")[0] for path in REGISTRY):
        tables = [read_table(folder / name / side / f"{name}_{side}_eval.json") for side in LEANINGS]
        rows: list[dict[str, Any]] = []
        for number, sides in enumerate(zip_longest(*tables, fillvalue={}), start=1):
            asked = [cells.get("instruction") for cells in sides]
            if asked[0] != asked[1]:
                told = f"expected the same prompt in both files, found {asked[0]!r:.60} and {asked[1]!r:.60}"
                fail(str(folder / name), told, number, "instruction")
            rows.append({"topic": topic_of(name), "prompt": asked[0]})
            for side, cells in zip(LEANINGS, sides, strict=True):
                rows[-1] |= {side: cells.get("output"), f"{side}_agrees": names_side(cells.get("label"), side)}
        pairs += checked(rows, Pair, str(folder / name))[0]
    return pairs, source | {"sha256": {path: file_sha256(folder / path) for path in REGISTRY}}


def fetch() -> Path:
    """The folder of IdeoINST, downloaded or out of the cache; a file that has changed there is downloaded again.

    Raises:
        DataError: no network, a truncated or changed file, a full disk; says what to do.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    folder = cache_root() / f"ideoinst-{REVISION[:12]}" / DATA_FOLDER
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
    names = sorted({path.split("/")[0] for path in REGISTRY})
    for candidate in (given, given / DATA_FOLDER, given / "IdeoINST"):
        if any((candidate / name).is_dir() for name in names):
            return candidate
    raise DataError(f"{given}: not an IdeoINST folder; expected the folders {', '.join(names)} in it")
