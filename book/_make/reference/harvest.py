"""Take the small results of the reference run out of its executed chapters into ``book/reference``.

Written there: ``tables/<label>.md`` and ``.csv``, ``figures/<label>.json`` and ``.png``, and ``manifest.json`` with the
parameters, cuts, data, provenance, answers, and the digest of every file. The same chapters give the same bytes. Other
things in the folder are left alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from book._make.reference.run import PROFILE, ReferenceLayout, cuts, store_of
from polinb.chapters.paper.answers import KEY
from polinb.errors import ArtifactError
from polinb.runs.artifact_check import seal
from polinb.runs.checkout import chapter_names
from polinb.runs.params import Params
from polinb_book import front, reference_table
from polinb_book.commands import given_parameters, showable
from polinb_book.manifest import FORMAT, MANIFEST, SPEC
from polinb_book.places import Scrubber

LIMIT = 25 * 2**20  # bytes of the whole folder
PARTS = ("tables", "figures")
WITHHELD = "(a place, not shown)"
PLAN = "book/reference_plan.md"
_REMEDY = "run make reference again"
_PICTURE = re.compile(
    r'<img class="polinb-fallback"[^>]*? width="(\d+)" height="(\d+)" src="data:image/png;base64,([^"]*)"'
)
_CSV = re.compile(r'download="[^"]*\.csv" href="data:text/csv;base64,([^"]*)"')


def harvest(layout: ReferenceLayout) -> dict[str, Any]:
    """Write ``layout.reference`` from the chapters in ``layout.chapters``; chapters that did not run are missing in it.

    Returns:
        The manifest.

    Raises:
        ArtifactError: no chapter ran, one is not what was written or ran with other parameters, two have the same
            label, a place of this machine stands in an output, or the whole is too large. Nothing is written then.
        DataError: the data the run used are not there any more.
    """
    names = chapter_names(layout)
    ran = {name: path for name in names if (path := layout.chapters / f"{name}.ipynb").is_file()}
    if not ran:
        raise ArtifactError(f"the reference run has no executed chapter in {layout.chapters}; {_REMEDY}")
    records = {name: _record(path) for name, path in ran.items()}
    given = _parameters(ran)
    params, data, scrub = _described(given, layout)
    files: dict[str, tuple[str, bytes]] = {}
    chapters: dict[str, Any] = {}
    for name in names:
        if name not in ran:
            chapters[name] = {"state": "missing"}
            continue
        found = dict(contents(name, ran[name], scrub))
        for file, content in found.items():
            if file in files:
                raise ArtifactError(
                    f"reference run: {file} comes from {files[file][0]} and from {name}; labels must differ"
                )
            files[file] = (name, content)
        told = answer_of(ran[name])
        chapters[name] = {
            "state": "complete" if records[name]["fingerprint"] else "unfinished",
            "seconds": records[name]["seconds"],
            "finished": _moment(ran[name]).isoformat(timespec="seconds"),
            "answer": {part: scrub.text(text, f"{name}: its answer") for part, text in told.items()},
            "files": sorted(found),
        }
    manifest = {
        "format": FORMAT,
        "profile": params["profile"],
        "parameters": params,
        "cuts": [asdict(cut) for cut in cuts() if params["profile"] == PROFILE and params[cut.name] == cut.taken],
        "data": data,
        "plan": _plan(layout.root),
        **_when(ran, records, store_of(layout)),
        "chapters": chapters,
        "files": {file: entry(content) for file, (_, content) in sorted(files.items())},
    }
    scrub.refuse(manifest, MANIFEST)
    manifest["seal"] = seal(manifest)
    _write(layout.reference, manifest, {file: content for file, (_, content) in files.items()})
    return manifest


# --- one chapter ---


def contents(name: str, path: Path, scrub: Scrubber) -> Iterator[tuple[str, bytes]]:
    """Files of an executed chapter: name and content."""
    for cell in front.cells(path):
        figure = cell.get("metadata", {}).get("mystnb", {}).get("figure", {})
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            text = _joined(shown.get("text/markdown"))
            found = reference_table.find(text)
            if found:
                label, link = found[0].name, _CSV.search(text)
                if not link:
                    raise ArtifactError(f"chapter {name}: table {label} has no CSV; {_REMEDY}")
                where = f"{name}: table {label}"
                yield f"tables/{label}.md", scrub.text(text[slice(*found[1])], where).encode()
                yield f"tables/{label}.csv", scrub.text(base64.b64decode(link[1]).decode(), where).encode()
            spec, picture = (pattern.search(_joined(shown.get("text/html"))) for pattern in (SPEC, _PICTURE))
            if figure and spec and picture:
                label = str(figure["name"])
                drawn = scrub.values(json.loads(spec[1]), f"{name}: figure {label}")
                about = {
                    "alt": drawn.get("description") or "chart",
                    "caption": figure.get("caption", ""),
                    "width": int(picture[1]),
                    "height": int(picture[2]),
                    "spec": drawn,
                }
                yield f"figures/{label}.json", _json(about).encode()
                yield f"figures/{label}.png", base64.b64decode(picture[3])


def answer_of(path: Path) -> dict[str, str]:
    """The chapter's answer: its first sentence and the whole; empty if it gives none."""
    told = front.answer(path)
    if told is None:
        return {}
    shown = (output for cell in front.cells(path) for output in cell.get("outputs", []))
    texts = [
        _joined(output["data"].get("text/markdown"))
        for output in shown
        if output.get("metadata", {}).get("scrapbook", {}).get("name") == KEY
    ]
    return {"first": told["first"], "text": texts[0]}


