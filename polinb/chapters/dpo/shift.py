"""Where the stance shift of preference fine-tuning lives: the stages of that chapter (Yang et al. 2025)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.errors import DataError, ParameterError
from polinb.resampling import bootstrap_mean, changes
from polinb.runs.artifacts import Artifact, key_of
from polinb.runs.experiment import VANILLA, Experiment

if TYPE_CHECKING:
    from polinb.models.loading import LM
    from polinb.scoring.decompose import Parts
    from polinb.training.recipe import Recipe

SIDES = ("right", "left")


# --- preference fine-tuning


def pairs(exp: Experiment, side: str = "right") -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Training pairs as token ids: prompts, chosen, rejected; ``dpo_pairs`` spread evenly over the topics."""
    p = exp.params
    every, more = divmod(p.dpo_pairs, len(p.topics))
    other = {"right": "left", "left": "right"}[side]
    rows = []
    for number, topic in enumerate(p.topics):
        count = every + (number < more)
        for pair in exp.data.topic(topic, "train", count, leaning="both") if count else []:
            prompt, chosen = _ids(exp, pair.prompt, pair.response(side), end=True)
            rows.append((prompt, chosen, _ids(exp, pair.prompt, pair.response(other), end=True)[1]))
    prompts, chosen_ids, rejected_ids = (list(part) for part in zip(*rows, strict=True))
    return prompts, chosen_ids, rejected_ids


def recipe(exp: Experiment) -> Recipe:
    """Hyperparameters of preference fine-tuning: those of the run, with its own rate and epochs."""
    return replace(exp.recipe(), learning_rate=exp.params.dpo_rate, epochs=exp.params.dpo_epochs)


def preferred(exp: Experiment, side: str = "right") -> Artifact:
    """Weights after DPO with the responses of ``side`` chosen and the others rejected; ``left`` is the mirror."""

    def make(folder: Path) -> Mapping[str, Any]:
        from polinb.models.variants import save_variant
        from polinb.training.preference import prefer

        refuse(exp)
        label = f"DPO {side}"
        tuned = prefer(exp.lm, *pairs(exp, side), recipe(exp), beta=exp.params.dpo_beta, label=label)
        save_variant(folder, tuned.weights)
        facts = {name: getattr(tuned, name) for name in ("losses", "steps", "tokens", "seconds")}
        return facts | tuned.extra

    return exp.store.get("preferred", _preferred_inputs(exp, side), make)


def refuse(exp: Experiment) -> None:
    """Refuse, before anything is trained, a run whose shift could not be decomposed afterwards.

    Raises:
        ParameterError: as :func:`check_questions`.
        ModelError, ParameterError: as ``decompose.check`` and ``shares.top_cosine``.
    """
    from polinb.scoring.decompose import check
    from polinb.scoring.shares import top_cosine

    check_questions(exp)

    p, lm = exp.params, exp.lm
    check(lm, lm, np.eye(int(lm.model.config.hidden_size))[0], p.probe_layer)
    for k in p.probe_top:
        top_cosine(np.zeros((lm.layers, lm.width)), k)


def _preferred_inputs(exp: Experiment, side: str) -> dict[str, Any]:
    p = exp.params
    return {
        "model": exp.identity,
        "data": exp.data.digest(),
        "topics": p.topics,
        "side": side,
        "pairs": p.dpo_pairs,
        "beta": p.dpo_beta,
        "max_tokens": p.max_tokens,
        "recipe": asdict(recipe(exp)),
        "code": recipe(exp).code,
    }


def load_preferred(exp: Experiment, side: str = "right") -> LM:
    """The model after DPO, ready to run."""
    from polinb.models.variants import load_variant

    return load_variant(exp.lm, preferred(exp, side).path, f"DPO {side}")


def training(exp: Experiment) -> pd.DataFrame:
    """Course of both trainings: side, step, loss, margin (β × gain of chosen over rejected, before the step), accuracy.

    With one epoch every pair is new when it is read, so these margins are on pairs not yet trained on.
    """
    parts = []
    for side in SIDES:
        facts = preferred(exp, side).summary
        columns = {"loss": facts["losses"], "margin": facts["margins"], "accuracy": facts["accuracies"]}
        parts.append(pd.DataFrame({"side": side, "step": range(1, len(facts["losses"]) + 1), **columns}))
    return pd.concat(parts, ignore_index=True)


