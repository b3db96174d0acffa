"""A part of the reference run made again from scratch, and compared with what is kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from book._make.reference.raw_arms import kind_of
from book._make.reference.raw_files import processor
from book._make.reference.raw_load import Raw
from book._make.reference.raw_run import RawRun
from polinb.errors import ArtifactError, ParameterError
from polinb.runs.artifacts import provenance
from polinb.runs.experiment import Experiment
from polinb.scoring.pnlac import top_share
from polinb.stance.stance import stance_table

_IGNORED = ("polinb", "cpus", "platform")  # they change no number; the processor's own name is compared


@dataclass(frozen=True)
class Tolerance:
    """How far a number made again may lie from the one kept.

    Attributes:
        name: what the tolerance is for.
        texts: least share of answers that are the same text.
        labels: least share of answers with the same label.
        likelihood: largest difference of a log-likelihood, nats a token.
        scores: largest difference of a neuron's score, as a share of the mean score.
        jaccard: least overlap of N_t with the one kept.
    """

    name: str
    texts: float
    labels: float
    likelihood: float
    scores: float
    jaccard: float


SAME = Tolerance("same processor, packages and threads", 0.99, 0.99, 1e-3, 1e-3, 0.999)
OTHER = Tolerance("other hardware or software", 0.5, 0.8, 0.05, 0.25, 0.9)


@dataclass(frozen=True)
class Choice:
    """What is made again.

    Attributes:
        arms: ids.
        topics: whose scores.
        seconds: what it took in the reference run.
    """

    arms: tuple[str, ...]
    topics: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Measure:
    """One comparison.

    Attributes:
        what: arm or scores, and which number.
        value: found.
        allowed: in words.
        passed: within the tolerance.
    """

    what: str
    value: float
    allowed: str
    passed: bool


def choose(raw: Raw, share: float, seed: int) -> Choice:
    """A random share of the arms that can be made again, and of the topics' scores; at least one of each that exists.

    Raises:
        ParameterError: a share that is not above 0 and at most 1.
        ArtifactError: nothing can be made again.
    """
    if not 0 < share <= 1:
        raise ParameterError("--share", share, "a number above 0, at most 1")
    rng = np.random.default_rng(seed)
    able = sorted(name for name, arm in raw.arms["arms"].items() if arm["recomputable"])
    if not able:
        raise ArtifactError("the raw data hold no arm that can be made again")
    picked = []
    for each in (able, sorted(raw.arms["scores"])):
        count = min(len(each), max(1, round(share * len(each))))
        picked.append(tuple(sorted(rng.choice(each, count, replace=False).tolist())) if each else ())
    arms, topics = picked
    return Choice(arms, topics, _seconds(raw, arms, topics))


def _seconds(raw: Raw, arms: tuple[str, ...], topics: tuple[str, ...]) -> float:
    known = raw.arms["arms"]
    total = sum(known[name]["seconds"] for name in arms) + sum(raw.arms["scores"][t]["seconds"] for t in topics)
    asked = {(known[n]["topic"], known[n]["leaning"]) for n in arms if _keeps_weights(known[n])}  # trained there
    weights = {(t, side) for t in topics for side in ("left", "right")} - asked
    for topic, side in weights:
        plain = known.get(f"{topic}-{side}-fine-tune", {})
        total += plain.get("training", {}).get("seconds", 0.0)
    return float(total)


def _keeps_weights(arm: dict[str, Any]) -> bool:
    changed = arm["frozen_neurons"] or arm["ablate"] or (arm["rate"], arm["stop"], arm["run"]) != (1.0, 1.0, 0)
    return bool(arm["topic"]) and not changed


def check_same_run(raw: Raw, exp: Experiment) -> None:
    """Refuse other data and another model before anything is computed.

    Raises:
        ParameterError: they are not those of the reference run.
    """
    kept, own = raw.index["data"]["digest"], exp.data.digest()
    if kept != own:
        raise ParameterError(
            "data", exp.params.data, f"the data of the reference run, {raw.index['data']['name']} ({kept[:12]}…)",
            f"These have the digest {own[:12]}…: other rows or another version",
        )  # fmt: skip
    for name, value in raw.index["model"].items():
        if name != "device" and exp.identity.get(name) != value:
            raise ParameterError(f"model ({name})", exp.identity.get(name), f"that of the reference run, {value!r}")


def unlike(raw: Raw, numbers: list[int]) -> list[str]:
    """How this machine differs from what made something; empty: not at all, so the numbers should be the same."""
    import torch

    own = provenance()
    own["threads"] = torch.get_num_threads()
    every = [raw.index["environments"][n] for n in numbers]
    if len(every) != 1:
        return [f"made in {len(every)} different environments"]
    told = [
        f"{name}: {each.get(name, 'none')} there, {own.get(name, 'none')} here"
        for each in every
        for name in sorted({*each, *own} - {*_IGNORED, "packages", "date"})
        if each.get(name) != own.get(name)
    ]
    for name in sorted({*every[0]["packages"], *own["packages"]}):
        there, here = (e["packages"].get(name, "none") for e in (every[0], own))
        if there != here:
            told.append(f"{name}: {there} there, {here} here")
    if raw.index["processor"] != processor():
        told.append(f"processor: {raw.index['processor']} there, {processor()} here")
    return told


@contextmanager
def threads_of(raw: Raw, numbers: list[int]) -> Iterator[None]:
    """As many threads as in the reference run: another number adds in another order."""
    import torch

    wanted = {raw.index["environments"][n].get("threads") for n in numbers} - {None}
    before = torch.get_num_threads()
    try:
        if len(wanted) == 1:
            torch.set_num_threads(wanted.pop())
        yield
    finally:
        torch.set_num_threads(before)


def again(raw: Raw, choice: Choice, exp: Experiment) -> Iterator[list[Measure]]:
    """Make each chosen thing again and compare it, one list of measures a thing.

    Args:
        exp: parameters of the run with a fresh store.
    """
    run = RawRun(raw)
    for name in choice.arms:
        numbers = raw.arms["arms"][name]["environments"]
        with threads_of(raw, numbers):
            yield compare_arm(run, exp, name, SAME if not unlike(raw, numbers) else OTHER)
    for topic in choice.topics:
        numbers = raw.arms["scores"][topic]["environments"]
        with threads_of(raw, numbers):
            yield compare_scores(run, exp, topic, SAME if not unlike(raw, numbers) else OTHER)


def compare_arm(run: RawRun, exp: Experiment, name: str, room: Tolerance) -> list[Measure]:
    """An arm trained, asked and judged again beside what is kept of it."""
    arm = run.raw.arm(name)
    made, kept = exp.answers(arm), run.answers(arm)
    new, old = exp.stances(arm), kept.frame("rated")
    if not new[["topic", "id", "prompt"]].astype(str).equals(old[["topic", "id", "prompt"]].astype(str)):
        return [Measure(f"{name}: questions", float("nan"), "those of the reference run", False)]
    found = [
        _least(f"{name}: answers of the same text", float((new["response"] == old["response"]).mean()), room.texts),
        _least(f"{name}: answers of the same label", float((new["label"] == old["label"]).mean()), room.labels),
        *_stances(name, new, old, exp.params.bootstrap, exp.params.seed),
    ]
    if "statements" in kept.tables and "statements.parquet" in made.meta["files"]:
        share = (made.frame("statements")["response"] == kept.frame("statements")["response"]).mean()
        found.append(_least(f"{name}: statement answers of the same text", float(share), room.texts))
    if "likelihood" in kept.tables and "likelihood.parquet" in made.meta["files"]:
        columns = ["logp_left", "logp_right"]
        gap = (made.frame("likelihood")[columns] - kept.frame("likelihood")[columns]).abs().to_numpy().max()
        found.append(_most(f"{name}: likelihoods of reference answers, nats a token", float(gap), room.likelihood))
    return found


def _stances(name: str, new: pd.DataFrame, old: pd.DataFrame, draws: int, seed: int) -> list[Measure]:
    """Each topic's stance must lie in the kept interval, one changed label aside (an interval may have no width)."""
    out = []
    means = new.groupby("topic", sort=False)["score"].mean()
    for row in stance_table(old, n_boot=draws, seed=seed).itertuples():
        value, low, high = float(means[row.topic]), float(row.low) - 2 / row.n, float(row.high) + 2 / row.n
        inside = bool(low <= value <= high)
        out.append(Measure(f"{name}: stance on {row.topic}", value, f"from {low:.2f} to {high:.2f}", inside))
    return out


