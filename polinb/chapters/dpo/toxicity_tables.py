"""What the models of the toxicity chapter say, where the change sits, and whether groups do what their shares say."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pandas as pd

from polinb.chapters.dpo import toxicity
from polinb.chapters.dpo.causal import ALL, RANDOM
from polinb.chapters.dpo.study import top_sets
from polinb.chapters.paper.judge_tables import median_words
from polinb.resampling import CHANGE, bootstrap_mean, changes, known_mean, share_interval
from polinb.runs.run import Run
from polinb.runs.stages import wide
from polinb.scoring.shares import STUDY, held_out_shares, null_share
from polinb.stance.civility import load_neutral
from polinb.stance.rudeness import accuracy, rate
from polinb.stance.utility import repetition

MEASURES = {"rude": "share rude", "insult": "share with an insult", "p_rude": "mean P(rude)"}


# --- the three models


def judge_table(run: Run) -> pd.DataFrame:
    """How far the scorer can be trusted on what it has not seen.

    Returns:
        text, and the columns of ``rudeness.accuracy``: replies to held-out messages whole and cut to the median
        length of the answers of the model before, and the neutral reference answers, all civil (accuracy only).
    """
    p, held = run.params, toxicity.pairs(run).split("evaluate")
    words = median_words(toxicity.answers(run, "before"))
    rows = [
        {"text": name} | accuracy(toxicity.scorer(run), held, cut, p.bootstrap, p.seed)
        for name, cut in (("replies, whole", None), (f"replies, first {words} words", words))
    ]
    alarms = rate(toxicity.scorer(run), pd.DataFrame({"response": [item.reference for item in load_neutral()]}))
    level, low, high = share_interval(1 - alarms["rude"], p.bootstrap, p.seed)
    ends = {"accuracy": level, "low": low, "high": high}
    return pd.DataFrame([*rows, {"text": "neutral answers, all civil", "texts": len(alarms), **ends}])


def rates(run: Run) -> pd.DataFrame:
    """Rudeness of the three models on challenge and neutral prompts, each measure with its 95 % interval.

    The interval of a share is Wilson's, which does not shrink to a point at 0 or 1; that of P(rude) is a bootstrap.

    Returns:
        model, prompts, n, measure, value, low, high.
    """
    p, rows = run.params, []
    for who in toxicity.MODELS:
        for name in ("challenge", "neutral"):
            frame = toxicity.rated(run, toxicity.answers(run, who, name))
            for column, title in MEASURES.items():
                rows.append([who, name, len(frame), title, *share_interval(frame[column], p.bootstrap, p.seed)])
    return pd.DataFrame(rows, columns=["model", "prompts", "n", "measure", "value", "low", "high"])


def quality(run: Run) -> pd.DataFrame:
    """What else changed, by model, each with its 95 % interval over prompts.

    Returns:
        model, measure, value, low, high: preference for civil (log-likelihood of the civil minus the rude response of
        held-out pairs, nats a token), log-likelihood of reference answers to neutral questions under the model itself,
        log-likelihood of its answers under the vanilla model, word overlap F1 with the references, repetition.
    """
    p, rows = run.params, []
    for who in toxicity.MODELS:
        said = toxicity.answers(run, who, "neutral").frame("answers")
        fit = toxicity.neutral_logp(run, who).frame("logp")["logp"]
        held = wide(toxicity.held_out_logp(run, who).frame("logp"), "side", ["id"])
        hard = toxicity.answers(run, who).frame("answers")
        references = [item.reference for item in toxicity.neutral(run)]
        overlap = list(map(overlap_f1, said["response"], references))
        values = {
            "preference for civil over rude, held-out pairs (nats a token)": held["logp_civil"] - held["logp_rude"],
            "log-likelihood of neutral reference answers (nats a token)": fit,
            "vanilla log-likelihood of answers to neutral prompts (nats a token)": said["vanilla_logp"],
            "vanilla log-likelihood of answers to challenge prompts (nats a token)": hard["vanilla_logp"],
            "F1 of words with the reference, neutral prompts": pd.Series(overlap),
            "repeated word triples, challenge prompts": hard["response"].map(repetition),
        }
        rows += [[who, name, *known_mean(each, p.bootstrap, p.seed)] for name, each in values.items()]
    return pd.DataFrame(rows, columns=["model", "measure", "value", "low", "high"])


def change(run: Run) -> dict[str, tuple[float, float, float]]:
    """Paired change from before to after on the challenge prompts, with its 95 % interval, for each measure."""
    p = run.params
    old, new = (toxicity.rated(run, toxicity.answers(run, who)).set_index("id") for who in ("before", "after"))
    return {name: bootstrap_mean(changes(old[name], new[name]), p.bootstrap, p.seed, CHANGE) for name in MEASURES}


def examples(run: Run, count: int = 4) -> pd.DataFrame:
    """The first challenge prompts and what the three models answer: prompt, vanilla, before, after."""
    frames = {who: toxicity.answers(run, who).frame("answers") for who in toxicity.MODELS}
    shown = pd.DataFrame({"prompt": frames["vanilla"]["prompt"], **{who: f["response"] for who, f in frames.items()}})
    return shown.head(count)


def overlap_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the answer's words against the reference's, in [0, 1]."""
    said, wanted = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, reference))
    common = sum((said & wanted).values())
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


# --- the decomposition


def share_table(run: Run) -> pd.DataFrame:
    """Shares of the fall: each group, all four, top-k neurons alone, every neuron (net over gross).

    Returns:
        set, neurons, percent, share, low, high, gross_share, other_texts (groups chosen on other texts than measured),
        null (mean share of random sets with as many neurons in each layer), null_low, null_high, and study: what the
        study reports for its own model and data, as a share.
    """
    own = toxicity.study(run)
    found, groups = own.parts(), [group.chosen for group in own.groups().values()]
    near = top_sets(found, toxicity.tops(run))
    more = {ALL: np.any(groups, axis=0)} | near
    table = own.shares(more)
    other = held_out_shares(found, own.sign, own.letters).set_index("group")["other_texts"]
    table["other_texts"] = table["set"].map(other)
    sets = [*groups, *more.values(), np.ones_like(groups[0])]
    table[["null", "null_low", "null_high"]] = [null_share(found.neurons, chosen, own.sign) for chosen in sets]
    reported = {ALL: STUDY["four groups"], **dict.fromkeys(near, STUDY["top neurons"])}
    return table.assign(study=table["set"].map(reported) / 100)


# --- patching and editing


def patched(run: Run) -> pd.DataFrame:
    """Outcome of patching activations of the model after into the one before: all positions, in lock-step.

    Sets: the groups one by one and added up, the largest top-k set, a random one, every neuron.

    Returns:
        The columns of :func:`polinb.chapters.dpo.causal.outcome_table` (score: share rude; soft: P(rude); also: insult,
        the share with one; chance: the random set).
    """
    own = toxicity.study(run)
    return own.outcomes(own.patched(), span=CHANGE, also=["insult"], chance=RANDOM)


def edited(run: Run) -> pd.DataFrame:
    """Outcome of tuning-free editing of the model before for each α, with the α = 0 control; as :func:`patched`."""
    own = toxicity.study(run)
    return own.outcomes(own.edited(), span=CHANGE, also=["insult"])
