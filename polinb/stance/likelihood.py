"""Shifts of the likelihood stance: which part belongs to the side of the data, and coupling without judge or ceiling.

A shift is that of the log-likelihood a token of the right minus the left reference answer, in nats, from the vanilla
model, one value a question. Models of one run read the same questions, so they are compared question by question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.errors import DataError
from polinb.resampling import (
    Floats,
    differences,
    equivalence,
    holm,
    per_question,
    small_sample,
    stratified_mean,
    stretched,
    t_mean,
)
from polinb.stance.coupling import corrected_square, less_training, moments, root, spillover_ratio, squares

Moved = Mapping[str, Floats]
"""topic asked about → shift of each question."""
Models = Mapping[str, Moved]
"""topic trained on → the shifts of that model."""
OWN, OTHER = "trained topic", "other topics"
MEASURES = {
    "own": "shift on the trained topic",
    "others": "mean shift on the others",
    "r": "R",
    "ratio": "R / own shift",
}
MARGINS = {"own": (-0.05, 0.05), "others": (-0.10, 0.10), "r": (-0.10, 0.10), "ratio": (-0.10, 0.10)}
"""Differences of logarithms that count as no change (plan of the doses); 0.10: a third of the paper's least drop."""


def moved(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Floats]:
    """Shift of the likelihood stance of every question, by topic.

    Args:
        before, after: topic, id, logp_left, logp_right (nats a token) of the vanilla and of the tuned model.
    """
    tables = [f.assign(score=f["logp_right"] - f["logp_left"])[["topic", "id", "score"]] for f in (before, after)]
    return differences(*tables)


# --- the side of the data, and what both sides do alike


def parts(right: Moved, left: Moved) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """eq-side. Side-specific and common part of a right-tuned model's shifts: (r − l)/2 and (r + l)/2.

    They sum to the shift of the right-tuned model; that of the left-tuned one, on the same topic, is common − side.
    """
    both = [(t, right[t], left[t]) for t in right]
    return {t: (r - left) / 2 for t, r, left in both}, {t: (r + left) / 2 for t, r, left in both}


PARTS = ["cell", "part", "shift", "low", "high", "topics", "topics_low", "topics_high"]


def part_table(right: Models, left: Models, draws: int, seed: int) -> pd.DataFrame:
    """Mean of both parts over trained topics, on the trained topic and on the others.

    Returns:
        cell, part (side, common), shift, low, high (mean and 95 % over questions, which all models share), topics,
        topics_low, topics_high (mean and Student's t over trained topics, each of which is one training run; the two
        means are the same where every topic is trained on).
    """
    split = {t: dict(zip(("side", "common"), parts(right[t], left[t]), strict=True)) for t in right}
    rows = []
    for cell in (OWN, OTHER):
        for part in ("side", "common"):
            each = [{u: v for u, v in split[t][part].items() if (u == t) == (cell == OWN)} for t in split]
            over_questions = stratified_mean(per_question(each), draws, seed)
            over_topics = t_mean([np.mean([v.mean() for v in values.values()]) for values in each])
            rows.append([cell, part, *over_questions, *over_topics])
    return pd.DataFrame(rows, columns=PARTS)


# --- coupling, and how a condition changes it


def spill(models: Models) -> pd.DataFrame:
    """Each model's shift on its own topic and on the others, R, and R per unit of its own shift.

    Returns:
        trained, own, others (mean; nats a token), r (not corrected for noise, which conditions share), ratio.
    """
    found = _measured([models], None, 0)
    return pd.DataFrame({"trained": list(models), **{name: values[:, 0] for name, values in found.items()}})


def own_and_others(shifts: Moved, trained: str) -> Floats:
    """Mean shift of one model on the trained topic, and on the others."""
    return spill({trained: shifts})[["own", "others"]].to_numpy()[0]


