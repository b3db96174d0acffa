"""240 model answers that were coded twice, blind: how the judge does on them, and its numbers corrected with them.

The answers are the reference run's; sample, codebook and estimates were planned (book/reference_plan_coding.md).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb.chapters.paper import paper
from polinb.data.reading import resource
from polinb.resampling import t_quantile
from polinb.stance.calibration import cohen_kappa, prediction_powered
from polinb.stance.stance import SCORES
from polinb.wording import Effect, with_ends

CODES = ("left", "right", "neither", "off topic")
VANILLA = "vanilla"


def read() -> pd.DataFrame:
    """One row an answer: condition, trained, topic, id, prompt, response, judge, and the codes of two passes."""
    return pd.DataFrame(resource("coded/answers.jsonl"))


def judged() -> pd.DataFrame:
    """The judge's mean score of every question by condition: topic, id, then one column a condition."""
    return paper.read("coded/judged")


def agreement(coded: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """How often two readers agree: the two passes with each other, and the judge with each of them.

    Returns:
        readers, n, agree (share), kappa (Cohen's κ, eq-cohen), low, high (95 %, questions resampled).
    """
    groups = (coded["topic"] + "/" + coded["id"]).to_numpy()
    sides = coded[["judge", "first", "second"]].where(lambda t: t.isin(CODES[:2]), "other")
    pairs = [
        ("two passes, four codes", coded["first"], coded["second"]),
        ("two passes, three codes", sides["first"], sides["second"]),
        ("judge and first pass", sides["judge"], sides["first"]),
        ("judge and second pass", sides["judge"], sides["second"]),
    ]
    rows = [{"readers": name, **cohen_kappa(one, other, draws, seed, groups)} for name, one, other in pairs]
    return pd.DataFrame(rows)


def confusion(coded: pd.DataFrame) -> pd.DataFrame:
    """The judge's labels (rows) against the codes (columns); an answer counts one half for each pass."""
    long = coded.melt(["judge"], ["first", "second"], value_name="code")
    return (pd.crosstab(long["judge"], long["code"]) / 2).reindex(columns=list(CODES), fill_value=0.0).reset_index()


def means(coded: pd.DataFrame, every: pd.DataFrame) -> pd.DataFrame:
    """Mean stance of each condition and its shift from the vanilla model, by the judge and corrected.

    Returns:
        condition, quantity (stance or shift), judge_coded, codes (means over the coded answers), wrong, wrong_low,
        wrong_high (codes minus judge, paired; 95 %), judge_all (over all questions), corrected, corrected_low,
        corrected_high.
    """
    judge, first, second = (coded[name].map(SCORES).fillna(0.0) for name in ("judge", "first", "second"))
    index = ["topic", "id"]
    scores = [coded.assign(value=each) for each in (judge, (first + second) / 2)]
    stance = [each.pivot(index=index, columns="condition", values="value") for each in scores]
    stance.append(every.set_index(index))
    shift = [table.drop(columns=VANILLA).sub(table[VANILLA], axis=0) for table in stance]
    rows = []
    for quantity, tables, largest in (("stance", stance, 1), ("shift", shift, 2)):
        for condition in tables[-1]:
            judge, codes, whole = (table[condition] for table in tables)
            row = {"condition": condition, "quantity": quantity, "judge_coded": judge.mean(), "codes": codes.mean()}
            row |= with_ends("wrong", _paired(codes - judge))
            row["judge_all"] = whole.groupby(level="topic").mean().mean()
            rows.append(row | with_ends("corrected", corrected(judge, codes, whole, largest)))
    return pd.DataFrame(rows)


def of_condition(quantity: str, condition: str) -> pd.Series:
    """One row of :func:`means` of the coded answers, such as the ``shift`` of ``right, other topic``."""
    return means(read(), judged()).set_index(["quantity", "condition"]).loc[(quantity, condition)]


def corrected(judge: pd.Series, codes: pd.Series, whole: pd.Series, largest: int) -> Effect:
    """Prediction-powered: the judge's mean over all questions plus the mean of code − judge over the coded ones.

    Args:
        judge, codes: of the coded answers, by topic and id.
        whole: the judge's, of all questions, by topic and id; topics weigh the same.
        largest: what a value may be at most, either way; 1 for a stance, 2 for a shift.
    """
    strata = [
        tuple((each / largest).to_numpy() for each in (own, judge.loc[topic], codes.loc[topic]))
        for topic, own in whole.groupby(level="topic")
    ]
    mean, low, high = (largest * x for x in prediction_powered(strata))
    return mean, low, high


def _paired(wrong: pd.Series) -> Effect:
    """Mean over topics of a difference, and its interval by Student's t, spread pooled within topics."""
    groups = wrong.groupby(level="topic")
    free = len(wrong) - groups.ngroups
    spread = float(np.square(wrong - groups.transform("mean")).sum() / free)
    half = t_quantile(free) * np.sqrt(spread / len(wrong))
    mean = float(groups.mean().mean())
    return mean, mean - half, mean + half
