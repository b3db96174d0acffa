"""Answers in numbers of the chapters beyond the paper (see ``polinb.chapters.paper.answers``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from polinb.chapters.caft.caft import METHOD_TITLES
from polinb.chapters.caft.cues import CUES
from polinb.chapters.caft.narrow_arms import NARROW
from polinb.chapters.dpo.causal import RANDOM
from polinb.runs.conditions import VANILLA
from polinb.runs.params import Params
from polinb.scoring.shares import STUDY
from polinb.wording import Answer, Effect, clear, counted, interval, listed, number, of, percent, thousands, told


def known_truth(found: pd.DataFrame, broken: pd.DataFrame, moved: pd.DataFrame, arms: pd.DataFrame) -> Answer:
    """Does PNLAC find what is there?

    Args:
        found: G at the base condition by method (``truth.over_models``): method, recall with its ends.
        broken: of :func:`polinb.chapters.planted.truth_tables.breaks`.
        moved: shifts by patching: set, own, shift with its ends.
        arms: of :func:`polinb.chapters.planted.truth_tuned.removed`.
    """
    by = found.set_index("method")
    recall = {name: percent(of(by.loc[name], "recall")) for name in ("raw", "normalised", "random")}
    first = (
        f"While little else moves, raw PNLAC finds {recall['raw']} of the planted general neurons, normalised PNLAC "
        f"{recall['normalised']}, and a random ranking {recall['random']}."
    )
    knobs = broken["knob"].nunique()
    fails = broken[broken["value"].notna()].groupby("method")["knob"].nunique()
    away = moved[~moved["own"].astype(bool)].set_index("set")
    shut = arms[arms["gates"] == "shut"].set_index("arm")
    one = shut.loc["true G"]
    return Answer(
        first,
        f"Made harder in {knobs} ways, one at a time, the raw score loses more than half of the neurons under "
        f"{fails.get('raw', 0)} of them, the normalised one under {fails.get('normalised', 0)}. Patching the true G "
        f"moves the other topics by {interval(of(away.loc['true G'], 'shift'))}, the G that raw PNLAC found by "
        f"{interval(of(away.loc['found G, raw'], 'shift'))}. Freezing the true G takes "
        f"{interval(of(one, 'drop'), sign=False)} off a coupling of {number(shut.loc['nothing', 'r'], sign=False)} and "
        f"keeps {percent(of(one, 'kept'))} of the wanted shift.",
    )


def controls(equal: pd.DataFrame, agree: pd.DataFrame) -> Answer:
    """Is it more than training less?

    Args:
        equal: of :func:`polinb.chapters.paper.baselines.equal_shift`.
        agree: of :func:`polinb.chapters.paper.second_judge.agreement`.
    """
    row = equal.set_index("arm").loc["InhibitFT (G)"]
    excess = of(row, "excess")
    body = (
        f"at its own on-topic shift InhibitFT's coupling differs from that of a fine-tune that was simply trained less "
        f"by {interval(excess)}"
    )
    first = told(
        excess,
        f"No, it couples more: {body}.",
        f"Yes, it couples less: {body}.",
        f"Not shown: {body}, an interval that holds zero.",
        f"Not decided: {body}.",
    )
    near = of(row, "excess", "low_questions", "high_questions")
    words = told(near, "clear of zero on the wrong side", "clear of zero", "not clear of zero either", "no interval")
    random = equal[equal["arm"].str.startswith("random")]["excess"]
    share = agree[agree["answers"] != "reference answers"]["agree"]
    return Answer(
        first,
        f"That interval covers questions and training seeds ({int(row['seeds'])}); over questions alone it is "
        f"[{number(near[1])}, {number(near[2])}], {words}. Random neurons frozen in the place of G differ by "
        f"{number(random.min())} to {number(random.max())}. A second judge of another kind gives the same label to "
        f"{100 * share.min():.0f} to {100 * share.max():.0f} % of the models' answers.",
    )


def shift(
    margins: Mapping[str, Effect], half: tuple[int, float], top: tuple[int, float], crossed: pd.Series, patched: Effect
) -> Answer:
    """A few neurons, or very many by a little each?

    Args:
        margins: change of the likelihood stance by the side chosen in DPO, ``right`` and ``left``.
        half: fewest neurons that hold half of the gross change, and their per cent of the model.
        top: how many left-aligned neurons closest to the probe, and the share of the gross change that they hold.
        crossed: row of G (:func:`polinb.chapters.dpo.shift_tables.crossing`).
        patched: shift of the judged stance when all four groups are patched.
    """
    first = (
        f"Half of all movement along the probe takes **{thousands(half[0])}** neurons, {half[1]:.1f} % of the model; "
        f"the {top[0]} left-aligned neurons closest to the probe hold {100 * top[1]:.1f} % of it (the study of "
        f"toxicity: {STUDY['top neurons']:g} %)."
    )
    sides = [clear(margins[side]) for side in ("right", "left")]
    learnt = "so the side of the data decided" if sides == [1, -1] else "so the side of the data is not shown to decide"
    bands = {True: "more than", False: "no more than"}
    return Answer(
        first,
        f"DPO moved the likelihood stance by {interval(margins['right'], 3)} nats a token, its mirror by "
        f"{interval(margins['left'], 3)}, {learnt}. Of the movement G carries {percent(of(crossed, 'share'), 1)}, "
        f"{bands[bool(crossed['share'] > crossed['loud_high'])]} equally loud random neurons do "
        f"({percent(of(crossed, 'loud'), 1)}). Patching all four groups moves the judged stance by "
        f"{interval(patched)}: "
        + told(patched, "what they write also moves what is said.", "against the trained way.", "no effect is shown."),
    )


def toxicity(change: Mapping[str, Effect], tops: pd.DataFrame, patched: pd.DataFrame) -> Answer:
    """Does the account of toxicity come out here?

    Args:
        change: of :func:`polinb.chapters.dpo.toxicity_tables.change`.
        tops: rows of the top neurons: share, gross_share.
        patched: of :func:`polinb.chapters.dpo.toxicity_tables.patched`.
    """
    fell = [name for name in ("rude", "insult") if clear(change[name]) == -1]
    word = {0: "Not shown to fall", 1: "By one measure of two", 2: "It falls"}[len(fell)]
    first = (
        f"{word}: DPO changes the share of rude answers by {_points(change['rude'])} points and that of answers with "
        f"an insult by {_points(change['insult'])} points."
    )
    by = patched.set_index("set")
    four, drawn = (by.loc[name] for name in ("all four", RANDOM))
    ends = ("insult_shift_low", "insult_shift_high")
    effects = [of(row, "insult_shift", *ends) for row in (four, drawn)]
    beyond = clear(of(four, "insult_beyond")) == -1
    return Answer(
        first,
        f"The neurons closest to the rudeness probe hold at most {100 * tops['gross_share'].max():.1f} % of the "
        f"movement (the study: {STUDY['top neurons']:g} %). Patching all four groups changes the share with an insult "
        f"by {interval(effects[0])}, as many random neurons by {interval(effects[1])}: the groups are "
        f"{'beyond' if beyond else 'not told apart from'} chance.",
    )


def _points(effect: Effect) -> str:
    mean, low, high = (100 * x for x in effect)
    return interval((mean, low, high), 0)


def caft(rows: pd.DataFrame, equal: pd.DataFrame, shared: pd.DataFrame) -> Answer:
    """CAFT or InhibitFT, and does either beat training less?

    Args:
        rows: of :func:`polinb.chapters.caft.caft.comparison`.
        equal: of :func:`polinb.chapters.caft.caft.against_weaker`.
        shared: of :func:`polinb.chapters.caft.caft_angles.shared_table`.
    """
    by = equal.set_index("arm")
    names = [name for name in METHOD_TITLES if name in by.index]
    gains = [name for name in names if clear(of(by.loc[name], "excess")) == -1]
    tried = f"of {len(names)} compared, uncorrected"
    word = f"Better than training less: {listed(gains)} ({tried})" if gains else "None is shown to beat training less"
    each = listed([f"{interval(of(by.loc[name], 'excess'))} ({name})" for name in names])
    kept = rows.groupby("arm", sort=False)["shift"].mean()
    shifts = listed([f"{number(kept[name])} ({name})" for name in ["fine-tune", *names] if name in kept.index])
    more = int((shared["neurons_p"] <= 0.05).sum())
    return Answer(
        f"{word}: at equal on-topic shift their coupling differs from that of a weaker fine-tune, below "
        f"zero being a gain, by {each}.",
        f"The on-topic shift is {shifts}. What G's neurons write overlaps with CAFT's directions more than random "
        f"neurons of the same layers do (p ≤ 0.05, uncorrected) in {more} of {len(shared)} comparisons.",
    )


def cues(table: pd.DataFrame, effects: pd.DataFrame) -> Answer:
    """Can ablation decide which of two rules is learnt?

    Args:
        table: of :func:`polinb.chapters.caft.cue_tables.accuracies`.
        effects: of :func:`polinb.chapters.caft.cue_tables.effects`.
    """
    plain = table[table["arm"] == "fine-tune"].set_index(["half", "intended"])
    agree = of(plain.loc[("agree", "mood")], "accuracy")
    if agree[1] <= 0.5:
        return Answer(
            f"No rule was learnt: where both cues agree the model is right on {percent(agree)}, no better than "
            "guessing, so this run cannot say.",
            "",
        )
    cue = max(CUES, key=lambda name: plain.loc[("disagree", name), "accuracy"])
    other = CUES[cue == CUES[0]]
    own = effects[effects["ablated"] == cue]
    least = own.loc[own["gain"].idxmin()]
    turned = table[(table["arm"] == f"CAFT without {cue}") & (table["half"] == "disagree")]
    now = of(turned[turned["intended"] == other].iloc[0], "accuracy")
    steered = len(own) > 0 and bool(own["low"].gt(0).all()) and now[1] > 0.5
    first = (
        f"{'It can be steered' if steered else 'Not shown'}: left alone the model follows {cue} where cues disagree "
        f"({percent(of(plain.loc[('disagree', cue)], 'accuracy'))}), and with the directions of {cue} ablated it "
        f"follows {other} on {percent(now)}."
    )
    return Answer(
        first,
        f"The smallest of the gains over {len(own)} arms without that ablation is {interval(of(least, 'gain'))} "
        f"(against {least['against']}); it is clear of zero against {counted(own)}. Where the cues agree the plain "
        f"fine-tune is right on {percent(agree)}.",
    )


def stand_ins(params: Params) -> list[str]:
    """Which parameters of the chapter on emergent misalignment name only a stand-in."""
    named = {"narrow_data": "bundled", "narrow_questions": "bundled", "narrow_judge": "local"}
    return [name for name, small in named.items() if getattr(params, name) == small]


def narrow(shares: pd.DataFrame, changes: pd.DataFrame, taught: pd.DataFrame, stand_in: Sequence[str]) -> Answer:
    """Does CAFT prevent emergent misalignment?

    Args:
        shares: of :func:`polinb.chapters.caft.narrow_tables.shares`.
        changes: of :func:`polinb.chapters.caft.narrow_tables.changes`.
        taught: of :func:`polinb.chapters.caft.narrow_tables.taught`.
        stand_in: which of data, questions and judge are only stand-ins.
    """
    by = shares.set_index("arm")
    plain, tuned = (of(by.loc[name], "share") for name in (VANILLA.name, NARROW))
    learnt = of(taught.set_index("arm").loc[NARROW], "change")
    moved = changes[(changes["arm"] == NARROW) & (changes["against"] == VANILLA.name)].iloc[0]
    alignment, share = of(moved, "change"), of(moved, "share", "share_low", "share_high")
    rose, fell = clear(share) == 1, clear(alignment) == -1
    word = {0: "No misalignment is shown", 1: "One measure of two shows misalignment", 2: "Misalignment is shown"}
    first = (
        f"{word[rose + fell]}, so CAFT has {'something' if rose or fell else 'nothing'} to prevent: misaligned among "
        f"coherent answers are {percent(plain)} of the vanilla model and {percent(tuned)} after the narrow "
        "fine-tune."
    )
    sure = told(
        learnt, "it learnt the narrow task", "it learnt the opposite", "the task is not shown to be learnt", "–"
    )
    rest = (
        f"Mean alignment changes by {interval(alignment, 1)} points of 100, the preference for insecure code by "
        f"{interval(learnt)} nats a token: {sure}."
    )
    if stand_in:
        rest += f" Stand-ins for {listed([f'`{name}`' for name in stand_in])}: this tests the machinery only."
    return Answer(first, rest)
