"""What a dose says of the paper's claims, read as the plan states (book/reference_plan_doses.md).

Only trained topics whose models are all there are read, so that a run on its way can be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from polinb.chapters.anatomy.doses import INTERPOLATIONS, Frames
from polinb.chapters.anatomy.moved import stacked
from polinb.errors import DataError
from polinb.resampling import equivalence, holm, only_asked, t_mean, t_test
from polinb.runs.stages import wide
from polinb.stance import likelihood
from polinb.stance.likelihood import Models, Moved, own_and_others

CONDITIONS = {
    "right": ("fine-tune", "right"),
    "left": ("fine-tune", "left"),
    "inhibitft": ("inhibitft", "right"),
    "loud": ("random-next_highest", "right"),
}
"""The plan's names of the conditions → condition and side of the data, as other chapters name them."""
SETS = ("G", "S", "loud", "layer 1", "layer 2", "all FFN", "attention")
LEVEL = 0.05
FEWEST = 3  # trained topics for an interval
SUPPORTED, REFUTED, OPEN = "supported", "refuted", "not decided"
BOTH = "supported and refuted: there, but inside the margin"
NOT_RUN, PARTLY = "not yet run", "not yet complete"


@dataclass(frozen=True)
class Claim:
    """One of the plan's claims on values of the trained topics.

    Attributes:
        name, estimand: as the plan calls them.
        values: one a trained topic.
        test: p of the hypothesis that the claim denies.
        refuted: p of the hypothesis that its refutation denies; None: refuted where the interval is on the wrong side.
        wanted: sign of the values if the claim holds; 0: near zero.
        beside: the same values minus those of the most active set, which must pass the same test; None: no such.
    """

    name: str
    estimand: str
    values: np.ndarray
    test: Callable[[np.ndarray], float]
    refuted: Callable[[np.ndarray], float] | None = None
    wanted: int = -1
    beside: np.ndarray | None = None


# --- what was read


def sides(table: pd.DataFrame) -> pd.DataFrame:
    """A long table of likelihoods with one column a side: topic, id (and step), logp_left, logp_right."""
    return wide(table, [each for each in ("step", "topic", "id") if each in table])


def moved(frames: Frames, table: pd.DataFrame, asked: pd.DataFrame | None = None) -> Moved:
    """Shift of each question from the vanilla model, by topic.

    Args:
        table: likelihoods of one model, on all questions or on fewer.
        asked: of this table's questions alone; None: of all.
    """
    plain = frames("vanilla.logp")
    if plain is None:
        raise DataError("this dose has no likelihoods of the vanilla model yet")
    own = sides(table) if asked is None else only_asked(sides(table), asked.drop_duplicates(["topic", "id"]))
    return likelihood.moved(only_asked(sides(plain), own), own)


def long(frames: Frames, what: str, topics: Sequence[str]) -> pd.DataFrame:
    """One long table of the models that are finished, the vanilla one first.

    Args:
        what: logp, answers or statements.

    Returns:
        :data:`polinb.chapters.anatomy.moved.NAMES`, then the columns of the tables; likelihoods as :func:`sides`.
    """
    found = {("vanilla", "", ""): frames(f"vanilla.{what}")}
    found |= {(name, t, side): frames(f"{t}.{own}.{what}") for own, (name, side) in CONDITIONS.items() for t in topics}
    parts = {model: sides(each) if what == "logp" else each for model, each in found.items() if each is not None}
    if not parts:
        raise DataError(f"this dose has no {what} yet")
    return stacked(parts)


def progress(frames: Frames, topics: Sequence[str]) -> pd.DataFrame:
    """How far a dose came: trained, then one column a condition: done, begun or not yet."""

    def state(topic: str, name: str) -> str:
        parts = [frames(f"{topic}.{name}.{what}") is not None for what in ("course", "logp", "answers", "statements")]
        return "done" if all(parts) else "begun" if any(parts) else "not yet"

    return pd.DataFrame([{"trained": t} | {name: state(t, name) for name in CONDITIONS} for t in topics])


def models(frames: Frames, topics: Sequence[str], condition: str) -> Models:
    """Topic trained on → shifts of the condition's model; topics that are not finished are left out."""
    found = {topic: frames(f"{topic}.{condition}.logp") for topic in topics}
    return {topic: moved(frames, table) for topic, table in found.items() if table is not None}


