"""Concept Ablation Fine-Tuning (Casademunt et al. 2025): candidates → the rule's choice → conditions to compare.

The rule also sees reference texts of the topics that are not trained on (localise split: never trained on and never
asked about), but no model's answer to anything. At last: do the value vectors of G span the subspace that CAFT ablates?
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.caft.caft_candidates import dictionary, pca, topic_texts
from polinb.chapters.caft.rule import auc, save_bases, save_choice, stance_rule
from polinb.chapters.paper import baselines
from polinb.chapters.paper.results import stacks
from polinb.masking.random_sets import random_set
from polinb.models.architectures import value_vectors
from polinb.resampling import SHIFT, bootstrap_mean, changes, stratified_mean
from polinb.runs.conditions import VANILLA, Condition
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.weights import bases_of, mask_of
from polinb.scoring.directions import leading, principal_angles, random_basis, shared
from polinb.stance.coupling import mean_coupling
from polinb.wording import intervals

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
_NULL_DRAWS = 100
GENERAL = "general neurons (G)"
_TITLES = {"neurons": "random neurons", "subspace": "random subspace"}
BROKEN = float(np.log(10))  # nats above the plain fine-tune at the first step: tokens a tenth as likely


# --- the choice


def choice(run: Run, topic: str, method: str) -> Result:
    """Which directions of a method are ablated when ``topic`` is trained on: the rule sees texts of every topic."""
    p = run.params
    seen = {str(t): run.states(VANILLA, topic_texts(run, t)) for t in p.topics}
    source = pca(run, topic) if method == "pca" else dictionary(run, topic)
    return chosen(run, candidates=source, states=seen, topic=topic, keep=p.caft_keep, seed=p.seed)


@stage("caft-choice")
def chosen(
    run: Run, folder: Path, *, candidates: Result, states: Mapping[str, Result], topic: str, keep: int, seed: int
) -> Mapping[str, Any]:
    """The rule's choice among candidates: arrays ``bases``, block → (d_model, k) orthonormal.

    Table ``candidates``: block, strength, latent, the columns of :func:`polinb.chapters.caft.rule.stance_rule`, and
    auc_own (training topic, not used).

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
    p, out = run.params, []
    for name in p.caft_conditions if names is None else names:
        own = choice(run, topic, "sae" if name == "sae" else "pca")
        frozen = run.neurons("general") if name == "inhibit" else None
        for number in range(p.control_seeds if name in ("random", "half") else 1):
            ablated, seed = own, [p.seed, number, 8]
            if name == "random":
                ablated = random_directions(run, like=[own], seed=seed)
            elif name in ("top", "half", "candidates"):
                ablated = unchosen(run, kind=name, like=own, candidates=pca(run, topic), seed=seed)
            elif name in ("activation", "gradient"):
                ablated = one_pass(run, like=own, passes=name)
            out.append(run.tuned(topic, name=f"caft-{name}", frozen=frozen, ablated=ablated))
    return out


def every_condition(run: Run) -> list[list[Condition]]:
    """:func:`conditions` of every topic on which baselines are compared."""
    return [conditions(run, topic) for topic in run.params.baseline_topics]


def comparison(run: Run) -> pd.DataFrame:
    """All baselines and CAFT's conditions: coupling against on-topic shift, and fluency (see ``baselines.pareto``).

    Further columns: model (the :class:`Condition`), first_loss (nats a token, of those that ablate directions),
    plain_loss (of the plain fine-tune of the topic), broken (bool): the ablation takes away more than the concept.
    """
    every = [*baselines.every_condition(run), *chain.from_iterable(every_condition(run))]
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
    return baselines.equal_shift(run, every_condition(run)).replace({"condition": TITLES})


def fluency(run: Run) -> pd.DataFrame:
    """What answers lose in fluency (``baselines.fluencies``) against the plain fine-tune's, question by question.

    Returns:
        label (condition), value (nats a token; below 0: less fluent), low, high (95 %), n (questions of all topics).
    """
    p, pairs = run.params, defaultdict[str, list[pd.Series]](list)
    for topic, own in zip(p.baseline_topics, every_condition(run), strict=True):
        plain = baselines.fluencies(run, run.tuned(topic))
        for condition in [run.tuned(topic, name="inhibitft", frozen=run.neurons("general")), *own]:
            name = TITLES.get(condition.name, baselines.title(condition.name))
            pairs[name].append(changes(plain, baselines.fluencies(run, condition)).dropna())
    # a question's changes stay together
    means = {name: pd.concat(parts).groupby(level=[0, 1]).mean() for name, parts in pairs.items()}
    rows = [[name, *bootstrap_mean(each, p.bootstrap, p.seed), len(each)] for name, each in means.items() if len(each)]
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "n"])


