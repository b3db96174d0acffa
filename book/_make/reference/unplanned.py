"""``python -m book._make unplanned``: sections that were not planned, from the kept answers of the reference run.

Cells of the chapters that carry the tag ``from-raw`` run on the kept tables instead of a run; their outputs join those
of the reference run's notebooks. Nothing is asked of a model. Only the classifier of topics needs the data.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pandas as pd

from book._make.reference.keep import clean
from polinb.chapters.anatomy import dose_tables, doses
from polinb.chapters.anatomy.moved import NAMES
from polinb.data.loading import load_data
from polinb.data.pairs import StanceData
from polinb.data.prompts import asked_of
from polinb.display import responses
from polinb.errors import ArtifactError
from polinb.labels import current
from polinb.runs.checkout import find_layout, parse_settings
from polinb.stance.judges import LocalJudge
from polinb.wording import LIVE, PAYLOAD
from polinb_book import results

TAG = "from-raw"
DOSES = "20_paper_recipe"
BROWSER = "18_responses"
CHAPTERS = (
    "01_phenomenon",
    "02_data",
    "05_vanilla_stance",
    "07_inhibitft",
    "08_gamma",
    BROWSER,
    "19_what_moved",
    DOSES,
)
START = """import sys
from pathlib import Path
from book._make.reference.unplanned import names
globals().update(names(Path({folder!r}), {data!r}, {chapter!r}))"""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    own = commands.add_parser("unplanned", help="sections not planned, from the kept answers of the reference run")
    own.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="data=…, those of the run")
    own.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    layout, data = find_layout(), str(parse_settings(arguments.set).get("data", "ideoinst"))
    found = results.read(layout.reference)
    if found is None:
        raise ArtifactError("this checkout holds no results of a reference run")
    run = {**found.run, "chapters": dict(found.run["chapters"])}
    for chapter in CHAPTERS:
        book = joined(layout.root, found, chapter, data)
        (layout.reference / "notebooks" / f"{chapter}.ipynb").write_text(results.as_json(book), "utf-8")
        planned = run["chapters"].get(chapter, {"planned": False}).get("planned", True)
        told = None if planned else results.answer(book, chapter)
        if told:
            answer = {part: told[part] for part in ("first", "text")}
            state = _state(layout.reference, chapter, run["parameters"]["topics"])
            run["chapters"][chapter] = {"state": state, "seconds": 0.0, "planned": False, "answer": answer}
    (layout.reference / results.RUN).write_text(results.as_json(run), "utf-8")
    results.write_sums(layout.reference)
    return 0


def _state(folder: Path, chapter: str, topics: list[str]) -> str:
    """The doses are under way until every model of the plan is there."""
    if chapter != DOSES:
        return "complete"
    made = dose_tables.progress(doses.kept(folder / "doses" / "short"), topics).set_index("trained")
    return "complete" if (made == "done").all(axis=None) else "under way"


def differences(folder: Path, data: str) -> Iterator[str]:
    """Where a section that was not planned says something else than the stored notebook, one line a cell."""
    found, root = results.read(folder), find_layout().root
    for chapter in CHAPTERS if found else ():
        stored = {cell["id"]: cell for cell in found.notebooks[chapter]["cells"]} if found else {}
        for cell in made(root, folder, chapter, data)["cells"]:
            if shown(cell) != shown(stored.get(cell["id"], {})):
                yield f"{chapter}: computed again, the output of its cell {cell['id']} differs"


def shown(cell: dict[str, Any]) -> list[Any]:
    """The data of a cell's outputs."""
    outputs = (output.get("data", {}) for output in cell.get("outputs", []))
    return [[data[kind] for kind in (PAYLOAD, LIVE) if kind in data] for data in outputs if PAYLOAD in data]


def joined(root: Path, found: results.Reference, chapter: str, data: str) -> dict[str, Any]:
    """The stored notebook of a chapter with the outputs of its tagged cells, as the chapter is written now."""
    written = json.loads((root / "notebooks" / f"{chapter}.ipynb").read_text("utf-8"))
    stored = found.notebooks.get(chapter, {"cells": []})["cells"]
    cells = [*stored, *made(root, found.folder, chapter, data)["cells"]]
    return {**results.filled(written, {"cells": cells}), "metadata": written["metadata"]}


