"""Where the loss of toxicity sits: probe, exact parts, four groups (Yang et al. 2025)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.chapters.dpo.toxicity import (
    answers,
    asked,
    challenge,
    comments,
    digest,
    encode,
    half,
    model,
    model_inputs,
    pairs,
    scorer,
)
from polinb.data.civility import Comments
from polinb.data.rows import text_hash
from polinb.errors import DataError, ParameterError
from polinb.runs.experiment import Experiment
from polinb.scoring.shares import STUDY, Group, groups, held_out_shares, null_share, shares, top_cosine

if TYPE_CHECKING:
    from polinb.scoring.decompose import Parts

DOWN = -1
"""Training is meant to lower the projection on the probe, whose positive side is rude."""
LETTERS = ("T", "A")
FOLDS = 5
_FEWEST = 3  # of each class, so that two are left when a fold is taken out


def ready(exp: Experiment) -> None:
    """Refuse what cannot work before anything is trained.

    Raises:
        ParameterError, ModelError, DataError: an architecture whose parts do not sum, a block or a number of neurons
            that the model does not have, data without a split, a scorer that cannot be loaded.
    """
    from polinb.scoring.decompose import check

    p, lm = exp.params, exp.lm
    check(lm, lm, np.eye(1, int(lm.model.config.hidden_size))[0], p.probe_layer)
    if max(p.probe_top) > lm.neurons:
        raise ParameterError("probe_top", p.probe_top, f"at most {lm.neurons}, the number of neurons")
    for split in ("train", "localise", "evaluate"):
        pairs(exp).split(split)
    extra = comments(exp)
    sides = (
        [int(np.sum(np.asarray(extra.rude) == side)) for side in (False, True)]
        if extra
        else [len(pairs(exp).split("localise"))] * 2
    )
    if min(sides) < _FEWEST:
        name = "toxicity_comments" if extra else "toxicity_data"
        allowed = f"at least {_FEWEST} civil and {_FEWEST} rude texts for the probe and its {FOLDS} folds"
        raise ParameterError(name, f"{sides[0]} civil, {sides[1]} rude", allowed)
    if len(asked(exp)) < 4:
        why = "Neuron groups are chosen on one half and tried on the other"
        raise ParameterError("challenge_data", f"{len(asked(exp))} prompts", "at least 4 prompts", why)
    scorer(exp)


# --- the probe


def states(exp: Experiment) -> tuple[np.ndarray, pd.DataFrame]:
    """Mean hidden states of the model before on civil and rude text that it was not trained on.

    Text: the responses of the localise split, or as many labelled comments where these are given.

    Returns:
        (texts, L, d_model) float32; and a table: id (what is resampled together), fold, rude.
    """
    p, extra = exp.params, comments(exp)
    count = max(2 * FOLDS, p.toxicity_pairs)
    inputs = {
        "weights": model_inputs(exp, "before"),
        "data": extra.digest() if extra else pairs(exp).digest(),
        "texts": count,
        "folds": FOLDS,
        "max_tokens": p.max_tokens,
        "code": 1,
    }

    def make(folder: Path) -> None:
        from safetensors.numpy import save_file

        from polinb.scoring.residual import mean_states

        if extra:
            rows, texts = _comment_texts(exp, extra, count)
        else:
            chosen, form = pairs(exp).split("localise", count), pairs(exp).form
            rows = [(pair.id, k % FOLDS, side) for k, pair in enumerate(chosen) for side in (False, True)]
            texts = [encode(exp, form, pair.prompt, text) for pair in chosen for text in (pair.civil, pair.rude)]
        found = mean_states(model(exp, "before"), [t[0] for t in texts], [t[1] for t in texts])
        save_file({"states": found}, folder / "states.safetensors")
        pd.DataFrame(rows, columns=["id", "fold", "rude"]).to_parquet(folder / "texts.parquet")

    artifact = exp.store.get("toxicity-states", inputs, make)
    return artifact.arrays("states")["states"], artifact.frame("texts")


def _comment_texts(exp: Experiment, extra: Comments, count: int) -> tuple[list[Any], list[Any]]:
    """``count`` comments a class by the hash of their text: plain text after one token that starts texts."""
    from polinb.models.tokens import fit, text_ids

    tokenizer = exp.lm.tokenizer
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    order = sorted(range(len(extra.texts)), key=lambda i: text_hash(extra.texts[i]))
    rows: list[Any] = []
    texts: list[Any] = []
    for side in (False, True):
        for k, i in enumerate([i for i in order if extra.rude[i] is side][:count]):
            ids = text_ids(exp.lm, extra.texts[i])
            rows.append((f"comment-{i}", k % FOLDS, side))
            texts.append(fit([int(start)], ids, exp.params.max_tokens))
    return rows, texts


def probes(exp: Experiment) -> pd.DataFrame:
    """Held-out accuracy and AUC of both probes after every block, five folds (see ``probes.probe_table``)."""
    from polinb.scoring.probes import probe_table

    p = exp.params
    found, texts = states(exp)
    inputs = {"states": digest(found), "texts": digest(texts), "bootstrap": p.bootstrap, "seed": p.seed}
    inputs["code"] = 1

    def make(folder: Path) -> None:
        labels, folds, units = texts["rude"].to_numpy(bool), texts["fold"].to_numpy(), texts["id"].to_numpy()
        probe_table(found, labels, folds, units, n_boot=p.bootstrap, seed=p.seed).to_parquet(folder / "probes.parquet")

    return exp.store.get("toxicity-probes", inputs, make).frame("probes")


def direction(exp: Experiment) -> np.ndarray:
    """The probe's unit direction w after ``probe_layer``, fitted on all its texts; positive is rude."""
    from polinb.scoring.probes import layer_direction

    found, texts = states(exp)
    return layer_direction(found, texts["rude"].to_numpy(bool), exp.params.probe_layer, exp.params.probe)


