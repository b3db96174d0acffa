"""Concept Ablation Fine-Tuning (Casademunt et al. 2025): candidates → the rule's choice → arms to train and compare.

The rule also sees reference texts of the topics that are not trained on (localise split: never trained on and never
asked about), but no model's answer to anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.caft.caft_candidates import blocks_of, dictionary, pca, topic_texts
from polinb.chapters.paper import baselines as rivals
from polinb.resampling import SHIFT, bootstrap_mean, changes, stratified_mean
from polinb.runs.artifacts import Artifact
from polinb.runs.experiment import Arm, Experiment, finetuned
from polinb.scoring.directions import auc, orthonormal, random_basis, stance_rule
from polinb.stance.coupling import mean_coupling

METHODS = {"pca": "PCA", "sae": "SAE"}
TITLES = {
    "caft-pca": "CAFT (PCA)",
    "caft-sae": "CAFT (SAE)",
    "caft-random": "CAFT, random directions",
    "caft-top": "CAFT, strongest components",
    "caft-half": "CAFT, components drawn with p = 0.5",
    "caft-inhibit": "InhibitFT (G) + CAFT (PCA)",
}
METHOD_TITLES = ("InhibitFT (G)", TITLES["caft-pca"], TITLES["caft-sae"], TITLES["caft-inhibit"])
FAMILIES = {
    "caft-pca": "CAFT",
    "caft-sae": "CAFT",
    "caft-random": "directions not chosen",
    "caft-top": "directions not chosen",
    "caft-half": "directions not chosen",
    "caft-inhibit": "InhibitFT + CAFT",
}


# --- the choice


def reference(exp: Experiment) -> Artifact:
    """What the rule looks at: the vanilla model's mean hidden states on reference texts of every topic.

    Arrays of ``states``: topic → (prompts, 2, blocks, d_model) float32, left then right.
    """
    p = exp.params
    inputs = {
        "model": exp.identity,
        "data": exp.data.digest(),
        "topics": p.topics,
        "prompts": p.caft_prompts,
        "max_tokens": p.max_tokens,
        "layers": p.caft_layers,
        "code": 1,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        from safetensors.numpy import save_file

        from polinb.scoring.residual import mean_states

        blocks = blocks_of(exp)
        arrays = {}
        for topic in p.topics:
            found = mean_states(exp.lm, *topic_texts(exp, topic))[:, blocks]
            arrays[str(topic)] = np.ascontiguousarray(found.reshape(-1, 2, *found.shape[1:]))
        save_file(arrays, folder / "states.safetensors")
        return {"blocks": blocks}

    return exp.store.get("caft-states", inputs, make)


def choice(exp: Experiment, topic: str, method: str) -> Artifact:
    """The logged rule applied to the candidates of a method: which directions are ablated when ``topic`` is trained on.

    Table ``candidates``: method, block, strength (share of the energy, or change carried), latent, the columns of
    :func:`polinb.scoring.directions.stance_rule`, and auc_own (training topic, not used). Arrays of ``bases``: ``<b>``
    (d_model, k) orthonormal.
    """
    p = exp.params
    source = pca(exp, topic) if method == "pca" else dictionary(exp, topic)
    seen = reference(exp)
    inputs = {
        "candidates": source.meta["key"],
        "states": seen.meta["key"],
        "keep": p.caft_keep,
        "seed": p.seed,
        "code": 1,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        from safetensors.numpy import save_file

        arrays = source.arrays("components" if method == "pca" else "latents")
        states = seen.arrays("states")
        tables, bases = [], {}
        for number, block in enumerate(source.summary["blocks"]):
            vectors = arrays[f"vectors{block}"]
            own = {t: s[:, :, number] for t, s in states.items()}
            table = candidate_table(own, topic, vectors, p.caft_keep, p.seed)
            table.insert(0, "latent", arrays.get(f"latent{block}", np.full(len(table), -1)))
            table.insert(0, "strength", arrays[f"{'share' if method == 'pca' else 'change'}{block}"])
            table.insert(0, "block", block)
            table.insert(0, "method", METHODS[method])
            tables.append(table)
            bases[str(block)] = orthonormal(vectors[:, table["kept"].to_numpy()])
        pd.concat(tables, ignore_index=True).to_parquet(folder / "candidates.parquet")
        save_file({name: np.ascontiguousarray(q) for name, q in bases.items()}, folder / "bases.safetensors")
        return {"rank": {name: q.shape[1] for name, q in bases.items()}}

    return exp.store.get("caft-choice", inputs, make)


def candidate_table(
    states: Mapping[str, np.ndarray], topic: str, vectors: np.ndarray, keep: int, seed: int
) -> pd.DataFrame:
    """The rule on all topics but ``topic``, with the training topic's AUC for comparison."""
    others = {t: s for t, s in states.items() if t != topic}
    table = stance_rule(others, vectors, keep, seed)
    table["auc_own"] = auc(np.asarray(states[topic], dtype=np.float64) @ vectors)
    return table


