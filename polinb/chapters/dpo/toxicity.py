"""The subject of Yang et al. 2025 itself, toxicity: data, models, answers and the study of that chapter.

A model that can be rude is tuned to prefer civil responses; then the tools of the stance chapter say where the change
sits. The model *before* is the vanilla one, or, where that has nothing to lose, one made rude by a short warm-up on the
rude responses of other prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from polinb.chapters.dpo import study as dpo
from polinb.chapters.dpo.study import Study, Top, read_answers
from polinb.data.pairs import first
from polinb.errors import ParameterError
from polinb.runs.conditions import VANILLA, Condition, Form, Texts, silent
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.stance import civility
from polinb.stance.rudeness import HubScorer, LocalScorer, Scorer, rate

MODELS = ("vanilla", "before", "after")
FOLDS = 5
_FEWEST = 3  # of each class, so that two are left when a fold is taken out


# --- data


def pairs(run: Run) -> civility.CivilityData:
    """Prompts with a civil and a rude response (``toxicity_data``)."""
    return run.once("civility pairs", lambda: civility.load_pairs(run.params.toxicity_data))


def comments(run: Run) -> civility.Comments | None:
    """Labelled comments behind the probe and the embedded scorer (``toxicity_comments``); ``None``: the pairs."""
    name = run.params.toxicity_comments
    return run.once("comments", lambda: civility.load_comments(name)) if name else None


def asked(run: Run) -> list[civility.Prompt]:
    """Prompts that invite rudeness (``challenge_data``), by the hash of their text: every kind is among them."""
    name = run.params.challenge_data or "bundled"
    return first(run.once("challenge", lambda: civility.load_challenge(name)), None, run.params.toxicity_prompts)


def neutral(run: Run) -> list[civility.Neutral]:
    """The neutral questions of this run, each with a reference answer."""
    return first(civility.load_neutral(), None, half(run.params.toxicity_prompts))


def half(count: int) -> int:
    """How many neutral questions, held-out pairs and patched prompts go with ``count`` challenge prompts."""
    return max(2, count // 2)


def _form(form: str) -> Form:
    return "chat" if form == "reply" else "continuation"


def _prompts(items: Sequence[civility.Prompt]) -> Texts:
    rows = [(item.id, item.kind, item.prompt) for item in items]
    return Texts.of(pd.DataFrame(rows, columns=["id", "kind", "prompt"]), _form(items[0].form))


def _lessons(run: Run, chosen: Sequence[civility.CivilPair], **sides: str) -> Texts:
    rows = {name: [getattr(pair, side) for pair in chosen] for name, side in {"prompt": "prompt", **sides}.items()}
    return Texts.of(pd.DataFrame(rows), _form(pairs(run).form))


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
        "scorer", lambda: HubScorer(name, device=device) if name else LocalScorer(pairs(run), comments(run))
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
    prompts = asked(run) if name == "challenge" else neutral(run)
    return run.ask(conditions(run)[who], _prompts(prompts), tokens=run.params.toxicity_tokens)


def neutral_logp(run: Run, who: str) -> Result:
    """Log-probabilities of the references to neutral questions."""
    rows = [(each.prompt, each.reference) for each in neutral(run)]
    texts = Texts.of(pd.DataFrame(rows, columns=["prompt", "response"]))
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
    _, before, after = conditions(run).values()
    tried = _prompts(asked(run)[: half(len(asked(run)))])
    return Study(
        run,
        before=before,
        after=after,
        probed=probe_texts(run),
        read=read_answers(run, answers=answers(run, "before"), without=tried),
        asked=_prompts(asked(run)),
        tried=tried,
        tokens=run.params.toxicity_tokens,
        rate=rated,
        sign=-1,
        letters=("T", "A"),
        tops=tops(run)[-1:],
    )


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
    if extra:
        rows = [
            ("", extra.texts[i], rude, k % FOLDS, f"comment-{i}")
            for rude, chosen in zip((False, True), extra.first(count), strict=True)
            for k, i in enumerate(chosen)
        ]
        return Texts.of(pd.DataFrame(rows, columns=names), "text")
    rows = [
        (pair.prompt, text, text == pair.rude, k % FOLDS, pair.id)
        for k, pair in enumerate(pairs(run).split("localise", count))
        for text in (pair.civil, pair.rude)
    ]
    return Texts.of(pd.DataFrame(rows, columns=names), _form(pairs(run).form))


def ready(run: Run) -> None:
    """Refuse what cannot work before anything is trained.

    Raises:
        ParameterError, ModelError, DataError: an architecture whose parts do not sum, a block or a number of neurons
            that the model does not have, data without a split, a scorer that cannot be loaded.
    """
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
