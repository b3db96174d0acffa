"""The two-cue task's tables: accuracies, gaps and what ablation changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from polinb.chapters.caft.cue_models import answers, conditions, questions
from polinb.chapters.caft.cues import CUES, HALVES, cue_gap, hits, prompt
from polinb.resampling import CHANGE, bootstrap_mean, changes, wilson

if TYPE_CHECKING:
    from polinb.runs.run import Run


def accuracies(run: Run) -> pd.DataFrame:
    """Accuracy by condition, intended cue and half: condition, intended, half, n, accuracy, low, high, fixed_order.

    ``fixed_order`` counts every prompt by itself, so a model that always says A gets one half.
    """
    rows = []
    for condition in conditions(run):
        rated = answers(run, condition)
        for intended in CUES:
            right = hits(rated, intended)
            orders = [
                hits(rated.assign(margin=sign * rated[name]), intended)
                for name, sign in (("good_first", 1), ("good_second", -1))
            ]
            for half in HALVES:
                here = (rated["half"] == half).to_numpy()
                fixed = float(np.mean([order[here].mean() for order in orders]))
                bounds = wilson(float(right[here].sum()), int(here.sum()))
                rows.append(
                    (condition.name, intended, half, int(here.sum()), float(right[here].mean()), *bounds, fixed)
                )
    return pd.DataFrame(rows, columns=["condition", "intended", "half", "n", "accuracy", "low", "high", "fixed_order"])


def gaps(run: Run) -> pd.DataFrame:
    """:func:`cue_gap` by condition and intended cue: condition, intended, gap, low, high."""
    rows = [
        (condition.name, intended, *cue_gap(answers(run, condition), intended))
        for condition in conditions(run)
        for intended in CUES
    ]
    return pd.DataFrame(rows, columns=["condition", "intended", "gap", "low", "high"])


def effects(run: Run) -> pd.DataFrame:
    """What ablating the *other* cue's directions did where the cues disagree, against the other trained conditions.

    Returns:
        intended, ablated, against, caft, other (accuracies), gain, low, high (paired: both answer the same questions).
    """
    p = run.params
    known = {condition.name: answers(run, condition).query("half == 'disagree'") for condition in conditions(run)}
    rows = []
    for intended, ablated in zip(CUES, reversed(CUES), strict=True):
        mine = _hits(known[f"CAFT without {ablated}"], intended)
        for other in [
            condition.name
            for condition in conditions(run)
            if condition.name == "fine-tune" or condition.name.startswith("random")
        ]:
            theirs = _hits(known[other], intended)
            gain = bootstrap_mean(changes(theirs, mine), p.bootstrap, p.seed, CHANGE)
            rows.append((intended, ablated, other, mine.mean(), theirs.mean(), *gain))
    return pd.DataFrame(rows, columns=["intended", "ablated", "against", "caft", "other", "gain", "low", "high"])


def _hits(rated: pd.DataFrame, intended: str) -> pd.Series:
    return pd.Series(hits(rated, intended), rated["id"])


def examples(run: Run, count: int = 2) -> pd.DataFrame:
    """Questions to look at: split, cues (agree or disagree), text (as asked), mood and gender (the letter of each)."""
    rows = []
    for split, half in (("train", "agree"), ("test", "agree"), ("test", "disagree")):
        asked = questions(run, split).query("half == @half").head(count)
        for i, row in enumerate(asked.itertuples()):
            order = (row.good, row.bad) if i % 2 == 0 else (row.bad, row.good)
            letters = "AB" if i % 2 == 0 else "BA"
            rows.append((split, half, prompt(*order), letters[0], letters[half == "disagree"]))
    return pd.DataFrame(rows, columns=["split", "cues", "text", "mood", "gender"])


def chart_rows(table: pd.DataFrame) -> pd.DataFrame:
    """:func:`accuracies` as bars: label (condition), by, value, low, high; three bars per condition."""
    agree = table[(table["half"] == "agree") & (table["intended"] == "mood")].assign(by="cues agree: right")
    apart = table[table["half"] == "disagree"]
    parts = [agree, *(apart[apart["intended"] == cue].assign(by=f"cues disagree: follows {cue}") for cue in CUES)]
    rows = pd.concat(parts).rename(columns={"condition": "label", "accuracy": "value"})
    order = {name: i for i, name in enumerate(dict.fromkeys(table["condition"]))}
    rows = rows.sort_values("label", key=lambda names: names.map(order), kind="stable")
    return rows[["label", "by", "value", "low", "high"]].reset_index(drop=True)
