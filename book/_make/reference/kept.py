"""The reference run as a run that can be read: its kept tables, in a store, under the names that results have now."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from book._make.reference.doses import restore
from polinb.chapters.caft import caft
from polinb.chapters.paper import judge_tables, patch_tables
from polinb.errors import ArtifactError
from polinb.runs import stages
from polinb.runs.artifacts import Store, save_arrays
from polinb.runs.conditions import VANILLA, Condition
from polinb.runs.params import Params
from polinb.runs.results import Result
from polinb.runs.run import Run
from polinb.scoring.pnlac import NeuronSets
from polinb.scoring.tracing import Contrast

MADE = "made"
"""Of the folder of results: those of chapters whose raw results the run did not keep, made again since."""
_KINDS = {"G": "general", "S": "specific"}


def kept_run(folder: Path, data: str, place: Path) -> Run:
    """A run that is only read, with everything that ``folder`` (``book/reference/results``) keeps.

    Args:
        data: where IdeoINST is; other data than the reference run's are an ArtifactError.
        place: folder of the store; what an earlier call put there is used again.
    """
    index = json.loads((folder / "index.json").read_text("utf-8"))
    given = {name: value for name, value in index["params"].items() if name in Params.model_fields}
    # warmup: with the code that made the run no step of a fine-tune was one
    given |= {"data": data, "warmup": 0.0, "device": "cpu"}
    run = Run(Params.from_profile(given.pop("profile"), **given), Store(place), read_only=True)
    if run.data.digest() != index["data"]["digest"]:
        raise ArtifactError(f"data={data}: not the data of the reference run; give the place of IdeoINST")
    arms = json.loads((folder / "arms.json").read_text("utf-8"))
    _sets(run, folder, arms["scores"])
    _answers(run, folder, arms["arms"])
    _patched(run, folder)
    restore(folder / MADE, run.store)
    run.answers().made()  # only read: their length is what known answers are cut to
    run.read_only = False  # the judge learns from the data alone
    judge_tables.accuracy(run)
    run.read_only = True
    return run


def masks(folder: Path, width: int) -> dict[str, np.ndarray]:
    """The kept neuron sets by name, (layers, FFN width) bool."""
    packed = load_file(folder / "sets.safetensors")
    return {name: np.unpackbits(bits, axis=1)[:, :width].astype(bool) for name, bits in packed.items()}


def _sets(run: Run, folder: Path, scored: dict[str, Any]) -> None:
    p, scores = run.params, load_file(folder / "scores.safetensors")
    shape = scores["scale"].shape
    kept = masks(folder, shape[1])
    for gamma in {p.gamma, *p.gammas}:
        for rule, normalise in (("raw", "none"), ("std", "vanilla_std")):
            found = {str(t): kept[f"N/{rule}/{gamma:g}/{t}"] for t in p.topics if f"N/{rule}/{gamma:g}/{t}" in kept}
            if found:
                run.once(("sets", gamma, normalise), partial(NeuronSets, found, np.all(list(found.values()), axis=0)))
    for topic, facts in scored.items():  # the sums behind the scores, and behind the scale over all topics
        tokens = int(facts["tokens"])
        unknown = np.full(shape, np.nan)
        squared, scale = (scores[name].astype(float) ** 2 * tokens for name in (f"score/{topic}", "scale"))
        run.once(("sums", topic), partial(Contrast, squared, unknown, unknown, scale, tokens))
    more = {f"S/{p.gamma:g}/{topic}": chosen for topic, chosen in run.sets().specific.items()}

    def write(mask: np.ndarray, place: Path) -> dict[str, Any]:
        save_arrays(place / "neurons.safetensors", {"mask": mask.astype(np.uint8)})
        return {"neurons": int(mask.sum())}

    for name, mask in (kept | more | {"all": np.ones(shape, dtype=bool)}).items():
        if not name.startswith(("N/", "loudest")):
            _neurons(run, name).put(partial(write, mask))


def _neurons(run: Run, name: str) -> Result:
    """Neurons by their kept name: rule/γ/topic or number."""
    rule, gamma, which, *_ = [*name.split("/"), "", ""]
    kind = _KINDS.get(rule, rule.removeprefix("random-"))
    of = {"number": int(which)} if which.isdigit() else {"topic": which}
    return run.neurons(kind, float(gamma) if gamma else None, **of)


def _condition(run: Run, kept: dict[str, Any]) -> Condition:
    """A kept model as the condition that it is now."""
    if not kept["topic"]:
        return VANILLA
    name, how = kept["name"], {"step_share": kept["stop"], "interpolation": kept["blend"]}
    if name.startswith("caft-"):
        return caft.conditions(run, kept["topic"], [name.removeprefix("caft-")])[0]
    if kept["frozen"]:
        chosen = kept["frozen"] + (f"/{kept['topic']}" if kept["frozen"].startswith("heldout") else "")
        how["frozen"] = _neurons(run, chosen)
    return run.tuned(kept["topic"], kept["leaning"], name, rate=kept["rate"], repeat=kept["run"], **how)


def _answers(run: Run, folder: Path, arms: dict[str, Any]) -> None:
    read = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("responses", "statements", "likelihood")}
    by = {name: dict(list(table.groupby("arm", sort=False))) for name, table in read.items()}
    keys = ["topic", "id", "prompt"]
    asked = {"responses": run.questions()[keys], "statements": run.statements()[keys]}
    for arm, kept in arms.items():
        condition = _condition(run, kept)
        weights, training = run.weights(condition), kept["training"]
        for name, verb in (("responses", run.answers), ("statements", run.statement_answers)):
            if arm in by[name]:
                answers, rows = verb(condition), asked[name].merge(by[name][arm])
                summary = {} if weights is None else {"training": training}
                _put(answers, "answers", rows[[*keys, "response", "n_tokens", "vanilla_logp"]], **summary)
                _rated(run, answers, rows)
        if arm in by["likelihood"]:
            rows = by["likelihood"][arm]
            sides = [rows[keys[:2]].assign(side=side, logp=rows[f"logp_{side}"]) for side in ("left", "right")]
            _put(run.reference_logp(condition), "logp", pd.concat(sides, ignore_index=True))
        if weights is not None and training:
            _put(caft.first_loss(run, weights=weights), loss=training["losses"][0])


def _rated(run: Run, answers: Result, rows: pd.DataFrame) -> None:
    columns = ["topic", "id", "prompt", "response", "label", "score", "p_right"]
    _put(stages.rate(run, answers=answers, table="answers"), "rated", rows[columns])


def _put(result: Result, table: str = "", rows: pd.DataFrame | None = None, **summary: Any) -> None:
    """A kept table, and facts, as the result that it is."""

    def make(place: Path) -> dict[str, Any]:
        if rows is not None:
            rows.to_parquet(place / f"{table}.parquet")
        return summary

    result.put(make)


def _patched(run: Run, folder: Path) -> None:
    by = dict(list(pd.read_parquet(folder / "patched.parquet").groupby("set", sort=False)))
    asked = run.questions(run.params.patch_questions)
    for name, _, chosen, donors in patch_tables.patch_plan(run):
        answers, rows = run.patch(chosen, donors), asked.merge(by[name])
        said = rows[["topic", "id", "prompt", "response"]].assign(n_tokens=np.nan)  # their lengths are not kept
        _put(answers, "answers", said)
        _rated(run, answers, rows)
