"""Answers in numbers of the chapters that intervene: patching, InhibitFT, γ; and of the comparison with the paper.

See ``polinb.chapters.paper.answers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from polinb.chapters.paper.results import ARM_TITLES, gamma_arms, paired_drop, plain_arms
from polinb.wording import Answer, Effect, by_chance, clear, counted, interval, listed, of, thousands, told

if TYPE_CHECKING:
    from polinb.runs.conditions import Condition
    from polinb.runs.run import Run


def patching(summary: pd.DataFrame, beats: Mapping[str, Effect], own: pd.DataFrame) -> Answer:
    """Does the vanilla model write to the right with these neurons patched in?

    Args:
        summary: of :func:`polinb.chapters.paper.patch_tables.patch_summary`.
        beats: of :func:`polinb.chapters.paper.beside.paired_patch`.
        own: shifts with S_t patched in: trained, topic, low, high.
    """
    by = summary.set_index("set")
    effect = of(by.loc["G"], "shift")
    both = all(clear(beats[name]) == 1 for name in ("layer", "next_highest"))
    beside = "" if both else "; but it is not clear of both controls"
    body = (
        f"with {thousands(by.loc['G', 'neurons'])} general neurons taken from the right-tuned model, the stance moves "
        f"by {interval(effect)}"
    )
    first = told(
        effect,
        f"It does: {body} on average over topics{beside}.",
        f"It goes the other way: {body} on average over topics.",
        f"Not shown: {body} on average over topics, an interval that holds zero.",
        f"Not decided: {body}.",
    )
    controls = (
        f"Beside as many random neurons of the same layers that is {interval(beats['layer'])} more, beside the neurons "
        f"with the highest activation outside G {interval(beats['next_highest'])}"
    )
    same = own[own["trained"] == own["topic"]]
    return Answer(
        first,
        f"The right-tuned model itself stands {interval(of(by.loc['donor itself'], 'shift'))} from the vanilla one. "
        f"{controls}: {'clear of both controls' if both else 'not clear of both controls'}. Topic-specific neurons "
        f"move their own topic right, clear of zero, on {counted(same)} topics.",
    )


def inhibitft(drops: pd.DataFrame, loss: Effect) -> Answer:
    """Does freezing G stop the spill-over, and at what cost?

    Args:
        drops: of :func:`polinb.chapters.paper.results.drops`.
        loss: change of the on-topic shift (:func:`polinb.chapters.paper.verdicts.on_topic_loss`).
    """
    every = drops[drops["trained"] == "all"].set_index("against")
    single = drops[(drops["trained"] != "all") & (drops["against"] == "fine-tune")]
    drop = of(every.loc["fine-tune"], "drop")
    body = (
        f"the drop of R_c², the squared noise-corrected coupling, by freezing G is {interval(drop)}, mean over topics"
    )
    names = [name for name in every.index if name.startswith("random")]
    ahead = bool(names) and all(clear(of(every.loc[name], "drop")) == 1 for name in names)
    but = "" if ahead else "; but that is not shown to be more than freezing random neurons does"
    less = f"{but}{'; the wanted shift falls too' if clear(loss) == -1 else ''}"
    first = told(
        drop,
        f"It couples less: {body}{less}.",
        f"It couples more: {body}.",
        f"Not shown: {body}, an interval that holds zero.",
        f"Not decided: {body}.",
    )
    beside = listed([f"{interval(of(every.loc[name], 'drop'))} ({ARM_TITLES[name]})" for name in names])
    chance = f"Against freezing as many random neurons it is {beside}: {'more' if ahead else 'not shown to be more'} "
    chance = f"{chance}than chance does. " if names else "No random set was frozen to compare with. "
    price = told(
        loss,
        "more than without freezing.",
        "the price of freezing.",
        "no price is shown.",
        "not decided.",
    )
    return Answer(
        first,
        f"By single topics it is clear of zero on {counted(single)} ({by_chance(single)}). {chance}The shift on the "
        f"trained topic changes by {interval(loss)}: {price}",
    )


def gamma_steps(run: Run) -> pd.DataFrame:
    """Drops of R_c² along γ, mean over the topics of the ablation.

    Returns:
        gamma, step (``fine-tune``: from freezing nothing to G at γ; ``random``: from a random set of the size of G;
        ``from``: from G at the run's own γ, if that is among those tried), drop (positive: less coupling), low, high.
    """
    plain = {arm.topic: arm for arm in plain_arms(run, run.params.ablation_topics)}
    named: dict[tuple[float, str], dict[str, Condition]] = {}
    for gamma, arm in gamma_arms(run):
        named.setdefault((gamma, "G" if arm.name == "inhibitft" else "random"), {})[arm.topic] = arm
    base = named.get((run.params.gamma, "G"), {})
    rows = []
    for gamma in dict.fromkeys(gamma for gamma, _ in named):
        frozen = named[gamma, "G"]
        starts = {"fine-tune": plain, "random": named.get((gamma, "random"), {})}
        if gamma != run.params.gamma:
            starts["from"] = base
        for step, first in starts.items():
            pairs = [(first[topic], arm) for topic, arm in frozen.items() if topic in first]
            if pairs:
                drop = paired_drop(run, pairs)
                rows.append({"gamma": gamma, "step": step, **{k: drop[k] for k in ("drop", "low", "high")}})
    return pd.DataFrame(rows, columns=["gamma", "step", "drop", "low", "high"])


def gamma(steps: pd.DataFrame, own: float, trained: list[str]) -> Answer:
    """Does coupling fall sharply at 5 % and rise again at 25 %?

    Args:
        steps: of :func:`gamma_steps`.
        own: the run's γ (the paper's is 5).
        trained: topics of the ablation.
    """
    plain = steps[steps["step"] == "fine-tune"].set_index("gamma")
    if plain.empty:
        return Answer("Not decided: no neuron is general at any γ of this run.", "")
    at = own if own in plain.index else float(plain.index[0])
    fall = _changed(plain.loc[at])
    text = f"freezing G at γ = {at:g} % changes the squared noise-corrected R by {interval(fall)}"
    verdict = told(fall, "It rises", "It falls", "No fall is shown", "A fall is not decided")
    back = steps[(steps["step"] == "from") & (steps["gamma"] > at)]
    if len(back):
        last = back.loc[back["gamma"].idxmax()]
        rise = _changed(last)
        again = told(rise, "rises after it", "goes on falling after it", "no rise after it is shown", "nor is a rise")
        text += f", and going on to γ = {last['gamma']:g} % by {interval(rise)}"
        verdict = f"{verdict}, and {again}"
    least = plain.loc[plain["drop"].idxmax()]
    rand = steps[steps["step"] == "random"]
    rest = (
        f"R is lowest at γ = {least.name:g} %, a change of {interval(_changed(least))} from freezing nothing (picked "
        f"after the fact from {len(plain)} values). Below one random frozen set of equal size it lies, clear of zero, "
        f"at {counted(rand)} values. Trained topic{'s' if len(trained) > 1 else ''}: {listed(trained)}."
    )
    return Answer(f"{verdict}: {text}.", rest)


def _changed(row: pd.Series) -> Effect:
    """A drop as a change: the other way round."""
    drop, low, high = of(row, "drop")
    return -drop, -high, -low


def beside(claims: pd.DataFrame, exhibits: pd.DataFrame) -> Answer:
    """What did the paper find, what did we?

    Args:
        claims: of :func:`polinb.chapters.paper.beside.claims`.
        exhibits: of :func:`polinb.chapters.paper.exhibits.exhibit_map`.
    """
    verdict = claims["verdict"]
    seen, against = verdict.str.startswith("seen"), verdict.str.startswith(("the opposite", "not so"))
    # An interval that holds zero does not show that there is nothing: "compatible" is undecided.
    open_ = int(verdict.str.startswith(("compatible", "not decided")).sum())
    first = (
        f"Of {int(seen.sum() + against.sum()) + open_} claims and controls with an interval this run supports "
        f"**{int(seen.sum())}**, contradicts **{int(against.sum())}** and leaves **{open_}** undecided."
    )
    parts = []
    for title, rows in (("Supported", claims[seen]), ("Contradicted", claims[against])):
        named = [f"“{row.claim}” {str(row.effect).replace('-', '−')}" for row in rows.itertuples()]
        parts.append(f"{title}: {'; '.join(named) or 'none'}.")
    rest = f"Each of the {len(exhibits)} figures and tables of the paper has a counterpart, in part where a run is cut;"
    missing = "of Figures 4 and 7–9 (section 4.3) the panels of patched models on statement sets are not among them."
    return Answer(first, f"{' '.join(parts)} {rest} {missing}")