def compare_scores(run: RawRun, exp: Experiment, topic: str, room: Tolerance) -> list[Measure]:
    """A topic's scores and N_t, with both of its variants trained again, beside what is kept."""
    p = exp.params
    sums = exp.score_sums(topic)
    old = run.topic_scores("none")[topic]
    gap = float(np.abs(sums.score - old).max() / old.mean())
    found = [_most(f"scores of {topic}: largest difference as a share of the mean score", gap, room.scores)]
    chosen = top_share(sums.score, p.gamma, p.pool)
    kept = run.raw.sets[f"N/{kind_of('none')}/{p.gamma:g}/{topic}"]
    overlap = float((chosen & kept).sum() / max(1, (chosen | kept).sum()))
    found.append(_least(f"scores of {topic}: overlap (Jaccard) of N_t", overlap, room.jaccard))
    return found


def _least(what: str, value: float, bound: float) -> Measure:
    return Measure(what, value, f"at least {bound:g}", value >= bound)


def _most(what: str, value: float, bound: float) -> Measure:
    return Measure(what, value, f"at most {bound:g}", value <= bound)


def show(measure: Measure) -> str:
    """A comparison as a line."""
    mark = "ok  " if measure.passed else "FAIL"
    return f"  {mark} {measure.what}: {measure.value:.4g} (allowed: {measure.allowed})"


def flush(line: str) -> None:
    """Print at once: what comes next may take minutes."""
    print(line, file=sys.stdout, flush=True)
