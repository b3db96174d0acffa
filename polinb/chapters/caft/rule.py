"""Which candidate directions carry a concept: the logged rule by which CAFT's components are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from polinb.runs.artifacts import save_arrays
from polinb.scoring.directions import of_rows, orthonormal

_SWAPS = 1000  # random swaps of left and right behind the threshold of the rule
_RANDOM = 200  # draws of random directions behind the other threshold, as many directions each as candidates
_SAME_SIDE = 0.8


def auc(scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of right against left texts, (c,): P(right score > left score), ties counting half.

    Args:
        scores: (pairs, 2, c), left then right.
    """
    return _auc_of(_ranks(scores)[:, 1].sum(0), len(scores))


def _ranks(scores: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(scores.reshape(-1, scores.shape[-1]), axis=0)).reshape(scores.shape)


def _auc_of(rank_sum: np.ndarray, pairs: int) -> np.ndarray:
    return (rank_sum - pairs * (pairs + 1) / 2) / pairs**2


def stance_rule(states: Mapping[str, np.ndarray], candidates: np.ndarray, keep: int, seed: int) -> pd.DataFrame:
    """Which candidates are ablated, and why.

    A candidate's value is how far the mean AUC over topics of left against right reference texts, projected on it, is
    from one half. It is kept if (1) its value is above the 95th percentile of the *best* candidate's value when left
    and right are swapped at random within prompts, (2) its value is above that of the *best* of as many random
    directions in 95 % of draws, because stance spread over the whole space shows along any of them, (3) it points to
    the same side in at least 80 % of the topics, and (4) it is among the ``keep`` best such. If none passes, the one
    with the highest value is kept, and the table says so. No model's answer to any question enters.

    Args:
        states: topic → (pairs, 2, d), mean hidden state of the left and the right reference text of each prompt.
        candidates: (d, c).

    Returns:
        candidate (from 0), auc (mean over topics), value, same_side, swapped and random (what 1 and 2 ask for), kept,
        why, and auc_<topic> for each.
    """
    rng = np.random.default_rng(seed)
    many = candidates.shape[1]
    anything = rng.standard_normal((len(candidates), _RANDOM * many))
    by_topic, swapped, by_chance = {}, np.zeros((_SWAPS, many)), np.zeros(_RANDOM * many)
    for topic, each in states.items():
        wide, pairs = np.asarray(each, dtype=np.float64), len(each)
        by_chance += auc(wide @ anything) / len(states)
        ranks = _ranks(wide @ candidates)
        by_topic[topic] = _auc_of(ranks[:, 1].sum(0), pairs)
        swap = rng.integers(0, 2, (_SWAPS, pairs)).astype(float)
        right = np.einsum("sp,pc->sc", swap, ranks[:, 0]) + np.einsum("sp,pc->sc", 1 - swap, ranks[:, 1])
        swapped += _auc_of(right, pairs) / len(states)
    every = np.stack(list(by_topic.values()))
    mean = every.mean(0)
    value = np.abs(mean - 0.5)
    bars = [
        float(np.percentile(np.abs(swapped - 0.5).max(1), 95)),
        float(np.percentile(np.abs(by_chance - 0.5).reshape(_RANDOM, many).max(1), 95)),
    ]
    same = ((every - 0.5) * np.sign(mean - 0.5) > 0).mean(0)
    passed = (value > max(bars)) & (same >= _SAME_SIDE)
    order = [int(c) for c in np.argsort(-value, kind="stable") if passed[c]]
    kept = np.isin(range(many), order[:keep] or [value.argmax()])
    reasons = {
        "passes": kept & passed,
        "no candidate passes: the best one": kept,
        "no better than swapped labels": value <= bars[0],
        "no better than random directions": value <= bars[1],
        "differs between topics": same < _SAME_SIDE,
    }
    why = np.select(list(reasons.values()), list(reasons), "enough better ones")
    columns = {"candidate": range(many), "auc": mean, "value": value, "same_side": same}
    columns |= {"swapped": bars[0], "random": bars[1], "kept": kept, "why": why.tolist()}
    return pd.DataFrame(columns).assign(**{f"auc_{topic}": row for topic, row in by_topic.items()})


def save_choice(folder: Path, log: str, found: Mapping[int, tuple[np.ndarray, pd.DataFrame]]) -> dict[int, np.ndarray]:
    """Write the candidates that the rule kept: arrays ``bases``, and the rule for all of them: table ``log``.

    Args:
        found: block → candidates (d_model, c), and :func:`stance_rule` of them.

    Returns:
        block → (d_model, k), orthonormal.
    """
    bases = {block: orthonormal(vectors[:, rule["kept"].to_numpy(bool)]) for block, (vectors, rule) in found.items()}
    rules = [rule.assign(block=block) for block, (_, rule) in found.items()]
    pd.concat(rules, ignore_index=True).to_parquet(folder / f"{log}.parquet")
    save_bases(folder, bases)
    return bases


def choose(
    differences: np.ndarray, states: Mapping[str, np.ndarray], kind: str, count: int, keep: int, seed: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """At most ``count`` candidates (d_model, c): PCA of differences (n, d_model); and :func:`stance_rule` of them."""
    candidates = of_rows(differences, kind, count)
    return candidates, stance_rule(states, candidates, keep, seed)


def save_bases(folder: Path, bases: Mapping[int, np.ndarray]) -> None:
    """Write directions as the arrays ``bases`` that a condition can ablate."""
    save_arrays(folder / "bases.safetensors", {str(block): basis for block, basis in bases.items()})