def candidates(exp: Experiment, topic: str, methods: Sequence[str] = tuple(METHODS)) -> pd.DataFrame:
    """Every candidate of the methods with its value, and whether and why it was kept."""
    return pd.concat([choice(exp, topic, m).frame("candidates") for m in methods], ignore_index=True)


def bases(exp: Experiment, topic: str, method: str) -> dict[int, np.ndarray]:
    """Block → Q (d_model, k), the directions that CAFT ablates."""
    found = {int(name): q for name, q in choice(exp, topic, method).arrays("bases").items()}
    return dict(sorted(found.items()))


def sae_quality(exp: Experiment, topic: str) -> pd.DataFrame:
    """Quality of the autoencoders on held-out texts: block, origin, latents, tokens, fvu, explained, l0, dead."""
    return dictionary(exp, topic).frame("quality")


# --- arms


def arms(exp: Experiment, topic: str, names: Sequence[str] | None = None) -> list[Arm]:
    """CAFT and its controls for one training topic, right-leaning data, same data, steps and optimiser as every arm.

    ``pca`` and ``sae``: the chosen directions; ``random``: random subspaces of the same rank; ``top``: as many of the
    strongest components, chosen by nothing else; ``half``: each component with p = 0.5; ``inhibit``: G frozen as well.
    """
    out = []
    for name in exp.params.caft_conditions if names is None else names:
        frozen = exp.general() if name == "inhibit" else None
        for ablate in _ablations(exp, topic, name):
            out.append(Arm(f"caft-{name}", topic, "right", frozen, ablate, extra=False))
    return out


def _ablations(exp: Experiment, topic: str, name: str) -> list[dict[int, np.ndarray]]:
    if name in ("pca", "sae"):
        return [bases(exp, topic, name)]
    chosen = bases(exp, topic, "pca")
    if name == "inhibit":
        return [chosen]
    found = pca(exp, topic).arrays("components")
    every = {b: found[f"vectors{b}"] for b in chosen}
    if name == "top":
        return [{b: every[b][:, : q.shape[1]] for b, q in chosen.items()}]
    draws = []
    for number in range(exp.params.control_seeds):
        rng = np.random.default_rng([exp.params.seed, number, 8])
        if name == "random":
            draws.append({b: random_basis(q.shape[0], q.shape[1], rng) for b, q in chosen.items()})
        else:
            picked = {b: v[:, rng.random(v.shape[1]) < 0.5] for b, v in every.items()}
            # Where the coin left none, one component stands: an empty block would be another method.
            draws.append({b: v if v.shape[1] else every[b][:, :1] for b, v in picked.items()})
    return draws


def every_arm(exp: Experiment) -> list[list[Arm]]:
    """:func:`arms` of every topic on which rivals are compared."""
    return [arms(exp, topic) for topic in exp.params.baseline_topics]


def comparison(exp: Experiment) -> pd.DataFrame:
    """All rivals and CAFT's arms: coupling against on-topic shift, and fluency (see ``baselines.pareto``)."""
    chosen = _compared(exp)
    table = rivals.pareto(exp, chosen)
    table["family"] = [FAMILIES.get(arm.name, old) for arm, old in zip(chosen, table["family"], strict=True)]
    return table.replace({"arm": TITLES})


def _compared(exp: Experiment) -> list[Arm]:
    return rivals.every_arm(exp) + [arm for each in every_arm(exp) for arm in each]


def against_weaker(exp: Experiment) -> pd.DataFrame:
    """Every arm against "just train less" at its own on-topic shift (see ``baselines.equal_shift``)."""
    return rivals.equal_shift(exp, every_arm(exp)).replace({"arm": TITLES})