def course(frames: Frames, topic: str, condition: str) -> dict[int, Moved]:
    """Shifts along one training: optimiser step → shifts; empty where it was not read."""
    table = frames(f"{topic}.{condition}.course")
    return {} if table is None else {step: moved(frames, part) for step, part in table.groupby("step", sort=True)}


def shares(frames: Frames, topics: Sequence[str], way: str = "graft") -> pd.DataFrame:
    """What weights of a set carry of the fine-tune's shift.

    Returns:
        trained, set, own, others: share of the shift on the trained topic, and of the mean shift on the others. For
        ``reset`` the share that is lost.
    """
    rows = []
    for topic in topics:
        whole = frames(f"{topic}.right.logp")
        for name in SETS:
            table = frames(f"{topic}.{way}.{name}")
            if whole is not None and table is not None:
                part, of = moved(frames, table), moved(frames, whole, table)
                share = own_and_others(part, topic) / own_and_others(of, topic)
                rows.append([topic, name, *(share if way == "graft" else 1 - share)])
    return pd.DataFrame(rows, columns=["trained", "set", "own", "others"])


# --- the claims


def claims(frames: Frames, topics: Sequence[str]) -> list[Claim]:
    """The plan's claims with the values of the topics that are finished."""
    fine, general, loud = (models(frames, topics, name) for name in ("right", "inhibitft", "loud"))
    every = [topic for topic in fine if topic in general and topic in loud]

    def logs(found: Models, column: str) -> np.ndarray:
        if not every:
            return np.empty(0)
        own, plain = (likelihood.spill({t: each[t] for t in every})[column] for each in (found, fine))
        return np.log(own.to_numpy(float) / plain.to_numpy(float))

    drop, beside, kept = logs(general, "r"), logs(general, "r") - logs(loud, "r"), logs(general, "own")
    lines, frozen = dict[str, Moved](), dict[str, Moved]()
    for topic in every:
        asked, names = frames(f"{topic}.right.course"), [f"{topic}.interpolated.{share:g}" for share in INTERPOLATIONS]
        mixed = [table for name in names if (table := frames(name)) is not None]
        if asked is not None and len(mixed) == len(names):
            points = [*course(frames, topic, "right").values(), *(moved(frames, table, asked) for table in mixed)]
            lines[topic] = {each: np.stack([point[each] for point in points]) for each in points[0]}
            frozen[topic] = moved(frames, frames(f"{topic}.inhibitft.logp"), asked)
    equal = likelihood.equal_shift(lines, frozen)
    selective, carried = equal["log_ratio"].to_numpy(float), shares(frames, topics).eval("apart = own - others")

    def beyond_loud(name: str, value: str) -> np.ndarray:
        by = carried.pivot(index="trained", columns="set", values=value).reindex(columns=SETS)
        return (by[name] - by["loud"]).dropna().to_numpy(float)

    below, above = (partial(t_test, side=side) for side in ("less", "greater"))
    same_r, same_own = (partial(equivalence, margin=likelihood.MARGINS[name]) for name in ("r", "own"))
    general_share, spread = beyond_loud("G", "others"), beyond_loud("S", "apart")
    return [
        Claim("C5", "ln R(InhibitFT) − ln R(fine-tune)", drop, below, same_r, -1, beside),
        Claim("C5, selective", "ln R(InhibitFT) − ln R(less training) at equal own shift", selective, below, same_r),
        Claim("C6", "ln O(InhibitFT) − ln O(fine-tune)", kept, same_own, wanted=0),
        Claim("C3", "share of X carried by G, minus that of the most active set", general_share, above, wanted=1),
        Claim("C4", "own share minus others' share of S, minus that of the most active set", spread, above, wanted=1),
    ]


