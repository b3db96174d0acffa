"""Which commit a name on the Hugging Face hub stands for, so that a key and the weights loaded for it are the same."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from polinb.errors import ModelError, first_line


@lru_cache(maxsize=16)
def commit_of(model: str, revision: str = "") -> str:
    """The commit that a branch, a tag or a short hash stands for (empty: the main branch); a commit stands for itself.

    Asked once in a process; without a network it is the commit that was fetched before.

    Raises:
        ModelError: the model's configuration cannot be had.
    """
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import hf_hub_download

    try:  # …/snapshots/COMMIT/config.json
        return Path(hf_hub_download(model, "config.json", revision=revision or None)).parent.name
    except Exception as error:  # network, gated or missing: the hub's own classes differ by version
        raise ModelError(
            f"model {model!r} cannot be fetched ({type(error).__name__}: {first_line(error)}). "
            "Check the name and the network, or give a local folder"
        ) from error
