"""Reading a data set of the Hugging Face hub into plain rows, by the fixed readers of ``datasets`` only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from polinb.data.sources import first_line, quiet
from polinb.errors import DataError

_SAFE_BUILDERS = frozenset({"Csv", "Json", "Parquet"})
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")


def read_hub(
    hub_id: str, revision: str | None = None, cache_dir: Path | None = None
) -> tuple[list[dict[str, Any]], str]:
    """Rows of ``owner/name`` on the hub (its ``train`` split, or its only one) and the commit they came from.

    Raises:
        DataError: not a hub id, out of reach, no such data set, no clear split, or a format that is not read.
    """
    if not _HUB_ID.fullmatch(hub_id) or ".." in hub_id or len(hub_id) > 200:
        shown = ascii(hub_id)[1:-1][:200]
        raise DataError(f"hub:{shown}: expected hub:owner/name, as in the address of the data set's page")
    if Path(hub_id).exists():
        # datasets would take a local folder of that name for the hub's data set.
        raise DataError(f"hub:{hub_id}: a local folder of this name hides the hub's data set; run from another folder")
    import datasets

    cache = str(cache_dir) if cache_dir else None
    try:
        with quiet():
            builder = datasets.load_dataset_builder(hub_id, revision=revision, cache_dir=cache)
            kinds = {kind.__name__ for kind in type(builder).__mro__}
            if not kinds & _SAFE_BUILDERS:
                raise DataError(f"hub:{hub_id}: only CSV, JSON and Parquet files are read; it is {builder.name!r}")
            builder.download_and_prepare()
            splits = builder.as_dataset()
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"hub:{hub_id}: cannot be loaded ({type(error).__name__}: {first_line(error)}). Check the name, "
            "the revision and the network, or download a CSV, JSON or Parquet file of it and give its path"
        ) from error
    name = "train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None
    if name is None:
        raise DataError(f"hub:{hub_id}: expected a split named train; it has {', '.join(map(str, splits))}")
    return splits[name].to_list(), str(builder.hash or "unknown")
