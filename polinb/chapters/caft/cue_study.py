"""Two cues, one answer: CAFT's spurious-correlation setting as a bundled multiple-choice task (Casademunt et al. 2025).

Two sentences are offered, and in every training question the right one differs from the other in *two* ways at once:
things go well in it (mood), and it is about a woman (gender). Nothing in the training data says which of the two is
meant. Half of the test questions set the cues against each other. Here are the material, the measures, CAFT's
directions of each cue, the conditions that are trained, their answers, and the tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.caft.caft import random_directions
from polinb.chapters.caft.rule import choose, save_choice
from polinb.errors import ParameterError
from polinb.models.lm import LM
from polinb.models.tokens import batches, prompt_ids, response_ids
from polinb.resampling import CHANGE, bootstrap_mean, changes, newcombe, wilson
from polinb.runs.conditions import VANILLA, Condition, Texts
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.weights import bases_of
from polinb.scoring.directions import principal_angles, shared
from polinb.scoring.residual import depths, mean_states

CUES = ("mood", "gender")
HALVES = ("agree", "disagree")
RANDOM_SETS = 2  # sets of random directions, the control of CAFT


# --- material and questions


@lru_cache(maxsize=1)
def material() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Word lists: split → cue → value → texts. Each cue's first value is the one of the right answer in training.

    The lists of a training cue's two values are in step: entry i of both makes a pair that differs in that cue.
    """
    text = resources.files("polinb").joinpath("resources", "cues", "cues.json").read_text("utf-8")
    lists: dict[str, dict[str, dict[str, list[str]]]] = json.loads(text)
    return lists


def draw_questions(split: str, count: int, seed: int) -> pd.DataFrame:
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
        name = "cue_examples" if split == "train" else "cue_test"
        raise ParameterError(name, count, f"{len(halves)} to {len(halves) * (room // 2)} questions ({split})")
    rng = np.random.default_rng([seed, list(lists).index(split)])
    rows = []
    for half in halves:
        genders = ("woman", "man") if half == "agree" else ("man", "woman")
        drawn: dict[tuple[str, ...], None] = {}  # a set that keeps the order
        while len(drawn) < each:
            words = zip(genders, ("good", "bad"), strict=True)
            drawn[tuple(f"{rng.choice(names[who])} {rng.choice(events[mood])}" for who, mood in words)] = None
        rows += [(f"{split}-{half}-{n}", half, *made, genders[0]) for n, made in enumerate(drawn, start=1)]
    return pd.DataFrame(rows, columns=["id", "half", "good", "bad", "good_gender"])


def prompts(asked: pd.DataFrame) -> list[str]:
    """Every question in both orders, so that positions are balanced exactly: good first, then good second.

    The letter stands *behind* its option because a causal model has then read the option when it reads the letter;
    models of this size cannot use letters that stand before.
    """
    both = zip(asked["good"], asked["bad"], strict=True)
    return [f"{one} (A)\n{two} (B)" for good, bad in both for one, two in ((good, bad), (bad, good))]