def _record(path: Path) -> dict[str, Any]:
    """What the run noted of a chapter.

    Raises:
        ArtifactError: it is not what was written.
    """
    try:
        known = json.loads(path.with_suffix(".json").read_text("utf-8"))
        kept = {name: known[name] for name in ("fingerprint", "sha256", "seconds")}
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtifactError(f"reference run: {path.name} has no readable record beside it; {_REMEDY}") from None
    if kept["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
        raise ArtifactError(f"reference run: {path.name} is not what was written (SHA-256 differs); {_REMEDY}")
    return kept


def _parameters(ran: Mapping[str, Path]) -> dict[str, Any]:
    """The parameters of the run: each chapter has its own, and those that two share are the same."""
    found: dict[str, Any] = {}
    home: dict[str, str] = {}
    for chapter, path in ran.items():
        for name, value in given_parameters(path).items():
            if found.setdefault(name, value) != value:
                raise ArtifactError(
                    f"reference run: {chapter} ran with other parameters than {home[name]}: {name}; {_REMEDY}"
                )
            home.setdefault(name, chapter)
    return found


# --- the whole run ---


def _described(given: dict[str, Any], layout: ReferenceLayout) -> tuple[dict[str, Any], dict[str, Any], Scrubber]:
    """All parameters, with the data by their own name; the data; and what keeps places of this machine out."""
    from polinb.data.loading import load_data

    params = Params.from_profile(**{"profile": "quick", **given}).model_dump(mode="json")
    path = params["data"]
    place = layout.root / Path(path).expanduser()  # as the chapters saw it: they run in the checkout's folder
    local = path not in ("bundled", "ideoinst") and place.exists()
    revision = params["data_revision"] or None
    loaded = load_data(str(place) if local else path, label_filter=params["label_filter"], revision=revision)
    data = {
        "name": loaded.name,
        "digest": loaded.digest(),
        "rows": loaded.source["rows"],
        "prompts": loaded.source["kept"],
    }
    places = {str(layout.root): "", str(layout.root.parent): "", str(Path.home()): "", str(store_of(layout)): ""}
    if local:
        places |= {path: loaded.name, str(place.resolve()): loaded.name}
    for name, value in params.items():
        if name != "data" and not showable(value):
            texts = value if isinstance(value, list) else [value]
            places |= {text: Path(text).name for text in texts if not showable(text) and "://" not in text}
            params[name] = [text if showable(text) else WITHHELD for text in texts] if texts is value else WITHHELD
    return params | {"data": loaded.name}, data, Scrubber(places)


def _when(ran: Mapping[str, Path], records: Mapping[str, Any], store: Path) -> dict[str, Any]:
    """Start and end by the times of files and artifacts, seconds of all chapters, and what the last artifact ran on."""
    from polinb.runs.artifacts import provenance

    ends = {name: _moment(path) for name, path in ran.items()}
    starts = [end - timedelta(seconds=records[name]["seconds"]) for name, end in ends.items()]
    told = sorted(filter(None, map(_provenance, store.glob("*/*/artifact.json"))), key=lambda each: str(each["date"]))
    starts += [datetime.fromisoformat(each["date"]) - timedelta(seconds=each["seconds"]) for each in told]
    ran_on = dict(told[-1]) if told else provenance()
    for name in ("date", "seconds"):
        ran_on.pop(name, None)
    return {
        "started": min(starts).replace(microsecond=0).isoformat(),
        "finished": max(ends.values()).isoformat(timespec="seconds"),
        "seconds": round(sum(record["seconds"] for record in records.values()), 1),
        "provenance": ran_on,
    }


def _provenance(record: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(record.read_text("utf-8"))["provenance"]
        known = datetime.fromisoformat(found["date"]).tzinfo is not None and float(found["seconds"]) >= 0
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(found) if known else None


def _plan(root: Path) -> str:
    """The commit that last changed the plan; empty without git."""
    try:
        asked = ["git", "log", "-n1", "--format=%H", "--", PLAN]
        done = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# --- files ---


def _write(folder: Path, manifest: dict[str, Any], files: Mapping[str, bytes]) -> None:
    fresh = folder / ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    written = listing(manifest)
    kept = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in (*PARTS, MANIFEST)
    ]
    size = len(written) + sum(map(len, files.values())) + sum(path.stat().st_size for path in kept)
    if size > LIMIT:
        raise ArtifactError(
            f"reference run: {size / 2**20:.1f} MiB in {folder.name}; at most {LIMIT // 2**20} are committed"
        )
    for part in PARTS:
        (fresh / part).mkdir(parents=True)
    for file, content in files.items():
        (fresh / file).write_bytes(content)
    (folder / MANIFEST).unlink(missing_ok=True)  # without it there are no results, rather than mixed ones
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
        (fresh / part).rename(folder / part)
    (fresh / MANIFEST).write_bytes(written)
    (fresh / MANIFEST).rename(folder / MANIFEST)
    fresh.rmdir()


def listing(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as it stands in its file."""
    return _json(manifest).encode()


def entry(content: bytes) -> dict[str, Any]:
    """What the manifest says of a file."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _moment(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else str(text or "")
