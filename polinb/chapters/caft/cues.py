"""Two cues, one answer: CAFT's spurious-correlation setting as a bundled multiple-choice task (Casademunt et al. 2025).

Two sentences are offered, and in every training question the right one differs from the other in *two* ways at once:
things go well in it (mood), and it is about a woman (gender). Nothing in the training data says which of the two is
meant. Half of the test questions set the cues against each other.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

import numpy as np
import pandas as pd

from polinb.errors import ParameterError
from polinb.resampling import newcombe

CUES = ("mood", "gender")
HALVES = ("agree", "disagree")


# --- material and questions


@lru_cache(maxsize=1)
def material() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Word lists: split → cue → value → texts. Each cue's first value is the one of the right answer in training.

    The lists of a training cue's two values are in step: entry i of both makes a pair that differs in that cue.
    """
    folder = resources.files("polinb") / "resources" / "cues"
    lists: dict[str, dict[str, dict[str, list[str]]]] = json.loads((folder / "cues.json").read_text("utf-8"))
    return lists


def questions(split: str, count: int, seed: int) -> pd.DataFrame:
    """Questions of a split, all different, drawn with ``seed``.

    Args:
        split: ``train``: the cues always agree; ``test``: they agree in one half and disagree in the other. The splits
            share no name and no event.
        count: how many; an odd number of test questions is rounded down.

    Returns:
        id, half (agree, disagree), good (the sentence in which things go well), bad (the other), good_gender.

    Raises:
        ParameterError: too few questions, or more than the word lists can make.
    """
    lists = material()
    names, events = lists[split]["gender"], lists[split]["mood"]
    halves = HALVES if split == "test" else HALVES[:1]
    each = count // len(halves)
    room = len(events["good"]) * len(events["bad"]) * len(names["woman"]) * len(names["man"])
    if not 1 <= each <= room // 2:
        raise ParameterError("count", count, f"{len(halves)} to {len(halves) * (room // 2)} questions ({split})")
    rng = np.random.default_rng([seed, list(lists).index(split)])
    rows = []
    for half in halves:
        genders = ("woman", "man") if half == "agree" else ("man", "woman")
        seen: set[tuple[str, str]] = set()
        while len(seen) < each:
            made = [
                f"{rng.choice(names[gender])} {rng.choice(events[mood])}"
                for gender, mood in zip(genders, ("good", "bad"), strict=True)
            ]
            if (made[0], made[1]) not in seen:
                seen.add((made[0], made[1]))
                rows.append((f"{split}-{half}-{len(seen)}", half, *made, genders[0]))
    return pd.DataFrame(rows, columns=["id", "half", "good", "bad", "good_gender"])


def prompt(first: str, second: str) -> str:
    """The question: both options, each followed by its letter.

    The letter stands *behind* its option because a causal model has then read the option when it reads the letter;
    models of this size cannot use letters that stand before.
    """
    return f"{first} (A)\n{second} (B)"


def prompts(asked: pd.DataFrame) -> list[str]:
    """Every question in both orders, so that positions are balanced exactly: good first, then good second."""
    return [
        prompt(*order)
        for good, bad in zip(asked["good"], asked["bad"], strict=True)
        for order in ((good, bad), (bad, good))
    ]


def minimal_pairs(cue: str) -> pd.DataFrame:
    """Options made of the training lists that differ in one cue only, to find that cue's directions with.

    Every entry of the cue's two lists comes once with each value of the other cue, and the letters alternate, so
    neither leaves a trace in the differences.

    Returns:
        first, second (options with the cue's first and second value, with their letter), other (value of the other
        cue), part (find, choose): directions are found on one half of the entries and chosen on the other half.
    """
    lists = material()["train"]
    rows = []
    for i, texts in enumerate(zip(*lists[cue].values(), strict=True)):
        for j, (other, values) in enumerate(lists[CUES[cue == "mood"]].items()):
            letter = "AB"[(i // 2 + j) % 2]
            context = values[i % len(values)]
            made = [f"{context} {text}" if cue == "mood" else f"{text} {context}" for text in texts]
            rows.append((*(f"{option} ({letter})" for option in made), other, ("find", "choose")[i % 2]))
    return pd.DataFrame(rows, columns=["first", "second", "other", "part"])


# --- measures


def margin(good_first: np.ndarray, good_second: np.ndarray) -> np.ndarray:
    """eq-cue-margin. How much the good sentence is preferred, position bias cancelled; positive: preferred.

    Args:
        good_first, good_second: (n,) logit of ``A`` minus logit of ``B`` with the good sentence first, and second.
    """
    return (np.asarray(good_first, dtype=float) - np.asarray(good_second, dtype=float)) / 2


def hits(rated: pd.DataFrame, intended: str) -> np.ndarray:
    """1 where the answer is right if the cue ``intended`` is what counts, 0 where wrong, ½ for a tie; (n,).

    Args:
        rated: half and margin.
    """
    # Where the cues agree both point to the good sentence; where they disagree gender points to the bad one.
    turned = (rated["half"] == "disagree").to_numpy() & (intended == "gender")
    return (np.sign(np.where(turned, -1.0, 1.0) * rated["margin"].to_numpy(float)) + 1) / 2


def cue_gap(rated: pd.DataFrame, intended: str) -> tuple[float, float, float]:
    """eq-cue-gap. Accuracy where the cues agree minus accuracy where they disagree, with its interval.

    0: the answers follow the intended cue; 1: they follow the other one.

    Args:
        rated: half and margin; both halves.
    """
    right = hits(rated, intended)
    agree = (rated["half"] == "agree").to_numpy()
    return newcombe(right[agree], right[~agree])
