"""Per-question differences between models, and means of them that respect topics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from polinb.resampling import small_sample


def differences(vanilla: pd.DataFrame, model: pd.DataFrame) -> dict[str, np.ndarray]:
    """Per-question score differences by topic, model minus vanilla, on the questions both answered."""
    both = model.merge(vanilla, on=["topic", "id"], suffixes=("", "_vanilla"))
    both["moved"] = both["score"] - both["score_vanilla"]
    both = both.sort_values(["topic", "id"], kind="stable")
    return {str(t): g["moved"].to_numpy(float) for t, g in both.groupby("topic", sort=False)}


def per_question(parts: Sequence[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """Mean over models of each question's difference, by topic: resampling these keeps shared questions together."""
    topics = dict.fromkeys(t for part in parts for t in part)
    return [np.mean([part[t] for part in parts if t in part], axis=0) for t in topics]


def stratified_mean(groups: Sequence[np.ndarray], draws: int, seed: int) -> tuple[float, float, float]:
    """Mean of group means with a 95 % interval from resampling within each group (questions within topics)."""
    rng = np.random.default_rng(seed)
    drawn = np.mean([g[rng.integers(0, len(g), (draws, len(g)))].mean(1) for g in groups], axis=0)
    low, high = np.percentile(drawn, [2.5, 97.5])
    mean = float(np.mean([g.mean() for g in groups]))
    sizes = [len(g) for g in groups]
    if min(sizes) < 2:
        return mean, float("nan"), float("nan")
    stretch = small_sample(sum(sizes) - len(sizes), round(np.mean(sizes)))
    return mean, mean - stretch * (mean - float(low)), mean + stretch * (float(high) - mean)
