"""Weights instead of activations: what the weights of a neuron set carry of a fine-tune's shift (chapter 11).

Beside PNLAC's sets stand the two scores that found planted neurons best, and sets chosen by what they carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.anatomy.doses import graft, references
from polinb.chapters.planted.localisation import floored, general_score
from polinb.resampling import t_mean
from polinb.runs.artifacts import save_arrays
from polinb.runs.conditions import VANILLA, Texts, encode
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.stages import contrast_of, wide
from polinb.runs.weights import mask_of, model_of
from polinb.scoring.pnlac import overlap
from polinb.stance.likelihood import moved, own_and_others
from polinb.wording import with_ends

GRADIENT, FLOORED = "gradient attribution", "PNLAC, normalised with a floor"
ORACLE, SELECTIVE = "chosen by the others' shift", "chosen by others' minus own"
SHARES = ("graft_own", "graft_others", "reset_own", "reset_others")


@stage("gradient", Model)
def gradient(run: Run, folder: Path, *, texts: Texts, limit: int) -> None:
    """Gradient attribution of each neuron for the likelihood of both sides' answers: arrays ``scores``, ``score``."""
    from polinb.scoring.attribution import attribution

    found = attribution(run.lm, *encode(run.lm, texts, run.params.system_prompt, limit))
    save_arrays(folder / "scores.safetensors", {"score": found})


@stage("flow", Model)
def flow(run: Run, folder: Path, *, tuned: Result, texts: Texts, topic: str, limit: int) -> None:
    """What each neuron's weights carry of a fine-tune's shift, to first order: arrays ``flow``, ``own`` and ``others``.

    Args:
        texts: references of both sides, questions on ``topic`` (own) and on others.
    """
    from polinb.scoring.attribution import weight_attribution

    prompts, responses = encode(run.lm, texts, run.params.system_prompt, limit)
    sign = texts.rows["side"].map({"right": 1.0, "left": -1.0}).to_numpy()
    own = (texts.rows["topic"] == topic).to_numpy()
    other = model_of(run, tuned, "tuned")
    found = {}
    for name, chosen in (("own", own), ("others", ~own)):
        at = np.flatnonzero(chosen)
        weights = sign[at] * 2 / len(at)  # the mean of right minus left over questions
        read = [prompts[k] for k in at], [responses[k] for k in at]
        found[name] = weight_attribution(run.lm, other, *read, weights)
    save_arrays(folder / "flow.safetensors", found)


@stage("ranked")
def ranked(run: Run, folder: Path, *, kind: str, size: Result, scores: Mapping[str, Result]) -> Mapping[str, Any]:
    """As many neurons as ``size`` has, those first by a score: arrays ``neurons``, ``mask`` (L, F) uint8.

    Args:
        kind: gradient or floored: first on all topics, by a neuron's worst rank; oracle: those that carry most of the
            others' shift; selective: most of the others' shift, as a share, beyond that of the own.
        scores: topic → result of ``gradient`` or ``scores``; of the oracles the one result of ``flow``.
    """
    if kind == "gradient":
        score = general_score({t: each.arrays("scores")["score"] for t, each in scores.items()})
    elif kind == "floored":
        sums = {t: contrast_of(each) for t, each in scores.items()}
        score = general_score({t: floored(s.score, s.vanilla_std) for t, s in sums.items()})
    else:
        own, others = (next(iter(scores.values())).arrays("flow")[name] for name in ("own", "others"))
        score = others / others.sum() - (own / own.sum() if kind == "selective" else 0)
    mask = np.zeros(score.size, np.uint8)
    mask[np.argsort(-score.ravel(), kind="stable")[: int(mask_of(size).sum())]] = 1
    save_arrays(folder / "neurons.safetensors", {"mask": mask.reshape(score.shape)})
    return {"neurons": int(mask.sum())}


