"""Where the stance shift lives: artifacts → the tidy tables of the chapter (Yang et al. 2025)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.dpo import causal
from polinb.chapters.dpo.shift import causal_questions, load_preferred, parts, parts_inputs, weights_key
from polinb.runs.artifacts import key_of
from polinb.runs.experiment import VANILLA, Experiment
from polinb.scoring import shares
from polinb.scoring.shares import Group

DIRECTION = {"right": 1, "left": -1}


def neuron_groups(exp: Experiment, side: str = "right", kind: str | None = None) -> dict[str, Group]:
    """The four groups of the model trained towards ``side``: neurons that moved the trained way."""
    found = parts(exp, side, kind)
    return shares.groups(found.cosine, found.mean_before, found.neurons, DIRECTION[side])


def top_sets(exp: Experiment, both: bool = False) -> dict[str, np.ndarray]:
    """Neurons closest to the probe by cosine alone, for every ``probe_top``.

    Args:
        both: one set for both ends of the direction, instead of one for each.
    """
    cosine, out = parts(exp).cosine, {}
    for k in exp.params.probe_top:
        ends = {"right": shares.top_cosine(cosine, k, 1), "left": shares.top_cosine(cosine, k, -1)}
        if both:
            out[f"top {k} of each side"] = ends["right"] | ends["left"]
        else:
            out |= {f"top {k} {side}-aligned": chosen for side, chosen in ends.items()}
    return out


def group_shares(exp: Experiment) -> pd.DataFrame:
    """Shares of the four groups, of the top neurons by cosine and of all neurons (``polinb.scoring.shares.shares``)."""
    p, found = exp.params, parts(exp)
    named = neuron_groups(exp)
    sets = {name: group.chosen for name, group in named.items()} | top_sets(exp)
    sets[causal.EVERY] = np.ones_like(found.neurons, dtype=bool)
    frame = shares.shares(found, sets, 1, p.bootstrap, p.seed)
    titles = [named[name].title if name in named else name for name in frame["set"]]
    frame.insert(1, "title", titles)
    return frame


def held_out(exp: Experiment) -> pd.DataFrame:
    """Shares of the groups on the texts they were chosen on and on others (``shares.held_out_shares``)."""
    return shares.held_out_shares(parts(exp), 1)


def crossing(exp: Experiment) -> pd.DataFrame:
    """Share of the shift in G and in every S_t, beside what random neurons of the same layers would have.

    Returns:
        set, neurons, percent, share, low, high (over texts), random, random_low, random_high (same number in each
        layer), loud, loud_low, loud_high (and in each class of activation scale, see ``shares.null_share``).
    """
    p, found, sets = exp.params, parts(exp), exp.sets()
    named = {"G": sets.general} | {f"S ({topic})": chosen for topic, chosen in sets.specific.items()}
    frame = shares.shares(found, named, 1, p.bootstrap, p.seed)[["set", "neurons", "percent", "share", "low", "high"]]
    for name, scale in (("random", None), ("loud", exp.scale())):
        null = [shares.null_share(found.neurons, chosen, 1, scale) for chosen in named.values()]
        frame[[name, f"{name}_low", f"{name}_high"]] = np.array(null)
    return frame


def robustness(exp: Experiment) -> pd.DataFrame:
    """The main numbers under the other probe, and for the mirror of the training, each oriented its trained way.

    Returns:
        chosen, probe, change (of h·w), low, high, neurons, attention (per cent of the change), net_over_gross, half,
        half_percent (fewest neurons that hold half of the gross change), top (share of the largest ``probe_top`` on the
        side that training suppresses, counting only neurons that moved the trained way), and gap (sum of the parts
        minus the measured change).
    """
    p = exp.params
    other = "mean_difference" if p.probe == "logistic" else "logistic"
    rows = []
    for side, kind in (("right", p.probe), ("right", other), ("left", p.probe)):
        found, sign = parts(exp, side, kind), DIRECTION[side]
        table = shares.totals(found, sign, p.bootstrap, p.seed).set_index("part")
        top = {"top": shares.top_cosine(found.cosine, max(p.probe_top), -sign)}
        own = shares.shares(found, top | {"all": np.ones_like(found.neurons, dtype=bool)}, sign, 100, p.seed)
        half = shares.carriers(found.neurons, sign)
        change = [float(x) for x in table.loc["measured change", ["change", "low", "high"]]]
        percents = [float(table.loc[name, "percent"]) for name in ("neurons", "attention")]
        ratios = [float(own["net_over_gross"].iloc[1]), half, 100 * half / found.neurons.size]
        rows.append(
            [side, kind, *change, *percents, *ratios, float(own["gross_share"].iloc[0]), found.total - found.measured]
        )
    names = [
        "chosen",
        "probe",
        "change",
        "low",
        "high",
        "neurons",
        "attention",
        "net_over_gross",
        "half",
        "half_percent",
    ]
    return pd.DataFrame(rows, columns=[*names, "top", "gap"])


def beside_study(exp: Experiment) -> pd.DataFrame:
    """The study's two numbers beside ours, in per cent of the gross change: quantity, study, ours.

    The study's numbers sum to 100, so its groups are taken to be what is left without its top neurons. Which number of
    top neurons they belong to is not known; they stand beside each of ours.
    """
    table, held = group_shares(exp).set_index("set"), held_out(exp).set_index("group")
    rows: list[tuple[str, float, float]] = []
    for k in exp.params.probe_top:
        top = 100 * float(table.loc[f"top {k} left-aligned", "gross_share"])
        rows.append(
            (f"top {k} left-aligned neurons, where they moved the trained way", shares.STUDY["top neurons"], top)
        )
        rows.append((f"the four groups without these {k}", shares.STUDY["four groups"], 100 - top))
    other = 100 * float(held.loc["all four", "other_texts"])
    rows.append(("the four groups, chosen on one half of the texts and measured on the other", np.nan, other))
    return pd.DataFrame(rows, columns=["quantity", "study", "ours"])


# --- causal checks


def patched_groups(exp: Experiment) -> pd.DataFrame:
    """What patching each set from the DPO model into the vanilla model does (``causal.outcome_table``)."""
    p = exp.params
    plan = causal.group_plan(neuron_groups(exp), top_sets(exp, both=True), p.seed)
    sizes = {name: int(mask.sum()) for name, mask in plan.items()}
    return causal.outcome_table(_judged(exp, _patched(exp, plan)), p.bootstrap, p.seed, sizes)


def edited_groups(exp: Experiment) -> pd.DataFrame:
    """What editing the groups' activations in the vanilla model does, with the unedited and the DPO model beside it.

    Returns:
        mode (mean, scale; empty for the models as they are), alpha, then the columns of ``causal.outcome_table``.
    """
    p = exp.params
    plan = causal.group_plan(neuron_groups(exp), top_sets(exp, both=True), p.seed)
    plain = _patched(exp, plan)
    plain = plain[plain["set"].isin((causal.BEFORE, causal.AFTER))]
    both = pd.concat([plain.assign(mode="", alpha=np.nan), _edited(exp)], ignore_index=True)
    table = causal.outcome_table(_judged(exp, both), p.bootstrap, p.seed)
    return both.groupby("set", sort=False)[["mode", "alpha"]].first().reset_index().merge(table, on="set")


def examples(exp: Experiment) -> pd.DataFrame:
    """The first question as answered by the vanilla, the DPO and the edited models: set, prompt, response."""
    plan = causal.group_plan(neuron_groups(exp), top_sets(exp, both=True), exp.params.seed)
    plain = _patched(exp, plan)
    both = pd.concat([plain[plain["set"].isin((causal.BEFORE, causal.AFTER))], _edited(exp)], ignore_index=True)
    first = both.iloc[0]
    return both.loc[(both["topic"] == first["topic"]) & (both["id"] == first["id"]), ["set", "prompt", "response"]]


def _patched(exp: Experiment, plan: Mapping[str, np.ndarray]) -> pd.DataFrame:
    p = exp.params
    inputs = _causal_inputs(exp) | {
        "plan": {name: hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:24] for name, mask in plan.items()},
        "mode": p.patch,
        "code": 1,
    }

    def make(folder: Path) -> None:
        found = causal.causal_answers(exp.lm, load_preferred(exp), plan, _asked(exp), mode=p.patch, **_settings(exp))
        found.to_parquet(folder / "answers.parquet")

    return exp.store.get("grouppatch", inputs, make).frame("answers")


def _edited(exp: Experiment) -> pd.DataFrame:
    p, found, named = exp.params, parts(exp), neuron_groups(exp)
    inputs = _causal_inputs(exp) | {
        "groups": {
            name: [group.rises, hashlib.sha256(np.packbits(group.chosen).tobytes()).hexdigest()[:24]]
            for name, group in named.items()
        },
        "means": key_of(parts_inputs(exp, "right")),
        "alphas": p.edit_alphas,
        "code": 1,
    }

    def make(folder: Path) -> None:
        made = causal.edit_answers(exp.lm, named, p.edit_alphas, found.mean_before, _asked(exp), **_settings(exp))
        made.to_parquet(folder / "answers.parquet")

    return exp.store.get("edited", inputs, make).frame("answers")


def _causal_inputs(exp: Experiment) -> dict[str, Any]:
    p = exp.params
    return {
        "before": key_of(exp.arm_inputs(VANILLA)),
        "after": weights_key(exp, "right"),
        "data": exp.data.digest(),
        "topics": p.topics,
        "questions": [p.eval_questions, p.group_questions],
        "template": p.answer_template,
        "tokens": p.eval_tokens,
        "batch": p.eval_batch,
    }


def _asked(exp: Experiment) -> pd.DataFrame:
    return causal_questions(exp)


def _settings(exp: Experiment) -> dict[str, Any]:
    p = exp.params
    return {"system": p.system_prompt, "tokens": p.eval_tokens, "batch": p.eval_batch}


def _judged(exp: Experiment, answers: pd.DataFrame) -> pd.DataFrame:
    """Answers with the judge's score and, as the soft score, its P(right)."""
    rated = [exp.rated(group.reset_index(drop=True)) for _, group in answers.groupby("set", sort=False)]
    labels = pd.concat(rated, ignore_index=True)
    ordered = pd.concat([group for _, group in answers.groupby("set", sort=False)], ignore_index=True)
    return ordered.assign(score=labels["score"].to_numpy(float), soft=labels["p_right"].to_numpy(float))
