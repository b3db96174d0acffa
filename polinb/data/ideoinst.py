"""IdeoINST (Chen and others 2024), from a local folder or from its public repository at a pinned commit.

Six topics of opinion questions, each with a left- and a right-leaning response. What is downloaded is held against
committed checksums, and so is the copy in the cache at every read.
"""

from __future__ import annotations

from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any

from polinb.data.reading import place, read_table
from polinb.data.rows import LEANINGS, R, checked, fail, normalise
from polinb.errors import DataError, first_line
from polinb.models.checkpoints import file_sha256
from polinb.models.embedded import cache_root

REPOSITORY = "kaichen23/llm_ideo_manipulate"
REVISION = "dd078cb259cac74b475edfcc3201d69dbf34000d"  # the commit that holds the data files
DATA_FOLDER = "data/IdeoINST"
BASE_URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{REVISION}/{DATA_FOLDER}/"
_LISTED = (resources.files("polinb") / "resources/ideoinst/registry.txt").read_text("utf-8")
REGISTRY = dict(line.split() for line in _LISTED.splitlines())
"""The twelve files of that commit, such as ``race/left/race_left_eval.json``, and their checksums."""


def names_side(label: object, side: str) -> bool:
    """Whether a label says ``left leaning`` or ``right leaning``; neutral, garbage and nothing do not."""
    return normalise(str(label)).replace("-", " ").rstrip(".") == f"{side} leaning"


def read_ideoinst(given: str, kind: type[R]) -> tuple[list[R], dict[str, Any]]:
    """Checked rows of ``ideoinst``, or of a folder of the data or around it, and their source: origin and checksums.

    A response agrees with its side when its label names the leaning of the file it stands in.

    Raises:
        DataError: as :func:`fetch`; a missing or malformed file, prompts of left and right that differ, or responses
            that do not; names file or folder, row and column.
    """
    topics = list(dict.fromkeys(path.split("/")[0] for path in REGISTRY))
    if given == "ideoinst":
        folder = fetch()
        source: dict[str, Any] = {"origin": f"https://github.com/{REPOSITORY}", "revision": REVISION, "licence": "MIT"}
    else:
        around = [place(given) / inner for inner in ("", DATA_FOLDER, "IdeoINST")]
        folders = [each for each in around if any((each / topic).is_dir() for topic in topics)]
        if not folders:
            fail(given, f"not an IdeoINST folder; expected the folders {', '.join(topics)} in it")
        folder, source = folders[0], {"origin": "local IdeoINST folder"}
    for path in REGISTRY:
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            fail(str(folder / path), "leads outside the data folder; put the file itself there")
    pairs: list[R] = []
    for topic in topics:
        tables = [read_table(folder / topic / side / f"{topic}_{side}_eval.json") for side in LEANINGS]
        rows: list[dict[str, Any]] = []
        for number, (left, right) in enumerate(zip_longest(*tables, fillvalue={}), start=1):
            prompt, other = left.get("instruction"), right.get("instruction")
            if prompt != other:
                told = f"expected the same prompt in both files, found {prompt!r:.60} and {other!r:.60}"
                fail(str(folder / topic), told, number, "instruction")
            rows.append({"topic": topic, "prompt": prompt})
            for side, cells in (("left", left), ("right", right)):
                rows[-1] |= {side: cells.get("output"), f"{side}_agrees": names_side(cells.get("label"), side)}
        pairs += checked(rows, kind, str(folder / topic))
    return pairs, source | {"sha256": {path: file_sha256(folder / path) for path in REGISTRY}}


def fetch() -> Path:
    """The folder of IdeoINST, downloaded or out of the cache; a DataError says what to do where that cannot be."""
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
