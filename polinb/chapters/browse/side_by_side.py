"""Chapter 18: what every model answered, and how often the judge's label differs from that of the vanilla model's.

Nothing is trained or asked here that the chapters on coupling, patching and InhibitFT have not trained or asked: their
artifacts are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd

from polinb.chapters.paper.results import TITLES
from polinb.errors import DataError
from polinb.resampling import SHARE, SHIFT, STANCE, Span, stratified_mean
from polinb.runs.conditions import VANILLA, Condition
from polinb.runs.results import Result
from polinb.runs.run import Run
from polinb.stance.likelihood import OTHER, OWN

ORDER = ("right", "left", "inhibit", "random", "patch-g", "patch-s")
NEAR = 0.1  # a vanilla answer is called a borderline one if its P(right) is no further than this from one half

CONTROLS = ("layer", "next_highest", "uniform")  # which random control is shown, the first that the run has
KINDS = {
    "vanilla": ("vanilla", "The model before any fine-tuning."),
    "right": ("right fine-tune", "Fine-tuned on right-leaning answers about {trained}."),
    "left": ("left fine-tune", "Fine-tuned on left-leaning answers about {trained}."),
    "patch-g": (
        "G patched in",
        "The vanilla model, writing with the general neurons of the right fine-tune on the topic it is asked about; "
        "so this column does not depend on the trained topic.",
    ),
    "patch-s": (
        "S patched in",
        "The vanilla model, writing with the neurons specific to {trained} of the right fine-tune on {trained}.",
    ),
    "inhibit": (
        "InhibitFT (G)",
        "Fine-tuned on right-leaning answers about {trained} with the general neurons frozen.",
    ),
    "random": ("random control", "The same with as many random neurons frozen instead."),
}


@dataclass(frozen=True)
class Column:
    """The answers of one model.

    Attributes:
        kind: a key of ``KINDS``.
        trained: topic it was fine-tuned on or patched from; empty: the same for every choice.
        title: how the page calls it.
        frame: topic, id, response, label, score, p_right (NaN: none), n_tokens; one row a question it was asked.
    """

    kind: str
    trained: str
    title: str
    frame: pd.DataFrame


def columns(run: Run) -> list[Column]:
    """Every column of the browser, vanilla first: the conditions of the chapters on coupling, patching, InhibitFT.

    Raises:
        TrainingError: no neuron is general at the run's γ.
    """

    def column(kind: str, trained: str, answers: Result, title: str = "") -> Column:
        lengths = answers.frame("answers")[["topic", "id", "n_tokens"]]
        frame = run.rated(answers).merge(lengths, on=["topic", "id"], how="left", validate="one_to_one")
        frame = frame[["topic", "id", "response", "label", "score", "p_right", "n_tokens"]]
        return Column(kind, trained, title or KINDS[kind][0], frame)

    topics = run.params.topics
    own = run.patch(run.neurons("general"), {topic: topic for topic in topics})
    found = [column("vanilla", "", run.answers(VANILLA)), column("patch-g", "", own)]
    for topic in topics:
        tuned = {side: run.tuned(topic, side) for side in ("right", "left")} | frozen_conditions(run, topic)
        for kind, condition in tuned.items():
            title = TITLES[condition.name] if kind == "random" else ""
            found.append(column(kind, topic, run.answers(condition), title))
        specific = run.patch(run.neurons("specific", topic=topic), dict.fromkeys(topics, topic))
        found.append(column("patch-s", topic, specific))
    return found


def frozen_conditions(run: Run, topic: str) -> dict[str, Condition]:
    """InhibitFT and the first of :data:`CONTROLS` that a run has, as the InhibitFT chapter trains them on a topic."""
    control = [kind for kind in CONTROLS if kind in run.params.controls][:1]
    return dict(zip(("inhibit", "random"), run.inhibited(topic, kinds=control), strict=False))


def flips(cols: Sequence[Column]) -> pd.DataFrame:
    """One row an answer of every column but the vanilla model's.

    Raises:
        DataError: a question that the vanilla model was not asked.

    Returns:
        kind, title, trained, asked (``OWN`` or ``OTHER``), topic, id, before, after (labels), changed (bool),
        side (+1 changed to right, −1 changed to left, else 0), p_before (the judge's P(right) of vanilla's answer),
        rated (both have a label).
    """
    plain = cols[0].frame[["topic", "id", "label", "p_right"]]
    plain = plain.rename(columns={"label": "before", "p_right": "p_before"})
    parts = [
        col.frame[["topic", "id", "label"]].assign(kind=col.kind, title=col.title, trained=col.trained)
        for col in cols[1:]
    ]
    out = pd.concat(parts, ignore_index=True).rename(columns={"label": "after"})
    out = out.merge(plain, on=["topic", "id"], how="left", validate="many_to_one")
    if out["before"].isna().any():
        lost = out[out["before"].isna()].iloc[0]
        told = f"topic {lost['topic']!r}, id {lost['id']!r} was not put to the vanilla model"
        raise DataError(f"{lost['title']}: {told}")
    own = (out["topic"] == out["trained"]) | (out["trained"] == "")  # G: donor of the own topic
    out["asked"] = own.map({True: OWN, False: OTHER})
    # an answer that is not rated has no label to change: a judge that was down must not look like a finding
    out["rated"] = ~out[["before", "after"]].isin(["unrated"]).any(axis=1)
    out["changed"] = out["rated"] & (out["before"] != out["after"])
    out["side"] = out["after"].map({"right": 1, "left": -1}).fillna(0).astype(int) * out["changed"]
    return out


def label_flips(run: Run, cols: Sequence[Column]) -> pd.DataFrame:
    """Labels that changed from the vanilla model's, by condition, on the trained topic and on the others.

    Returns:
        kind, condition, asked, n (answers rated by both), unrated (left out: no label on one side), changed, to_right,
        to_left, to_neither (counts), share, net and apart with ``_low`` and ``_high``: share of changed labels, share
        of changes to right minus to left, and net of right fine-tunes minus net of left ones on the same questions (NaN
        in other rows than those of right fine-tunes). Intervals are 95 %, over questions: the answers of several
        fine-tunes to one question stay together.
    """
    rows = []
    every = flips(cols)
    for kind, asked in product(ORDER, (OWN, OTHER)):
        both = every[(every["kind"] == kind) & (every["asked"] == asked)]
        part = both[both["rated"]]
        if part.empty:
            continue
        counts = [int((part.loc[part["changed"], "side"] == side).sum()) for side in (1, -1, 0)]
        means = [*_mean(run, part, "changed", SHARE), *_mean(run, part, "side", STANCE)]
        means += _apart(run, part, every) if kind == "right" else [float("nan")] * 3
        rows.append(
            [kind, part["title"].iloc[0], asked, len(part), len(both) - len(part), sum(counts), *counts, *means]
        )
    names = ["kind", "condition", "asked", "n", "unrated", "changed", "to_right", "to_left", "to_neither"]
    names += [name + end for name in ("share", "net", "apart") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=names)


def _apart(run: Run, right: pd.DataFrame, every: pd.DataFrame) -> list[float]:
    """Net direction of right fine-tunes minus that of left ones, on the answers that both have labels for."""
    keys = ["trained", "topic", "id"]
    left = every[(every["kind"] == "left") & every["rated"]]
    both = right.merge(left[[*keys, "side"]], on=keys, suffixes=("", "_left"))
    both["apart"] = both["side"] - both["side_left"]
    return [float("nan")] * 3 if both.empty else list(_mean(run, both, "apart", SHIFT))


def _mean(run: Run, part: pd.DataFrame, value: str, span: Span) -> tuple[float, float, float]:
    """Mean over topics and its interval: questions, each the mean of its answers, are resampled within topics."""
    groups = [g.groupby("id")[value].mean().to_numpy(float) for _, g in part.groupby("topic", sort=False)]
    return stratified_mean(groups, run.params.bootstrap, run.params.seed, span)


def borderline(every: pd.DataFrame) -> tuple[float, float]:
    """Share of vanilla answers with the judge nearly undecided (:data:`NEAR`), among labels changed and among others.

    Args:
        every: of :func:`flips`; only right fine-tunes count. NaN where there is no such label.
    """
    known = every[(every["kind"] == "right") & every["rated"] & every["p_before"].notna()]
    near = (known["p_before"] - 0.5).abs() <= NEAR
    return float(near[known["changed"]].mean()), float(near[~known["changed"]].mean())
