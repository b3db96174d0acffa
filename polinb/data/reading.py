"""One door for all data: bundled, a file of the user's, or the Hugging Face hub; every row checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from polinb.data.rows import R, checked, fail
from polinb.data.sources import SUFFIXES, file_sha256, place, read_table
from polinb.errors import DataError

_SAFE_BUILDERS = frozenset({"Csv", "Json", "Parquet"})
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(\w[\w .+-]*))?", re.ASCII)


def read(
    given: str,
    kind: type[R],
    bundled: Mapping[str, str] | None = None,
    *,
    revision: str | None = None,
    cache: Path | None = None,
    also: str = "",
) -> tuple[list[R], str, dict[str, Any]]:
    """Checked rows, their name, and where they came from.

    Args:
        given: a bundled name, a CSV, JSON, JSONL or Parquet file, ``hub:owner/name`` or ``hub:owner/name:config``.
        kind: what a row must be.
        bundled: names, and their files in the package's resources.
        revision: commit of a hub data set.
        cache: folder for what the hub sends.
        also: what else the caller takes, for messages.

    Returns:
        The rows, a name without folders, and their source: origin, checksum or revision, how many rows there were and
        how many wrong ones were left out.

    Raises:
        DataError: no such data, out of reach, malformed; names file, row and column.
    """
    bundled = bundled or {}
    names = {alias for field in kind.model_fields for alias in kind.columns.get(field, (field,))}
    if given in bundled:
        name, shown = given, f"bundled {bundled[given]}"
        with resources.as_file(resources.files("polinb") / "resources" / bundled[given]) as path:
            table, source = read_table(path, shown), {"origin": "bundled with polinb", "licence": "CC BY 4.0"}
            source["sha256"] = file_sha256(path)
    elif given.startswith("hub:"):
        name, shown = given.removeprefix("hub:"), given
        table, commit = _read_hub(name, revision, cache)
        source = {"origin": f"https://huggingface.co/datasets/{name.split(':')[0]}", "revision": commit}
    else:
        path, shown = place(given), given
        if not path.exists() and path.suffix.lower() not in SUFFIXES:
            others = "".join(f"{each}, " for each in bundled) + also
            fail(given, f"no such data; expected {others}a file ({', '.join(SUFFIXES)}) or hub:owner/name")
        name, table = path.stem, read_table(path, given, names)
        source = {"origin": "file", "file": path.name, "sha256": file_sha256(path)}
    rows, wrong = checked(table, kind, shown, public=given.startswith("hub:"))
    columns = [column.strip().casefold() for column in table[0]]
    return rows, name, source | {"columns": columns, "rows": len(table), "wrong": wrong}


def _read_hub(hub_id: str, revision: str | None, cache: Path | None) -> tuple[list[dict[str, Any]], str]:
    """Rows of a hub data set (its ``train`` split, or its only one) and the commit they came from."""
    found = _HUB_ID.fullmatch(hub_id)
    if not found or ".." in hub_id or len(hub_id) > 200:
        shown = ascii(hub_id)[1:-1][:200]
        raise DataError(f"hub:{shown}: expected hub:owner/name or hub:owner/name:config, as on the data set's page")
    repository, config = found.groups()
    if Path(repository).exists():
        # datasets would take a local folder of that name for the hub's data set.
        fail(f"hub:{hub_id}", "a local folder of this name hides the hub's data set; run from another folder")
    import datasets

    try:
        with _quiet():
            at = {"revision": revision, "cache_dir": str(cache) if cache else None}
            builder = datasets.load_dataset_builder(repository, config, **at)
            kinds = {kind.__name__ for kind in type(builder).__mro__}
            if not kinds & _SAFE_BUILDERS:
                fail(f"hub:{hub_id}", f"only CSV, JSON and Parquet files are read; it is {builder.name!r}")
            builder.download_and_prepare()
            splits = builder.as_dataset()
    except DataError:
        raise
    except Exception as error:
        configs = re.search(r"(?:available configs|Available): \[(.*?)\]", str(error))
        if configs:
            names = configs[1].replace("'", "")
            fail(f"hub:{hub_id}", f"choose one of its configurations, hub:{repository}:NAME; it has {names[:500]}")
        told = " ".join(str(error).split())[:300]
        raise DataError(
            f"hub:{hub_id}: cannot be loaded ({type(error).__name__}: {told}). Check the name, "
            "the revision and the network, or download a CSV, JSON or Parquet file of it and give its path"
        ) from error
    name = "train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None
    if name is None:
        listed = ", ".join(map(str, splits))
        fail(f"hub:{hub_id}", f"expected a split named train; it has {listed}: download the file of one, and give that")
    return splits[name].to_list(), str(builder.hash or "unknown")


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and log lines of ``datasets``; what goes wrong is raised, in our words."""
    import datasets

    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
