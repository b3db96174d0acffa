"""What a run has in its store, looked up and never computed: sets, arms with their answers, patched answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from polinb.runs.experiment import VANILLA, Arm, Experiment, finetuned

from book._make.reference.raw_store import MissingError
from polinb.chapters.caft import caft
from polinb.chapters.paper import baselines as rivals
from polinb.chapters.paper import results
from polinb.chapters.paper.patch_tables import patch_plan
from polinb.errors import ArtifactError, TrainingError
from polinb.masking.random_sets import KINDS
from polinb.runs.artifact_check import META
from polinb.runs.artifacts import Artifact, key_of

_JUDGED = ["label", "score", "p_right"]


@dataclass
class Found:
    """What of a run was found.

    Attributes:
        arms: id → what ``arms.json`` says of it.
        frames: table (responses, statements, likelihood) → its parts, one an arm.
        groups: what the arms are for → their ids, those not found included.
        sets: name → (L, F) bool, as :func:`set_names` has them.
        scores: name → (L, F) float32.
        topics: topic → facts about its scores.
        patched: what was patched, and ``patched_frames`` its answers.
        missing: what was not found, one entry a stage: what, why.
        environments: different provenances of the answers, without date and duration.
        asked: questions and statements as they were put, once each.
    """

    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    frames: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, np.ndarray] = field(default_factory=dict)
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    topics: dict[str, dict[str, Any]] = field(default_factory=dict)
    patched: list[dict[str, Any]] = field(default_factory=list)
    patched_frames: list[pd.DataFrame] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    environments: list[dict[str, Any]] = field(default_factory=list)
    asked: pd.DataFrame = field(default_factory=pd.DataFrame)


def kind_of(normalise: str) -> str:
    """How names of sets call a way of scoring."""
    return "raw" if normalise == "none" else "std"


def set_names(exp: Experiment) -> Iterator[tuple[str, np.ndarray]]:
    """Every neuron set that a chapter may freeze, patch or count, by name.

    ``N/<raw or std>/<γ>/<topic>``, ``G/<γ>`` (by the run's own scoring), ``loudest/<γ>``, ``loudest-neutral/<γ>``,
    ``heldout/<γ>/<topic>``, ``random-<kind>/<γ>/<number>``.
    """
    p = exp.params
    for gamma in dict.fromkeys([p.gamma, *p.gammas]):
        own = gamma == p.gamma
        for normalise in ("none", "vanilla_std") if own else (p.normalise,):
            for topic, chosen in exp.sets(gamma, normalise).political.items():
                yield f"N/{kind_of(normalise)}/{gamma:g}/{topic}", chosen
        sets = exp.sets(gamma)
        yield f"G/{gamma:g}", sets.general
        if own:
            yield f"loudest/{gamma:g}", exp.scale_set(gamma)
            neutral = exp.neutral_set(gamma)
            if neutral is not None:
                yield f"loudest-neutral/{gamma:g}", neutral
            yield from ((f"heldout/{gamma:g}/{t}", sets.general_without(t)) for t in p.topics)
        if sets.general.any():
            for kind in KINDS if own else ("layer",):
                for number in range(max(p.control_seeds, p.baseline_seeds) if own else p.control_seeds):
                    yield f"random-{kind}/{gamma:g}/{number}", exp.control_set(kind, number, gamma)


def groups_of(exp: Experiment) -> Iterator[tuple[str, Callable[[], list[tuple[str, float | None, Arm]]]]]:
    """What is looked for: group → its arms, each with the rival topic or "" and its γ, made when asked for."""
    p = exp.params
    yield "vanilla", lambda: [("", None, VANILLA)]
    yield "variants", lambda: [("", None, finetuned(t, side)) for side in ("left", "right") for t in p.topics]
    yield "inhibit", lambda: [("", None, arm) for arm in results.inhibit_arms(exp)]
    yield "gamma", lambda: [("", gamma, arm) for gamma, arm in results.gamma_arms(exp)]
    yield "rivals", lambda: [(t, None, arm) for t in p.baseline_topics for arm in rivals.arms(exp, t)]
    yield "caft", lambda: [(t, None, arm) for t in p.baseline_topics for arm in caft.arms(exp, t)]


def look(exp: Experiment) -> Found:
    """Everything of the run that its store, a :class:`~book._make.reference.raw_store.FoundStore`, holds."""
    found = Found()
    _scores(exp, found)
    with _noted(found, "neuron sets"):
        found.sets = dict(set_names(exp))
    found.asked = _asked(exp)
    every: dict[str, list[Arm]] = {}
    for group, listed in groups_of(exp):
        with _noted(found, f"arms of {group}"):
            _group(found, group, listed(), every)
    for name, candidates in every.items():
        with _noted(found, f"answers of {name}"):
            _arm(exp, found, name, candidates)
    with _noted(found, "patching"):
        for each in patch_plan(exp):
            with _noted(found, f"answers patched with {each[0]}"):
                _patched(exp, found, *each)
    return found


@contextmanager
def _noted(found: Found, what: str) -> Iterator[None]:
    try:
        yield
    except (ArtifactError, TrainingError) as error:
        found.missing.append({"what": what, "why": str(error)})


def _scores(exp: Experiment, found: Found) -> None:
    for topic in map(str, exp.params.topics):
        with _noted(found, f"scores of {topic}"):
            artifact = exp.scores(topic)
            sums = exp.score_sums(topic)
            found.scores[f"score/{topic}"] = sums.score.astype(np.float32)
            found.scores[f"vanilla_std/{topic}"] = sums.vanilla_std.astype(np.float32)
            made_by = [artifact.meta["provenance"], *(_weights(exp, topic, side) for side in ("left", "right"))]
            found.topics[topic] = {
                **artifact.summary,
                "artifact": artifact.meta["key"],
                "environments": _environments(found, made_by),
                "seconds": artifact.meta["provenance"]["seconds"],
            }
    if len(found.topics) == len(exp.params.topics):
        found.scores["scale"] = exp.scale().astype(np.float32)


def _asked(exp: Experiment) -> pd.DataFrame:
    columns = ["kind", "topic", "id", "prompt"]
    asked = [exp.questions().assign(kind="question")[columns]]
    if exp.statement_sets:
        asked.append(exp.statements().assign(kind="statement")[columns])
    return pd.concat(asked, ignore_index=True)


def _group(found: Found, group: str, listed: list[tuple[str, float | None, Arm]], every: dict[str, list[Arm]]) -> None:
    entries = []
    for number, (_, gamma, arm) in enumerate(listed):
        nth = sum(a.name == arm.name and a.topic == arm.topic for _, _, a in listed[:number])
        name = arm_id(arm, set_of(found.sets, arm), nth)
        every.setdefault(name, []).append(arm)
        entries.append({"arm": name} if gamma is None else {"arm": name, "gamma": gamma})
    found.groups[group] = entries


def set_of(sets: Mapping[str, np.ndarray], arm: Arm) -> str | None:
    """Name of the set that an arm freezes; None: nothing, or a set without a name."""
    if arm.frozen is None:
        return None
    prefix = "heldout" if arm.name.endswith("heldout") else arm.name if arm.name.startswith("random-") else "G"
    named = (n for n, chosen in sets.items() if n.startswith(f"{prefix}/") and np.array_equal(chosen, arm.frozen))
    return next(named, None)


def arm_id(arm: Arm, frozen: str | None, number: int) -> str:
    """A name that stays the same however much of the run is there: topic, side, arm, γ, number of the set, run."""
    if not arm.topic:
        return "vanilla"
    parts = [arm.topic, arm.leaning, re.sub(r"[^a-z0-9.]+", "-", arm.name.lower())]
    if frozen is not None:
        kind, gamma, *rest = frozen.split("/")
        parts += [f"g{gamma}", *(f"n{n}" for n in rest if kind.startswith("random"))]
    elif arm.ablate is not None:
        parts.append(f"n{number}")
    return "-".join([*parts, *([f"run{arm.run}"] if arm.run else [])])


def _arm(exp: Experiment, found: Found, name: str, candidates: list[Arm]) -> None:
    arm, artifact = _answers(exp, candidates)
    answers = artifact.frame("answers")
    _same_prompts(found, "question", answers, name)
    parts = {"responses": answers.join(exp.rated(answers)[_JUDGED]).drop(columns="prompt")}
    if "statements.parquet" in artifact.meta["files"]:
        said = artifact.frame("statements")
        _same_prompts(found, "statement", said, name)
        try:
            said = said.join(exp.rated(said)[_JUDGED])
        except MissingError:  # chapters judge those of the vanilla model only
            said = said.assign(label=None, score=np.nan, p_right=np.nan)
        parts["statements"] = said.drop(columns="prompt").astype({"score": float})
    if "likelihood.parquet" in artifact.meta["files"]:
        parts["likelihood"] = artifact.frame("likelihood")
    for table, part in parts.items():
        part.insert(0, "arm", name)
        found.frames.setdefault(table, []).append(part)
    frozen = set_of(found.sets, arm)
    kept = arm.topic and (arm.plain or arm.blend != 1.0)  # weights that are an artifact of their own
    made_by = [artifact.meta["provenance"], _weights(exp, arm.topic, arm.leaning) if kept else None]
    found.arms[name] = {
        "name": arm.name,
        "topic": arm.topic,
        "leaning": arm.leaning,
        "frozen": frozen,
        "frozen_neurons": 0 if arm.frozen is None else int(arm.frozen.sum()),
        "ablate": arm.ablate_digest(),
        "rate": arm.rate,
        "stop": arm.stop,
        "blend": arm.blend,
        "run": arm.run,
        "extra": "likelihood" in parts,
        "recomputable": arm.ablate is None and (arm.frozen is None or frozen is not None),
        "training": artifact.summary["training"],
        "artifact": artifact.meta["key"],
        "environments": _environments(found, made_by),
        "seconds": artifact.meta["provenance"]["seconds"],
    }


def _answers(exp: Experiment, candidates: list[Arm]) -> tuple[Arm, Artifact]:
    """The same arm may have been asked everything, or the evaluation questions alone."""
    why = None
    for arm in sorted(candidates, key=lambda a: not a.extra):
        try:
            return arm, exp.answers(arm)
        except MissingError as error:
            why = why or error
    assert why is not None
    raise why


def _same_prompts(found: Found, kind: str, frame: pd.DataFrame, name: str) -> None:
    asked = found.asked[found.asked["kind"] == kind]
    columns = ["topic", "id", "prompt"]
    if not frame[columns].astype(str).reset_index(drop=True).equals(asked[columns].astype(str).reset_index(drop=True)):
        raise ArtifactError(f"{name} was asked other {kind}s than those of this run")


def _patched(
    exp: Experiment, found: Found, name: str, group: str, chosen: np.ndarray, donors: Mapping[str, str]
) -> None:
    rated = exp.patched(name, chosen, donors)
    rated.insert(0, "set", name)
    rated.insert(1, "donor", rated["topic"].map(donors))
    found.patched_frames.append(rated[["set", "donor", "topic", "id", "response", *_JUDGED]])
    found.patched.append(
        {"set": name, "group": group, "neurons": int(chosen.sum()), "donors": dict(donors), "digest": bits(chosen)}
    )


def bits(chosen: np.ndarray) -> str:
    """Digest of a set of neurons."""
    digest = Arm("set", frozen=chosen).frozen_digest()
    assert digest is not None
    return digest


def _weights(exp: Experiment, topic: str, leaning: str) -> dict[str, Any] | None:
    """Provenance of kept weights, read from their record: their hundreds of megabytes are not looked at."""
    record = exp.store.path("variant", key_of(exp.arm_inputs(finetuned(topic, leaning)))) / META
    try:
        return dict(json.loads(record.read_text("utf-8"))["provenance"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _environments(found: Found, made_by: Iterable[dict[str, Any] | None]) -> list[int]:
    """Numbers of the software and hardware that made something, in ``found.environments``."""
    numbers = []
    for provenance in made_by:
        if provenance is not None:
            own = {k: v for k, v in provenance.items() if k not in ("date", "seconds")}
            if own not in found.environments:
                found.environments.append(own)
            numbers.append(found.environments.index(own))
    return sorted(set(numbers))
