"""What holds and what does not: one row a claim about InhibitFT, with effect, interval and verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper.baselines import arms, equal_shift, hierarchical, title
from polinb.chapters.paper.results import drops
from polinb.resampling import SHIFT, bootstrap_mean, changes, differences, per_question, stratified_mean
from polinb.runs.conditions import Condition
from polinb.runs.run import Run
from polinb.wording import bounded

_RANDOM = {
    "random-uniform": "uniform random neurons",
    "random-layer": "random neurons of the same layers",
    "random-next_highest": "the neurons with the highest activation outside G",
}
_HELD = "inhibitft-heldout"


def judged(effect: tuple[float, float, float], want: str) -> str:
    """A verdict from an effect and its interval.

    Args:
        effect: estimate, low, high.
        want: what the claim needs: ``above`` 0, ``below`` 0, or ``none`` (no effect).
    """
    _, low, high = effect
    if not np.isfinite([low, high]).all():
        return "not decided: no interval"
    if want == "none":
        return "not refuted: the interval holds 0" if low <= 0 <= high else "does not hold: the interval excludes 0"
    sign = 1 if want == "above" else -1
    worst, best = sorted((sign * low, sign * high))
    if worst > 0:
        return "holds here"
    return "does not hold: the opposite is seen" if best < 0 else "not decided: the interval holds 0"


def _row(claim: str, source: str, measure: str, effect: tuple[float, float, float], want: str) -> dict[str, Any]:
    return {
        "claim": claim,
        "source": source,
        "measure": measure,
        "effect": bounded(effect),
        "verdict": judged(effect, want),
    }


def inhibitft(run: Run) -> pd.DataFrame:
    """The paper's claims about InhibitFT, over all training topics, with the controls of this run.

    Returns:
        claim, source (where in the paper, or "control"), measure, effect (with its interval), verdict.
    """
    table = drops(run)
    every = table[table["trained"] == "all"].set_index("against")
    effects = {name: tuple(float(every.loc[name, c]) for c in ("drop", "low", "high")) for name in every.index}
    measure = "mean drop of R_c²"
    rows = [_row("Freezing G lowers coupling", "Tables 1, 4–6", measure, effects["fine-tune"], "above")]  # type: ignore[arg-type]
    for name in (n for n in effects if n in _RANDOM):
        claim = f"… more than freezing {_RANDOM[name]}"
        rows.append(_row(claim, "control", measure, effects[name], "above"))  # type: ignore[arg-type]
    if _HELD in effects:
        claim = "… and G found without the training topic does no worse"
        rows.append(_row(claim, "control", f"{measure} from it to G", effects[_HELD], "none"))  # type: ignore[arg-type]
    lost = on_topic_loss(run)
    rows.append(
        _row("… and keeps the on-topic shift", "Figures 5, 10–12", "change of the on-topic shift", lost, "none")
    )
    fluent = _fluency_change(run)
    measure = "change of the answers' log-likelihood a token under the vanilla model, nats"
    rows.append(_row("… and keeps the quality of the answers", "Tables 1, 4–6", measure, fluent, "none"))
    return pd.DataFrame(rows)


def rival(run: Run) -> pd.DataFrame:
    """The same claims against the harder controls, on the rival topics.

    Intervals cover random sets and training seeds where there are several; where an arm has one seed, the row says so.

    Returns:
        as :func:`inhibitft`.
    """
    deep = hierarchical(run).set_index("against")
    equal = equal_shift(run).set_index("arm")
    measure = "drop of R_c²; topics, seeds, questions resampled"
    rows = []
    for name in ("fine-tune", *_RANDOM):
        if title(name) not in deep.index:
            continue
        found = deep.loc[title(name)]
        effect = float(found["drop"]), float(found["low"]), float(found["high"])
        claim = "Freezing G lowers coupling" if name == "fine-tune" else f"… more than freezing {_RANDOM[name]}"
        few = _few(min(int(found["seeds_first"]), int(found["seeds_second"])))
        rows.append(_row(claim, "Tables 1, 4–6" if name == "fine-tune" else "control", measure + few, effect, "above"))
    measure = "R_c² minus that of a weaker fine-tune with the same on-topic shift; questions and seeds resampled"
    for name, claim in (
        ("inhibitft", "… more than simply training less"),
        (_HELD, "… and so does G found without the training topic"),
    ):
        if title(name) in equal.index:
            found = equal.loc[title(name)]
            effect = float(found["excess"]), float(found["low"]), float(found["high"])
            rows.append(_row(claim, "control", measure + _few(int(found["seeds"])), effect, "below"))
    return pd.DataFrame(rows)


def _few(seeds: int) -> str:
    return "" if seeds > 1 else " (one seed: its spread is not in the interval)"


def on_topic_loss(run: Run) -> tuple[float, float, float]:
    """On-topic stance of InhibitFT minus that of the plain fine-tune, mean over training topics."""
    p = run.params
    parts: list[dict[str, np.ndarray]] = []
    for topic in p.topics:
        plain, frozen = run.stances(run.tuned(topic)), run.stances(run.inhibited(topic, kinds=[])[0])
        parts.append({topic: differences(plain, frozen)[topic]})
    return stratified_mean(per_question(parts), p.bootstrap, p.seed, SHIFT)


def _fluency_change(run: Run) -> tuple[float, float, float]:
    p = run.params
    moved = []
    for topic in p.topics:
        plain, frozen = (
            run.answers(arm).frame("answers").set_index(["topic", "id"])["vanilla_logp"]
            for arm in (run.tuned(topic), run.inhibited(topic, kinds=[])[0])
        )
        moved.append(changes(plain, frozen).dropna())
    together = pd.concat(moved).groupby(level=[0, 1]).mean()  # a question's changes stay together
    return bootstrap_mean(together, p.bootstrap, p.seed)


def swap_arms(run: Run, every: bool = False) -> list[Condition]:
    """Arms whose answers the second judge reads as well: fine-tune, InhibitFT and one layer-matched random set.

    Args:
        every: as in :func:`polinb.chapters.paper.baselines.arms`.
    """
    chosen = []
    for topic in run.params.baseline_topics:
        found = arms(run, topic, every)
        chosen += [next(a for a in found if a.name == name) for name in ("fine-tune", "inhibitft", "random-layer")]
    return chosen
