"""How far a judge can be trusted: its labels of reference answers whose side is known, on prompts it never saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper import coded
from polinb.resampling import STANCE, stratified_mean
from polinb.runs.groups import Judge
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.stance.calibration import reliability
from polinb.stance.judges import LocalJudge
from polinb.wording import number


def answer_words(run: Run) -> int:
    """Median number of words of the vanilla model's answers: what the judge has to go by in this run."""
    return median_words(run.answers())


def median_words(answers: Result) -> int:
    """Median number of words of answers."""
    texts = answers.frame("answers")["response"]
    return max(1, int(texts.str.split().str.len().median()))


def references(run: Run, words: int | None = None) -> pd.DataFrame:
    """Judge labels of the reference answers to evaluation questions: topic, id, side, label, score, p_right.

    Args:
        words: cut the references to so many words, because a short answer is harder to judge; ``None``: whole.
    """
    p = run.params
    rows = [
        (topic, f"{pair.id}/{side}", pair.prompt, pair.response(side), side)
        for topic in p.topics
        for pair in run.data.topic(topic, "evaluate", p.eval_questions)
        for side in ("left", "right")
        if (pair.left_agrees if side == "left" else pair.right_agrees)
    ]
    frame = pd.DataFrame(rows, columns=["topic", "id", "prompt", "response", "side"])
    if words is not None:
        frame["response"] = [" ".join(text.split()[:words]) for text in frame["response"]]
    return run.labelled(frame).assign(side=frame["side"].to_numpy())


def accuracy(run: Run) -> pd.DataFrame:
    """Accuracy of the judge by topic on references cut to the length of this run's answers.

    Returns:
        topic, references (count), accuracy, left_recall, right_recall, whole (accuracy on uncut references),
        topic_unseen (accuracy on uncut text of a topic it was not trained on; NaN for judges other than the local).
    """
    cut, whole = references(run, answer_words(run)), references(run)
    hits = cut.assign(hit=cut["label"] == cut["side"], whole=whole["label"] == whole["side"])
    every = pd.concat([hits, hits.assign(topic="all")])
    groups = every.groupby("topic", sort=False)
    table = groups.agg(references=("hit", "size"), accuracy=("hit", "mean"))
    recall = every.groupby(["topic", "side"])["hit"].mean().unstack().reindex(columns=["left", "right"])
    table = table.join(recall.add_suffix("_recall")).join(groups["whole"].mean())
    unseen = judge_facts(run).summary if run.params.judge == "local" else {}
    return table.reset_index().assign(topic_unseen=lambda t: t["topic"].map(unseen).astype(float))


def calibration(run: Run) -> pd.DataFrame:
    """Predicted against observed share of right among the cut references: low, high, n, p_right, right."""
    known = references(run, answer_words(run)).dropna(subset=["p_right"])
    if known.empty:  # a judge that gives labels only
        return pd.DataFrame(columns=["low", "high", "n", "p_right", "right"])
    return reliability(known["p_right"].to_numpy(float), (known["side"] == "right").to_numpy())


def margins(run: Run) -> pd.DataFrame:
    """Stance of the vanilla model if answers that the judge is unsure of count as neither.

    Returns:
        margin (answers whose P(right) is within it of one half are neither), stance (mean over topics), low, high,
        other_rate; empty for a judge without probabilities.
    """
    p, rated = run.params, run.stances()
    rows = []
    for margin in (0.0, 0.1, 0.2, 0.3) if rated["p_right"].notna().any() else ():
        away = rated["p_right"] - 0.5
        score = np.sign(away).where(away.abs() > margin, 0.0)
        groups = [each.to_numpy(float) for _, each in score.groupby(rated["topic"], sort=False)]
        rows.append([margin, *stratified_mean(groups, p.bootstrap, p.seed, STANCE), float((score == 0).mean())])
    return pd.DataFrame(rows, columns=["margin", "stance", "low", "high", "other_rate"])


def verdict(run: Run) -> str:
    """What the judge's errors do to every stance; of the embedded one also what they do on answers of models."""
    table = accuracy(run)
    last = table.iloc[-1]
    contrast = last["left_recall"] + last["right_recall"] - 1
    text = (
        f"The judge `{run.params.judge}` labels **{100 * last['accuracy']:.0f} %** of {int(last['references'])} "
        f"reference answers to unseen questions correctly when they are cut to {answer_words(run)} words, the length "
        f"of this model's answers ({100 * last['whole']:.0f} % when whole). On such answers a true difference in "
        f"stance would appear at **{max(contrast, 0):.2f}** of its size."
    )
    if run.params.judge != "local":
        return text
    heard = coded.of_condition("shift", "right, other topic")
    return (
        f"{text} On what models write it errs otherwise: in 240 coded answers of the reference run it hears a shift of "
        f"**{number(heard['judge_coded'])}** on other topics where two readings by a language model find "
        f"**{number(heard['codes'])}** ([chapter 2](02_data.ipynb))."
    )


@stage("judge", Judge)
def judge_facts(run: Run, folder: Path) -> Mapping[str, Any]:
    """Leave-one-topic-out accuracy of the embedded judge, by topic and for ``all``."""
    judge = run.judge
    assert isinstance(judge, LocalJudge)
    unseen = judge.unseen()
    (folder / "judge.json").write_text(json.dumps(unseen, indent=1))
    return unseen
