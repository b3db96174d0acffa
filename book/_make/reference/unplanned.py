"""``python -m book._make unplanned``: sections that were not planned, from the kept tables of the reference run.

Cells of the chapters that carry the tag ``from-raw`` run on those tables instead of a run; their tables and figures
join those in ``book/reference``. Nothing is asked of a model. Only the classifier of topics needs the data.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pandas as pd

from book._make.reference import readme
from book._make.reference.harvest import answer_of, contents, entry, listing
from book._make.reference.raw_load import load_raw
from polinb.chapters.anatomy.moved import NAMES
from polinb.data.loading import load_data
from polinb.errors import ArtifactError
from polinb.runs.artifact_check import seal
from polinb.runs.checkout import find_layout, parse_settings
from polinb_book.manifest import MANIFEST, Reference, read
from polinb_book.places import Scrubber

TAG = "from-raw"
CHAPTERS = ("01_phenomenon", "05_vanilla_stance", "07_inhibitft", "08_gamma", "19_what_moved")
START = """from pathlib import Path
from book._make.reference.unplanned import names
globals().update(names(Path({folder!r}), {data!r}, {chapter!r}))"""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    own = commands.add_parser("unplanned", help="sections not planned, from the raw tables of the reference run")
    own.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="data=…, those of the run")
    own.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    layout, data = find_layout(), str(parse_settings(arguments.set).get("data", "ideoinst"))
    found = read(layout.reference)
    if found is None:
        raise ArtifactError("this checkout holds no results of a reference run")
    manifest = {**found.manifest, "chapters": dict(found.manifest["chapters"]), "files": dict(found.manifest["files"])}
    scrub = Scrubber({str(layout.root): "", data: "ideoinst"})
    for chapter in CHAPTERS:
        with tempfile.TemporaryDirectory() as place:
            made = Path(place) / f"{chapter}.ipynb"
            nbformat.write(executed(layout.root, chapter, data), made)
            files, told = dict(contents(chapter, made, scrub)), answer_of(made)
        for name, content in files.items():
            (layout.reference / name).write_bytes(content)
            manifest["files"][name] = entry(content)
        own = manifest["chapters"].get(chapter, {"state": "complete", "seconds": 0.0, "planned": False, "files": []})
        answer = {"answer": {part: scrub.text(text, chapter) for part, text in told.items()}} if told else {}
        manifest["chapters"][chapter] = {**own, **answer, "files": sorted({*own["files"], *files})}
    manifest["files"] = dict(sorted(manifest["files"].items()))
    manifest["seal"] = seal({name: value for name, value in manifest.items() if name != "seal"})
    (layout.reference / MANIFEST).write_bytes(listing(manifest))
    readme.write(layout.root / "README.md", Reference(layout.reference, manifest))
    return 0


def executed(root: Path, chapter: str, data: str) -> Any:
    """The tagged cells of a chapter, run on the kept tables."""
    from nbclient import NotebookClient

    book = nbformat.read(root / "notebooks" / f"{chapter}.ipynb", 4)
    start = START.format(folder=str(root / "book/reference/raw"), data=data, chapter=chapter)
    book.cells = [nbformat.v4.new_code_cell(start), *(c for c in book.cells if TAG in c.metadata.get("tags", []))]
    NotebookClient(book, timeout=1800, resources={"metadata": {"path": str(root)}}).execute()
    return book


def names(folder: Path, data: str, chapter: str) -> dict[str, Any]:
    """What the tagged cells of a chapter start from, under the names that its other cells give them."""
    raw = load_raw(folder)
    p = raw.index["params"]
    told = {"params": SimpleNamespace(profile=p["profile"], model=p["model"])}
    out: dict[str, Any] = {"run": SimpleNamespace(**told), "how": (int(p["bootstrap"]), int(p["seed"]))}
    kept = raw.arms["arms"]
    read = {name: _named(raw.tables[name], kept) for name in ("likelihood", "responses", "statements")}
    like, at = read["likelihood"], read["likelihood"]["arm"].map(lambda arm: _gamma(kept[arm]["frozen"]))
    gammas = sorted(set(at.dropna()))
    main = like[at.isna() | (at == p["gamma"])]
    if chapter == "08_gamma":
        topics = ["", *p["ablation_topics"]]
        mine = like["trained"].isin(topics) & (like["leaning"] != "left")
        out["frames"] = {gamma: like[mine & (at.isna() | (at == gamma))] for gamma in gammas}
    elif chapter == "05_vanilla_stance":
        out["plain"] = main[main["trained"] == ""]
    elif chapter == "07_inhibitft":
        out["likely"] = main[main["leaning"] != "left"]
        out["judged"] = read["responses"][
            read["responses"]["arm"].isin(_plain(kept)) & (read["responses"]["leaning"] != "left")
        ]
    else:
        out["likely"] = main[main["condition"].isin(["vanilla", "fine-tune"])]
    if chapter == "19_what_moved":
        out["judged"], out["stated"] = (t[t["arm"].isin(_plain(kept))] for t in (read["responses"], read["statements"]))
        out["data"] = load_data(data)
        if out["data"].digest() != raw.index["data"]["digest"]:
            raise ArtifactError(f"data={data}: not the data of the reference run; give the place of IdeoINST")
    return out


def _named(table: pd.DataFrame, kept: dict[str, Any]) -> pd.DataFrame:
    """A table with the columns that name a model, in the order of the conditions of a run."""
    order = {"vanilla": 0, "fine-tune": 1, "inhibitft": 2}
    columns = {name: table["arm"].map(lambda arm, key=key: kept[arm][key]) for name, key in _KEYS.items()}
    rank = columns["condition"].map(order).fillna(3) + 0.5 * (columns["leaning"] == "left")
    return table.assign(**columns, rank=rank).sort_values("rank", kind="stable").drop(columns="rank")


def _plain(kept: dict[str, Any]) -> list[str]:
    return [arm for arm, each in kept.items() if each["name"] in ("vanilla", "fine-tune") and each["run"] == 0]


_KEYS = dict(zip(NAMES, ("name", "topic", "leaning"), strict=True))


def _gamma(frozen: str | None) -> float | None:
    return None if frozen is None else float(json.loads(frozen.split("/")[1]))
