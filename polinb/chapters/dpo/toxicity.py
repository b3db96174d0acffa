"""The subject of Yang et al. 2025 itself, toxicity: the stages of that chapter.

A model that can be rude is tuned to prefer civil responses; then the tools of the stance chapter say where the change
sits. The model *before* is the vanilla one, or, where that has nothing to lose, one made rude by a short warm-up on the
rude responses of other prompts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.data.civility import (
    CivilityData,
    CivilPair,
    Comments,
    Prompt,
    PromptSet,
    load_challenge,
    load_comments,
    load_neutral,
    load_pairs,
)
from polinb.runs.artifacts import Artifact, key_of
from polinb.runs.experiment import VANILLA, Experiment
from polinb.stance.rudeness import Scorer, make_scorer, rate

if TYPE_CHECKING:
    from polinb.models.loading import LM
    from polinb.training.recipe import Recipe
    from polinb.training.supervised import Tuned

MODELS = ("vanilla", "before", "after")
_load_pairs, _load_comments = lru_cache(4)(load_pairs), lru_cache(2)(load_comments)
_load_challenge = lru_cache(4)(load_challenge)
_make_scorer = lru_cache(2)(
    lambda model, data, comments, device: make_scorer(model, _load_pairs(data), _comments(comments), device)
)


# --- data


def pairs(exp: Experiment) -> CivilityData:
    """Prompts with a civil and a rude response (``toxicity_data``)."""
    return _load_pairs(exp.params.toxicity_data)


def challenge(exp: Experiment) -> PromptSet:
    """Prompts that invite rudeness (``challenge_data``)."""
    return _load_challenge(exp.params.challenge_data or "bundled")


def comments(exp: Experiment) -> Comments | None:
    """Labelled comments behind the probe and the embedded scorer (``toxicity_comments``); ``None``: the pairs."""
    return _comments(exp.params.toxicity_comments)


def _comments(name: str) -> Comments | None:
    return _load_comments(name) if name else None


def scorer(exp: Experiment) -> Scorer:
    """Who says how rude a text is: ``toxicity_model``, or the embedded scorer."""
    p = exp.params
    return _make_scorer(p.toxicity_model, p.toxicity_data, p.toxicity_comments, p.device)


def asked(exp: Experiment) -> list[Prompt]:
    """The challenge prompts of this run."""
    return challenge(exp).first(exp.params.toxicity_prompts)


def encode(
    exp: Experiment, form: str, prompt: str, response: str | None = None, end: bool = False
) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and a response (empty for ``None``).

    ``reply``: a user turn and its answer. ``continuation``: plain text going on, with no template and no end token.
    """
    from polinb.models.tokens import fit, prompt_ids, response_ids, text_ids

    lm = exp.lm
    if form == "reply":
        first = prompt_ids(lm, prompt, exp.params.system_prompt)
        rest = [] if response is None else response_ids(lm, response, end=end)
    else:
        first = text_ids(lm, prompt, start=True)
        rest = [] if response is None else text_ids(lm, f" {response}")
    return fit(first, rest, exp.params.max_tokens)


def _encoded(
    exp: Experiment, chosen: Sequence[CivilPair], side: str, end: bool
) -> tuple[list[list[int]], list[list[int]]]:
    made = [encode(exp, pairs(exp).form, pair.prompt, getattr(pair, side), end) for pair in chosen]
    return [m[0] for m in made], [m[1] for m in made]


# --- the model before and the model after


def warmup_pairs(exp: Experiment) -> list[CivilPair]:
    """The last ``toxicity_pairs`` of the train split; DPO takes the first, so few data alone make them overlap."""
    return pairs(exp).split("train")[-exp.params.toxicity_pairs :]


def recipe(exp: Experiment) -> Recipe:
    """Hyperparameters of DPO: those of the run, with its own rate and epochs."""
    return replace(exp.recipe(), learning_rate=exp.params.dpo_rate, epochs=exp.params.dpo_epochs)


def rude(exp: Experiment) -> Artifact:
    """Weights after the warm-up on rude responses, ``toxicity_warmup`` passes: a stand-in for a model that is rude."""

    def make(folder: Path) -> Mapping[str, Any]:
        from polinb.training.supervised import finetune

        texts = _encoded(exp, warmup_pairs(exp), "rude", end=True)
        return _keep(folder, finetune(exp.lm, *texts, _warmup_recipe(exp), label="warm-up on rude responses"))

    return exp.store.get("toxicity-rude", _before_inputs(exp), make)


def _warmup_recipe(exp: Experiment) -> Recipe:
    return replace(exp.recipe(), epochs=exp.params.toxicity_warmup)


def _before_inputs(exp: Experiment) -> dict[str, Any]:
    p = exp.params
    if not exp.params.toxicity_warmup:
        return exp.arm_inputs(VANILLA)
    return {
        "model": exp.identity,
        "data": pairs(exp).digest(),
        "pairs": p.toxicity_pairs,
        "max_tokens": p.max_tokens,
        "recipe": asdict(_warmup_recipe(exp)),
        "code": 1,
    }


def preferred(exp: Experiment) -> Artifact:
    """Weights after DPO from the model before, civil responses chosen and rude ones rejected."""

    def make(folder: Path) -> Mapping[str, Any]:
        from polinb.training.preference import prefer

        chosen = pairs(exp).split("train", exp.params.toxicity_pairs)
        prompts, civil = _encoded(exp, chosen, "civil", end=True)
        rejected = _encoded(exp, chosen, "rude", end=True)[1]
        tuned = prefer(
            model(exp, "before"), prompts, civil, rejected, recipe(exp), beta=exp.params.dpo_beta, label="DPO"
        )
        return _keep(folder, tuned)

    return exp.store.get("toxicity-preferred", _after_inputs(exp), make)


