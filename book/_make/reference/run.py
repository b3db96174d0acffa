"""The reference run: every chapter with profile ``full``, in a store and a folder of its own, one resumable command.

Without a GPU the profile is cut to what a computer of two cores does in some hours; what is cut, and why, stands in
``resources/reference/cpu.toml``. What it left is kept in ``book/reference``: its executed notebooks, ``run.json`` and
``SHA256SUMS``. The same chapters give the same bytes; pictures are left out, the pages draw them from the charts' data.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from unittest import mock

from book._make.build import alone, run_chapters
from book._make.notebook import sha256
from polinb.data.loading import load_data
from polinb.errors import ArtifactError
from polinb.models.loading import pick_device
from polinb.runs.artifacts import META, provenance
from polinb.runs.checkout import Layout, chapter_names, chosen_chapters, find_layout, tell
from polinb.runs.params import Params, profile_values
from polinb.secrets import texts
from polinb.wording import LIVE, PAYLOAD
from polinb_book import results
from polinb_book.results import as_json, read_json, showable

PROFILE = "full"
LIMIT = 25 * 2**20  # bytes of the whole folder
WITHHELD = "(a place, not shown)"
PLAN = "book/reference_plan.md"
_KEPT = (PAYLOAD, LIVE, "text/markdown", "text/plain")
_ROOTS = "home|root|Users|work|workspace|tmp|var|private|mnt|media|srv|opt|scratch|gpfs|lustre|nfs"
PLACE = rf"(?<![\w.])(?:/(?:{_ROOTS})/[\w.@~-]+|[A-Za-z]:[\\/](?:Users|Windows|Program)\b|~/[\w.-]+)"
"""What looks like a place of a machine."""
_REMEDY = "run make reference again"


class ReferenceLayout(Layout):
    """A checkout whose reference run works in ``place``; those of another, named ``model`` stay there."""

    def __init__(self, root: Path, model: str = "") -> None:
        super().__init__(root)
        self.place = self.build / "reference" / model
        self.chapters = self.place / "chapters"
        if model:
            self.reference = self.place / "results"


def layout_of(settings: Mapping[str, Any], root: Path | None = None) -> ReferenceLayout:
    """Where the reference run with these parameters works, and where its results go."""
    given = settings.get("model")
    same = given in (None, profile_values(PROFILE)["model"])
    name = "" if same else re.sub(r"[^a-z0-9]+", "-", str(given).lower()).strip("-")[-80:] or "model"
    return ReferenceLayout(root or find_layout().root, name)


def cuts() -> list[dict[str, Any]]:
    """What a computer without a GPU leaves out, in the order of the file: each ``name, full, taken, why``."""
    named = tomllib.loads((resources.files("polinb") / "resources/reference/cpu.toml").read_text("utf-8"))
    full = profile_values(PROFILE)
    return [{"name": n, "full": full[n], "taken": each["value"], "why": each["why"]} for n, each in named.items()]


def store_of(layout: Layout) -> Path:
    """Where the artifacts of the reference run are kept."""
    return Path(os.environ.get("POLINB_REFERENCE_STORE") or layout.root / ".polinb" / "reference")


def run_reference(given: Mapping[str, Any], chapters: Sequence[str] | None, layout: ReferenceLayout) -> None:
    """Run the chapters that are not done yet; called again, it goes on where it was stopped.

    Args:
        given: parameters that differ from the profile, such as ``data``; these are not cut where there is no GPU.
        chapters: names of notebooks, or as for ``make book``; None: all.

    Raises:
        ParameterError: before anything runs, for a wrong parameter or chapter.
        BookError: a chapter failed, or another reference run of this checkout is under way.
    """
    gpu = pick_device(str(given.get("device", "auto"))).type == "cuda"
    applied = [each for each in cuts() if not gpu and each["name"] not in given]
    settings = {each["name"]: each["taken"] for each in applied} | dict(given)
    Params.from_profile(PROFILE, **settings)
    wanted = chosen_chapters(layout, chapters or ["all"])
    for each in applied:
        tell("cut: {name} = {taken} (full: {full}): {why}".format(**each))
    own = {"POLINB_STORE": str(store_of(layout))}
    with alone(layout.place / "run.lock", "reference run of this checkout"), mock.patch.dict(os.environ, own):
        run_chapters(layout, wanted, {"profile": PROFILE, **settings})


# --- what is kept


def keep(layout: ReferenceLayout) -> dict[str, Any]:
    """Write ``layout.reference`` from the executed chapters, but not its ``results``; what ``run.json`` says.

    Raises:
        ArtifactError: no chapter ran, one is not what was written or ran with other parameters, a place of this
            machine stands in one, or the whole is too large. Nothing is written then.
        DataError: the data the run used are not there any more.
    """
    chapters: dict[str, Any] = {name: {"state": "missing"} for name in chapter_names(layout)}
    ran = {name: path for name in chapters if (path := layout.chapters / f"{name}.ipynb").is_file()}
    if not ran:
        raise ArtifactError(f"the reference run has no executed chapter in {layout.chapters}; {_REMEDY}")
    records = {name: read_json(path.with_suffix(".json")) for name, path in ran.items()}
    for name, path in ran.items():
        if records[name].get("sha256") != sha256(path):
            raise ArtifactError(f"reference run: {path.name} is not what was written (SHA-256 differs); {_REMEDY}")
    books = {name: results.parsed(path.read_bytes(), path.name) for name, path in ran.items()}
    params, data, places = _described(_parameters(books), layout)
    ends = {name: datetime.fromtimestamp(path.stat().st_mtime, UTC) for name, path in ran.items()}
    for name, record in records.items():
        books[name] = clean(books[name], name, places)
        answer = results.answer(books[name], name) or {}
        chapters[name] = {
            "state": "complete" if record["fingerprint"] else "unfinished",
            "seconds": record["seconds"],
            "finished": ends[name].isoformat(timespec="seconds"),
            "answer": {part: answer[part] for part in ("first", "text") if part in answer},
        }
    kept = (read_json(path).get("provenance") for path in store_of(layout).glob(f"*/*/{META}"))
    artifacts = sorted(filter(None, kept), key=lambda each: each["date"])
    starts = [end - timedelta(seconds=records[name]["seconds"]) for name, end in ends.items()]
    starts += [datetime.fromisoformat(each["date"]) - timedelta(seconds=each["seconds"]) for each in artifacts]
    ran_on = artifacts[-1] if artifacts else provenance()
    run = {
        "profile": params["profile"],
        "parameters": params,
        "cuts": [cut for cut in cuts() if params["profile"] == PROFILE and params[cut["name"]] == cut["taken"]],
        "data": data,
        "plan": _plan(layout.root),
        "started": min(starts).replace(microsecond=0).isoformat(),
        "finished": max(ends.values()).isoformat(timespec="seconds"),
        "seconds": round(sum(record["seconds"] for record in records.values()), 1),
        "provenance": {name: value for name, value in ran_on.items() if name not in ("date", "seconds")},
        "chapters": chapters,
    }
    made = {f"notebooks/{name}.ipynb": book for name, book in books.items()} | {results.RUN: run}
    for file, value in made.items():
        for line in texts(value):
            if shown := named_place(html.unescape(re.sub(r"</?span>", "", line)), places):
                raise ArtifactError(f"reference run, {file}: a place of this machine stands in it: {shown!r}")
    write(layout.reference, made)
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


def _parameters(books: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the run: each chapter has its own, and those that two share are the same."""
    found: dict[str, tuple[Any, str]] = {}
    for chapter, book in books.items():
        for name, value in book["metadata"]["papermill"]["parameters"].items():
            known, home = found.setdefault(name, (value, chapter))
            if known != value:
                told = f"{chapter} ran with other parameters than {home}: {name}"
                raise ArtifactError(f"reference run: {told}; {_REMEDY}")
    return {name: value for name, (value, _) in found.items()}


