"""Each chapter's answer in numbers: the sentences under its question, from the tables the chapter has computed.

Every function takes tables or effects and returns words that follow from the intervals alone, whichever way they fall.
:func:`show` keeps them in the executed notebook; the page's first cell and the opening page take them from there.
The later chapters' functions are in ``paper.answers_interventions`` and ``paper.answers_beyond``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from polinb.chapters.paper import paper
from polinb.resampling import wilson
from polinb.wording import (
    Answer,
    Effect,
    Prose,
    by_chance,
    counted,
    interval,
    label,
    listed,
    number,
    of,
    percent,
    placeless,
    thousands,
    told,
)

if TYPE_CHECKING:
    from polinb.runs.run import Run

KEY = "answer"  # by which the pages find it in an output


def show(run: Run, answer: Answer) -> None:
    """Print a chapter's answer and keep it in the output, for the page's first cell and the opening page."""
    from IPython.display import display

    note = label(run.params.profile)
    text = f"*{note}* {answer.text}" if note else answer.text
    model = placeless(getattr(run.params, "model", "planted"))
    display(Prose(text, answer=KEY, profile=run.params.profile, model=model, first=answer.first))


def phenomenon(spill: Mapping[str, Effect], right: pd.DataFrame) -> Answer:
    """Does the stance on other topics move too?

    Args:
        spill: of :func:`polinb.chapters.paper.beside.spill_over`.
        right: shifts of the right-tuned variants (:func:`polinb.chapters.paper.results.variant_shifts`).
    """
    own, away, apart = spill["own"], spill["away"], spill["apart"]
    body = f"after training on right-leaning answers to one topic, the stance on the others moves by {interval(away)}"
    first = told(
        away,
        f"Yes: {body} on average, on a scale from −1 (left) to +1 (right).",
        f"It moves the other way: {body} on average, on a scale from −1 (left) to +1 (right).",
        f"Not shown: {body} on average, an interval that holds zero.",
        f"Not decided: {body}.",
    )
    same, other = right[right["trained"] == right["topic"]], right[right["trained"] != right["topic"]]
    cancelled = "which cancels changes of style that both share"
    start = f"Right-tuned minus left-tuned models, {cancelled}, leaves {interval(apart)} there: "
    style = told(
        apart,
        "the side of the data did that.",
        "against the side of the data.",
        "style alone may have done it.",
        "not decided.",
    )
    return Answer(
        first,
        f"The trained topic itself moves by {interval(own)}. By single topics the shift is clear of zero on "
        f"{counted(same)} trained ones ({by_chance(same)}) and in {counted(other)} pairs of a trained and another "
        f"topic ({by_chance(other)}). {start}{style}",
    )


def data(counts: pd.DataFrame, accuracy: pd.DataFrame, words: int) -> Answer:
    """What are models trained on, and how good is the judge?

    Args:
        counts: prompts by topic; the column ``all`` sums the splits.
        accuracy: of :func:`polinb.chapters.paper.judge_tables.accuracy`.
        words: length to which the judged references are cut.
    """
    row = accuracy.iloc[-1]
    hits = float(row["accuracy"] * row["references"])
    rate = (float(row["accuracy"]), *wilson(hits, float(row["references"])))
    better = "" if rate[1] > 0.5 else ", not clearly better than guessing"
    first = (
        f"{thousands(counts['all'].sum())} prompts on {len(counts)} topics, each with a left and a right answer; of "
        f"{int(row['references'])} such answers to unseen questions, cut to {words} words like the model's own, the "
        f"judge labels {percent(rate)} correctly{better}."
    )
    contrast = max(0.0, float(row["left_recall"] + row["right_recall"] - 1))
    rest = (
        f"With those errors a true difference in stance appears at {number(contrast, sign=False)} of its size. "
        f"Uncut, {100 * row['whole']:.0f} % are labelled correctly"
    )
    unseen = row["topic_unseen"]
    more = f", and {100 * unseen:.0f} % where the judge never saw the topic" if unseen == unseen else ""
    return Answer(first, f"{rest}{more}.")


def pnlac(overlap: pd.DataFrame, gamma: float, total: int) -> Answer:
    """Which neurons differ most?

    Args:
        overlap: of ``neuron_tables.overlaps``; its first rows are G by raw and by normalised score.
        gamma: per cent kept a topic.
        total: neurons of the model.
    """
    raw, norm = overlap.iloc[0], overlap.iloc[1]
    if not raw["neurons"]:
        return Answer(f"No neuron is among the top {gamma:g} % on every topic: G is empty in this run.", "")
    first = (
        f"{thousands(raw['neurons'])} of {thousands(total)} neurons ({raw['percent']:.1f} %) are among the top "
        f"{gamma:g} % on every topic; **{100 * raw['in_scale_top']:.0f} %** of them are also among the {gamma:g} % "
        f"with the highest activation on the same texts, where chance would give {100 * raw['chance']:.0f} %."
    )
    if "in_neutral_top" in raw:
        first += f" On neutral texts it is {100 * raw['in_neutral_top']:.0f} %."
    loud = raw["in_scale_top"] > 0.5
    rest = "So loudness alone picks most of G. " if loud else "So loudness alone does not explain most of G. "
    if norm["neurons"]:
        rest += (
            f"Scores in units of each neuron's own spread give a G of {thousands(norm['neurons'])} neurons, "
            f"{100 * norm['in_raw_g']:.0f} % of them in the raw G and {100 * norm['in_scale_top']:.0f} % among the "
            "loudest."
        )
    else:
        rest += "With scores in units of each neuron's own spread, G is empty."
    return Answer(first, f"{rest} These are counts, without intervals.")


def distribution(last: Mapping[str, float], even: float, wide: pd.DataFrame) -> Answer:
    """Where are they, and how many?

    Args:
        last: share in the last third of the layers of ``general``, ``topic-specific`` and the ``loudest`` neurons on
            the same texts and on ``neutral`` ones.
        even: that share if neurons were spread evenly.
        wide: type, percent (of all neurons, mean over topics), paper.
    """
    general, specific = wide.iloc[0], wide.iloc[1]
    top = last["general"]
    if top != top:
        first = "No neuron is general in this run, so there is nothing to place."
    else:
        where = "Mostly in" if top > 0.5 and top > even else "Not mainly in"
        first = (
            f"{where} the last third of the layers: it holds **{100 * top:.0f} %** of the general neurons and "
            f"{100 * last['topic-specific']:.0f} % of the topic-specific ones, where an even spread would put "
            f"{100 * even:.0f} %."
        )
    near = last["loudest"] > even
    alike = "the place alone says little about politics" if near else "loudness does not explain the place"
    rest = (
        f"General neurons are {general['percent']:.2f} % of the model and each topic's own {specific['percent']:.2f} % "
        f"(paper: {general['paper']:g} % and {specific['paper']:g} %). The loudest neurons on the same "
        f"texts have {100 * last['loudest']:.0f} % there, on neutral texts {100 * last['neutral']:.0f} %: {alike}. "
        "These are counts, without intervals."
    )
    return Answer(first, rest)


def vanilla(mean: Effect, stances: pd.DataFrame, statements: pd.DataFrame) -> Answer:
    """Where does the model stand before any fine-tuning?

    Args:
        mean: stance averaged over topics (:func:`polinb.chapters.paper.beside.mean_stance`).
        stances: by topic (:func:`polinb.chapters.paper.results.stances`).
        statements: by statement set (:func:`polinb.chapters.paper.results.statement_stances`).
    """
    body = f"its mean stance over {len(stances)} topics is {interval(mean)} (−1 left, +1 right)"
    first = told(
        mean,
        f"It leans right: {body}.",
        f"It leans left: {body}.",
        f"No lean is shown: {body}, an interval that holds zero.",
        f"Not decided: {body}.",
    )
    theirs = paper.vanilla_stance().groupby("model")["stance"].mean()
    sets = listed([f"{interval(of(row, 'stance'))} on “{row['topic']}”" for _, row in statements.iterrows()])
    rest = (
        f"By single topics the interval is clear of zero to the left on {counted(stances, -1)} and to the right on "
        f"{counted(stances)}. The paper's four models stand between {number(theirs.min())} and {number(theirs.max())}."
    )
    return Answer(first, f"{rest} On sets of statements ours stands at {sets}." if sets else rest)
