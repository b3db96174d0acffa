"""Keys that tests plant, and the search for them in every form they may take in a file."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import pandas as pd

# quotes are written otherwise in JSON
KEYS = {
    "OPENAI_API_KEY": "sk-planted+judge/0123456789<abc>&",
    "HF_TOKEN": "hf_PlantedHubTokenAbCdEfGhIjKlMn",
    "NDIF_API_KEY": "planted-ndif/key+0123456789==",
    "MY_SERVICE_PASSWORD": 'planted "pass" word/0123+456789',
}


def forms(value: str) -> list[str]:
    """A key as it may stand in a file."""
    return list(dict.fromkeys([value, json.dumps(value)[1:-1]]))


NEEDLES = {form.encode(): name for name, value in KEYS.items() for form in forms(value)}


def leaks(content: bytes) -> set[str]:
    """Names of the keys in a file's content, also inside the packed data of pages."""
    found = {name for needle, name in NEEDLES.items() if needle in content}
    for packed in re.findall(rb"H4sI[A-Za-z0-9+/]{20,}={0,2}", content):
        try:
            found |= leaks(gzip.decompress(base64.b64decode(packed)))
        except (OSError, ValueError, EOFError):
            continue
    return found


def search(*roots: Path) -> tuple[dict[str, set[str]], int]:
    """File → keys in it, and how many files were read; tables are also searched as text."""
    found, files = {}, 0
    for path in sorted(p for root in roots for p in root.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += pd.read_parquet(path).to_csv().encode()
        files += 1
        if names := leaks(content):
            found[str(path)] = names
    return found, files
