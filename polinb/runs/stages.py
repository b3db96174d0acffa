"""The stored stages that all studies share: scores, neurons, answers, likelihoods, states, labels, patching.

Each is called with a run and its inputs and gives a :class:`polinb.runs.results.Result`. ``model`` is the weights of a
condition, None the vanilla model; ``limit`` the longest text in tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.errors import ArtifactError, JudgeError, TrainingError
from polinb.masking.random_sets import KINDS, random_set
from polinb.models.lm import LM
from polinb.runs.artifacts import save_arrays
from polinb.runs.base import Base
from polinb.runs.conditions import Apart, Texts, encode
from polinb.runs.groups import Judge, Model
from polinb.runs.results import Result, stage
from polinb.runs.weights import mask_of, model_of
from polinb.scoring.pnlac import neuron_sets, normalised

if TYPE_CHECKING:
    from polinb.models.tokens import Ids
    from polinb.scoring.tracing import Contrast

# --- PNLAC


@stage("scores", Model, version=2, memory="score")  # 2: token ids are kept
def scores(
    run: Base,
    folder: Path,
    *,
    left: Result,
    right: Result,
    asked: Texts,
    source: str,
    tokens: int,
    limit: int,
    batch: int,
    positions: str = "response",
) -> Mapping[str, Any]:
    """Streamed PNLAC sums of a topic's left and right variants (paper 3.2): arrays ``sums``, table ``responses``.

    Args:
        asked: prompt, left, right; the responses of the data.
        source: whose responses both are read on: left, right, both, vanilla or dataset.
        tokens: longest response.
        positions: ``response`` tokens, or those from which they are ``generating`` (one earlier).
    """
    from polinb.models.generation import decode
    from polinb.scoring.tracing import contrast

    models = {"left": model_of(run, left, "left"), "right": model_of(run, right, "right"), "vanilla": run.lm}
    prompts, responses, whose = read_on(models, asked, source, tokens, limit, batch, run.params.system_prompt)
    sums = contrast(
        models.pop("left"), models.pop("right"), run.lm, prompts, responses, generating=positions == "generating"
    )
    names = ("squared_difference", "difference", "vanilla", "vanilla_squared")
    save_arrays(folder / "sums.safetensors", {name: getattr(sums, name) for name in names})
    texts = [decode(run.lm, ids) for ids in responses]
    read = {"source": whose, "response": texts, "prompt_ids": prompts, "response_ids": responses}
    pd.DataFrame(read).to_parquet(folder / "responses.parquet")
    return {"tokens": sums.tokens, "texts": len(texts)}


def read_on(
    models: Mapping[str, LM], texts: Texts, source: str, tokens: int, limit: int, batch: int, system: Any
) -> tuple[list[list[int]], list[list[int]], list[str]]:
    """Prompts, responses w_1 to read the two models on, and whose response each is."""
    from polinb.models.generation import generate
    from polinb.models.tokens import fit, prompt_ids, response_ids

    lm = models["vanilla"]
    asked = [prompt_ids(lm, prompt, system) for prompt in texts.rows["prompt"]]
    prompts: list[list[int]] = []
    responses: list[list[int]] = []
    whose: list[str] = []
    for side in ("left", "right") if source in ("both", "dataset") else (source,):
        if source == "dataset":
            made = [response_ids(lm, said, end=False)[:tokens] for said in texts.rows[side]]
        else:
            made = generate(models[side], asked, max_new_tokens=tokens, batch=batch)
        fitted = [fit(a, m, limit) for a, m in zip(asked, made, strict=True)]
        prompts += [f[0] for f in fitted]
        responses += [f[1] for f in fitted]
        whose += [side] * len(made)
    return prompts, responses, whose


def contrast_of(scores: Result) -> Contrast:
    """The sums of a ``scores`` result."""
    from polinb.scoring.tracing import Contrast

    return Contrast(**scores.arrays("sums"), tokens=int(scores.summary["tokens"]))


def scale_of(sums: Sequence[Contrast]) -> np.ndarray:
    """Root mean square of vanilla activations on the texts of several topics, (L, F)."""
    return np.sqrt(sum(s.vanilla_squared for s in sums) / sum(s.tokens for s in sums))


@stage("neutral-scale", Model)
def neutral_scale(run: Base, folder: Path, *, texts: Texts, limit: int) -> Mapping[str, Any]:
    """Activation scale of the vanilla model on everyday answers: arrays ``rms``, ``scale`` (L, F)."""
    from polinb.scoring.tracing import activation_scale

    read = encode(run.lm, texts, run.params.system_prompt, limit)
    save_arrays(folder / "rms.safetensors", {"scale": activation_scale(run.lm, *read)})
    return {"texts": len(texts)}


@stage("neurons")
def neurons(
    run: Base,
    folder: Path,
    *,
    kind: str,
    gamma: float,
    pool: str,
    normalise: str,
    scores: Mapping[str, Result],
    topic: str = "",
    seed: int = 0,
) -> Mapping[str, Any]:
    """FFN neurons by a rule over the scores of all topics: arrays ``neurons``, ``mask`` (L, F) uint8.

    Args:
        kind: general (G), heldout (G without ``topic``), specific (S_t), all; or a random set of the size of G drawn
            with ``seed``: uniform, layer, next_highest (:func:`polinb.masking.random_sets.random_set`).

    Raises:
        TrainingError: G is empty.
    """
    keys = list(map(str, scores.values()))
    sums = run.once(("contrasts", *keys), lambda: {t: contrast_of(found) for t, found in scores.items()})
    rule = ("rule", gamma, pool, normalise, *keys)
    sets = run.once(rule, lambda: neuron_sets(scores_of(sums, normalise), gamma, pool))
    if kind in KINDS:
        mask = random_set(kind, sets.general, scale_of(list(sums.values())), seed=seed)
    else:
        mask = {
            "all": lambda: np.ones_like(sets.general),
            "general": lambda: sets.general,
            "heldout": lambda: sets.general_without(topic),
            "specific": lambda: sets.specific[topic],
        }[kind]()
    if kind == "general" and not mask.any():
        raise TrainingError(empty(gamma))
    save_arrays(folder / "neurons.safetensors", {"mask": mask.astype(np.uint8)})
    return {"neurons": int(mask.sum())}


def scores_of(sums: Mapping[str, Contrast], normalise: str) -> dict[str, np.ndarray]:
    """Topic → PNLAC score (L, F), raw or normalised."""
    return {t: s.score if normalise == "none" else normalised(s.score, s.vanilla_std) for t, s in sums.items()}


def empty(gamma: float) -> str:
    """What to tell where G is empty."""
    return f"no neuron is among the top {gamma} % of every topic: there is nothing to freeze or patch; raise gamma"


# --- answers, likelihoods, states


@stage("answers", Model, memory="ask")
def answers(
    run: Base,
    folder: Path,
    *,
    model: Result | None,
    asked: Texts,
    tokens: int,
    batch: int,
    scored: int | None = None,
    samples: int = 1,
    seed: int = 0,
    label: Apart = Apart(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """What a model says: table ``answers``, the rows of ``asked`` with response, n_tokens, vanilla_logp.

    Args:
        tokens: longest answer.
        scored: of how many rows a topic fluency under the vanilla model is measured (mean natural log-probability a
            token; it costs a forward pass); None: of all.
        samples: more than 1: so many sampled answers a row, with a column ``sample``, instead of the greedy one.
    """
    from polinb.models.generation import generate, log_likelihood

    lm = model_of(run, model, label.value)
    rows = asked.rows
    if samples > 1:
        rows = rows.loc[rows.index.repeat(samples)].reset_index(drop=True)
        rows = rows.assign(sample=np.tile(np.arange(samples), len(asked)))
    prompts = encode(lm, Texts("", asked.form, rows), run.params.system_prompt, _LONG)[0]
    how: dict[str, Any] = {"temperature": 1.0, "seed": seed} if samples > 1 else {}
    made = generate(lm, prompts, max_new_tokens=tokens, batch=batch, label=f"{label.value} answers".strip(), **how)
    out = said(lm, rows, made)
    some = np.arange(len(out))
    if scored is not None:
        some = np.flatnonzero(rows.groupby("topic", sort=False).cumcount() < scored)
    logp = log_likelihood(run.lm, [prompts[k] for k in some], [made[k] for k in some])
    out.loc[out.index[some], "vanilla_logp"] = logp
    out.to_parquet(folder / "answers.parquet")
    return {} if model is None else {"training": model.summary}


_LONG = 2**31  # a question is never cut: generation says where it does not fit


def said(lm: LM, rows: pd.DataFrame, made: Ids) -> pd.DataFrame:
    """Answers as text beside what was asked: the rows with response, n_tokens, and vanilla_logp still unknown."""
    from polinb.models.generation import decode

    out = rows.drop(columns=["response", "system"], errors="ignore")
    out["response"] = [decode(lm, ids) for ids in made]
    out["n_tokens"] = [len(ids) for ids in made]
    out["vanilla_logp"] = np.nan
    return out


@stage("logp", Model)
def logp(run: Base, folder: Path, *, model: Result | None, texts: Texts, limit: int) -> None:
    """Mean natural log-probability a token of responses: table ``logp``, the rows of ``texts`` without texts, and logp.

    Sides (column ``side``) are read one after the other, so that none depends on the lengths of the other.
    """
    from polinb.models.generation import log_likelihood

    lm = model_of(run, model)
    rows = texts.rows
    out = rows.drop(columns=["prompt", "response", "system"], errors="ignore")
    out["logp"] = np.nan
    for _, side in rows.groupby("side", sort=False) if "side" in rows else [("", rows)]:
        read = encode(run.lm, Texts("", texts.form, side), run.params.system_prompt, limit)
        out.loc[side.index, "logp"] = log_likelihood(lm, *read)
    out.to_parquet(folder / "logp.parquet")


@stage("states", Model)
def states(run: Base, folder: Path, *, model: Result | None, texts: Texts, limit: int) -> None:
    """Mean hidden state of each response after every block: arrays ``states``, (texts, L, d_model) float32."""
    from polinb.scoring.residual import mean_states

    read = encode(run.lm, texts, run.params.system_prompt, limit)
    save_arrays(folder / "states.safetensors", {"states": mean_states(model_of(run, model), *read)})


def wide(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A long table of ``logp`` with one column a side: the keys, then logp_<side>.

    Raises:
        ArtifactError: the sides do not hold the same rows in the same order.
    """
    parts = {side: part.reset_index(drop=True) for side, part in frame.groupby("side", sort=False)}
    out = next(iter(parts.values()))[keys].copy()
    for side, part in parts.items():
        if not part[keys].equals(out[keys]):
            raise ArtifactError(f"likelihoods of {side!r} are of other rows than those beside them")
        out[f"logp_{side}"] = part["logp"]
    return out