def sets(run: Run, topic: str) -> dict[str, Result | str]:
    """Neuron sets, and the attention weights, that are carried over for a fine-tune on ``topic``."""
    p, general = run.params, run.neurons("general")
    tuned, limit = run.weights(run.tuned(topic)), p.max_tokens
    found = flow(run, tuned=tuned, texts=references(run, p.graft_questions), topic=topic, limit=limit)
    read, by_topic = {t: run.scores(t) for t in map(str, p.topics)}, {}
    for t in read:
        pairs = run.data.topic(t, "localise", p.localise_prompts, leaning="both")
        rows = [(pair.prompt, pair.response(side)) for side in ("left", "right") for pair in pairs]
        by_topic[t] = gradient(run, texts=Texts.of(pd.DataFrame(rows, columns=["prompt", "response"])), limit=limit)
    return {
        "G": general,
        "S of the trained topic": run.neurons("specific", topic=topic),
        "next highest outside G": run.neurons("next_highest"),
        "random, layer-matched": run.neurons("layer"),
        FLOORED: ranked(run, kind="floored", size=general, scores=read),
        GRADIENT: ranked(run, kind="gradient", size=general, scores=by_topic),
        ORACLE: ranked(run, kind="oracle", size=general, scores={topic: found}),
        SELECTIVE: ranked(run, kind="selective", size=general, scores={topic: found}),
        "all FFN neurons": run.neurons("all"),
        "all attention": "attention",
    }


def readings(run: Run) -> dict[tuple[str, str, str], Result]:
    """Trained topic, set, way (``graft``, ``reset``) → likelihoods of the references; ways of ``""`` are whole models.

    Nothing where ``graft_questions`` is 0, or the fine-tunes are adapters, which have no weights of a neuron.
    """
    p = run.params
    if not p.graft_questions or p.train == "lora":
        return {}
    texts, limit = references(run, p.graft_questions), p.max_tokens
    out = {("", "vanilla", ""): run.logp(VANILLA, texts)}
    for topic in map(str, p.baseline_topics):
        condition = run.tuned(topic)
        out[topic, "fine-tune", ""] = run.logp(condition, texts)
        for name, chosen in sets(run, topic).items():
            for way in ("graft", "reset"):
                how = {"tuned": run.weights(condition), "chosen": chosen, "way": way}
                out[topic, name, way] = graft(run, **how, texts=texts, limit=limit)
    return out


def carried(run: Run) -> pd.DataFrame:
    """Shares of a fine-tune's likelihood shift that a set's weights carry, in per cent, mean over trained topics.

    Returns:
        set, neurons, in_g and active (shares that are in G, and among the highest activation), and of
        :data:`SHARES`, each with ``_low`` and ``_high`` (Student's t over trained topics; NaN for one): ``graft``, the
        shift with the set's weights copied into the vanilla model; ``reset``, the shift that is lost when they are put
        back; on the trained topic (own) and on the others.
    """
    read = {key: wide(each.frame("logp"), ["topic", "id"]) for key, each in readings(run).items()}
    if not read:
        return pd.DataFrame(columns=["set", "neurons", "in_g", "active", *SHARES])
    plain, rows = read.pop(("", "vanilla", "")), []

    def shift(topic: str, name: str, way: str) -> np.ndarray:
        return own_and_others(moved(plain, read[topic, name, way]), topic)

    for topic in map(str, run.params.baseline_topics):
        whole = shift(topic, "fine-tune", "")
        for name, chosen in sets(run, topic).items():
            grafted, rest = (shift(topic, name, way) / whole for way in ("graft", "reset"))
            row = {"set": name, "neurons": 0, **dict(zip(SHARES, 100 * np.append(grafted, 1 - rest), strict=True))}
            if not isinstance(chosen, str):
                mask = mask_of(chosen)
                row |= {"neurons": int(mask.sum()), "in_g": overlap(mask, run.general())}
                row["active"] = overlap(mask, run.scale_set())
            rows.append(row)
    out = []
    for name, part in pd.DataFrame(rows).groupby("set", sort=False):
        row = {"set": name, **part[["neurons", "in_g", "active"]].mean()}
        for share in SHARES:
            row |= with_ends(share, t_mean(part[share]))
        out.append(row)
    return pd.DataFrame(out)