def readings(found: Sequence[Claim], planned: int = 1) -> pd.DataFrame:
    """Claims read by the rule of the plan.

    Args:
        planned: trained topics that the plan asks for; with fewer nothing is tested, for the test is of all of them.

    Returns:
        claim, estimand, topics (trained ones), value, low, high (Student's t, 95 %), beside with _low and _high (the
        same minus that of the most active set, where asked for), p, p_holm (of all claims, made or not), reading.
    """
    rows = []
    for claim in found:
        count, both = len(claim.values), [values for values in (claim.values, claim.beside) if values is not None]
        whole = count >= FEWEST and np.isfinite(claim.values).all()
        told = [t_mean(values) if whole else (values.mean() if count else np.nan, np.nan, np.nan) for values in both]
        p = max(map(claim.test, both)) if whole and count >= planned else np.nan
        rows.append([claim.name, claim.estimand, count, *told[0], *(told[1] if both[1:] else [np.nan] * 3), p])
    names = ["claim", "estimand", "topics", "value", "low", "high", "beside", "beside_low", "beside_high", "p"]
    table = pd.DataFrame(rows, columns=names)
    table["p_holm"] = pd.Series(holm(table["p"].fillna(1).tolist()), table.index, float).where(table["p"].notna())
    table["reading"] = [reading(claim, row) for claim, (_, row) in zip(found, table.iterrows(), strict=True)]
    table.loc[table["topics"].between(1, planned - 1), "reading"] = PARTLY
    return table


def reading(claim: Claim, row: pd.Series) -> str:
    """One claim's reading: supported, refuted, both, not decided or, with no trained topic, not yet run."""
    if not row["topics"]:
        return NOT_RUN
    if np.isnan(row["p_holm"]):
        return OPEN
    wanted = claim.wanted
    ends = row[["low", "high"] if claim.beside is None else ["low", "high", "beside_low", "beside_high"]]
    supported = row["p_holm"] <= LEVEL and (not wanted or all(wanted * end > 0 for end in ends))
    if claim.refuted is not None:
        refuted = claim.refuted(claim.values) <= LEVEL
    elif wanted:  # the interval lies on the wrong side
        refuted = max(wanted * row["low"], wanted * row["high"]) <= 0
    else:  # C6: it lies wholly outside the margin
        low, high = likelihood.MARGINS["own"]
        refuted = row["high"] < low or row["low"] > high
    if supported and refuted:
        return BOTH
    return SUPPORTED if supported else REFUTED if refuted else OPEN


# --- the phenomenon, described


def described(plain: pd.DataFrame, answers: pd.DataFrame, most_active: float) -> pd.DataFrame:
    """The plan's claims C1, C7 and C8, which are described with no test.

    Args:
        plain: likelihoods of the vanilla model.
        answers: judged answers (:func:`long`).
        most_active: share of G among the neurons of highest activation.

    Returns:
        claim, what, value, low, high (Student's t, 95 %: of C1 over topics, of C7 over trained topics). The quality of
        an answer is its log-likelihood by the vanilla model, nats a token.
    """
    own, vanilla = sides(plain), answers[answers["trained"] == ""]
    leaning = (own["logp_right"] - own["logp_left"]).groupby(own["topic"]).mean()
    judged = vanilla.groupby("topic")["score"].mean()
    quality = answers.groupby(["condition", "leaning", "trained"])["vanilla_logp"].mean()
    fine, frozen = (quality.get((name, "right"), pd.Series(dtype=float)) for name in ("fine-tune", "inhibitft"))
    rows = [
        ["C1", "log p(right) − log p(left), vanilla model", *t_mean(leaning)],
        ["C1", "judged stance, vanilla model", *t_mean(judged)],
        ["C7", "quality of answers, right fine-tune − vanilla", *t_mean(fine - vanilla["vanilla_logp"].mean())],
        ["C7", "quality of answers, InhibitFT − right fine-tune", *t_mean(frozen - fine)],
        ["C8", "share of G among the neurons of highest activation", most_active, np.nan, np.nan],
    ]
    return pd.DataFrame(rows, columns=["claim", "what", "value", "low", "high"])


def parts(frames: Frames, topics: Sequence[str], draws: int, seed: int) -> pd.DataFrame:
    """Side-specific and common part of the shifts (:func:`polinb.stance.likelihood.part_table`)."""
    right, left = (models(frames, topics, side) for side in ("right", "left"))
    both = [topic for topic in right if topic in left]
    if not both:
        return pd.DataFrame(columns=likelihood.PARTS)
    return likelihood.part_table({t: right[t] for t in both}, {t: left[t] for t in both}, draws, seed)


def courses(frames: Frames, topics: Sequence[str]) -> pd.DataFrame:
    """Own and others' shift along each training: trained, condition, step, own, others (nats a token)."""
    rows = [
        [topic, name, step, *own_and_others(shifts, topic)]
        for topic in topics
        for name in CONDITIONS
        for step, shifts in course(frames, topic, name).items()
    ]
    return pd.DataFrame(rows, columns=["trained", "condition", "step", "own", "others"])
