"""Keep what the reference run left in ``book/reference``: its executed notebooks, ``run.json`` and ``SHA256SUMS``.

The same chapters give the same bytes. Pictures are left out: the pages draw them from the charts' data.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from book._make.notebook import sha256
from book._make.reference.run import PROFILE, ReferenceLayout, cuts, store_of
from polinb.errors import ArtifactError
from polinb.runs.checkout import chapter_names
from polinb.runs.params import Params
from polinb.secrets import texts
from polinb.wording import LIVE, PAYLOAD
from polinb_book import results
from polinb_book.results import as_json, read_json, showable

LIMIT = 25 * 2**20  # bytes of the whole folder
WITHHELD = "(a place, not shown)"
PLAN = "book/reference_plan.md"
_KEPT = (PAYLOAD, LIVE, "text/markdown", "text/plain")
_ROOTS = "home|root|Users|work|workspace|tmp|var|private|mnt|media|srv|opt|scratch|gpfs|lustre|nfs"
PLACE = rf"(?<![\w.])(?:/(?:{_ROOTS})/[\w.@~-]+|[A-Za-z]:[\\/](?:Users|Windows|Program)\b|~/[\w.-]+)"
"""What looks like a place of a machine."""
_REMEDY = "run make reference again"


def keep(layout: ReferenceLayout) -> dict[str, Any]:
    """Write ``layout.reference`` from the chapters in ``layout.chapters``; what is in its ``results`` stays.

    Returns:
        What ``run.json`` says; chapters that did not run are missing in it.

    Raises:
        ArtifactError: no chapter ran, one is not what was written or ran with other parameters, a place of this
            machine stands in one, or the whole is too large. Nothing is written then.
        DataError: the data the run used are not there any more.
    """
    names = chapter_names(layout)
    ran = {name: path for name in names if (path := layout.chapters / f"{name}.ipynb").is_file()}
    if not ran:
        raise ArtifactError(f"the reference run has no executed chapter in {layout.chapters}; {_REMEDY}")
    records = {name: _record(path) for name, path in ran.items()}
    params, data, places = _described(_parameters(ran), layout)
    books = {name: clean(results.parsed(path.read_bytes(), path.name), name, places) for name, path in ran.items()}
    chapters: dict[str, Any] = {name: {"state": "missing"} for name in names}
    for name, book in books.items():
        told = results.answer(book, name) or {}
        chapters[name] = {
            "state": "complete" if records[name]["fingerprint"] else "unfinished",
            "seconds": records[name]["seconds"],
            "finished": _moment(ran[name]).isoformat(timespec="seconds"),
            "answer": {part: told[part] for part in ("first", "text") if part in told},
        }
    run = {
        "profile": params["profile"],
        "parameters": params,
        "cuts": [cut for cut in cuts() if params["profile"] == PROFILE and params[cut["name"]] == cut["taken"]],
        "data": data,
        "plan": _plan(layout.root),
        **_when(ran, records, store_of(layout)),
        "chapters": chapters,
    }
    made = {f"notebooks/{name}.ipynb": book for name, book in books.items()} | {results.RUN: run}
    for file, value in made.items():
        for line in texts(value):
            if shown := named_place(html.unescape(re.sub(r"</?span>", "", line)), places):
                raise ArtifactError(f"reference run, {file}: a place of this machine stands in it: {shown!r}")
    _write(layout.reference, {file: as_json(value) for file, value in made.items()})
    return run


def clean(book: dict[str, Any], name: str, places: Mapping[str, str]) -> dict[str, Any]:
    """A notebook with the data of its outputs alone, without known places of this machine."""
    for cell in book["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if PAYLOAD in data:
                output["data"] = {kind: data[kind] for kind in _KEPT if kind in data}
    text = json.dumps(book, ensure_ascii=False)
    for place, told in sorted(places.items(), key=lambda each: -len(each[0])):
        text = text.replace(f"{place}/", f"{told}/" if told else "").replace(place, told)
    return results.parsed(text, name)


def named_place(text: str, known: Iterable[str]) -> str:
    """Where ``text`` names a ``known`` folder or what looks like one: from there on; empty if nowhere."""
    hit = re.search("|".join([*map(re.escape, known), PLACE]), text)
    return text[hit.start() :][:60].partition("\n")[0] if hit else ""


def _record(path: Path) -> dict[str, Any]:
    """What the run noted of a chapter.

    Raises:
        ArtifactError: it is not what was written.
    """
    known = read_json(path.with_suffix(".json"))
    if known.get("sha256") != sha256(path):
        raise ArtifactError(f"reference run: {path.name} is not what was written (SHA-256 differs); {_REMEDY}")
    return known


def _parameters(ran: Mapping[str, Path]) -> dict[str, Any]:
    """The parameters of the run: each chapter has its own, and those that two share are the same."""
    found: dict[str, tuple[Any, str]] = {}
    for chapter, path in ran.items():
        for name, value in read_json(path)["metadata"]["papermill"]["parameters"].items():
            known, home = found.setdefault(name, (value, chapter))
            if known != value:
                raise ArtifactError(
                    f"reference run: {chapter} ran with other parameters than {home}: {name}; {_REMEDY}"
                )
    return {name: value for name, (value, _) in found.items()}


def _described(given: dict[str, Any], layout: ReferenceLayout) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """All parameters, with the data by their own name; the data; and what keeps places of this machine out."""
    from polinb.data.loading import load_data

    params = Params.from_profile(**{"profile": "quick", **given}).model_dump(mode="json")
    path = params["data"]
    place = layout.root / path  # as the chapters saw it: they run in the checkout's folder
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
    return (
        params | {"data": loaded.name},
        data,
        {p.rstrip("/"): n for p, n in places.items() if p.count("/") > p.startswith("/")},
    )


def _when(ran: Mapping[str, Path], records: Mapping[str, Any], store: Path) -> dict[str, Any]:
    """Start and end by the times of files and artifacts, seconds of all chapters, and what the last artifact ran on."""
    from polinb.runs.artifacts import provenance

    ends = {name: _moment(path) for name, path in ran.items()}
    starts = [end - timedelta(seconds=records[name]["seconds"]) for name, end in ends.items()]
    kept = (read_json(path).get("provenance") for path in store.glob("*/*/artifact.json"))
    told = sorted(filter(None, kept), key=lambda each: each["date"])
    starts += [datetime.fromisoformat(each["date"]) - timedelta(seconds=each["seconds"]) for each in told]
    ran_on = told[-1] if told else provenance()
    return {
        "started": min(starts).replace(microsecond=0).isoformat(),
        "finished": max(ends.values()).isoformat(timespec="seconds"),
        "seconds": round(sum(record["seconds"] for record in records.values()), 1),
        "provenance": {name: value for name, value in ran_on.items() if name not in ("date", "seconds")},
    }


def _plan(root: Path) -> str:
    """The commit that last changed the plan; empty without git."""
    asked = ["git", "log", "-n1", "--format=%H", "--", PLAN]
    try:
        return subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    notebooks = folder / "notebooks"
    size = sum(len(text.encode()) for text in texts.values())
    size += sum(path.stat().st_size for path in (folder / "results").rglob("*") if path.is_file())
    if size > LIMIT:
        raise ArtifactError(f"reference run: {size / 2**20:.1f} MiB; at most {LIMIT // 2**20} are committed")
    (folder / results.SUMS).unlink(missing_ok=True)  # without it there are no results, rather than mixed ones
    shutil.rmtree(notebooks, ignore_errors=True)
    notebooks.mkdir(parents=True)
    for file, text in texts.items():
        (folder / file).write_text(text, "utf-8")
    results.write_sums(folder)


def _moment(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
