"""The subject of Yang et al. 2025 itself, toxicity: data, models, answers and the study of that chapter.

A model that can be rude is tuned to prefer civil responses; then the tools of the stance chapter say where the change
sits. The model *before* is the vanilla one, or, where that has nothing to lose, one made rude by a short warm-up on the
rude responses of other prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.dpo.study import Study, Top, read_answers
from polinb.data.rows import text_hash
from polinb.errors import ParameterError
from polinb.runs.conditions import VANILLA, Condition, Form, Texts, silent
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.scoring.decompose import check
from polinb.stance import civility
from polinb.stance.rudeness import Scorer, make_scorer, rate

MODELS = ("vanilla", "before", "after")
FOLDS = 5
_FEWEST = 3  # of each class, so that two are left when a fold is taken out
_load_pairs, _load_comments = lru_cache(4)(civility.load_pairs), lru_cache(2)(civility.load_comments)
_load_challenge = lru_cache(4)(civility.load_challenge)


# --- data


def pairs(run: Run) -> civility.CivilityData:
    """Prompts with a civil and a rude response (``toxicity_data``)."""
    return _load_pairs(run.params.toxicity_data)


def challenge(run: Run) -> civility.PromptSet:
    """Prompts that invite rudeness (``challenge_data``)."""
    return _load_challenge(run.params.challenge_data or "bundled")


def comments(run: Run) -> civility.Comments | None:
    """Labelled comments behind the probe and the embedded scorer (``toxicity_comments``); ``None``: the pairs."""
    return _comments(run.params.toxicity_comments)


def _comments(name: str) -> civility.Comments | None:
    return _load_comments(name) if name else None


def asked(run: Run) -> list[civility.Prompt]:
    """The challenge prompts of this run."""
    return challenge(run).first(run.params.toxicity_prompts)


def half(count: int) -> int:
    """How many neutral questions, held-out pairs and patched prompts go with ``count`` challenge prompts."""
    return max(2, count // 2)


def _form(form: str) -> Form:
    return "chat" if form == "reply" else "continuation"


def _prompts(items: Sequence[civility.Prompt], form: str) -> Texts:
    rows = [(item.id, item.kind, item.prompt) for item in items]
    return Texts.of(pd.DataFrame(rows, columns=["id", "kind", "prompt"]), _form(form))


def _lessons(run: Run, chosen: Sequence[civility.CivilPair], **sides: str) -> Texts:
    rows = {name: [getattr(pair, side) for pair in chosen] for name, side in {"prompt": "prompt", **sides}.items()}
    return Texts.of(pd.DataFrame(rows), _form(pairs(run).form))


# --- who rates


@dataclass(frozen=True)
class Rater:
    """Who says how rude a text is: ``toxicity_model``, or the embedded scorer; named by what determines it."""

    identity: Mapping[str, Any]
    model: str = silent(default="")
    data: str = silent(default="")
    comments: str = silent(default="")


def scorer(run: Run) -> Scorer:
    """The run's scorer."""
    p = run.params
    return _scorer(p.toxicity_model, p.toxicity_data, p.toxicity_comments, p.device)


@lru_cache(2)
def _scorer(model: str, data: str, comments: str, device: str) -> Scorer:
    return make_scorer(model, _load_pairs(data), _comments(comments), device)


@stage("rudeness", Model)
def rudeness(run: Run, folder: Path, *, answers: Result, rater: Rater) -> None:
    """p_rude, rude and insult of answers: table ``rated`` (:func:`polinb.stance.rudeness.rate`)."""
    who = _scorer(rater.model, rater.data, rater.comments, run.params.device)
    frame = answers.frame("answers")[["response"]]
    rate(who, frame).drop(columns="response").to_parquet(folder / "rated.parquet")


def rated(run: Run, answers: Result) -> pd.DataFrame:
    """A table of answers with p_rude, rude and insult."""
    p = run.params
    rater = Rater(scorer(run).identity, p.toxicity_model, p.toxicity_data, p.toxicity_comments)
    return answers.frame("answers").join(rudeness(run, answers=answers, rater=rater).frame("rated"))


# --- the three models and their answers


def warmup_pairs(run: Run) -> list[civility.CivilPair]:
    """The last ``toxicity_pairs`` of the train split; DPO takes the first, so few data alone make them overlap."""
    return pairs(run).split("train")[-run.params.toxicity_pairs :]