def held_out_margins(exp: Experiment) -> pd.DataFrame:
    """Shift of the likelihood stance on evaluation questions after DPO and after its mirror.

    Returns:
        side (chosen in training), topic (and ``all``), n, shift, low, high: change of log p(right) − log p(left), in
        nats a token, paired with the vanilla model; moved (share of questions that moved towards the chosen side).
    """
    p = exp.params
    plain = exp.answers(VANILLA).frame("likelihood").set_index(["topic", "id"])
    rows = []
    for side in SIDES:
        own = _likelihoods(exp, side).set_index(["topic", "id"])
        moved = changes(*(frame["logp_right"] - frame["logp_left"] for frame in (plain, own)))
        sign = 1 if side == "right" else -1
        for topic, values in [*moved.groupby("topic", sort=False), ("all", moved)]:
            bounds = bootstrap_mean(values.to_numpy(), p.bootstrap, p.seed)
            rows.append([side, topic, len(values), *bounds, float((sign * values > 0).mean())])
    return pd.DataFrame(rows, columns=["side", "topic", "n", "shift", "low", "high", "moved"])


def _likelihoods(exp: Experiment, side: str) -> pd.DataFrame:
    """The vanilla model's table of likelihoods (``exp.answers``) for the model after DPO."""
    p = exp.params
    inputs = {
        "weights": weights_key(exp, side),
        "data": exp.data.digest(),
        "topics": p.topics,
        "questions": p.likelihood_questions,
        "template": p.answer_template,
        "max_tokens": p.max_tokens,
        "code": 1,
    }

    def make(folder: Path) -> None:
        from polinb.models.generation import log_likelihood

        lm = load_preferred(exp, side)
        asked = exp.questions(p.likelihood_questions)
        out = asked[["topic", "id"]].copy()
        for each in ("left", "right"):
            texts = [_ids(exp, q, r, end=False) for q, r in zip(asked["prompt"], asked[each], strict=True)]
            out[f"logp_{each}"] = log_likelihood(lm, [t[0] for t in texts], [t[1] for t in texts])
        out.to_parquet(folder / "likelihood.parquet")

    return exp.store.get("likelihood", inputs, make).frame("likelihood")


# --- the probe


def states(exp: Experiment) -> tuple[np.ndarray, pd.DataFrame]:
    """Mean hidden states of reference responses of the localise split, (texts, L, d_model), and topic, id, right."""
    p = exp.params

    def make(folder: Path) -> None:
        from safetensors.numpy import save_file

        from polinb.scoring.residual import mean_states

        rows, texts = [], []
        for topic in p.topics:
            for pair in exp.data.topic(topic, "localise", p.probe_texts, leaning="both"):
                for side in SIDES:
                    rows.append((topic, pair.id, side == "right"))
                    texts.append(_ids(exp, pair.prompt, pair.response(side), end=False))
        found = mean_states(exp.lm, [t[0] for t in texts], [t[1] for t in texts])
        save_file({"states": found}, folder / "states.safetensors")
        pd.DataFrame(rows, columns=["topic", "id", "right"]).to_parquet(folder / "texts.parquet")

    artifact = exp.store.get("states", _state_inputs(exp), make)
    return artifact.arrays("states")["states"], artifact.frame("texts")


def _state_inputs(exp: Experiment) -> dict[str, Any]:
    p = exp.params
    return {
        "model": exp.identity,
        "data": exp.data.digest(),
        "topics": p.topics,
        "texts": p.probe_texts,
        "max_tokens": p.max_tokens,
        "code": 1,
    }


def probes(exp: Experiment) -> pd.DataFrame:
    """Leave-one-topic-out accuracy and AUC of both probes after every block (see ``probes.probe_table``)."""
    from polinb.scoring.probes import probe_table

    p = exp.params
    found, texts = states(exp)
    inputs = {
        "states": key_of(_state_inputs(exp)),
        "bootstrap": p.bootstrap,
        "seed": p.seed,
        "code": 1,
    }

    def make(folder: Path) -> None:
        labels, topics, ids = (texts[name].to_numpy() for name in ("right", "topic", "id"))
        units = np.char.add(np.char.add(topics.astype(str), "/"), ids.astype(str))
        table = probe_table(found, labels, topics, units, n_boot=p.bootstrap, seed=p.seed)
        table.to_parquet(folder / "probes.parquet")

    return exp.store.get("probes", inputs, make).frame("probes")