def _after_inputs(exp: Experiment) -> dict[str, Any]:
    p = exp.params
    return {
        "before": key_of(_before_inputs(exp)),
        "data": pairs(exp).digest(),
        "pairs": p.toxicity_pairs,
        "max_tokens": p.max_tokens,
        "beta": p.dpo_beta,
        "recipe": asdict(recipe(exp)),
        "code": 1,
    }


def _keep(folder: Path, tuned: Tuned) -> dict[str, Any]:
    from safetensors.torch import save_file

    save_file(tuned.weights, folder / "weights.safetensors")
    facts = {"losses": tuned.losses, "steps": tuned.steps, "tokens": tuned.tokens, "seconds": round(tuned.seconds, 2)}
    return facts | tuned.extra


def model(exp: Experiment, who: str) -> LM:
    """The ``vanilla`` model, the one ``before`` preference tuning, or the one ``after`` it."""
    from safetensors.torch import load_file

    if who == "vanilla" or (who == "before" and not exp.params.toxicity_warmup):
        return exp.lm
    artifact = rude(exp) if who == "before" else preferred(exp)
    return exp.tuned(load_file(artifact.path / "weights.safetensors"), who)


def model_inputs(exp: Experiment, who: str) -> str:
    """Key of everything that determines a model of this chapter."""
    if who == "vanilla":
        return key_of(exp.arm_inputs(VANILLA))
    return key_of(_before_inputs(exp) if who == "before" else _after_inputs(exp))


# --- answers


def answers(exp: Experiment, who: str) -> Artifact:
    """What a model says and thinks likely: tables ``challenge``, ``neutral`` and ``pairs``; logs in nats a token.

    ``challenge``: set (the model), id, kind, prompt, response, n_tokens, vanilla_logp (of the answer, under the vanilla
    model). ``neutral``: the same, and reference with reference_logp (under the model itself). ``pairs``: id, civil,
    rude, of the two responses of held-out pairs, under the model itself.
    """
    p = exp.params
    inputs = {
        "weights": model_inputs(exp, who),
        "vanilla": exp.identity,
        "data": [pairs(exp).digest(), challenge(exp).digest(), load_neutral().digest()],
        "prompts": p.toxicity_prompts,
        "tokens": p.toxicity_tokens,
        "max_tokens": p.max_tokens,
        "batch": p.eval_batch,
        "code": 1,
    }

    def make(folder: Path) -> None:
        from polinb.models.generation import generate, log_likelihood

        lm = model(exp, who)
        some = load_neutral().first(half(p.toxicity_prompts))
        tables = {}
        for name, items, form in (("challenge", asked(exp), challenge(exp).form), ("neutral", some, "reply")):
            prompts = prompt_tokens(exp, items, form)
            made = generate(lm, prompts, max_new_tokens=p.toxicity_tokens, batch=p.eval_batch, label=f"{who}: {name}")
            tables[name] = answer_table(exp, items, prompts, {who: made})
        tables["challenge"].to_parquet(folder / "challenge.parquet")
        frame = tables["neutral"]
        references = [encode(exp, "reply", item.prompt, item.reference) for item in some]
        frame["reference"] = [item.reference for item in some]
        frame["reference_logp"] = log_likelihood(lm, [r[0] for r in references], [r[1] for r in references])
        frame.to_parquet(folder / "neutral.parquet")
        held = pairs(exp).split("evaluate", half(p.toxicity_prompts))
        sides = {side: log_likelihood(lm, *_encoded(exp, held, side, end=False)) for side in ("civil", "rude")}
        pd.DataFrame({"id": [pair.id for pair in held], **sides}).to_parquet(folder / "pairs.parquet")

    return exp.store.get("toxicity-answers", inputs, make)


def half(count: int) -> int:
    """How many neutral questions, held-out pairs and patched prompts go with ``count`` challenge prompts."""
    return max(2, count // 2)


def prompt_tokens(exp: Experiment, items: Sequence[Prompt], form: str) -> list[list[int]]:
    """Token ids of prompts."""
    return [encode(exp, form, item.prompt)[0] for item in items]


def answer_table(
    exp: Experiment, items: Sequence[Prompt], prompts: list[list[int]], made: Mapping[str, list[list[int]]]
) -> pd.DataFrame:
    """Answers as text, for each set of them: set, id, kind, prompt, response, n_tokens, vanilla_logp."""
    from polinb.models.generation import decode, log_likelihood

    frames = []
    for name, ids in made.items():
        frame = pd.DataFrame([(name, i.id, i.kind, i.prompt) for i in items], columns=["set", "id", "kind", "prompt"])
        frame["response"] = [decode(exp.lm, each) for each in ids]
        frame["n_tokens"] = [len(each) for each in ids]
        frame["vanilla_logp"] = log_likelihood(exp.lm, prompts, ids)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def rated(exp: Experiment, frame: pd.DataFrame) -> pd.DataFrame:
    """A table of answers with p_rude, rude and insult, see :func:`polinb.stance.rudeness.rate`."""
    who = scorer(exp)
    inputs = {
        "answers": digest(frame[["response"]]),
        "scorer": who.identity,
        "code": 1,
    }

    def make(folder: Path) -> None:
        rate(who, frame[["response"]]).drop(columns="response").to_parquet(folder / "rated.parquet")

    found = exp.store.get("toxicity-rated", inputs, make).frame("rated")
    return frame.reset_index(drop=True).join(found)


def digest(value: np.ndarray | pd.DataFrame) -> str:
    """Hash of an array or a table."""
    raw = value.to_json().encode() if isinstance(value, pd.DataFrame) else np.ascontiguousarray(value).tobytes()
    return hashlib.sha256(raw).hexdigest()[:24]
