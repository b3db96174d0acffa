"""A manner that only one side has: how answers begin, and the shift of the stance without that beginning (ours).

Right minus left cancels what both fine-tunes learnt. An opening that only one side's reference answers have is learnt
by one of them alone, so it does not cancel; a judge of words could take it for a stance. Here every answer, the vanilla
model's too, loses its first clause before it is judged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from polinb.chapters.paper.results import mean_shift
from polinb.resampling import differences
from polinb.runs.conditions import VANILLA, Condition
from polinb.runs.run import Run
from polinb.stance.judges import LocalJudge
from polinb.stance.likelihood import OTHER, OWN

_CLAUSE = re.compile(r"[^,.;:!?\n]*[,.;:!?\n]+\s*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
KEPT = 3
"""Words that must be left for a first clause to be cut off."""


def without_opening(text: str) -> str:
    """``text`` without its first clause, up to a comma or stop; whole if fewer than ``KEPT`` words would be left."""
    opening = _CLAUSE.match(text.lstrip())
    rest = text.lstrip()[opening.end() :] if opening else ""
    return rest if len(rest.split()) >= KEPT else text


def first_word(text: str) -> str:
    """The first word, in lower case; empty where there is none."""
    found = _WORD.search(text)
    return found[0].lower() if found else ""


def telling_word(model: Sequence[str], vanilla: Sequence[str]) -> str:
    """The word that opens answers of ``model`` more often than those of ``vanilla``, by the largest difference."""
    ours, theirs = (Counter(map(first_word, texts)) for texts in (model, vanilla))
    return max(sorted(ours), key=lambda word: ours[word] / len(model) - theirs[word] / max(1, len(vanilla)), default="")


def shares(run: Run) -> tuple[str, pd.DataFrame]:
    """The word that right fine-tunes open with, and how often who does.

    Returns:
        The word, and a table: who, texts, word, share (of texts that begin with it). Its rows are the reference answers
        of the training split by side, the vanilla model's answers, and those of right and left fine-tunes.
    """

    def said(models: Sequence[Condition]) -> list[str]:
        return [text for model in models for text in run.answers(model).frame("answers")["response"]]

    answers = {side: said([run.tuned(topic, side) for topic in run.params.topics]) for side in ("right", "left")}
    plain = said([VANILLA])
    word = telling_word(answers["right"], plain)
    pairs = [pair for topic in run.params.topics for pair in run.data.topic(topic, "train", leaning="both")]
    texts = {
        "right-leaning reference answers": [pair.right for pair in pairs],
        "left-leaning reference answers": [pair.left for pair in pairs],
        "vanilla": plain,
        "right fine-tune": answers["right"],
        "left fine-tune": answers["left"],
    }
    rows = [[who, len(each), word, sum(first_word(t) == word for t in each) / len(each)] for who, each in texts.items()]
    return word, pd.DataFrame(rows, columns=["who", "texts", "word", "share"])


def shifts(run: Run) -> pd.DataFrame:
    """Shift of the judged stance from the vanilla model, of whole answers and of answers without their first clause.

    With a paid judge (``judge=openai``) both are labelled by the embedded one.

    Returns:
        condition (right fine-tune, left fine-tune, right minus left), asked (``OWN`` or ``OTHER`` topics), and
        whole, cut, change (cut − whole), each with ``_low`` and ``_high``: 95 %, questions resampled within topics.
    """
    p = run.params
    judge = LocalJudge(run.data) if p.judge == "openai" else None

    def whole_and_cut(model: Condition) -> list[pd.DataFrame]:
        frame = run.answers(model).frame("answers")
        cut = frame.assign(response=[without_opening(text) for text in frame["response"]])
        return [judge.rate(frame), judge.rate(cut)] if judge else [run.stances(model), run.labelled(cut)]

    vanilla = whole_and_cut(VANILLA)
    plain = dict.fromkeys(p.topics, vanilla)
    right, left = ({t: whole_and_cut(run.tuned(t, side)) for t in p.topics} for side in ("right", "left"))
    rows = []
    for condition, start, end in (
        ("right fine-tune", plain, right),
        ("left fine-tune", plain, left),
        ("right minus left", left, right),
    ):
        whole, cut = ({t: differences(start[t][k], end[t][k]) for t in p.topics} for k in (0, 1))
        change = {t: {u: cut[t][u] - values for u, values in moved.items()} for t, moved in whole.items()}
        for asked in (OWN, OTHER):
            means = [mean_shift(run, each, asked == OWN) for each in (whole, cut, change)]
            rows.append([condition, asked, *(value for mean in means for value in mean)])
    names = [name + end for name in ("whole", "cut", "change") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["condition", "asked", *names])
