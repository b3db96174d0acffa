"""What a store holds, compared between runs."""

import hashlib
import json

META = "artifact.json"


def finished(root):
    """Finished artifacts: kind/key → identity of its folder and record, which another making would change."""
    folders = [p for p in root.glob("*/*") if p.is_dir() and not p.name.startswith(".") and "-damaged-" not in p.name]
    return {str(p.relative_to(root)): (p.stat().st_ino, (p / META).stat().st_mtime_ns) for p in folders}


def contents(root):
    """Digest of every file of every finished artifact; of its record, all but times (:func:`record`)."""
    files = [path for name in finished(root) for path in (root / name).iterdir()]
    bodies = {path: record(path) if path.name == META else path.read_bytes() for path in files}
    return {str(path.relative_to(root)): hashlib.sha256(body).hexdigest() for path, body in bodies.items()}


def record(path):
    """``artifact.json`` without the date, the seconds that making took, and the seal over them."""
    meta = json.loads(path.read_text("utf-8"))
    meta.pop("seal")
    for name in ("date", "seconds"):
        meta["provenance"].pop(name)
    for facts in (meta["summary"], meta["summary"].get("training", {})):
        facts.pop("seconds", None)
    return json.dumps(meta, sort_keys=True).encode()


def leftovers(root):
    """What is neither a finished artifact nor an empty lock file."""
    hidden = [p for p in root.glob("*/.*") if p.is_dir() or p.stat().st_size or p.suffix != ".lock"]
    return [str(p.relative_to(root)) for p in hidden]
