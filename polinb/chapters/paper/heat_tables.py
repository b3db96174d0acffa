"""Cells of the heat maps: shifts with their intervals and counts, random sets of one kind taken together."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from polinb.chapters.paper.results import ARM_TITLES
from polinb.runs.conditions import Condition
from polinb.runs.run import Run
from polinb.stance.coupling import shift_table


def arm_cells(run: Run, arms: Sequence[Condition]) -> pd.DataFrame:
    """Paired shift of each arm by trained and tested topic, for ``charts.coupling_heatmap``.

    Arms of one name and trained topic (seeds of a random set) count as one model: each question has the mean score
    over them, and questions are resampled, so the interval does not hold the spread between seeds.

    Returns:
        arm (readable), trained, tested, n (questions), vanilla, model (stances), delta, low, high.
    """
    p = run.params
    plain = run.stances()
    together: dict[tuple[str, str], list[Condition]] = {}
    for arm in arms:
        together.setdefault((arm.name, arm.topic), []).append(arm)
    parts = []
    for (name, topic), same in together.items():
        scores = pd.concat([run.stances(arm)[["topic", "id", "score"]] for arm in same])
        mean = scores.groupby(["topic", "id"], sort=False, as_index=False)["score"].mean()
        part = shift_table(plain, mean, p.bootstrap, p.seed)
        parts.append(part.assign(arm=ARM_TITLES.get(name, name), trained=topic))
    return pd.concat(parts, ignore_index=True).rename(columns={"topic": "tested", "shift": "delta"})