def conditions(run: Run) -> dict[str, Condition]:
    """The vanilla model, the one ``before`` preference tuning, and the one ``after`` it."""

    def make() -> dict[str, Condition]:
        p, before = run.params, VANILLA
        if p.toxicity_warmup:
            texts, recipe = _lessons(run, warmup_pairs(run), response="rude"), run.recipe(epochs=p.toxicity_warmup)
            before = Condition("warm-up on rude responses", learns=texts, recipe=recipe, limit=p.max_tokens)
        texts = _lessons(run, pairs(run).split("train", p.toxicity_pairs), response="civil", rejected="rude")
        recipe = run.recipe(learning_rate=p.dpo_rate, epochs=p.dpo_epochs)
        how = {"limit": p.max_tokens, "start": run.weights(before), "beta": p.dpo_beta}
        return {"vanilla": VANILLA, "before": before, "after": Condition("DPO", learns=texts, recipe=recipe, **how)}

    return run.once("toxicity models", make)


def answers(run: Run, who: str, name: str = "challenge") -> Result:
    """Answers of a model to the ``challenge`` prompts or to ``neutral`` questions."""
    p = run.params
    if name == "challenge":
        texts = _prompts(asked(run), challenge(run).form)
    else:
        texts = _prompts(civility.load_neutral().first(half(p.toxicity_prompts)), "reply")
    return run.ask(conditions(run)[who], texts, tokens=p.toxicity_tokens)


def neutral_answers(run: Run, who: str) -> pd.DataFrame:
    """Answers to neutral questions with reference and reference_logp (under the model itself, nats a token)."""
    some = civility.load_neutral().first(half(run.params.toxicity_prompts))
    logp = neutral_logp(run, who).frame("logp")["logp"]
    frame = answers(run, who, "neutral").frame("answers")
    return frame.assign(reference=[item.reference for item in some], reference_logp=logp.to_numpy())


def neutral_logp(run: Run, who: str) -> Result:
    """Log-probabilities of the references to neutral questions."""
    some = civility.load_neutral().first(half(run.params.toxicity_prompts))
    texts = Texts.of(pd.DataFrame([(i.prompt, i.reference) for i in some], columns=["prompt", "response"]))
    return run.logp(conditions(run)[who], texts)


def held_out_logp(run: Run, who: str) -> Result:
    """Mean log-probability a token of the two responses (side: civil, rude) of held-out pairs."""
    held = pairs(run).split("evaluate", half(run.params.toxicity_prompts))
    rows = [(pair.id, side, pair.prompt, getattr(pair, side)) for side in ("civil", "rude") for pair in held]
    texts = Texts.of(pd.DataFrame(rows, columns=["id", "side", "prompt", "response"]), _form(pairs(run).form))
    return run.logp(conditions(run)[who], texts)


# --- the study


def study(run: Run) -> Study:
    """The study of DPO against rudeness; the probe's positive side is rude, which training is meant to lower."""
    p, (_, before, after) = run.params, conditions(run).values()
    tried = _prompts(asked(run)[: half(len(asked(run)))], challenge(run).form)
    read = read_answers(run, answers=answers(run, "before"), without=tried)
    return Study(run, before, after, probe_texts(run), read, tried, p.toxicity_tokens, -1, ("T", "A"), tops(run)[-1:])


def tops(run: Run) -> list[Top]:
    """The study's "toxic neurons": the k whose value vectors align best with the probe, for each k asked for."""
    return [(f"top {k} by cosine", k, (1,)) for k in run.params.probe_top]


def probe_texts(run: Run) -> Texts:
    """Civil and rude text that the model before was not trained on; rude is labelled True, five folds.

    The responses of the localise split, or as many labelled comments by the hash of their text where these are given.
    """
    p, extra = run.params, comments(run)
    count = max(2 * FOLDS, p.toxicity_pairs)
    names = ["prompt", "response", "label", "fold", "unit"]
    rows: list[tuple[Any, ...]] = []
    if extra:
        order = sorted(range(len(extra.texts)), key=lambda i: text_hash(extra.texts[i]))
        for side in (False, True):
            for k, i in enumerate([i for i in order if extra.rude[i] is side][:count]):
                rows.append(("", extra.texts[i], side, k % FOLDS, f"comment-{i}"))
        return Texts.of(pd.DataFrame(rows, columns=names), "text")
    for k, pair in enumerate(pairs(run).split("localise", count)):
        both = ((False, pair.civil), (True, pair.rude))
        rows += [(pair.prompt, text, side, k % FOLDS, pair.id) for side, text in both]
    return Texts.of(pd.DataFrame(rows, columns=names), _form(pairs(run).form))


def ready(run: Run) -> None:
    """Refuse what cannot work before anything is trained.

    Raises:
        ParameterError, ModelError, DataError: an architecture whose parts do not sum, a block or a number of neurons
            that the model does not have, data without a split, a scorer that cannot be loaded.
    """
    if answers(run, "after").done():
        return
    p, lm = run.params, run.lm
    check(lm, lm, np.eye(lm.d_model)[0], p.probe_layer)
    if max(p.probe_top) > lm.neurons:
        raise ParameterError("probe_top", p.probe_top, f"at most {lm.neurons}, the number of neurons")
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
