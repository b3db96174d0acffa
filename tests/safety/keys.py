"""Keys that tests plant, and the search for them in every form they may take in a file."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from urllib.parse import quote

import pandas as pd

# + and / are written otherwise in addresses, quotes and < otherwise in JSON and HTML
KEYS = {
    "OPENAI_API_KEY": "sk-planted+judge/0123456789<abc>&",
    "HF_TOKEN": "hf_PlantedHubTokenAbCdEfGhIjKlMn",
    "NDIF_API_KEY": "planted-ndif/key+0123456789==",
    "MY_SERVICE_PASSWORD": 'planted "pass" word/0123+456789',
}


def forms(value: str) -> list[str]:
    """A key as it may stand in a file."""
    raw = value.encode()
    out = [value, quote(value, safe=""), quote(value), json.dumps(value)[1:-1], raw.hex()]
    for shift in range(3):  # base64 depends on the place; what is left after cutting its ends does not
        text = base64.b64encode(b"-" * shift + raw).decode().rstrip("=")[4:-2]
        out += [text, text.replace("+", "-").replace("/", "_")]
    return list(dict.fromkeys(out))


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