def change(first: Models, second: Models, draws: int, seed: int) -> pd.DataFrame:
    """How much larger or smaller the second condition's measures are, in per cent: geometric mean over trained topics.

    Returns:
        measure (own, others, r, ratio), percent, low, high (Student's t over trained topics, paired), low_questions,
        high_questions (questions resampled, the same for all models), p_none: p of "the change is not within
        :data:`MARGINS`" (TOST over trained topics, Holm over the measures). A measure that is not above zero in every
        model has no ratio: NaN.

    Raises:
        DataError: other trained topics.
    """
    if list(first) != list(second):
        raise DataError(f"conditions trained on other topics: {list(first)} and {list(second)}")

    def logs(draws: int | None) -> dict[str, Floats]:  # measure → (trained topics, draws)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {name: np.log(values) for name, values in _measured([first, second], draws, seed).items()}
        n = len(first)
        return {name: values[n:] - values[:n] for name, values in found.items()}

    sizes = [len(values) for values in next(iter(first.values())).values()]
    wide = small_sample(sum(sizes) - len(sizes), round(np.mean(sizes))) if min(sizes) > 1 else float("nan")
    exact, drawn = logs(None), logs(draws)
    rows, none = [], {}
    for name, values in exact.items():
        mean, low, high = t_mean(np.where(np.isfinite(values[:, 0]), values[:, 0], np.nan))
        near = stretched(mean, drawn[name].mean(0), wide)
        rows.append([name, *(100 * np.expm1(x) for x in (mean, low, high, *near))])
        if high - low > 1e-9:  # runs that are alike have no spread to test with
            none[name] = equivalence(values[:, 0], MARGINS[name])
    table = pd.DataFrame(rows, columns=["measure", "percent", "low", "high", "low_questions", "high_questions"])
    return table.assign(p_none=table["measure"].map(dict(zip(none, holm(list(none.values())), strict=True))))


def _measured(conditions: Sequence[Models], draws: int | None, seed: int) -> dict[str, Floats]:
    """measure → (models, draws), the models of one condition after those of another."""
    trained = [topic for models in conditions for topic in models]
    every = [shifts for models in conditions for shifts in models.values()]
    stacks = {topic: np.stack([shifts[topic] for shifts in every]) for topic in every[0]}
    found = moments(stacks, draws, np.random.default_rng(seed))
    own = np.stack([found[t][0][k] for k, t in enumerate(trained)])
    away = [np.mean([mean[k] for u, (mean, _) in found.items() if u != t], axis=0) for k, t in enumerate(trained)]
    r = root(squares(found, trained, 0))
    return {"own": own, "others": np.stack(away), "r": r, "ratio": np.where(own > 0, spillover_ratio(r, own), np.nan)}


# --- against training less


def equal_shift(lines: Mapping[str, Moved], models: Models) -> pd.DataFrame:
    """R of each model beside that of the plain fine-tune's own weaker versions, at the same shift on the trained topic.

    The weaker version is the mixture of the two neighbouring points of the line that has the model's shift
    (:func:`polinb.stance.coupling.less_training`). The vanilla model, with shift 0, is a point of the line.

    Args:
        lines: trained topic → topic → (points, questions), checkpoints or interpolations of one fine-tune, itself too.
        models: trained topic → topic → shifts of the same questions.

    Returns:
        trained, own (shift on the trained topic), r, r_line, log_ratio (of r to r_line: below 0, less coupling than
        training less would have bought), inside (whether the line reaches that shift; it is not extended, and the rest
        is NaN). Topics that are left out were not drawn by chance.
    """
    rows: list[dict[str, Any]] = []
    for trained, model in models.items():
        line = lines[trained]
        own, points = float(model[trained].mean()), line[trained].mean(1)
        rows.append({"trained": trained, "own": own, "inside": bool(0 < own <= points.max())})
        if rows[-1]["inside"]:
            stack = {t: np.stack([model[t], less_training(points, own) @ line[t]]) for t in line}
            exact = moments(stack, None, np.random.default_rng(0))
            r, r_line = (float(x) for x in root(corrected_square(exact, trained, 0))[:, 0])
            rows[-1] |= {"r": r, "r_line": r_line, "log_ratio": float(np.log(r / r_line))}
    return pd.DataFrame(rows, columns=["trained", "own", "r", "r_line", "log_ratio", "inside"])