def made(root: Path, folder: Path, chapter: str, data: str) -> dict[str, Any]:
    """The tagged cells of a chapter, run on the kept tables."""
    from nbclient import NotebookClient

    book = nbformat.read(root / "notebooks" / f"{chapter}.ipynb", 4)
    start = START.format(folder=str(folder / "results"), data=data, chapter=chapter)
    tagged = [cell for cell in book.cells if TAG in cell.metadata.get("tags", [])]
    book.cells = [nbformat.v4.new_code_cell(start), *tagged]
    NotebookClient(book, timeout=1800, resources={"metadata": {"path": str(root)}}).execute()
    book.cells = tagged
    return clean(json.loads(nbformat.writes(book)), chapter, {str(root): "", data: "ideoinst"})


def names(folder: Path, data: str, chapter: str) -> dict[str, Any]:
    """What the tagged cells of a chapter start from, under the names that its other cells give them."""
    index = json.loads((folder / "index.json").read_text("utf-8"))
    p = index["params"]
    told = {"params": SimpleNamespace(profile=p["profile"], model=p["model"])}
    out: dict[str, Any] = {"run": SimpleNamespace(**told), "how": (int(p["bootstrap"]), int(p["seed"]))}
    if chapter in (DOSES, BROWSER, "19_what_moved"):
        out["data"] = load_data(data)
        if out["data"].digest() != index["data"]["digest"]:
            raise ArtifactError(f"data={data}: not the data of the reference run; give the place of IdeoINST")
    if chapter == DOSES:
        frames, judge = doses.kept(folder.parent / "doses" / "short"), LocalJudge(out["data"])
        return out | {"frames": frames, "judge": judge, "topics": p["topics"]}
    kept = json.loads(current((folder / "arms.json").read_text("utf-8")))["arms"]
    read = {name: _named(folder / f"{name}.parquet", kept) for name in ("likelihood", "responses", "statements")}
    if chapter == BROWSER:
        patched = pd.read_parquet(folder / "patched.parquet")
        return {"run": _asked(p, out["data"]), "columns": columns(p, read["responses"], patched)}
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
    return out


def columns(p: dict[str, Any], answers: pd.DataFrame, patched: pd.DataFrame) -> list[responses.Column]:
    """The answers browser's columns out of kept answers."""
    names = ["topic", "id", "response", "label", "score", "p_right", "n_tokens"]
    by = {name: frame[names] for name, frame in answers.groupby("arm", sort=False)}
    sets = {name: frame.assign(n_tokens=np.nan)[names] for name, frame in patched.groupby("set", sort=False)}
    [control], gamma = responses.shown_control(p["controls"]), f"g{p['gamma']:g}"
    arms = {
        "vanilla": "vanilla",
        "right": "{}-right-fine-tune",
        "left": "{}-left-fine-tune",
        "inhibit": f"{{}}-right-inhibitft-{gamma}",
        "random": f"{{}}-right-random-{control}-{gamma}-n0",
    }
    patches = {"patch-g": "G", "patch-s": "S ({})"}

    def frame(kind: str, topic: str) -> pd.DataFrame:
        return sets[patches[kind].format(topic)] if kind in patches else by[arms[kind].format(topic)]

    return responses.arranged(p["topics"], p["controls"], frame)


def _asked(p: dict[str, Any], data: StanceData) -> SimpleNamespace:
    """As much of a run as the answers browser reads: parameters and questions."""
    told = ("profile", "model", "judge", "topics", "eval_tokens", "browse_questions", "bootstrap", "seed")

    def questions(limit: int | None = None) -> pd.DataFrame:
        return asked_of(data, p["topics"], limit or p["eval_questions"], p["answer_template"])

    return SimpleNamespace(params=SimpleNamespace(**{name: p[name] for name in told}), questions=questions)


def _named(file: Path, kept: dict[str, Any]) -> pd.DataFrame:
    """A kept table with the columns that name a model, in the order of the conditions of a run."""
    table = pd.read_parquet(file)
    table["arm"] = table["arm"].map(current)
    order = {"vanilla": 0, "fine-tune": 1, "inhibitft": 2}
    columns = {name: table["arm"].map(lambda arm, key=key: kept[arm][key]) for name, key in _KEYS.items()}
    rank = columns["condition"].map(order).fillna(3) + 0.5 * (columns["leaning"] == "left")
    return table.assign(**columns, rank=rank).sort_values("rank", kind="stable").drop(columns="rank")


def _plain(kept: dict[str, Any]) -> list[str]:
    return [arm for arm, each in kept.items() if each["name"] in ("vanilla", "fine-tune") and each["run"] == 0]


_KEYS = dict(zip(NAMES, ("name", "topic", "leaning"), strict=True))


def _gamma(frozen: str | None) -> float | None:
    return None if frozen is None else float(json.loads(frozen.split("/")[1]))
