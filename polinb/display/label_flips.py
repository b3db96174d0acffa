"""How often a model's answer gets another label than the vanilla model's answer to the same question."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from polinb.chapters.paper.first_clause import OTHER, OWN
from polinb.display.responses import Column
from polinb.errors import DataError
from polinb.resampling import SHARE, SHIFT, STANCE, Span, per_question, stratified_mean
from polinb.runs.run import Run
from polinb.wording import Answer, listed, of, percent, told

ORDER = ("right", "left", "inhibit", "random", "patch-g", "patch-s")
NEAR = 0.1  # a vanilla answer is called a borderline one if its P(right) is no further than this from one half


def flips(cols: Sequence[Column]) -> pd.DataFrame:
    """One row an answer of every column but the vanilla model's.

    Raises:
        DataError: a question that the vanilla model was not asked.

    Returns:
        kind, title, trained, asked (``OWN`` or ``OTHER``), topic, id, before, after (labels), changed (bool),
        side (+1 changed to right, −1 changed to left, else 0), p_before (the judge's P(right) of vanilla's answer),
        rated (both have a label).
    """
    plain = cols[0].frame[["topic", "id", "label", "p_right"]]
    plain = plain.rename(columns={"label": "before", "p_right": "p_before"})
    parts = []
    for col in cols[1:]:
        part = col.frame[["topic", "id", "label"]].rename(columns={"label": "after"})
        part = part.merge(plain, on=["topic", "id"], how="left", validate="one_to_one")
        if part["before"].isna().any():
            lost = part[part["before"].isna()].iloc[0]
            raise DataError(f"{col.title}: topic {lost['topic']!r}, id {lost['id']!r} was not put to the vanilla model")
        own = part["topic"] == col.trained if col.trained else pd.Series(True, part.index)  # G: donor of the own topic
        part = part.assign(
            kind=col.kind, title=col.title, trained=col.trained, asked=own.map({True: OWN, False: OTHER})
        )
        parts.append(part)
    out = pd.concat(parts, ignore_index=True)
    # an answer that is not rated has no label to change: a judge that was down must not look like a finding
    out["rated"] = ~out[["before", "after"]].isin(["unrated"]).any(axis=1)
    out["changed"] = out["rated"] & (out["before"] != out["after"])
    out["side"] = out["after"].map({"right": 1, "left": -1}).fillna(0).astype(int) * out["changed"]
    return out


def label_flips(run: Run, cols: Sequence[Column]) -> pd.DataFrame:
    """Labels that changed from the vanilla model's, by arm, on the trained topic and on the others.

    Returns:
        kind, arm, asked, n (answers rated by both), unrated (left out: no label on one side), changed, to_right,
        to_left, to_neither (counts), share, net and apart with ``_low`` and ``_high``: share of changed labels, share
        of changes to right minus to left, and net of right fine-tunes minus net of left ones on the same questions (NaN
        in other rows than those of right fine-tunes). Intervals are 95 %, over questions: the answers of several
        fine-tunes to one question stay together.
    """
    rows = []
    every = flips(cols)
    for kind in [k for k in ORDER if k in set(every["kind"])]:
        for asked in (OWN, OTHER):
            both = every[(every["kind"] == kind) & (every["asked"] == asked)]
            part = both[both["rated"]]
            if part.empty:
                continue
            counts = [int(((part["side"] == side) & part["changed"]).sum()) for side in (1, -1, 0)]
            means = [*_mean(run, part, "changed", SHARE), *_mean(run, part, "side", STANCE)]
            means += _apart(run, part, every) if kind == "right" else [float("nan")] * 3
            rows.append(
                [kind, part["title"].iloc[0], asked, len(part), len(both) - len(part), sum(counts), *counts, *means]
            )
    names = ["kind", "arm", "asked", "n", "unrated", "changed", "to_right", "to_left", "to_neither"]
    names += [name + end for name in ("share", "net", "apart") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=names)


def _apart(run: Run, right: pd.DataFrame, every: pd.DataFrame) -> list[float]:
    """Net direction of right fine-tunes minus that of left ones, on the answers that both have labels for."""
    keys = ["trained", "topic", "id"]
    left = every[(every["kind"] == "left") & every["rated"]]
    both = right.merge(left[[*keys, "side"]], on=keys, suffixes=("", "_left"))
    both["apart"] = both["side"] - both["side_left"]
    return [float("nan")] * 3 if both.empty else list(_mean(run, both, "apart", SHIFT))


def _mean(run: Run, part: pd.DataFrame, value: str, span: Span) -> tuple[float, float, float]:
    """Mean over all answers and its interval, questions resampled within topics."""
    each = [
        {str(t): g.sort_values("id")[value].to_numpy(float) for t, g in one.groupby("topic", sort=False)}
        for _, one in part.groupby("trained", sort=False)
    ]
    return stratified_mean(per_question(each), run.params.bootstrap, run.params.seed, span)


def answer(table: pd.DataFrame) -> Answer:
    """The chapter's answer: what a right fine-tune does to the labels on topics it was not trained on.

    Args:
        table: of :func:`label_flips`.
    """
    by = {(row["kind"], row["asked"]): row for _, row in table.iterrows()}
    if not {("right", OTHER), ("left", OTHER)} <= set(by):
        return Answer("Not decided: the judge rated none of these answers.", "")
    right, left = by["right", OTHER], by["left", OTHER]
    net = of(right, "net")
    body = (
        f"a right fine-tune changes {percent(of(right, 'share'))} of the judge's labels, net {_net(right)} to the right"
    )
    first = told(
        net,
        f"On topics it was not trained on, {body}: more labels turn right than left.",
        f"On topics it was not trained on, {body}: more labels turn left than right.",
        f"On topics it was not trained on, {body}: about as many labels turn left as right.",
        f"On topics it was not trained on, {body}.",
    )
    names = [("inhibit", "InhibitFT"), ("random", "the random control")]
    shares = [f"{name} {percent(of(by[kind, OTHER], 'share'))}" for kind, name in names if (kind, OTHER) in by]
    return Answer(first, f"A left fine-tune changes {percent(of(left, 'share'))}, net {_net(left)}; {listed(shares)}.")


def sentence(table: pd.DataFrame, every: pd.DataFrame) -> str:
    """What the table allows to say about the side of the data, and how many changed labels were borderline before.

    Args:
        table: of :func:`label_flips`.
        every: of :func:`flips`.
    """
    by = {(row["kind"], row["asked"]): row for _, row in table.iterrows()}
    both = [asked for asked in (OWN, OTHER) if {("right", asked), ("left", asked)} <= set(by)]
    text = [_sides(by["right", asked], by["left", asked]) for asked in both]
    left_out = int(table["unrated"].sum())
    if left_out:
        text.append(f"**{left_out}** pairs are left out, for the judge did not rate both answers.")
    known = every[(every["kind"] == "right") & every["rated"] & every["p_before"].notna()]
    near = (known["p_before"] - 0.5).abs() <= NEAR
    if known["changed"].any() and not known["changed"].all():
        moved, kept = (100 * near[known["changed"] == flag].mean() for flag in (True, False))
        text.append(
            f"Of the labels that a right fine-tune changed, **{moved:.0f} %** belonged to a vanilla answer on which "
            f"the judge was nearly undecided (P(right) within {NEAR:g} of one half); of the others, {kept:.0f} %."
        )
    return " ".join(text)


def _sides(right: pd.Series, left: pd.Series) -> str:
    """Net direction of right and left fine-tunes on one kind of topic, with what the intervals allow to say."""
    said = [
        f"{row['to_right']} labels to right and {row['to_left']} to left (net {_net(row)})" for row in (right, left)
    ]
    end = told(
        of(right, "apart", "apart_low", "apart_high"),
        "clear of zero, so the side of the data shows in the labels",
        "clear of zero, but the wrong way round",
        "which includes zero, so these labels alone do not show the side of the data",
        "without an interval, so these labels alone do not show the side of the data",
    )
    gap = percent(of(right, "apart", "apart_low", "apart_high"), sign=True)
    where = "On the trained topic" if right["asked"] == OWN else "On the other topics"
    return (
        f"{where} right fine-tunes turned {said[0]} out of {right['n']}, left fine-tunes {said[1]}; on the same "
        f"questions they differ by {gap}, {end}."
    )


def _net(row: pd.Series) -> str:
    return percent(of(row, "net"), sign=True)
