"""Concept Ablation Fine-Tuning (Casademunt et al. 2025): candidates → the rule's choice → conditions to compare.

The rule also sees reference texts of the topics that are not trained on (localise split: never trained on and never
asked about), but no model's answer to anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.caft.caft_candidates import dictionary, pca, topic_texts
from polinb.chapters.caft.rule import auc, save_bases, save_choice, stance_rule
from polinb.chapters.paper import baselines
from polinb.chapters.paper.results import stacks
from polinb.resampling import SHIFT, bootstrap_mean, changes, stratified_mean
from polinb.runs.conditions import VANILLA, Condition
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.weights import bases_of
from polinb.scoring.directions import random_basis
from polinb.stance.coupling import mean_coupling

METHODS = {"pca": "PCA", "sae": "SAE"}
_CAFT, _FREE = "CAFT", "directions not chosen"
_NAMED = {  # condition → what tables call it, and its family
    "caft-pca": ("CAFT (PCA)", _CAFT),
    "caft-sae": ("CAFT (SAE)", _CAFT),
    "caft-random": ("CAFT, random directions", _FREE),
    "caft-top": ("CAFT, strongest components", _FREE),
    "caft-half": ("CAFT, components drawn with p = 0.5", _FREE),
    "caft-candidates": ("CAFT, all candidates (PCA)", _FREE),
    "caft-activation": ("CAFT (PCA), activations only", _CAFT),
    "caft-gradient": ("CAFT (PCA), gradients only", _CAFT),
    "caft-inhibit": ("InhibitFT (G) + CAFT (PCA)", "InhibitFT + CAFT"),
}
TITLES = {name: title for name, (title, _) in _NAMED.items()}
FAMILIES = {name: family for name, (_, family) in _NAMED.items()}
UNCHOSEN = [title for title, family in _NAMED.values() if family == _FREE]
METHOD_TITLES = ("InhibitFT (G)", TITLES["caft-pca"], TITLES["caft-sae"], TITLES["caft-inhibit"])
BROKEN = float(np.log(10))  # nats above the plain fine-tune at the first step: tokens a tenth as likely


# --- the choice


def choice(run: Run, topic: str, method: str) -> Result:
    """The logged rule applied to the candidates of a method: which directions are ablated when ``topic`` is trained on.

    The rule looks at the vanilla model's mean hidden states on reference texts of every topic.
    """
    p = run.params
    seen = {str(t): run.states(VANILLA, topic_texts(run, t)) for t in p.topics}
    source = pca(run, topic) if method == "pca" else dictionary(run, topic)
    return chosen(run, candidates=source, states=seen, topic=topic, keep=p.caft_keep, seed=p.seed)


@stage("caft-choice")
def chosen(
    run: Run, folder: Path, *, candidates: Result, states: Mapping[str, Result], topic: str, keep: int, seed: int
) -> Mapping[str, Any]:
    """The rule's choice among candidates.

    Table ``candidates``: block, strength, latent, the columns of :func:`polinb.chapters.caft.rule.stance_rule`, and
    auc_own (training topic, not used). Arrays of ``bases``: ``<b>`` (d_model, k) orthonormal.

    Args:
        states: topic → states of its texts, left and right in turn.
    """
    arrays = candidates.arrays("candidates")
    # sorted: the order of the topics must not matter for the draws
    seen = {t: states[t].arrays("states")["states"] for t in sorted(states)}
    found = {}
    for block in candidates.summary["blocks"]:
        vectors = arrays[f"vectors{block}"]
        own = {t: s[:, block].reshape(-1, 2, s.shape[-1]) for t, s in seen.items()}
        trained = own.pop(topic)
        more = {"strength": arrays[f"strength{block}"], "latent": arrays.get(f"latent{block}", -1)}
        more["auc_own"] = auc(trained.astype(np.float64) @ vectors)
        found[block] = vectors, stance_rule(own, vectors, keep, seed).assign(**more)
    bases = save_choice(folder, "candidates", found)
    return {"rank": {str(block): q.shape[1] for block, q in bases.items()}}


@stage("random-directions")
def random_directions(run: Run, folder: Path, *, like: Sequence[Result], seed: int | Sequence[int]) -> None:
    """Random subspaces of the blocks of other directions: arrays ``bases``; the rank is the largest among ``like``."""
    rng, every = np.random.default_rng(seed), [bases_of(each) for each in like]
    ranks = {block: max(each[block].shape[1] for each in every) for block in every[0]}
    save_bases(folder, {block: random_basis(len(every[0][block]), rank, rng) for block, rank in ranks.items()})


@stage("unchosen-directions")
def unchosen(run: Run, folder: Path, *, kind: str, like: Result, candidates: Result, seed: Sequence[int]) -> None:
    """Components that no rule chose: arrays ``bases``.

    Args:
        kind: ``top``: as many of the strongest as ``like`` holds; ``half``: each with p = 0.5; ``candidates``: all.
    """
    rng, found = np.random.default_rng(seed), candidates.arrays("candidates")
    out = {}
    for block, basis in bases_of(like).items():
        every = found[f"vectors{block}"]
        picked = every[:, : basis.shape[1]] if kind == "top" else every
        if kind == "half":
            picked = every[:, rng.random(every.shape[1]) < 0.5]
        # Where the coin left none, one component stands: an empty block would be another method.
        out[block] = picked if picked.shape[1] else every[:, :1]
    save_bases(folder, out)


@stage("one-pass")
def one_pass(run: Run, folder: Path, *, like: Result, passes: str) -> Mapping[str, Any]:
    """The directions of ``like``, taken out of activations or of gradients alone: arrays ``bases``."""
    save_bases(folder, bases_of(like))
    return {"passes": passes}


@stage("first-loss")
def first_loss(run: Run, folder: Path, *, weights: Result) -> Mapping[str, Any]:
    """Training loss at the first optimiser step; kept, for weights may be dropped."""
    return {"loss": weights.summary["losses"][0]}


def candidates(run: Run, topic: str, methods: Sequence[str] = tuple(METHODS)) -> pd.DataFrame:
    """Every candidate of the methods with its value, and whether and why it was kept."""
    parts = [choice(run, topic, method).frame("candidates").assign(method=METHODS[method]) for method in methods]
    return pd.concat(parts, ignore_index=True)


# --- conditions


def conditions(run: Run, topic: str, names: Sequence[str] | None = None) -> list[Condition]:
    """CAFT and its controls for one training topic, right-leaning data; data, steps and optimiser are those of all.

    ``pca`` and ``sae``: the chosen directions; ``random``: random subspaces of the same rank; ``top``: as many of the
    strongest components, chosen by nothing else; ``half``: each component with p = 0.5; ``candidates``: all of them;
    ``activation`` and ``gradient``: the chosen components, out of one of the two passes; ``inhibit``: G frozen as well.
    """
    out = []
    for name in run.params.caft_conditions if names is None else names:
        frozen = run.neurons("general") if name == "inhibit" else None
        more = _ablations(run, topic, name)
        out += [run.tuned(topic, name=f"caft-{name}", frozen=frozen, ablated=ablated) for ablated in more]
    return out


def _ablations(run: Run, topic: str, name: str) -> list[Result]:
    own, p = choice(run, topic, "sae" if name == "sae" else "pca"), run.params
    if name in ("pca", "sae", "inhibit"):
        return [own]
    if name in ("activation", "gradient"):
        return [one_pass(run, like=own, passes=name)]
    seeds = [[p.seed, number, 8] for number in range(p.control_seeds if name in ("random", "half") else 1)]
    if name == "random":
        return [random_directions(run, like=[own], seed=seed) for seed in seeds]
    return [unchosen(run, kind=name, like=own, candidates=pca(run, topic), seed=seed) for seed in seeds]


def every_condition(run: Run) -> list[list[Condition]]:
    """:func:`conditions` of every topic on which baselines are compared."""
    return [conditions(run, topic) for topic in run.params.baseline_topics]


def comparison(run: Run) -> pd.DataFrame:
    """All baselines and CAFT's conditions: coupling against on-topic shift, and fluency (see ``baselines.pareto``).

    Further columns: model (the :class:`Condition`), first_loss (nats a token, of those that ablate directions),
    plain_loss (of the plain fine-tune of the topic), broken (bool): the ablation takes away more than the concept.
    """
    every = baselines.every_condition(run) + [condition for each in every_condition(run) for condition in each]
    table = baselines.pareto(run, every).assign(model=every)
    table["family"] = [FAMILIES.get(each.name, old) for each, old in zip(every, table["family"], strict=True)]
    table["first_loss"] = [float("nan") if each.ablated is None else first_of(run, each) for each in every]
    table["plain_loss"] = [first_of(run, run.tuned(each.topic)) for each in every]
    table["broken"] = table["first_loss"] > table["plain_loss"] + BROKEN
    return table.replace({"condition": TITLES})


def first_of(run: Run, condition: Condition) -> float:
    """Loss of a condition before its first step, nats a token: with its directions ablated, if it ablates any."""
    weights = run.weights(condition)
    assert weights is not None
    return float(first_loss(run, weights=weights).summary["loss"])


def against_weaker(run: Run) -> pd.DataFrame:
    """Every condition against "just train less" at its own on-topic shift (see ``baselines.equal_shift``)."""
    table = baselines.equal_shift(run, every_condition(run))
    return table.replace({"condition": TITLES})


def fluency(run: Run) -> pd.DataFrame:
    """What a condition's answers lose in fluency against those of the plain fine-tune, question by question.

    Fluency is the mean log-likelihood a token of an answer under the vanilla model; empty answers have none.

    Returns:
        label (condition), value (nats a token; below 0: less fluent), low, high (95 %), n (questions of all topics).
    """
    p = run.params
    pairs: dict[str, list[pd.Series]] = {}
    for topic, own in zip(p.baseline_topics, every_condition(run), strict=True):
        plain, frozen = run.tuned(topic), run.tuned(topic, name="inhibitft", frozen=run.neurons("general"))
        base = baselines.fluencies(run, plain)
        for condition in [frozen, *own]:
            moved = changes(base, baselines.fluencies(run, condition)).dropna()
            pairs.setdefault(TITLES.get(condition.name, baselines.title(condition.name)), []).append(moved)
    rows = []
    for name, parts in pairs.items():
        every = pd.concat(parts).groupby(level=[0, 1]).mean()  # a question's changes stay together
        if len(every):
            rows.append([name, *bootstrap_mean(every, p.bootstrap, p.seed), len(every)])
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "n"])


def points(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """:func:`comparison` as the frame of ``charts.pareto``: corrected R against on-topic shift, over topics.

    The mean shift, and the root of the mean R_c², of conditions of one name and number; their intervals are those of
    these means, questions resampled once for all topics. The names printed are those of CAFT's conditions and of the
    first fine-tune and InhibitFT.
    """
    p = run.params
    table = table.assign(nth=table.groupby(["condition", "trained"]).cumcount())
    named = {*TITLES.values(), "fine-tune", "InhibitFT (G)"}
    rows = []
    for (condition, family, nth), same in table.groupby(["condition", "family", "nth"], sort=False):
        moved, trained = stacks(run, list(same["model"])), list(same["trained"])
        x = stratified_mean([moved[t][k] for k, t in enumerate(trained)], p.bootstrap, p.seed, SHIFT)
        y = mean_coupling(moved, trained, p.bootstrap, p.seed)
        rows.append([condition, family, nth, *x, *y, condition in named and nth == 0])
    names = ["condition", "family", "nth", "x", "x_low", "x_high", "y", "y_low", "y_high", "label"]
    return pd.DataFrame(rows, columns=names)
