"""Do the groups do what their shares say? What is patched, and what patching or editing changes. Pure tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from polinb.errors import DataError, ParameterError
from polinb.resampling import SHIFT, Span, stratified_mean
from polinb.scoring.shares import Group

BEFORE, AFTER, EVERY, ALL, RANDOM = "before", "after", "every neuron", "all four", "random, as many as all four"


def group_plan(
    groups: Mapping[str, Group], tops: Mapping[str, np.ndarray], seed: int = 0, random: bool = True
) -> dict[str, np.ndarray]:
    """What is patched: each group, groups added up one by one, top neurons, a random set, every neuron.

    Args:
        groups: in the order in which they are added up.
        tops: further sets by name, such as the neurons closest to the probe.
        random: add as many random neurons as the groups hold together, with the same number in each layer.

    Returns:
        Name → (L, F) bool; sets without a neuron are left out.

    Raises:
        ParameterError: no group holds a neuron.
    """
    names = list(groups)
    chosen = {name: group.chosen for name, group in groups.items()}
    together = np.any(list(chosen.values()), axis=0) if chosen else np.zeros((1, 1), dtype=bool)
    if not together.any():
        raise ParameterError("groups", names, "at least one group with a neuron")
    plan = dict(chosen)
    for count in range(2, len(names)):
        plan[" + ".join(names[:count])] = np.any([chosen[name] for name in names[:count]], axis=0)
    plan |= {ALL: together, **tops}
    if random:
        plan[RANDOM] = random_like(together, seed)
    plan[EVERY] = np.ones_like(together)
    return {name: mask for name, mask in plan.items() if mask.any()}


def random_like(chosen: np.ndarray, seed: int = 0) -> np.ndarray:
    """A random set with as many neurons in each layer as ``chosen``, drawn from all neurons of the layer.

    Not drawn outside ``chosen`` as the controls of G are: the groups hold about half of all neurons, and the other half
    are those that moved the other way, which is the opposite of a random set.
    """
    rng = np.random.default_rng(seed)
    out = np.zeros_like(chosen)
    for row, mask in enumerate(chosen):
        out[row, rng.permutation(mask.size)[: int(mask.sum())]] = True
    return out


def edit_name(mode: str, alpha: float) -> str:
    """How tables call an edit."""
    return f"{'mean × (1 ± α)' if mode == 'mean' else 'live × (1 ± α)'}, α = {alpha:g}"


def outcome_table(
    answers: pd.DataFrame,
    n_boot: int = 1000,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    span: Span = SHIFT,
    chance: str = "",
) -> pd.DataFrame:
    """What each set does to the answers, against the unpatched model on the same questions.

    Args:
        answers: set, topic, id, response, vanilla_logp, and a column ``score`` (a judge's label
            as a number, a toxicity, …) and, if there is one, ``p_right`` or any other ``soft`` score in a column
            ``soft``. One set must be called ``before``; ``after`` is the donor.
        sizes: neurons of each set.
        span: of a change of ``score``, if scores are labels.
        chance: a set of random neurons, to compare the others with.

    Returns:
        set, neurons, n, score, shift, low, high (paired with ``before``), soft, soft_low, soft_high (paired shift of
        the soft score; NaN without), percent_of_after (of the donor's shift; NaN where its interval holds 0),
        perplexity (run of minus the mean ``vanilla_logp``), repetition (mean share of repeated word triples); with
        ``chance`` also beyond, beyond_low, beyond_high (score minus that of ``chance``, paired).

    Raises:
        DataError: no answers of ``before``, or a set with other questions.
    """
    from polinb.stance.utility import repetition

    keys = ["topic", "id"]
    plain = answers[answers["set"] == BEFORE].set_index(keys)
    if plain.empty or not plain.index.is_unique:
        raise DataError(
            f"answers: the set {BEFORE!r} must hold each question once; sets: {list(answers['set'].unique())}"
        )
    topics = plain.index.get_level_values("topic")
    rows, scores = [], {}
    for name, group in answers.groupby("set", sort=False):
        own = group.set_index(keys)
        if not own.index.is_unique or set(own.index) != set(plain.index):
            raise DataError(f"answers: the set {name!r} does not hold the same questions as {BEFORE!r}")
        own = own.loc[plain.index]
        scores[name] = own["score"].to_numpy(float)
        moved = scores[name] - plain["score"].to_numpy(float)
        soft = (own["soft"] - plain["soft"]).to_numpy(float) if "soft" in own else np.full(len(own), np.nan)
        again = np.array([repetition(text) for text in own["response"]])
        logp = own["vanilla_logp"].to_numpy(float)
        rows.append(
            [
                name,
                (sizes or {}).get(str(name), 0),
                len(own),
                float(own["score"].mean()),
                *_within(moved, topics, n_boot, seed, span),
                *_within(soft, topics, n_boot, seed),
                float(np.exp(-_mean(logp))),
                _mean(again),
            ]
        )
    names = ["set", "neurons", "n", "score", "shift", "low", "high", "soft", "soft_low", "soft_high"]
    frame = pd.DataFrame(rows, columns=[*names, "perplexity", "repetition"])
    donor = frame[frame["set"] == AFTER]
    known = len(donor) and (donor["low"].iloc[0] > 0 or donor["high"].iloc[0] < 0)
    frame["percent_of_after"] = 100 * frame["shift"] / donor["shift"].iloc[0] if known else float("nan")
    if chance:
        beyond = [_within(scores[name] - scores[chance], topics, n_boot, seed, span) for name in frame["set"]]
        frame[["beyond", "beyond_low", "beyond_high"]] = beyond
    return frame


def _within(
    values: np.ndarray, topics: Sequence[str], n_boot: int, seed: int, span: Span | None = None
) -> tuple[float, float, float]:
    """Mean of the known values with its 95 % interval, questions resampled within topics; NaN where none is known."""
    known = np.isfinite(values)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    values, names = values[known], np.asarray(topics)[known]
    groups = [values[names == name] for name in dict.fromkeys(names.tolist())]
    if min(map(len, groups)) < 2:
        groups = [values]
    return stratified_mean(groups, n_boot, seed, span, pooled=True)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
