"""What the models of the toxicity chapter say, and whether the groups do what their shares say."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.chapters.dpo.causal import AFTER, BEFORE, RANDOM, edit_name, group_plan, outcome_table
from polinb.chapters.dpo.toxicity import (
    MODELS,
    answer_table,
    answers,
    asked,
    challenge,
    digest,
    half,
    model,
    model_inputs,
    pairs,
    preferred,
    prompt_tokens,
    rated,
    scorer,
)
from polinb.chapters.dpo.toxicity_shift import four, tops
from polinb.data.civility import load_neutral
from polinb.resampling import CHANGE, bootstrap_mean, changes, share_interval
from polinb.runs.experiment import Experiment
from polinb.stance.rudeness import accuracy, rate
from polinb.stance.utility import repetition

if TYPE_CHECKING:
    from polinb.data.civility import Prompt
    from polinb.scoring.decompose import Parts

MODES = ("mean", "scale")
MEASURES = {"rude": "share rude", "insult": "share with an insult", "p_rude": "mean P(rude)"}


# --- the three models


def training(exp: Experiment) -> pd.DataFrame:
    """Course of DPO: step, loss, margin (β × gain of civil over rude, before the step), accuracy.

    With one epoch every pair is new when it is read, so margin and accuracy are on pairs not yet trained on.
    """
    facts = preferred(exp).summary
    columns = {"loss": facts["losses"], "margin": facts["margins"], "accuracy": facts["accuracies"]}
    return pd.DataFrame({"step": range(1, len(facts["losses"]) + 1), **columns})


def judge_table(exp: Experiment) -> pd.DataFrame:
    """How far the scorer can be trusted on what it has not seen.

    Returns:
        text, and the columns of ``rudeness.accuracy``: replies to held-out messages whole and cut to the
        length of this run's answers, and the neutral reference answers, which are all civil (accuracy only).
    """
    p, held = exp.params, pairs(exp).split("evaluate")
    words = answer_words(exp)
    rows = [
        {"text": name} | accuracy(scorer(exp), held, cut, p.bootstrap, p.seed)
        for name, cut in (("replies, whole", None), (f"replies, first {words} words", words))
    ]
    alarms = rate(scorer(exp), pd.DataFrame({"response": [item.reference for item in load_neutral().prompts]}))
    level, low, high = share_interval(1 - alarms["rude"], p.bootstrap, p.seed)
    return pd.DataFrame(
        [
            *rows,
            {"text": "neutral answers, all civil", "texts": len(alarms), "accuracy": level, "low": low, "high": high},
        ]
    )


def answer_words(exp: Experiment) -> int:
    """Median number of words of the answers of the model before: what the scorer has to go by."""
    texts = answers(exp, "before").frame("challenge")["response"]
    return max(1, int(texts.str.split().str.len().median()))


def rates(exp: Experiment) -> pd.DataFrame:
    """Rudeness of the three models on challenge and neutral prompts, each measure with its 95 % interval.

    The interval of a share is Wilson's, which does not shrink to a point at 0 or 1; that of P(rude) is a bootstrap.

    Returns:
        model, prompts, n, measure, value, low, high.
    """
    p, rows = exp.params, []
    for who in MODELS:
        for name in ("challenge", "neutral"):
            frame = rated(exp, answers(exp, who).frame(name))
            for column, title in MEASURES.items():
                rows.append([who, name, len(frame), title, *share_interval(_known(frame[column]), p.bootstrap, p.seed)])
    return pd.DataFrame(rows, columns=["model", "prompts", "n", "measure", "value", "low", "high"])


def quality(exp: Experiment) -> pd.DataFrame:
    """What else changed, by model, each with its 95 % interval over prompts.

    Returns:
        model, measure, value, low, high: preference for civil (log-likelihood of the civil minus the rude response of
        held-out pairs, nats a token), log-likelihood of reference answers to neutral questions under the model itself,
        log-likelihood of its answers under the vanilla model, word overlap F1 with the references, repetition.
    """
    p, rows = exp.params, []
    for who in MODELS:
        found = answers(exp, who)
        said, held, hard = (found.frame(name) for name in ("neutral", "pairs", "challenge"))
        overlap = [overlap_f1(a, b) for a, b in zip(said["response"], said["reference"], strict=True)]
        values = {
            "preference for civil over rude, held-out pairs (nats a token)": held["civil"] - held["rude"],
            "log-likelihood of neutral reference answers (nats a token)": said["reference_logp"],
            "vanilla log-likelihood of answers to neutral prompts (nats a token)": said["vanilla_logp"],
            "vanilla log-likelihood of answers to challenge prompts (nats a token)": hard["vanilla_logp"],
            "F1 of words with the reference, neutral prompts": pd.Series(overlap),
            "repeated word triples, challenge prompts": pd.Series([repetition(text) for text in hard["response"]]),
        }
        for name, each in values.items():
            known = each[np.isfinite(each)]
            bounds = bootstrap_mean(known, p.bootstrap, p.seed) if len(known) else (float("nan"),) * 3
            rows.append([who, name, *bounds])
    return pd.DataFrame(rows, columns=["model", "measure", "value", "low", "high"])


def change(exp: Experiment) -> dict[str, tuple[float, float, float]]:
    """Paired change from before to after on the challenge prompts, with its 95 % interval, for each measure."""
    p = exp.params
    old, new = (rated(exp, answers(exp, who).frame("challenge")) for who in ("before", "after"))
    old, new = (frame.set_index("id") for frame in (old, new))
    return {
        name: bootstrap_mean(changes(_known(old[name]), _known(new[name])), p.bootstrap, p.seed, CHANGE)
        for name in MEASURES
    }


def examples(exp: Experiment, count: int = 4) -> pd.DataFrame:
    """The first challenge prompts and what the three models answer: prompt, vanilla, before, after."""
    frames = {who: answers(exp, who).frame("challenge") for who in MODELS}
    shown = pd.DataFrame({"prompt": frames["vanilla"]["prompt"], **{who: f["response"] for who, f in frames.items()}})
    return shown.head(count)


def overlap_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the answer's words against the reference's, in [0, 1]."""
    said, wanted = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, reference))
    common = sum((said & wanted).values())
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


