"""Files of the raw reference data: the same bytes for the same content, no place of a machine, checked when read."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from book._make.reference.places import ROOTED, named_place
from polinb.errors import ArtifactError

INDEX = "index.json"
FORMAT = 1


_RENAMED = {"rival_topics": "baseline_topics", "rival_seeds": "baseline_seeds", "caft_arms": "caft_conditions"}
_GONE = {"remote", "engine", "sharding", "memory_check"}


def present(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters of an earlier run under the names of today."""
    return {_RENAMED.get(name, name): value for name, value in parameters.items() if name not in _GONE}


def places(more: Iterable[Path] = ()) -> tuple[str, ...]:
    """Folders of this machine that no committed file may name."""
    known = [Path.home(), Path.cwd(), Path(__file__).parents[3], Path(sys.prefix), *more]
    found = {str(form) for each in known for form in (each, each.absolute(), each.resolve())}
    return tuple(sorted(each for each in found if len(Path(each).parts) > 2))  # "/root" may well stand in an answer


def refuse_places(name: str, text: str, known: Iterable[str], rooted: bool = True) -> None:
    """Refuse text that names a place of this machine.

    Args:
        known: as :func:`places` gives them.
        rooted: also refuse whatever looks like an absolute path; not for what models wrote.

    Raises:
        ArtifactError: it does; names the file and shows the beginning of the path.
    """
    if shown := named_place(text, known, ROOTED if rooted else None):
        raise ArtifactError(f"{name} would hold a path of this machine ({shown!r}): nothing is written")


def write_json(path: Path, value: Any, known: Iterable[str] = ()) -> None:
    """``value`` with sorted keys, one entry a line.

    Raises:
        ArtifactError: it names a place of this machine.
    """
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    refuse_places(path.name, text, known)
    path.write_text(text, "utf-8", newline="\n")


def write_frame(path: Path, frame: pd.DataFrame, known: Iterable[str] = ()) -> None:
    """A table as Parquet (zstd), without what pandas adds about itself.

    Raises:
        ArtifactError: a text names a place of this machine.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for column in frame:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            for text in frame[column].dropna().unique():
                refuse_places(f"{path.name}, column {column}", str(text), known, rooted=False)
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd", compression_level=15)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays as safetensors."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}, path)


def packed(chosen: np.ndarray) -> np.ndarray:
    """(L, F) bool → (L, ceil(F / 8)) uint8, the first neuron in the highest bit."""
    return np.packbits(chosen, axis=1)


def unpacked(bits: np.ndarray, width: int) -> np.ndarray:
    """The inverse of :func:`packed` for F = ``width``."""
    return np.unpackbits(bits, axis=1, count=width).astype(bool)


def processor() -> str:
    """Name of the processor: two of them may round differently, with the same packages."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return named[1].strip() if named else platform.processor() or platform.machine()


def read_index(folder: Path) -> dict[str, Any]:
    """What the results say of themselves; whether a file was changed, ``SHA256SUMS`` tells.

    Raises:
        ArtifactError: there are none, or they are of another format.
    """
    path = folder / INDEX
    if not path.is_file():
        raise ArtifactError(f"{folder} holds no raw reference data (no {INDEX}); make reference computes them")
    try:
        index: dict[str, Any] = json.loads(path.read_text("utf-8"))
        version = index["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    if version != FORMAT:
        raise ArtifactError(f"{path} has format {version!r}; this version of polinb reads {FORMAT}")
    return index
