"""The subject of Yang et al. 2025 itself, toxicity: data, models, answers, the study and the tables of that chapter.

A model that can be rude is tuned to prefer civil responses; then the tools of the stance chapter say where the change
sits. The model *before* is the vanilla one, or, where that has nothing to lose, one made rude by a short warm-up on the
rude responses of other prompts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.dpo import study as dpo
from polinb.chapters.dpo.study import ALL, PROBED, Study, Top, read_answers, top_sets
from polinb.chapters.paper.judge_tables import median_words
from polinb.data.loading import first
from polinb.data.rows import Row
from polinb.errors import ParameterError
from polinb.resampling import CHANGE, bootstrap_mean, changes, known_mean, share_interval
from polinb.runs.conditions import VANILLA, Condition, Form, Texts, silent
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.stages import wide
from polinb.scoring.shares import STUDY, held_out_shares, null_share
from polinb.stance import civility
from polinb.stance.rudeness import Scorer, accuracy, hub_scorer, local_scorer, rate
from polinb.stance.utility import repetition

MODELS = ("vanilla", "before", "after")
MEASURES = {"rude": "share rude", "insult": "share with an insult", "p_rude": "mean P(rude)"}
FOLDS = 5
FORMS: dict[str, Form] = {"reply": "chat", "continuation": "continuation"}
"""How a prompt and its response hang together in the data → the form of texts."""
_FEWEST = 3  # of each class, so that two are left when a fold is taken out


# --- data


def pairs(run: Run) -> civility.CivilityData:
    """Prompts with a civil and a rude response (``toxicity_data``)."""
    return run.once("civility pairs", lambda: civility.load_pairs(run.params.toxicity_data))


def comments(run: Run) -> civility.Comments | None:
    """Labelled comments behind the probe and the embedded scorer (``toxicity_comments``); ``None``: the pairs."""
    name = run.params.toxicity_comments
    return run.once("comments", lambda: civility.load_comments(name)) if name else None


def asked(run: Run, most: int | None = None) -> Texts:
    """This run's prompts that invite rudeness (``challenge_data``), or ``most`` of them; by hash, so of every kind."""
    p = run.params
    found = run.once("challenge", lambda: civility.load_challenge(p.challenge_data or "bundled"))
    return _texts(found[0].form, first(found, None, p.toxicity_prompts)[:most], "id", "kind", "prompt")


def neutral(run: Run) -> list[civility.Neutral]:
    """The neutral questions of this run, each with a reference answer."""
    return first(civility.load_neutral(), None, half(run.params.toxicity_prompts))