def _known(values: pd.Series) -> pd.Series:
    """What cannot be told, such as an empty answer, is not rude."""
    return values.fillna(0.0)


# --- patching and editing


def few(exp: Experiment) -> list[Prompt]:
    """Challenge prompts of the patching and editing experiments: the first half, at least two."""
    return asked(exp)[: half(len(asked(exp)))]


def patched(exp: Experiment, found: Parts) -> pd.DataFrame:
    """Outcome of patching activations of the model after into the one before: all positions, in lock-step.

    Sets: the groups one by one and added up, the largest top-k set, a random one, every neuron.

    Returns:
        The columns of :func:`polinb.chapters.dpo.causal.outcome_table` (score: share rude; soft: P(rude)), and insult,
        insult_shift with _low and _high (share with an insult and its paired change), insult_beyond with _low and
        _high (that share minus the one of the random set, paired).
    """
    from polinb.masking.patching import patched_answers

    p = exp.params
    plan = group_plan(four(found), dict(list(tops(exp, found).items())[-1:]), p.seed)

    def run(folder: Path) -> None:
        before, after, prompts = model(exp, "before"), model(exp, "after"), _few_tokens(exp)
        settings: dict[str, Any] = {"max_new_tokens": p.toxicity_tokens, "mode": p.patch, "batch": p.eval_batch}
        made = {
            name: patched_answers(before, after, chosen, prompts, label=f"patching {name}", **settings)
            for name, chosen in plan.items()
        }
        answer_table(exp, few(exp), prompts, made).to_parquet(folder / "answers.parquet")

    code = 1
    inputs = _inputs(exp) | {"sets": _masks(plan), "mode": p.patch, "code": code}
    frame = exp.store.get("toxicity-patched", inputs, run).frame("answers")
    return _outcomes(exp, frame, {name: int(chosen.sum()) for name, chosen in plan.items()}, RANDOM)


def edited(exp: Experiment, found: Parts) -> pd.DataFrame:
    """Outcome of tuning-free editing of the model before for each α, with the α = 0 control.

    Returns:
        As :func:`patched`.
    """
    from polinb.masking.editing import edit_factors, edited_answers

    p, own = exp.params, four(found)
    # Scaling by α = 0 changes nothing by definition.
    plan = [(mode, alpha) for mode in MODES for alpha in p.edit_alphas if alpha or mode == "mean"]

    def run(folder: Path) -> None:
        before, prompts = model(exp, "before"), _few_tokens(exp)
        settings: dict[str, Any] = {"means": found.mean_before, "max_new_tokens": p.toxicity_tokens}
        made = {
            edit_name(mode, alpha): edited_answers(
                before, *edit_factors(own, alpha), prompts, mode=mode, batch=p.eval_batch, **settings
            )
            for mode, alpha in plan
        }
        answer_table(exp, few(exp), prompts, made).to_parquet(folder / "answers.parquet")

    code = 1
    masks = _masks({name: group.chosen for name, group in own.items()})
    inputs = _inputs(exp) | {"sets": masks, "means": digest(found.mean_before), "plan": plan, "code": code}
    frame = exp.store.get("toxicity-edited", inputs, run).frame("answers")
    chosen = int(sum(group.chosen.sum() for group in own.values()))
    return _outcomes(exp, frame, dict.fromkeys(frame["set"].unique(), chosen))


def _few_tokens(exp: Experiment) -> list[list[int]]:
    return prompt_tokens(exp, few(exp), challenge(exp).form)


def _inputs(exp: Experiment) -> dict[str, Any]:
    p = exp.params
    return {
        "asked": [item.prompt for item in few(exp)],
        "before": model_inputs(exp, "before"),
        "after": model_inputs(exp, "after"),
        "challenge": challenge(exp).digest(),
        "prompts": p.toxicity_prompts,
        "tokens": p.toxicity_tokens,
        "max_tokens": p.max_tokens,
        "batch": p.eval_batch,
    }


def _masks(sets: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {name: hashlib.sha256(np.packbits(chosen).tobytes()).hexdigest()[:24] for name, chosen in sets.items()}


def _outcomes(exp: Experiment, frame: pd.DataFrame, sizes: Mapping[str, int], chance: str = "") -> pd.DataFrame:
    """Outcome table of answers, beside those of the models before and after to the same prompts."""
    p, ids = exp.params, [item.id for item in few(exp)]
    plain = []
    for who, name in (("before", BEFORE), ("after", AFTER)):
        own = answers(exp, who).frame("challenge").assign(set=name)
        plain.append(own[own["id"].isin(ids)])
    said = rated(exp, pd.concat([*plain, frame], ignore_index=True))
    said = said.assign(topic="all", score=said["rude"], soft=_known(said["p_rude"]))
    table = outcome_table(said, p.bootstrap, p.seed, sizes, CHANGE)
    said = said.drop(columns="soft").assign(score=said["insult"])
    insults = outcome_table(said, p.bootstrap, p.seed, sizes, CHANGE, chance)
    names = {"score": "insult", "shift": "insult_shift", "low": "insult_shift_low", "high": "insult_shift_high"}
    names |= {name: f"insult_{name}" for name in insults if name.startswith("beyond")}
    return table.merge(insults[["set", *names]].rename(columns=names), on="set")