def direction(exp: Experiment, kind: str | None = None) -> np.ndarray:
    """The probe's unit direction w after ``probe_layer``, fitted on all its texts; positive is right."""
    from polinb.scoring.probes import layer_direction

    found, texts = states(exp)
    return layer_direction(found, texts["right"].to_numpy(bool), exp.params.probe_layer, kind or exp.params.probe)


# --- the decomposition


def causal_questions(exp: Experiment) -> pd.DataFrame:
    """The last ``group_questions`` evaluation questions a topic, which no decomposition reads: topic, id, prompt."""
    return exp.questions().groupby("topic", sort=False).tail(exp.params.group_questions)[["topic", "id", "prompt"]]


def check_questions(exp: Experiment) -> None:
    """Refuse a run in which no question would be left to choose groups on.

    Raises:
        ParameterError: ``group_questions`` is not below the number of evaluation questions of a topic.
    """
    fewest = int(exp.questions().groupby("topic").size().min())
    if exp.params.group_questions >= fewest:
        raise ParameterError(
            "group_questions",
            exp.params.group_questions,
            f"fewer than the evaluation questions of a topic ({fewest})",
            "Groups are chosen on other questions than those they are tried on",
        )


def read_texts(exp: Experiment) -> pd.DataFrame:
    """What both models read: the vanilla model's own answers to ``probe_texts`` evaluation questions a topic.

    The last ``group_questions`` questions of a topic are left out: groups of neurons are chosen on these texts and must
    be tried on others (:func:`causal_questions`).

    Raises:
        DataError: every answer is empty.
    """
    own = exp.answers(VANILLA).frame("answers")
    tried = causal_questions(exp)
    own = own[~pd.MultiIndex.from_frame(own[["topic", "id"]]).isin(pd.MultiIndex.from_frame(tried[["topic", "id"]]))]
    own = own[own["response"].str.strip() != ""].groupby("topic", sort=False).head(exp.params.probe_texts)
    if own.empty:
        raise DataError("the vanilla model gave no answer with text: there is nothing to decompose a shift on")
    return own[["topic", "id", "prompt", "response"]]


def parts(exp: Experiment, side: str = "right", kind: str | None = None) -> Parts:
    """Exact parts of the change of h·w by DPO (``left``: by its mirror) on :func:`read_texts`."""
    from polinb.scoring.decompose import Parts, decompose

    def make(folder: Path) -> Mapping[str, Any]:
        from safetensors.numpy import save_file

        own = read_texts(exp)
        fitted = [_ids(exp, q, r, end=False) for q, r in zip(own["prompt"], own["response"], strict=True)]
        prompts, responses = zip(*fitted, strict=True)
        after, w = load_preferred(exp, side), direction(exp, kind)
        found = decompose(exp.lm, after, prompts, responses, w, layer=exp.params.probe_layer)
        save_file(found.arrays(), folder / "parts.safetensors")
        return found.facts()

    artifact = exp.store.get("parts", parts_inputs(exp, side, kind), make)
    return Parts.from_arrays(artifact.arrays("parts"), artifact.summary)


def parts_inputs(exp: Experiment, side: str, kind: str | None = None) -> dict[str, Any]:
    """Everything that determines :func:`parts`."""
    p = exp.params
    return {
        "before": weights_key(exp, None),
        "after": weights_key(exp, side),
        "states": key_of(_state_inputs(exp)),
        "probe": kind or p.probe,
        "layer": p.probe_layer,
        "texts": hashlib.sha256(read_texts(exp).to_json().encode()).hexdigest(),
        "max_tokens": p.max_tokens,
        "code": 1,
    }


# --- what the stages share


def _ids(exp: Experiment, prompt: str, response: str, *, end: bool) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and a response as every stage of the book makes them."""
    from polinb.models.tokens import fit, prompt_ids, response_ids

    asked = prompt_ids(exp.lm, prompt, exp.params.system_prompt)
    return fit(asked, response_ids(exp.lm, response, end=end), exp.params.max_tokens)


def weights_key(exp: Experiment, side: str | None) -> str:
    """Key of the weights after DPO, or of the vanilla model."""
    return key_of(_preferred_inputs(exp, side) if side else exp.arm_inputs(VANILLA))
