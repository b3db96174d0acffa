"""How far a judge can be trusted: its labels of reference answers whose side is known, on prompts it never saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.runs.experiment import Experiment
from polinb.stance.calibration import reliability

COLUMNS = ["topic", "references", "accuracy", "left_recall", "right_recall", "whole", "topic_unseen"]


def answer_words(exp: Experiment) -> int:
    """Median number of words of the vanilla model's answers: what the judge has to go by in this run."""
    texts = exp.answers().frame("answers")["response"]
    return max(1, int(texts.str.split().str.len().median()))


def references(exp: Experiment, words: int | None = None) -> pd.DataFrame:
    """Judge labels of the reference answers to evaluation questions: topic, id, side, label, score, p_right.

    Args:
        words: cut the references to so many words, because a short answer is harder to judge; ``None``: whole.
    """
    p = exp.params
    rows = [
        (topic, f"{pair.id}/{side}", pair.prompt, pair.response(side), side)
        for topic in p.topics
        for pair in exp.data.topic(topic, "evaluate", p.eval_questions)
        for side in ("left", "right")
        if (pair.left_agrees if side == "left" else pair.right_agrees)
    ]
    frame = pd.DataFrame(rows, columns=["topic", "id", "prompt", "response", "side"])
    if words is not None:
        frame["response"] = [" ".join(text.split()[:words]) for text in frame["response"]]
    rated = exp.rated(frame[["topic", "id", "prompt", "response"]])
    return rated.assign(side=frame["side"].to_numpy())


def accuracy(exp: Experiment) -> pd.DataFrame:
    """Accuracy of the judge by topic on references cut to the length of this run's answers.

    Returns:
        topic, references (count), accuracy, left_recall, right_recall, whole (accuracy on uncut references),
        topic_unseen (accuracy on uncut text of a topic it was not trained on; NaN for judges other than the local).
    """
    rated = references(exp, answer_words(exp))
    whole = references(exp)
    whole["hit"] = whole["label"] == whole["side"]
    uncut = {**whole.groupby("topic")["hit"].mean().to_dict(), "all": whole["hit"].mean()}
    rated["hit"] = rated["label"] == rated["side"]
    unseen = _unseen(exp)
    rows: list[tuple[Any, ...]] = []
    for topic, group in [*rated.groupby("topic", sort=False), ("all", rated)]:
        left, right = (group.loc[group["side"] == side, "hit"] for side in ("left", "right"))
        recalls = [float(x.mean()) if len(x) else float("nan") for x in (left, right)]
        rows.append(
            (topic, len(group), float(group["hit"].mean()), *recalls, uncut[topic], unseen.get(str(topic), np.nan))
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def calibration(exp: Experiment) -> pd.DataFrame:
    """Predicted against observed share of right among the cut references: low, high, n, p_right, right."""
    rated = references(exp, answer_words(exp))
    known = rated[rated["p_right"].notna()]
    if known.empty:  # a judge that gives labels only
        return pd.DataFrame(columns=["low", "high", "n", "p_right", "right"])
    return reliability(known["p_right"].to_numpy(float), (known["side"] == "right").to_numpy())


def verdict(exp: Experiment) -> str:
    """One sentence on what the judge's error rate does to every stance."""
    table = accuracy(exp)
    last = table.iloc[-1]
    contrast = last["left_recall"] + last["right_recall"] - 1
    return (
        f"The judge `{exp.params.judge}` labels **{100 * last['accuracy']:.0f} %** of {int(last['references'])} "
        f"reference answers to unseen questions correctly when they are cut to {answer_words(exp)} words, the length "
        f"of this model's answers ({100 * last['whole']:.0f} % when whole). With those error rates a true difference "
        f"in stance appears at **{max(contrast, 0):.2f}** of its size; on a model's own, less orderly text it may be "
        f"less."
    )


def _unseen(exp: Experiment) -> dict[str, float]:
    """Leave-one-topic-out accuracy of the embedded judge, kept as an artifact."""
    if exp.params.judge != "local":
        return {}
    from polinb.stance.judges import LocalJudge

    inputs = {"judge": exp.judge_identity}

    def make(folder: Path) -> Mapping[str, Any]:
        judge = exp.judge
        assert isinstance(judge, LocalJudge)
        facts = judge.provenance()
        (folder / "judge.json").write_text(json.dumps(facts, indent=1, sort_keys=True))
        loto = facts["evaluation"].get("leave_one_topic_out")
        return {**loto["by_topic"], "all": loto["accuracy"]} if loto else {}

    return {k: float(v) for k, v in exp.store.get("judge", inputs, make).summary.items()}