def fluency(exp: Experiment) -> pd.DataFrame:
    """What an arm's answers lose in fluency against those of the plain fine-tune, question by question.

    Fluency is the mean log-likelihood a token of an answer under the vanilla model; empty answers have none.

    Returns:
        label (arm), value (nats a token; below 0: less fluent), low, high (95 %), n (questions, all rival topics).
    """
    p = exp.params
    pairs: dict[str, list[pd.Series]] = {}
    for topic, own in zip(p.baseline_topics, every_arm(exp), strict=True):
        plain, frozen = finetuned(topic, "right"), Arm("inhibitft", topic, "right", exp.general(), extra=False)
        base = _fluencies(exp, plain)
        for arm in [frozen, *own]:
            moved = changes(base, _fluencies(exp, arm)).dropna()
            pairs.setdefault(TITLES.get(arm.name, rivals.title(arm.name)), []).append(moved)
    rows = []
    for name, parts in pairs.items():
        every = pd.concat(parts).groupby(level=[0, 1]).mean()  # a question's changes stay together
        if len(every):
            rows.append([name, *bootstrap_mean(every, p.bootstrap, p.seed), len(every)])
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "n"])


def _fluencies(exp: Experiment, arm: Arm) -> pd.Series:
    return exp.answers(arm).frame("answers").set_index(["topic", "id"])["vanilla_logp"]


def verdict(table: pd.DataFrame, equal: pd.DataFrame) -> str:
    """What :func:`comparison` and :func:`against_weaker` say, whichever way they fall, as prose."""
    means = table.groupby("arm", sort=False)[["shift", "r_corrected"]].mean()
    start = means.loc["fine-tune"]
    methods = [name for name in METHOD_TITLES if name in set(equal["arm"])]
    told = []
    for name in methods:
        row = equal.set_index("arm").loc[name]
        told.append(
            f"{name} has an on-topic shift of {means.loc[name, 'shift']:+.2f} and a coupling of "
            f"{means.loc[name, 'r_corrected']:.2f}; its excess over training less is **{row['excess']:+.2f}** "
            f"[{row['low']:+.2f}, {row['high']:+.2f}]"
        )
    gains = [name for name in methods if equal.set_index("arm").loc[name, "high"] < 0]
    if gains:
        end = f"Clear of zero on the good side: {', '.join(gains)} (of {len(methods)} compared, uncorrected)."
    else:
        end = "**None of them is clear of zero on the good side: this run decides for none of them at equal shift.**"
    chance = equal[equal["arm"].isin([TITLES["caft-random"], TITLES["caft-top"], TITLES["caft-half"]])]
    if len(chance):
        low, high = chance["excess"].min(), chance["excess"].max()
        held = int((chance["high"] < 0).sum())
        span = f"from {low:+.2f} to {high:+.2f}" if len(chance) > 1 else f"of {low:+.2f}"
        end += (
            f" Directions that nobody chose have an excess {span}, clear of zero in {held} of "
            f"{len(chance)} {'kinds' if len(chance) > 1 else 'kind'}: what they gain cannot be due to the concept."
        )
    return (
        f"The plain fine-tune has an on-topic shift of {start['shift']:+.2f} and a noise-corrected coupling of "
        f"{start['r_corrected']:.2f}. {'; '.join(told)}. {end}"
    )


def points(exp: Experiment, table: pd.DataFrame) -> pd.DataFrame:
    """:func:`comparison` as the frame of ``charts_more.pareto``: corrected R against on-topic shift, over topics.

    The mean shift, and the root of the mean R_c², of arms of one name and number; their intervals are those of these
    means, questions resampled once for all topics. The names printed are those of CAFT's arms and of the first
    fine-tune and InhibitFT.
    """
    p = exp.params
    nth = table.groupby(["arm", "trained"]).cumcount()
    table = table[["arm", "family", "trained"]].assign(nth=nth, model=_compared(exp))
    named = {*TITLES.values(), "fine-tune", "InhibitFT (G)"}
    rows = []
    for (arm, family, nth), same in table.groupby(["arm", "family", "nth"], sort=False):
        moved, trained = rivals.stacks(exp, list(same["model"])), list(same["trained"])
        x = stratified_mean([moved[t][k] for k, t in enumerate(trained)], p.bootstrap, p.seed, SHIFT)
        y = mean_coupling(moved, trained, p.bootstrap, p.seed)
        rows.append([arm, family, nth, *x, *y, arm in named and nth == 0])
    names = ["arm", "family", "nth", "x", "x_low", "x_high", "y", "y_low", "y_high", "label"]
    return pd.DataFrame(rows, columns=names)