# --- the decomposition


def read_texts(exp: Experiment) -> tuple[list[list[int]], list[list[int]]]:
    """What both models read: the answers of the model before to the challenge prompts.

    Those that the groups are tried on (the first half, ``toxicity_causal.few``) are left out.

    Raises:
        DataError: every answer is empty.
    """
    own = answers(exp, "before").frame("challenge").iloc[half(len(asked(exp))) :]
    own = own[own["response"].str.strip() != ""]
    if own.empty:
        raise DataError("the model before gave no answer with text: there is nothing to decompose a change on")
    form = challenge(exp).form
    made = [encode(exp, form, asked, said) for asked, said in zip(own["prompt"], own["response"], strict=True)]
    return [m[0] for m in made], [m[1] for m in made]


def parts(exp: Experiment) -> Parts:
    """Exact parts of the change of h·w by DPO on :func:`read_texts`."""
    from polinb.scoring.decompose import Parts, decompose

    p = exp.params
    w, texts = direction(exp), read_texts(exp)
    inputs = {
        "before": model_inputs(exp, "before"),
        "after": model_inputs(exp, "after"),
        "direction": digest(w),
        "layer": p.probe_layer,
        "texts": hashlib.sha256(repr(texts).encode()).hexdigest()[:24],
        "code": 1,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        from safetensors.numpy import save_file

        found = decompose(model(exp, "before"), model(exp, "after"), *texts, w, layer=p.probe_layer)
        save_file(found.arrays(), folder / "parts.safetensors")
        return found.facts()

    artifact = exp.store.get("toxicity-parts", inputs, make)
    return Parts.from_arrays(artifact.arrays("parts"), artifact.summary)


def four(found: Parts) -> dict[str, Group]:
    """TP, AN (which must shrink), TN, AP (which must grow): neurons whose contribution fell, by sign."""
    return groups(found.cosine, found.mean_before, found.neurons, DOWN, LETTERS)


def tops(exp: Experiment, found: Parts) -> dict[str, np.ndarray]:
    """The study's "toxic neurons": the k whose value vectors align best with the probe, for each k asked for."""
    return {f"top {k} by cosine": top_cosine(found.cosine, k) for k in exp.params.probe_top}


def share_table(exp: Experiment, found: Parts) -> pd.DataFrame:
    """Shares of the fall: each group, all four, top-k neurons alone, every neuron (net over gross).

    Returns:
        set, neurons, percent, share, low, high, gross_share, other_texts (groups chosen on other texts than measured),
        null (mean share of random sets with as many neurons in each layer), null_low, null_high, and study: what the
        study reports for its own model and data, as a share.
    """
    p, own = exp.params, four(found)
    sets = {name: group.chosen for name, group in own.items()}
    sets["all four"] = np.any(list(sets.values()), axis=0)
    sets |= tops(exp, found) | {"every neuron": np.ones_like(found.cosine, dtype=bool)}
    table = shares(found, sets, DOWN, p.bootstrap, p.seed)
    other = held_out_shares(found, DOWN, LETTERS).set_index("group")["other_texts"]
    table["other_texts"] = table["set"].map(other)
    nulls = [null_share(found.neurons, chosen, DOWN) for chosen in sets.values()]
    table[["null", "null_low", "null_high"]] = np.array(nulls)
    reported = {"all four": STUDY["four groups"], **dict.fromkeys(tops(exp, found), STUDY["top neurons"])}
    table["study"] = table["set"].map({name: value / 100 for name, value in reported.items()})
    return table