def half(count: int) -> int:
    """How many neutral questions, held-out pairs and patched prompts go with ``count`` challenge prompts."""
    return max(2, count // 2)


def _texts(form: str, rows: Sequence[Row], *fields: str, **renamed: str) -> Texts:
    """Fields of the data's rows as texts; ``renamed``: column → the field that it holds."""
    found = pd.DataFrame(map(dict, rows))[[*fields, *renamed.values()]].set_axis([*fields, *renamed], axis=1)
    return Texts.of(found, FORMS[form])


# --- who rates


@dataclass(frozen=True)
class Rater:
    """Who says how rude a text is, named by what determines it."""

    identity: Mapping[str, Any]
    scorer: Scorer = silent()  # noqa: RUF009


def scorer(run: Run) -> Scorer:
    """The run's scorer: ``toxicity_model``, or the embedded one."""
    name, device = run.params.toxicity_model, run.params.device
    return run.once(
        "scorer", lambda: hub_scorer(name, device=device) if name else local_scorer(pairs(run), comments(run))
    )


@stage("rudeness", Model)
def rudeness(run: Run, folder: Path, *, answers: Result, rater: Rater) -> None:
    """p_rude, rude and insult of answers: table ``rated`` (:func:`polinb.stance.rudeness.rate`)."""
    frame = answers.frame("answers")[["response"]]
    rate(rater.scorer, frame).drop(columns="response").to_parquet(folder / "rated.parquet")


def rated(run: Run, answers: Result) -> pd.DataFrame:
    """Answers with p_rude, rude and insult, the first two also as ``soft`` and ``score``.

    What cannot be told, such as an empty answer, is not rude.
    """
    rater = Rater(scorer(run).identity, scorer(run))
    told = rudeness(run, answers=answers, rater=rater).frame("rated").fillna({"p_rude": 0.0})
    return answers.frame("answers").join(told).assign(score=told["rude"], soft=told["p_rude"])


# --- the three models and their answers


def warmup_pairs(run: Run) -> list[civility.CivilPair]:
    """The last ``toxicity_pairs`` of the train split; DPO takes the first, so few data alone make them overlap."""
    return pairs(run).split("train")[-run.params.toxicity_pairs :]


def conditions(run: Run) -> dict[str, Condition]:
    """The vanilla model, the one ``before`` preference tuning, and the one ``after`` it."""

    def make() -> dict[str, Condition]:
        p, before, form = run.params, VANILLA, pairs(run).form
        if p.toxicity_warmup:
            texts = _texts(form, warmup_pairs(run), "prompt", response="rude")
            recipe = run.recipe(epochs=p.toxicity_warmup)
            before = Condition("warm-up on rude responses", learns=texts, recipe=recipe, limit=p.max_tokens)
        texts = _texts(form, pairs(run).split("train", p.toxicity_pairs), "prompt", response="civil", rejected="rude")
        recipe, start = run.recipe(learning_rate=p.dpo_rate, epochs=p.dpo_epochs), run.weights(before)
        after = Condition("DPO", learns=texts, recipe=recipe, limit=p.max_tokens, start=start, beta=p.dpo_beta)
        return {"vanilla": VANILLA, "before": before, "after": after}

    return run.once("toxicity models", make)


def answers(run: Run, who: str, name: str = "challenge") -> Result:
    """Answers of a model to the ``challenge`` prompts or to ``neutral`` questions."""
    texts = asked(run) if name == "challenge" else _texts("reply", neutral(run), "id", "kind", "prompt")
    return run.ask(conditions(run)[who], texts, tokens=run.params.toxicity_tokens)


def neutral_logp(run: Run, who: str) -> Result:
    """Log-probabilities of the references to neutral questions."""
    return run.logp(conditions(run)[who], _texts("reply", neutral(run), "prompt", response="reference"))


def held_out_logp(run: Run, who: str) -> Result:
    """Mean log-probability a token of the two responses (side: civil, rude) of held-out pairs."""
    held = pairs(run).split("evaluate", half(run.params.toxicity_prompts))
    rows = [(pair.id, side, pair.prompt, getattr(pair, side)) for side in ("civil", "rude") for pair in held]
    texts = Texts.of(pd.DataFrame(rows, columns=["id", "side", "prompt", "response"]), FORMS[pairs(run).form])
    return run.logp(conditions(run)[who], texts)


# --- the study


def study(run: Run) -> Study:
    """The study of DPO against rudeness; the probe's positive side is rude, which training is meant to lower."""
    _, before, after = conditions(run).values()
    tried = asked(run, half(len(asked(run))))
    return Study(
        run,
        before=before,
        after=after,
        probed=probe_texts(run),
        read=read_answers(run, answers=answers(run, "before"), without=tried),
        asked=asked(run),
        tried=tried,
        tokens=run.params.toxicity_tokens,
        rate=rated,
        sign=-1,
        letters=("T", "A"),
        tops=tops(run)[-1:],
        span=CHANGE,
        also=["insult"],
    )


def tops(run: Run) -> list[Top]:
    """The study's "toxic neurons": the k whose value vectors align best with the probe, for each k asked for."""
    return [(f"top {k} by cosine", k, (1,)) for k in run.params.probe_top]


def probe_texts(run: Run) -> Texts:
    """Civil and rude text that the model before was not trained on; rude is labelled True, five folds.

    The responses of the localise split, or as many labelled comments by the hash of their text where these are given.
    """
    extra, count = comments(run), max(2 * FOLDS, run.params.toxicity_pairs)
    if extra:
        rows = [
            ("", extra.texts[i], rude, k % FOLDS, f"comment-{i}")
            for rude, chosen in zip((False, True), extra.first(count), strict=True)
            for k, i in enumerate(chosen)
        ]
    else:
        rows = [
            (pair.prompt, getattr(pair, side), side == "rude", k % FOLDS, pair.id)
            for k, pair in enumerate(pairs(run).split("localise", count))
            for side in ("civil", "rude")
        ]
    return Texts.of(pd.DataFrame(rows, columns=PROBED), "text" if extra else FORMS[pairs(run).form])


def ready(run: Run) -> None:
    """Refuse, before anything is trained, a model (``study.refuse``), data or a scorer that cannot work."""
    if answers(run, "after").done():
        return
    dpo.refuse(run)
    for split in ("train", "localise", "evaluate"):
        pairs(run).split(split)
    extra, sides = comments(run), [len(pairs(run).split("localise"))] * 2
    if extra:
        sides = [extra.rude.count(side) for side in (False, True)]
    if min(sides) < _FEWEST:
        name = "toxicity_comments" if extra else "toxicity_data"
        allowed = f"at least {_FEWEST} civil and {_FEWEST} rude texts for the probe and its {FOLDS} folds"
        raise ParameterError(name, f"{sides[0]} civil, {sides[1]} rude", allowed)
    if len(asked(run)) < 4:
        why = "Neuron groups are chosen on one half and tried on the other"
        raise ParameterError("challenge_data", f"{len(asked(run))} prompts", "at least 4 prompts", why)
    scorer(run)


# --- the three models


def judge_table(run: Run) -> pd.DataFrame:
    """How far the scorer can be trusted on what it has not seen.

    Returns:
        text, and the columns of ``rudeness.accuracy``: replies to held-out messages whole and cut to the median
        length of the answers of the model before, and the neutral reference answers, all civil (accuracy only).
    """
    p, held, words = run.params, pairs(run).split("evaluate"), median_words(answers(run, "before"))
    cuts = {"replies, whole": None, f"replies, first {words} words": words}
    rows = [{"text": name} | accuracy(scorer(run), held, cut, p.bootstrap, p.seed) for name, cut in cuts.items()]
    alarms = rate(scorer(run), pd.DataFrame({"response": [item.reference for item in civility.load_neutral()]}))
    right, low, high = share_interval(1 - alarms["rude"], p.bootstrap, p.seed)
    plain = {"text": "neutral answers, all civil", "texts": len(alarms), "accuracy": right, "low": low, "high": high}
    return pd.DataFrame([*rows, plain])


def rates(run: Run) -> pd.DataFrame:
    """Rudeness on challenge and neutral prompts: model, prompts, n, measure, value, low, high (``share_interval``)."""
    p, rows = run.params, []
    for who in MODELS:
        for name in ("challenge", "neutral"):
            frame = rated(run, answers(run, who, name))
            for column, title in MEASURES.items():
                rows.append([who, name, len(frame), title, *share_interval(frame[column], p.bootstrap, p.seed)])
    return pd.DataFrame(rows, columns=["model", "prompts", "n", "measure", "value", "low", "high"])


def quality(run: Run) -> pd.DataFrame:
    """What else changed: model, measure, value, low, high (95 % over prompts); likelihoods in nats a token."""
    p, rows, references = run.params, [], [item.reference for item in neutral(run)]
    for who in MODELS:
        said = answers(run, who, "neutral").frame("answers")
        fit = neutral_logp(run, who).frame("logp")["logp"]
        held = wide(held_out_logp(run, who).frame("logp"), ["id"])
        hard = answers(run, who).frame("answers")
        overlap = [overlap_f1(*both) for both in zip(said["response"], references, strict=True)]
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
    old, new = (rated(run, answers(run, who)).set_index("id") for who in ("before", "after"))
    return {name: bootstrap_mean(changes(old[name], new[name]), p.bootstrap, p.seed, CHANGE) for name in MEASURES}


def examples(run: Run, count: int = 4) -> pd.DataFrame:
    """The first challenge prompts and what the three models answer: prompt, vanilla, before, after."""
    said = {who: answers(run, who).frame("answers")["response"] for who in MODELS}
    return asked(run).rows[["prompt"]].assign(**said).head(count)


def overlap_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the answer's words against the reference's, in [0, 1]."""
    said, wanted = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, reference))
    common = sum((said & wanted).values())
    return 2 * common / (said.total() + wanted.total()) if common else 0.0


# --- where the change sits, and whether groups do what their shares say


def share_table(run: Run) -> pd.DataFrame:
    """Shares of the fall: each group, all four, top-k neurons alone, every neuron (net over gross).

    Returns:
        set, neurons, percent, share, low, high, gross_share, other_texts (groups chosen on other texts than measured),
        null (mean share of random sets with as many neurons in each layer), null_low, null_high, and study: what the
        study reports for its own model and data, as a share.
    """
    own = study(run)
    found, groups = own.parts(), [group.chosen for group in own.groups().values()]
    near = top_sets(found, tops(run))
    more = {ALL: np.any(groups, axis=0), **near}
    table, sets = own.shares(more), [*groups, *more.values(), np.ones_like(groups[0])]
    other = held_out_shares(found, own.sign, own.letters).set_index("group")["other_texts"]
    table["other_texts"] = table["set"].map(other)
    table[["null", "null_low", "null_high"]] = [null_share(found.neurons, chosen, own.sign) for chosen in sets]
    reported = {ALL: STUDY["four groups"], **dict.fromkeys(near, STUDY["top neurons"])}
    return table.assign(study=table["set"].map(reported) / 100)
