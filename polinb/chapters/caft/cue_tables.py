"""The two-cue task's tables: accuracies, gaps, what ablation changed, and what it amounts to in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from polinb.chapters.caft.cue_arms import answers, arms, questions
from polinb.chapters.caft.cues import CUES, HALVES, cue_gap, hits, prompt
from polinb.resampling import CHANGE, bootstrap_mean, changes, wilson

if TYPE_CHECKING:
    from polinb.runs.run import Run


def accuracies(run: Run) -> pd.DataFrame:
    """Accuracy by arm, intended cue and half: arm, intended, half, n, accuracy, low, high, fixed_order.

    ``fixed_order`` counts every prompt by itself, so a model that always says A gets one half.
    """
    rows = []
    for arm in arms(run):
        rated = answers(run, arm)
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
                rows.append((arm.name, intended, half, int(here.sum()), float(right[here].mean()), *bounds, fixed))
    return pd.DataFrame(rows, columns=["arm", "intended", "half", "n", "accuracy", "low", "high", "fixed_order"])


def gaps(run: Run) -> pd.DataFrame:
    """:func:`cue_gap` by arm and intended cue: arm, intended, gap, low, high."""
    rows = [(arm.name, intended, *cue_gap(answers(run, arm), intended)) for arm in arms(run) for intended in CUES]
    return pd.DataFrame(rows, columns=["arm", "intended", "gap", "low", "high"])


def effects(run: Run) -> pd.DataFrame:
    """What ablating the *other* cue's directions did where the cues disagree, against the other trained arms.

    Returns:
        intended, ablated, against, caft, other (accuracies), gain, low, high (paired: both answer the same questions).
    """
    p = run.params
    known = {arm.name: answers(run, arm).query("half == 'disagree'") for arm in arms(run)}
    rows = []
    for intended, ablated in zip(CUES, reversed(CUES), strict=True):
        mine = _hits(known[f"CAFT without {ablated}"], intended)
        for other in [arm.name for arm in arms(run) if arm.name == "fine-tune" or arm.name.startswith("random")]:
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
    """:func:`accuracies` as bars: label (arm), by, value, low, high; three bars an arm."""
    agree = table[(table["half"] == "agree") & (table["intended"] == "mood")].assign(by="cues agree: right")
    apart = table[table["half"] == "disagree"]
    parts = [agree, *(apart[apart["intended"] == cue].assign(by=f"cues disagree: follows {cue}") for cue in CUES)]
    rows = pd.concat(parts).rename(columns={"arm": "label", "accuracy": "value"})
    order = {name: i for i, name in enumerate(dict.fromkeys(table["arm"]))}
    rows = rows.sort_values("label", key=lambda names: names.map(order), kind="stable")
    return rows[["label", "by", "value", "low", "high"]].reset_index(drop=True)


def verdict(table: pd.DataFrame, found: pd.DataFrame) -> str:
    """What this run allows to say, in words that hold whichever way the numbers fall.

    Args:
        table: :func:`accuracies`.
        found: :func:`effects`.
    """
    plain = table[table["arm"] == "fine-tune"].set_index(["half", "intended"])
    agree, apart = plain.loc[("agree", "mood")], plain.loc[("disagree", "mood")]
    if agree["low"] <= 0.5:
        where = "holds one half" if agree["high"] >= 0.5 else "lies below one half"
        return (
            f"Where the cues agree the fine-tuned model is right on {_share(agree)} of the questions, an interval that "
            f"{where}: it learnt neither cue, and nothing more can be said about this run."
        )
    cue = "mood" if apart["accuracy"] >= 0.5 else "gender"
    other = CUES[cue == "mood"]
    follows = plain.loc[("disagree", cue)]
    clear = "clearly" if follows["low"] > 0.5 else "without a clear preference"
    own = table[table["arm"] == f"CAFT without {cue}"].set_index(["half", "intended"])
    effect = found[found["ablated"] == cue]
    moved = "; ".join(f"{r.gain:+.2f} [{r.low:+.2f}, {r.high:+.2f}] against {r.against}" for r in effect.itertuples())
    turned = own.loc[("disagree", other)]
    now = f"turned to {other}" if turned["low"] > 0.5 else "undecided" if turned["high"] > 0.5 else f"still with {cue}"
    meaning = (
        f"Ablation moved the choice, and the controls did not do as much; the model is {now}."
        if effect["low"].gt(0).all()
        else "That is not clear of zero against every control: this run does not show that ablation steers the choice."
    )
    return (
        f"Where the cues agree the fine-tuned model is right on {_share(agree)}. Where they disagree it follows "
        f"**{cue}** ({_share(follows)}, {clear}). With the directions of {cue} ablated it follows {other} on "
        f"{_share(turned)} of those questions: {moved}. {meaning} Its accuracy where the cues agree is "
        f"{_share(own.loc[('agree', 'mood')])}: ablating a cue may also make the task itself harder to learn, and a "
        "model that has learnt less follows neither cue."
    )


def _share(row: pd.Series) -> str:
    return f"{row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
