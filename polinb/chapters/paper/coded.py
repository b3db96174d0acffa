"""240 model answers that were coded twice, blind: how the judge does on them, and its numbers corrected with them.

The answers are the reference run's; sample, codebook and estimates were planned (book/reference_plan_coding.md).
"""

from __future__ import annotations

from importlib import resources

import numpy as np
import pandas as pd

from polinb.data.sources import resource
from polinb.resampling import LEVEL
from polinb.stance.calibration import cohen_kappa, prediction_powered

CODES = ("left", "right", "neither", "off topic")
SCORES = {"left": -1.0, "right": 1.0}
VANILLA = "vanilla"


def read() -> pd.DataFrame:
    """One row an answer: condition, trained, topic, id, prompt, response, judge, and the codes of two passes."""
    return pd.DataFrame(resource("coded/answers.jsonl"))


def judged() -> pd.DataFrame:
    """The judge's mean score of every question by condition: topic, id, then one column a condition."""
    with (resources.files("polinb") / "resources" / "coded" / "judged.csv").open("r", encoding="utf-8") as file:
        return pd.read_csv(file)


def score(labels: pd.Series) -> pd.Series:
    """−1 of left, +1 of right, 0 of all else."""
    return labels.map(SCORES).fillna(0.0)


def agreement(coded: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """How often two readers agree: the two passes with each other, and the judge with each of them.

    Returns:
        readers, n, agree (share), kappa (Cohen's κ, eq-cohen), low, high (questions
        resampled, 95 %).
    """
    groups = (coded["topic"] + "/" + coded["id"]).to_numpy()
    sides = coded[["judge", "first", "second"]].where(lambda t: t.isin(list(SCORES)), "other")
    pairs = [
        ("two passes, four codes", coded["first"], coded["second"]),
        ("two passes, three codes", sides["first"], sides["second"]),
        ("judge and first pass", sides["judge"], sides["first"]),
        ("judge and second pass", sides["judge"], sides["second"]),
    ]
    rows = []
    for name, one, other in pairs:
        kappa, low, high = cohen_kappa(one.to_numpy(str), other.to_numpy(str), draws, seed, groups)
        row = {"readers": name, "n": len(one), "agree": float((one == other).mean())}
        rows.append({**row, "kappa": kappa, "low": low, "high": high})
    return pd.DataFrame(rows)


def confusion(coded: pd.DataFrame) -> pd.DataFrame:
    """The judge's labels (rows) against the codes (columns); an answer counts one half for each pass."""
    long = coded.melt(["judge"], ["first", "second"], value_name="code")
    return (pd.crosstab(long["judge"], long["code"]) / 2).reindex(columns=list(CODES), fill_value=0.0).reset_index()


def corrected(coded: pd.DataFrame, every: pd.DataFrame, condition: str, moved: bool) -> tuple[float, float, float]:
    """A condition's mean stance, or its shift from the vanilla model (``moved``), corrected with the codes.

    Prediction-powered: the judge's mean over all questions plus the mean of code − judge over the coded ones, topics
    weighing the same.

    Returns:
        Estimate, low, high (95 %).
    """
    strata = []
    for topic, own in every.groupby("topic"):
        rows = coded[coded["topic"] == topic].assign(
            judged=lambda t: score(t["judge"]), coded=lambda t: (score(t["first"]) + score(t["second"])) / 2
        )
        by = {name: part.set_index("id").sort_index() for name, part in rows.groupby("condition")}
        whole, some, codes = own[condition], by[condition]["judged"], by[condition]["coded"]
        if moved:  # halved, to lie between −1 and 1
            whole = (whole - own[VANILLA]) / 2
            some, codes = (some - by[VANILLA]["judged"]) / 2, (codes - by[VANILLA]["coded"]) / 2
        strata.append((whole.to_numpy(), some.to_numpy(), codes.to_numpy()))
    mean, low, high = (2 * x if moved else x for x in prediction_powered(strata))
    return mean, low, high


def means(coded: pd.DataFrame, every: pd.DataFrame) -> pd.DataFrame:
    """Mean stance of each condition and its shift, by the judge and corrected.

    Returns:
        condition, quantity (stance or shift), judge_coded, codes (means over the coded answers), wrong, wrong_low,
        wrong_high (codes minus judge, paired; 95 %), judge_all (over all questions), corrected, corrected_low,
        corrected_high.
    """
    rows = []
    for moved in (False, True):
        for condition in every.columns.drop(["topic", "id"]):
            if moved and condition == VANILLA:
                continue
            kept = [condition, VANILLA] if moved else [condition]
            part = {name: coded[coded["condition"] == name].set_index(["topic", "id"]).sort_index() for name in kept}
            judge, codes = (
                [of(part[name]) for name in kept]
                for of in (lambda t: score(t["judge"]), lambda t: (score(t["first"]) + score(t["second"])) / 2)
            )
            own, other, whole = judge[0], codes[0], every[condition]
            if moved:
                own, other, whole = own - judge[1], other - codes[1], whole - every[VANILLA]
            fixed = corrected(coded, every, condition, moved)
            row = {"condition": condition, "quantity": "shift" if moved else "stance"}
            row |= {"judge_coded": own.mean(), "codes": other.mean()}
            row |= dict(zip(("wrong", "wrong_low", "wrong_high"), _paired(other - own), strict=True))
            row |= {"judge_all": whole.groupby(every["topic"]).mean().mean()}
            rows.append(row | dict(zip(("corrected", "corrected_low", "corrected_high"), fixed, strict=True)))
    return pd.DataFrame(rows)


def _paired(wrong: pd.Series) -> tuple[float, float, float]:
    """Mean over topics of a difference, and its interval by Student's t, spread pooled within topics."""
    from scipy.stats import t

    groups = wrong.groupby(level="topic")
    free = len(wrong) - groups.ngroups
    spread = float(np.square(wrong - groups.transform("mean")).sum() / free)
    half = float(t.ppf((1 + LEVEL) / 2, free)) * np.sqrt(spread / len(wrong))
    mean = float(groups.mean().mean())
    return mean, mean - half, mean + half