def _described(given: dict[str, Any], layout: ReferenceLayout) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """All parameters, with the data by their own name; the data; and what is told instead of places of this machine."""
    params = Params.from_profile(**{"profile": "quick", **given}).model_dump(mode="json")
    path = params["data"]
    place = layout.root / path  # as the chapters saw it: they run in the checkout's folder
    local = path not in ("bundled", "ideoinst") and place.exists()
    revision = params["data_revision"] or None
    loaded = load_data(str(place) if local else path, label_filter=params["label_filter"], revision=revision)
    places = {str(folder): "" for folder in (layout.root, layout.root.parent, Path.home(), store_of(layout))}
    if local:
        places |= {path: loaded.name, str(place.resolve()): loaded.name}

    def told(value: Any) -> Any:
        if showable(value):
            return value
        if isinstance(value, list):
            return [told(each) for each in value]
        if "://" not in value:
            places[value] = Path(value).name
        return WITHHELD

    params = {name: loaded.name if name == "data" else told(value) for name, value in params.items()}
    rows = {"rows": loaded.source["rows"], "prompts": loaded.source["kept"]}
    named = {p.rstrip("/"): n for p, n in places.items() if p.count("/") > p.startswith("/")}
    return params, {"name": loaded.name, "digest": loaded.digest(), **rows}, named


def _plan(root: Path) -> str:
    """The commit that last changed the plan; empty without git."""
    asked = ["git", "log", "-n1", "--format=%H", "--", PLAN]
    try:
        return subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def write(folder: Path, made: Mapping[str, Any]) -> None:
    """Write the notebooks and ``run.json`` of a reference run, by file, in the place of those that are there.

    Raises:
        ArtifactError: with the results that are there they are too large to be committed.
    """
    told = {folder / file: as_json(value) for file, value in made.items()}
    size = sum(len(text.encode()) for text in told.values())
    size += sum(path.stat().st_size for path in (folder / "results").rglob("*") if path.is_file())
    if size > LIMIT:
        raise ArtifactError(f"reference run: {size / 2**20:.1f} MiB; at most {LIMIT // 2**20} are committed")
    (folder / results.SUMS).unlink(missing_ok=True)  # without it there are no results, rather than mixed ones
    for path, text in told.items():
        results.write(path, text)
    for path in {*(folder / "notebooks").glob("*")} - {*told}:  # only now: a kill loses none
        path.unlink()
    results.write_sums(folder)
