"""What holds and what does not: verdicts on claims about InhibitFT, from effect and interval alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper.baselines import conditions, equal_shift, hierarchical, title
from polinb.resampling import SHIFT, bootstrap_mean, changes, differences, per_question, stratified_mean
from polinb.runs.conditions import Condition
from polinb.runs.run import Run
from polinb.stance.coupling import FEWEST_TOPICS
from polinb.wording import Effect, Interval, told

RANDOM = {
    "random-uniform": "uniform random neurons",
    "random-layer": "random neurons of the same layers",
    "random-next_highest": "the neurons with the highest activation outside G",
}
_HELD = "inhibitft-heldout"


def judged(effect: Effect, want: str) -> str:
    """A verdict from an effect and its interval.

    Args:
        want: what the claim needs: ``above`` 0, ``below`` 0, or ``none`` (no effect).
    """
    if want == "none":
        out = "does not hold: the interval excludes 0"
        return told(effect, out, out, "not refuted: the interval includes 0", "not decided: no interval")
    above, below = ("holds here", "does not hold: the opposite is seen")[:: 1 if want == "above" else -1]
    return told(effect, above, below, "not decided: the interval includes 0", "not decided: no interval")


def claim(text: str, source: str, measure: str, effect: Effect, want: str) -> dict[str, Any]:
    """A row of a table of claims: claim, source (where in the paper, or "control"), measure, effect, verdict."""
    return {"claim": text, "source": source, "measure": measure, "effect": Interval(*effect, signed=True)} | {
        "verdict": judged(effect, want)
    }


def harder(run: Run) -> pd.DataFrame:
    """The same claims against the harder controls, on the topics of those.

    Intervals cover random sets and training seeds where there are several; where there is one seed, the row says so.

    Returns:
        rows of :func:`claim`.
    """
    deep = hierarchical(run).set_index("against")
    equal = equal_shift(run).set_index("condition")
    few_topics = len(run.params.baseline_topics) < FEWEST_TOPICS
    measure = f"drop of R_c²; {'on these topics, ' if few_topics else 'topics, '}seeds, questions resampled"
    rows = []
    for name in ("fine-tune", *RANDOM):
        if title(name) not in deep.index:
            continue
        found = deep.loc[title(name)]
        effect = float(found["drop"]), float(found["low"]), float(found["high"])
        text = "Freezing G lowers coupling" if name == "fine-tune" else f"… more than freezing {RANDOM[name]}"
        few = _few(min(int(found["seeds_first"]), int(found["seeds_second"])))
        rows.append(claim(text, "Tables 1, 4–6" if name == "fine-tune" else "control", measure + few, effect, "above"))
    measure = "R_c² minus that of a weaker fine-tune with the same on-topic shift; questions and seeds resampled"
    for name, text in (
        ("inhibitft", "… more than simply training less"),
        (_HELD, "… and so does G found without the training topic"),
    ):
        if title(name) in equal.index:
            found = equal.loc[title(name)]
            effect = float(found["excess"]), float(found["low"]), float(found["high"])
            rows.append(claim(text, "control", measure + _few(int(found["seeds"])), effect, "below"))
    return pd.DataFrame(rows)


def _few(seeds: int) -> str:
    return "" if seeds > 1 else " (one seed: its spread is not in the interval)"


def on_topic_loss(run: Run) -> Effect:
    """On-topic stance of InhibitFT minus that of the plain fine-tune, mean over training topics."""
    p = run.params
    parts: list[dict[str, np.ndarray]] = []
    for topic in p.topics:
        plain, frozen = run.stances(run.tuned(topic)), run.stances(run.inhibited(topic, kinds=[])[0])
        parts.append({topic: differences(plain, frozen)[topic]})
    return stratified_mean(per_question(parts), p.bootstrap, p.seed, SHIFT)


def fluency_change(run: Run) -> Effect:
    """Change of the answers' log-likelihood a token under the vanilla model from the plain fine-tune to InhibitFT."""
    p = run.params
    moved = []
    for topic in p.topics:
        plain, frozen = (
            run.answers(each).frame("answers").set_index(["topic", "id"])["vanilla_logp"]
            for each in (run.tuned(topic), run.inhibited(topic, kinds=[])[0])
        )
        moved.append(changes(plain, frozen).dropna())
    together = pd.concat(moved).groupby(level=[0, 1]).mean()  # a question's changes stay together
    return bootstrap_mean(together, p.bootstrap, p.seed)


def swap_conditions(run: Run, every: bool = False) -> list[Condition]:
    """Conditions whose answers the second judge reads as well: fine-tune, InhibitFT and one layer-matched random set.

    Args:
        every: as in :func:`polinb.chapters.paper.baselines.conditions`.
    """
    chosen = []
    for topic in run.params.baseline_topics:
        found = conditions(run, topic, every)
        chosen += [next(a for a in found if a.name == name) for name in ("fine-tune", "inhibitft", "random-layer")]
    return chosen