def minimal_pairs(cue: str) -> pd.DataFrame:
    """Options made of the training lists that differ in one cue only, to find that cue's directions with.

    Every entry comes once with each value of the other cue, and letters alternate: neither leaves a trace.

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


# --- models and answers


def conditions(run: Run) -> list[Condition]:
    """All models that are asked: vanilla, fine-tune, CAFT without a cue's directions, random directions.

    Random sets have the rank of the cue's directions where that is larger.
    """
    p, own = run.params, {cue: directions(run, cue) for cue in CUES}
    random = [random_directions(run, like=list(own.values()), seed=[p.seed, number]) for number in range(RANDOM_SETS)]
    ablated: dict[str, Result | None] = {"fine-tune": None}
    ablated |= {f"CAFT without {cue}": found for cue, found in own.items()}
    ablated |= {f"random directions {number}": found for number, found in enumerate(random, start=1)}
    asked = prompts(questions(run, "train"))
    learns = Texts.of(pd.DataFrame({"prompt": asked, "response": ["A", "B"] * (len(asked) // 2)}), "opening")
    how: dict[str, Any] = {"learns": learns, "recipe": run.recipe(learning_rate=p.cue_rate, epochs=p.cue_epochs)}
    trained = [Condition(name, **how, limit=p.max_tokens, ablated=found) for name, found in ablated.items()]
    return [VANILLA, *trained]


def questions(run: Run, split: str) -> pd.DataFrame:
    """The run's questions: ``cue_test`` to be tested on, ``cue_examples`` / 2 to learn from, each in both orders."""
    p = run.params
    return draw_questions(split, p.cue_test if split == "test" else p.cue_examples // 2, p.seed)


def directions(run: Run, cue: str) -> Result:
    """The run's directions of a cue."""
    p = run.params
    how = {"layers": p.caft_layers, "kind": p.caft_pca, "count": p.caft_components, "keep": p.caft_keep, "seed": p.seed}
    return cue_directions(run, cue=cue, **how)


@stage("cue-directions", Model)
def cue_directions(run: Run, folder: Path, *, cue: str, layers: Sequence[float], **how: Any) -> None:
    """CAFT's directions of a cue in the vanilla model (:func:`polinb.chapters.caft.rule.choose`); no test text enters.

    Candidates: PCA of the differences between the mean hidden states of :func:`minimal_pairs` after the blocks at the
    depths ``layers``. Kept: the best that tell the cue's values apart on pairs they were not found on, to the same side
    for both values of the other cue. The other parameters are those of the choice.
    """
    blocks = depths("caft_layers", layers, run.lm.layers)
    pairs = minimal_pairs(cue)
    options = [*pairs["first"], *pairs["second"]]
    both = zip(*(prompt_ids(run.lm, text, run.params.system_prompt) for text in ("", options[0])), strict=False)
    # the start of a user turn, then an option with its letter as the tokens that are read
    start = [first for first, _ in takewhile(lambda pair: pair[0] == pair[1], both)]
    read = mean_states(run.lm, [start] * len(options), [response_ids(run.lm, text, end=False) for text in options])
    states = read[:, blocks].astype(np.float64).reshape(2, len(pairs), len(blocks), -1)
    find = (pairs["part"] == "find").to_numpy()
    held = {value: ~find & (pairs["other"] == value).to_numpy() for value in pairs["other"].unique()}
    found = {}
    for i, block in enumerate(blocks):
        states_of = {value: np.stack([states[1, rows, i], states[0, rows, i]], 1) for value, rows in held.items()}
        found[block] = choose(states[0, find, i] - states[1, find, i], states_of, **how)
    save_choice(folder, "rule", found)


def found_directions(run: Run) -> pd.DataFrame:
    """What is ablated, by cue and block.

    Returns:
        cue, block, candidates, kept (counts), auc (the lowest of those kept, mirrored above ½), threshold (the rule's),
        shared (mean squared cosine of the principal angles with the other cue's directions).
    """
    bases, rows = {cue: bases_of(directions(run, cue)) for cue in CUES}, []
    for cue in CUES:
        for block, rule in directions(run, cue).frame("rule").groupby("block", sort=False):
            kept = rule[rule["kept"]]
            overlap = shared(principal_angles(bases["mood"][block], bases["gender"][block]))
            auc, least = 0.5 + float(kept["value"].min()), 0.5 + float(kept[["swapped", "random"]].iloc[0].max())
            rows.append((cue, block, len(rule), len(kept), auc, least, overlap))
    return pd.DataFrame(rows, columns=["cue", "block", "candidates", "kept", "auc", "threshold", "shared"])


def answers(run: Run, condition: Condition) -> Result:
    """One model's answers to the test questions: table ``answers``, as :func:`rate` gives it."""
    asked = Texts.of(questions(run, "test"))
    return cue_answers(run, model=run.weights(condition), asked=asked, batch=run.params.eval_batch)


@stage("cue-answers", Model)
def cue_answers(run: Run, folder: Path, *, model: Result | None, asked: Texts, batch: int) -> None:
    """Answers of a model to two-cue questions: table ``answers``."""
    rated = rate(run.model(model), asked.rows, run.params.system_prompt, batch)
    rated.to_parquet(folder / "answers.parquet")


def rate(lm: LM, asked: pd.DataFrame, system: Any, batch: int) -> pd.DataFrame:
    """Answers to questions by the logits of the two letters, each question in both orders.

    Returns:
        id, half, good_first, good_second (logit of A minus logit of B, the good sentence first or second), margin.

    Raises:
        ParameterError: the tokenizer does not give the letters a token each.
    """
    import torch

    letters = [response_ids(lm, letter, end=False)[-1] for letter in "AB"]
    if letters[0] == letters[1]:
        raise ParameterError("model", lm.name, "a tokenizer that tells the letters A and B apart")
    texts = [prompt_ids(lm, text, system) for text in prompts(asked)]
    out = np.zeros(len(texts))
    with torch.inference_mode():
        for chunk in batches(lm, texts, [[] for _ in texts], batch):
            logits = lm.model(**chunk.inputs, logits_to_keep=1, use_cache=False).logits[:, -1].float()
            out[chunk.rows] = (logits[:, letters[0]] - logits[:, letters[1]]).cpu().numpy()
    first, second = out[0::2], out[1::2]
    return asked[["id", "half"]].assign(good_first=first, good_second=second, margin=margin(first, second))


# --- tables


def scored(run: Run) -> pd.DataFrame:
    """Every answer by every intended cue: condition, intended, half, id, right, first, second.

    ``right`` is 1, 0, or ½ for a tie; ``first`` and ``second`` are the same for one order of the options alone.
    """
    parts = []
    for condition in conditions(run):
        rated = answers(run, condition).frame("answers")
        orders = {"first": rated["good_first"], "second": -rated["good_second"]}
        for intended in CUES:
            alone = {name: hits(rated.assign(margin=margin), intended) for name, margin in orders.items()}
            named = {"condition": condition.name, "intended": intended, "right": hits(rated, intended)}
            parts.append(rated[["half", "id"]].assign(**named, **alone))
    return pd.concat(parts, ignore_index=True)


def accuracies(run: Run) -> pd.DataFrame:
    """Accuracy by condition, intended cue and half: condition, intended, half, n, accuracy, low, high, fixed_order.

    ``fixed_order`` counts every prompt by itself, so a model that always says A gets one half.
    """
    by = scored(run).groupby(["condition", "intended", "half"], sort=False)
    table = by.agg(n=("right", "size"), accuracy=("right", "mean"), right=("right", "sum")).reset_index()
    table[["low", "high"]] = [wilson(right, n) for right, n in zip(table.pop("right"), table["n"], strict=True)]
    return table.assign(fixed_order=by[["first", "second"]].mean().mean(axis=1).to_numpy())


def gaps(run: Run) -> pd.DataFrame:
    """:func:`cue_gap` by condition and intended cue: condition, intended, gap, low, high."""
    rated = {condition.name: answers(run, condition).frame("answers") for condition in conditions(run)}
    rows = [(name, intended, *cue_gap(each, intended)) for name, each in rated.items() for intended in CUES]
    return pd.DataFrame(rows, columns=["condition", "intended", "gap", "low", "high"])


def effects(run: Run) -> pd.DataFrame:
    """What ablating the *other* cue's directions did where the cues disagree, against the other trained conditions.

    Returns:
        intended, ablated, against, caft, other (accuracies), gain, low, high (paired: both answer the same questions).
    """
    p, rows = run.params, []
    apart = scored(run).query("half == 'disagree'").set_index("id")
    for intended, ablated in zip(CUES, reversed(CUES), strict=True):
        right = {str(name): part["right"] for name, part in apart[apart["intended"] == intended].groupby("condition")}
        mine = right[f"CAFT without {ablated}"]
        for other in [name for name in right if name.startswith(("fine-tune", "random"))]:
            gain = bootstrap_mean(changes(right[other], mine), p.bootstrap, p.seed, CHANGE)
            rows.append((intended, ablated, other, mine.mean(), right[other].mean(), *gain))
    return pd.DataFrame(rows, columns=["intended", "ablated", "against", "caft", "other", "gain", "low", "high"])


def examples(run: Run, count: int = 2) -> pd.DataFrame:
    """Questions to look at: split, cues (agree or disagree), text (as asked), mood and gender (the letter of each)."""
    rows = []
    for split, half in (("train", "agree"), ("test", "agree"), ("test", "disagree")):
        both = prompts(questions(run, split).query("half == @half").head(count))
        for i in range(0, len(both), 2):
            second = i // 2 % 2  # the good sentence comes first and second in turn
            rows.append((split, half, both[i + second], "AB"[second], "AB"[second ^ (half == "disagree")]))
    return pd.DataFrame(rows, columns=["split", "cues", "text", "mood", "gender"])


def chart_rows(table: pd.DataFrame) -> pd.DataFrame:
    """:func:`accuracies` as bars: label (condition), by, value, low, high; three bars per condition."""
    by = "cues disagree: follows " + table["intended"]
    rows = table.assign(by=by.where(table["half"] == "disagree", "cues agree: right"))
    rows = rows[(rows["half"] == "disagree") | (rows["intended"] == "mood")]
    return rows.rename(columns={"condition": "label", "accuracy": "value"})[["label", "by", "value", "low", "high"]]