@stage("patched", Model, memory="patch")
def patched(
    run: Base, folder: Path, *, chosen: Result, asked: Sequence[Sequence[Any]], mode: str, tokens: int, batch: int
) -> Mapping[str, Any]:
    """Answers of the vanilla model with ``chosen`` neurons patched: table ``answers``, as :func:`answers` gives it.

    Args:
        asked: pairs of a donor's weights and the texts that it is patched on.
        mode: as in :func:`polinb.masking.patching.patched_answers`.
    """
    from polinb.masking.patching import patched_answers

    mask, parts = mask_of(chosen), []
    for donor, texts in asked:
        prompts = encode(run.lm, texts, run.params.system_prompt, _LONG)[0]
        made = patched_answers(
            run.lm, model_of(run, donor, "donor"), mask, prompts, max_new_tokens=tokens, mode=mode, batch=batch
        )
        parts.append(said(run.lm, texts.rows, made).drop(columns="vanilla_logp"))
    pd.concat(parts, ignore_index=True).to_parquet(folder / "answers.parquet")
    return {"neurons": int(mask.sum())}


# --- labels


@stage("given")
def given(run: Base, folder: Path, *, texts: Texts) -> None:
    """A table that no model made, so that it can be rated: table ``answers``."""
    texts.rows.to_parquet(folder / "answers.parquet")


class UnratedError(JudgeError):
    """Some answers could not be rated, so the ``table`` must not be kept as finished."""

    def __init__(self, table: pd.DataFrame, told: str) -> None:
        super().__init__(told)
        self.table = table


@stage("rated", Judge)
def rate(run: Base, folder: Path, *, answers: Result, table: str) -> Mapping[str, Any]:
    """Judge labels of a table of answers: table ``rated``, topic, id, prompt, response, label, score, p_right."""
    frame = answers.frame(table)
    rated = run.judge.rate(frame[["topic", "id", "prompt", "response"]])
    unrated = (rated["label"] == "unrated") & (frame["response"].str.strip() != "").to_numpy()
    if unrated.any():
        reasons = rated[unrated].get("reason", pd.Series(dtype=object)).value_counts()
        why = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
        told = f"{unrated.sum()} of {len(rated)} answers were not rated{f' ({why})' if why else ''}"
        raise UnratedError(rated, f"{told}. The other ratings are kept; run again when the judge answers")
    rated.to_parquet(folder / "rated.parquet")
    # of a chat model: the share of its replies that were no rating
    return {"judge": run.judge.name, **rated.attrs}
