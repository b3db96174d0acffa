"""Names of models and the commits they stand for: short ones with pinned revisions, and any on the Hugging Face hub.

A result's key and the weights loaded for it are so the same. Adding a short name changes no result.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from polinb.errors import ModelError, first_line

EMBEDDED = "smollm2-135m-instruct"

# alias → (hub id, pinned commit). The paper does not say Base or Instruct: Instruct. The Llama models are
# gated and need the user's own token in the environment (HF_TOKEN).
ALIASES: dict[str, tuple[str, str]] = {
    "llama-3.1-8b-instruct": ("meta-llama/Llama-3.1-8B-Instruct", "0e9e39f249a16976918f6564b8830bc894c89659"),
    "llama-3.2-3b-instruct": ("meta-llama/Llama-3.2-3B-Instruct", "0cb88a4f764b7a12671c53f0838cd831a0843b95"),
    "qwen2.5-3b-instruct": ("Qwen/Qwen2.5-3B-Instruct", "aa8e72537993ba99e69dfaafa59ed015b17504d1"),
    "qwen2.5-7b-instruct": ("Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28"),
}


def at_hand(model: str, revision: str = "") -> bool:
    """Whether a model can be loaded without the network."""
    from huggingface_hub import try_to_load_from_cache

    name, pinned = ALIASES.get(model, (model, "main"))
    if name.count("/") != 1 or Path(model).expanduser().is_dir():
        return True  # no hub id
    files = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(name, file, revision=revision or pinned), str) for file in files)


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
