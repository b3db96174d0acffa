"""Tables of the first reference run as they were kept: what models said, how it was judged, likelihoods."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from polinb.errors import ArtifactError
from polinb.labels import current

_TABLES = ("questions", "responses", "statements", "likelihood", "patched")


@dataclass(frozen=True)
class Raw:
    """Checked tables.

    Attributes:
        index, arms: ``index.json`` and ``arms.json``.
        tables: name → table, with a column ``arm``.
    """

    index: dict[str, Any]
    arms: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def load_raw(folder: Path) -> Raw:
    """The kept tables; whether a file was changed, ``SHA256SUMS`` tells.

    Raises:
        ArtifactError: a file is missing or cannot be read.
    """
    try:
        index = json.loads((folder / "index.json").read_text("utf-8"))
        arms = json.loads(current((folder / "arms.json").read_text("utf-8")))
        tables = {n: pd.read_parquet(folder / f"{n}.parquet") for n in _TABLES if (folder / f"{n}.parquet").is_file()}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the raw data in {folder} cannot be read: {type(error).__name__}: {error}") from None
    for table in tables.values():
        for column in {"arm", "set"} & set(table):
            table[column] = [current(each) for each in table[column]]
    return Raw(index, arms, tables)
