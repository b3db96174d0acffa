"""What holds and what does not: verdicts on claims about InhibitFT, from effect and interval alone."""

from __future__ import annotations

from typing import Any

import pandas as pd

from polinb.chapters.paper.baselines import conditions, equal_shift, fluencies, hierarchical, title
from polinb.chapters.paper.results import mean_shift
from polinb.resampling import bootstrap_mean, changes, differences
from polinb.runs.conditions import Condition
from polinb.runs.run import Run
from polinb.stance.coupling import FEWEST_TOPICS
from polinb.wording import Effect, Interval, of, told

RANDOM = {
    "random-uniform": "uniform random neurons",
    "random-layer": "random neurons of the same layers",
    "random-next_highest": "the neurons with the highest activation outside G",
}
_HELD = "inhibitft-heldout"


def claim(text: str, source: str, measure: str, effect: Effect, want: str) -> dict[str, Any]:
    """A row of a table of claims, with what its interval allows to say.

    Args:
        source: where in the paper, or "control".
        want: what the claim needs: ``above`` 0, ``below`` 0, or ``none`` (no effect).

    Returns:
        claim, source, measure, effect (with interval), verdict.
    """
    above, below, around = {
        "above": ("holds here", "does not hold: the opposite is seen", "not decided"),
        "below": ("does not hold: the opposite is seen", "holds here", "not decided"),
        "none": (*(f"does not hold: the interval lies {where} 0" for where in ("above", "below")), "not refuted"),
    }[want]
    row = {"claim": text, "source": source, "measure": measure, "effect": Interval(*effect, signed=True)}
    verdict = told(effect, above, below, f"{around}: the interval includes 0", "not decided: no interval")
    return row | {"verdict": verdict}


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
        if title(name) in deep.index:
            found = deep.loc[title(name)]
            few = _few(min(int(found["seeds_first"]), int(found["seeds_second"])))
            source, text = "control", f"… more than freezing {RANDOM.get(name)}"
            if name == "fine-tune":
                source, text = "Tables 1, 4–6", "Freezing G lowers coupling"
            rows.append(claim(text, source, measure + few, of(found, "drop"), "above"))
    measure = "R_c² minus that of a weaker fine-tune with the same on-topic shift; questions and seeds resampled"
    for name, text in (
        ("inhibitft", "… more than simply training less"),
        (_HELD, "… and so does G found without the training topic"),
    ):
        if title(name) in equal.index:
            found = equal.loc[title(name)]
            rows.append(claim(text, "control", measure + _few(int(found["seeds"])), of(found, "excess"), "below"))
    return pd.DataFrame(rows)


def _few(seeds: int) -> str:
    return "" if seeds > 1 else " (one seed: its spread is not in the interval)"


def on_topic_loss(run: Run) -> Effect:
    """On-topic stance of InhibitFT minus that of the plain fine-tune, mean over training topics."""
    return mean_shift(run, {t: differences(*map(run.stances, pair)) for t, pair in _pairs(run).items()}, own=True)


def fluency_change(run: Run) -> Effect:
    """Change of the answers' log-likelihood a token under the vanilla model from the plain fine-tune to InhibitFT."""
    moved = [changes(*(fluencies(run, each) for each in pair)).dropna() for pair in _pairs(run).values()]
    together = pd.concat(moved).groupby(level=[0, 1]).mean()  # a question's changes stay together
    return bootstrap_mean(together, run.params.bootstrap, run.params.seed)


def _pairs(run: Run) -> dict[str, tuple[Condition, Condition]]:
    """Trained topic → plain fine-tune and InhibitFT."""
    return {topic: (run.tuned(topic), run.inhibited(topic, kinds=[])[0]) for topic in run.params.topics}


def swap_conditions(run: Run, every: bool = False) -> list[Condition]:
    """Conditions whose answers the second judge reads as well: fine-tune, InhibitFT and one layer-matched random set.

    Args:
        every: as in :func:`polinb.chapters.paper.baselines.conditions`.
    """
    chosen = []
    for topic in run.params.baseline_topics:
        first = {each.name: each for each in reversed(conditions(run, topic, every))}
        chosen += [first[name] for name in ("fine-tune", "inhibitft", "random-layer")]
    return chosen
