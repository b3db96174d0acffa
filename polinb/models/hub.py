"""Which commit a name on the Hugging Face hub stands for, so that a key and the weights loaded for it are the same."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from polinb.errors import ModelError


@lru_cache(maxsize=16)
def config_of(model: str, revision: str = "") -> Any:
    """Configuration of a model of the hub, fetched once in a process; offline, the one in the cache.

    Raises:
        ModelError: it cannot be had.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model, revision=revision or None, trust_remote_code=False)
    except Exception as error:  # network, gated or missing: the hub's own classes differ by version
        first = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"model {model!r} cannot be fetched ({type(error).__name__}: {first}). "
            "Check the name and the network, or give a local folder"
        ) from error


def commit_of(model: str, revision: str = "") -> str:
    """The commit that a branch, a tag or a short hash stands for (empty: the main branch); a commit stands for itself.

    Raises:
        ModelError: the model cannot be had.
    """
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    return str(getattr(config_of(model, revision), "_commit_hash", None) or revision or "main")