def points(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """:func:`comparison` as the frame of ``charts.pareto``: corrected R against on-topic shift, over topics.

    The mean shift, and the root of the mean R_c², of conditions of one name and number, questions resampled once for
    all topics.
    """
    p = run.params
    table = table.assign(nth=table.groupby(["condition", "trained"]).cumcount())
    rows = []
    for (condition, family, nth), same in table.groupby(["condition", "family", "nth"], sort=False):
        moved, trained = stacks(run, list(same["model"])), list(same["trained"])
        x = stratified_mean([moved[t][k] for k, t in enumerate(trained)], p.bootstrap, p.seed, SHIFT)
        y = mean_coupling(moved, trained, p.bootstrap, p.seed)
        rows.append([condition, family, nth, *x, *y])
    names = ["condition", "family", "nth", "x", "x_low", "x_high", "y", "y_low", "y_high"]
    return pd.DataFrame(rows, columns=names)


# --- do the value vectors of G and the ablated directions span the same subspace?


def angles(run: Run, topic: str, method: str) -> Result:
    """The run's angles for a training topic and a method."""
    how = {"count": run.params.caft_components, "seed": run.params.seed}
    return compared(run, bases=choice(run, topic, method), general=run.neurons("general"), **how)


@stage("caft-angles", Model)
def compared(run: Run, folder: Path, *, bases: Result, general: Result, count: int, seed: int) -> Mapping[str, Any]:
    """Principal angles between the leading value vectors of G up to a block and the directions ablated there.

    The ``count`` leading left singular vectors of the value vectors, against Q; the nulls put random neurons of the
    same layers in G's place (``neurons``), or a random subspace of the same rank (``subspace``).

    Tables ``angles``: block, index (from 1), degrees, kind, low, high (95 % of the null); ``shared``: block, scope,
    size (of G up to there), rank_g, rank_q, shared (mean squared cosine), and of each null its mean, low, high and p,
    the share of draws at least as large. A block before which G has no neuron is left out; if that holds for all,
    the whole of G stands against the deepest one (scope).
    """
    found, own = bases_of(bases), mask_of(general)
    columns = [value_vectors(run.lm.model, b).float().cpu().numpy().T for b in range(run.lm.layers)]
    layer = np.arange(run.lm.layers)[:, None]
    scopes, scope = {block: own & (layer <= block) for block in found if own[: block + 1].any()}, "up to the block"
    if not scopes:
        scopes, scope = {max(found): own}, "whole model"
    parts, rows = [], []
    for block, chosen in scopes.items():
        part, row = compare(columns, chosen, found[block], count, seed)
        parts.append(part.assign(block=block))
        rows.append({"block": block, "scope": scope, **row})
    pd.concat(parts).to_parquet(folder / "angles.parquet")
    pd.DataFrame(rows).to_parquet(folder / "shared.parquet")
    return {"blocks": list(scopes)}


def compare(
    columns: Sequence[np.ndarray], chosen: np.ndarray, q: np.ndarray, r: int, seed: int
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Principal angles between a neuron set's leading value vectors and Q, with both nulls.

    Args:
        columns: layer → (d_model, F) value vectors.
        chosen: (L, F) bool.
        q: (d_model, k) orthonormal.
        r: rank of the neurons' subspace.

    Returns:
        The tables ``angles`` and ``shared`` of :func:`compared` for one block.
    """
    rng = np.random.default_rng([seed, 3])
    basis = _span(columns, chosen, r)
    own = principal_angles(basis, q)
    sets = [random_set("layer", chosen, np.zeros(chosen.shape), seed=seed + n) for n in range(_NULL_DRAWS)]
    nulls = {
        "neurons": [_span(columns, each, r) for each in sets],
        "subspace": [random_basis(len(basis), basis.shape[1], rng) for _ in range(_NULL_DRAWS)],
    }
    parts = [pd.DataFrame({"degrees": own, "kind": GENERAL, "low": np.nan, "high": np.nan})]
    row = {"size": int(chosen.sum()), "rank_g": basis.shape[1], "rank_q": q.shape[1], "shared": shared(own)}
    for kind, null in nulls.items():
        each = np.stack([principal_angles(one, q) for one in null])
        low, high = np.percentile(each, [2.5, 97.5], axis=0)
        parts.append(pd.DataFrame({"degrees": each.mean(0), "kind": _TITLES[kind], "low": low, "high": high}))
        values = np.array([shared(angles) for angles in each])
        ends = np.percentile(values, [2.5, 97.5]).tolist()
        p = float((1 + (values >= row["shared"]).sum()) / (1 + len(values)))
        row |= {kind: float(values.mean()), f"{kind}_low": ends[0], f"{kind}_high": ends[1], f"{kind}_p": p}
    return pd.concat([part.assign(index=part.index + 1) for part in parts], ignore_index=True), row


def _span(columns: Sequence[np.ndarray], chosen: np.ndarray, r: int) -> np.ndarray:
    return leading(np.concatenate([c[:, row] for c, row in zip(columns, chosen, strict=True)], axis=1), r)


def angle_lines(run: Run, topic: str) -> pd.DataFrame:
    """Angles of both methods at the deepest ablated block, for ``charts.curve``."""
    parts = []
    for method, title in METHODS.items():
        frame = angles(run, topic, method).frame("angles")
        deepest = frame["block"].max()
        parts.append(frame[frame["block"] == deepest].assign(panel=f"{title}, block {deepest}"))
    return pd.concat(parts, ignore_index=True).rename(columns={"index": "x", "degrees": "y", "kind": "by"})


def shared_table(run: Run, topic: str) -> pd.DataFrame:
    """Shared part of the two subspaces at every ablated block and for both methods, with the nulls."""
    parts = [angles(run, topic, m).frame("shared").assign(method=title) for m, title in METHODS.items()]
    return pd.concat(parts, ignore_index=True)


def shared_shown(shared: pd.DataFrame) -> pd.DataFrame:
    """The ``shared`` tables of some methods as they are printed: readable names, nulls with their range."""
    frame = shared.assign(**{name: intervals(shared, name, 3) for name in _TITLES})
    names = {
        "size": "neurons of G",
        "rank_g": "rank of G",
        "rank_q": "rank ablated",
        "shared": "shared",
        "neurons": "random neurons",
        "neurons_p": "p",
        "subspace": "random subspace",
        "subspace_p": "p (subspace)",
    }
    return frame[["method", "block", "scope", *names]].rename(columns=names)
