"""Candidate directions for Concept Ablation Fine-Tuning (Casademunt et al. 2025): PCA of differences, and SAE latents.

They see reference texts of the training topic and everyday text without any politics; nothing of the other topics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.data.prompts import neutral
from polinb.errors import DataError
from polinb.runs.artifacts import Artifact, key_of
from polinb.runs.experiment import Experiment, finetuned
from polinb.scoring.directions import Moments, check_components, components
from polinb.scoring.residual import depths

if TYPE_CHECKING:
    from polinb.models.loading import LM
    from polinb.scoring.sae import SAE

# Hidden states a block kept for the autoencoder: about 1 GB at a width of 4096.
_MOST_TOKENS = 60_000
_HELD_OUT = 5  # one text in five is kept out of the autoencoder's training

Texts = tuple[list[list[int]], list[list[int]]]


# --- what is read


def blocks_of(exp: Experiment) -> list[int]:
    """Numbers of the ablated blocks."""
    return depths("caft_layers", exp.params.caft_layers, exp.lm.layers)


def topic_texts(exp: Experiment, topic: str, split: str = "localise", limit: int | None = None) -> Texts:
    """Left and right reference texts of a topic as token ids; the two of a prompt follow each other."""
    pairs = exp.data.topic(topic, split, limit or exp.params.caft_prompts, leaning="both")
    return _ids(exp, [(pair.prompt, pair.response(side)) for pair in pairs for side in ("left", "right")])


def _ids(exp: Experiment, texts: Sequence[tuple[str, str]]) -> Texts:
    from polinb.models.tokens import fit, prompt_ids, response_ids

    lm, p = exp.lm, exp.params
    made = [
        fit(prompt_ids(lm, prompt, p.system_prompt), response_ids(lm, response, end=False), p.max_tokens)
        for prompt, response in texts
    ]
    return [m[0] for m in made], [m[1] for m in made]


def direction_texts(exp: Experiment, topic: str) -> Texts:
    """What directions are found on: the training topic's texts, and at most as many neutral ones."""
    prompts, responses = topic_texts(exp, topic)
    plain = _ids(exp, neutral()[: len(prompts)])
    return prompts + plain[0], responses + plain[1]


def check(exp: Experiment, topic: str) -> None:
    """Refuse what could not work, before any training.

    Raises:
        ParameterError: more components than samples or dimensions, or an autoencoder of another width.
    """
    p = exp.params
    rows = 2 * sum(len(r) for r in direction_texts(exp, topic)[1])
    check_components(p.caft_components, rows, width_of(exp), p.caft_pca)
    if p.sae:
        public_saes(exp)


def public_saes(exp: Experiment) -> dict[int, SAE]:
    """The autoencoders named by ``sae``, block by block, checked against the model."""
    from polinb.scoring.sae_files import load, locate

    return {b: load(path, width_of(exp)) for b, path in locate(exp.params.sae, blocks_of(exp)).items()}


def width_of(exp: Experiment) -> int:
    """Width of the residual stream, d_model."""
    return int(exp.lm.model.config.hidden_size)


def states(
    models: Sequence[LM], texts: Texts, blocks: Sequence[int], batch: int = 16
) -> Iterator[tuple[list[int], dict[int, list[np.ndarray]]]]:
    """Hidden states of several models on the same texts, batch by batch, on response tokens.

    Yields:
        the text of each token, and block → one array (tokens, d_model) float32 a model.
    """
    import torch

    from polinb.models.tokens import batches
    from polinb.scoring.residual import blocks as envoys
    from polinb.scoring.residual import read_blocks

    traced = [envoys(lm) for lm in models]
    with torch.no_grad():
        for chunk in batches(models[0], *texts, batch):
            owner = [row for row, n in zip(chunk.rows, chunk.response.sum(1).tolist(), strict=True) for _ in range(n)]
            seen = [[t.cpu().numpy() for t in read_blocks(root, found, chunk, blocks)] for root, found in traced]
            yield owner, {block: [each[k] for each in seen] for k, block in enumerate(blocks)}


def _models(exp: Experiment, topic: str) -> list[LM]:
    """Vanilla, left-tuned and right-tuned model."""
    return [exp.lm, exp.load_variant(topic, "left"), exp.load_variant(topic, "right")]


def _inputs(exp: Experiment, topic: str, modules: Sequence[str]) -> dict[str, Any]:
    p = exp.params
    return {
        "left": key_of(exp.arm_inputs(finetuned(topic, "left"))),
        "right": key_of(exp.arm_inputs(finetuned(topic, "right"))),
        "data": exp.data.digest(),
        "neutral": hashlib.sha256(json.dumps(neutral()).encode()).hexdigest(),
        "topic": topic,
        "prompts": p.caft_prompts,
        "max_tokens": p.max_tokens,
        "layers": p.caft_layers,
        "components": p.caft_components,
        "code": 1,
    }


# --- candidates


def pca(exp: Experiment, topic: str) -> Artifact:
    """Principal components of (tuned − base) and (right − left), a block each.

    Arrays of ``components``: ``vectors<b>`` (d_model, k) float64, ``share<b>`` (k,), ``by_source<b>`` (k, 2).
    """
    kind = exp.params.caft_pca
    inputs = {**_inputs(exp, topic, ()), "kind": kind}

    def make(folder: Path) -> Mapping[str, Any]:
        from safetensors.numpy import save_file

        check(exp, topic)
        blocks = blocks_of(exp)
        sums = {b: (Moments.empty(width_of(exp)), Moments.empty(width_of(exp))) for b in blocks}
        for _, seen in states(_models(exp, topic), direction_texts(exp, topic), blocks):
            for b, (base, left, right) in seen.items():
                sums[b][0].add(right - base)
                sums[b][1].add(right - left)
        arrays: dict[str, np.ndarray] = {}
        for b, sources in sums.items():
            found = components(sources, kind, exp.params.caft_components)
            arrays |= {f"vectors{b}": found.vectors, f"share{b}": found.share, f"by_source{b}": found.by_source}
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, folder / "components.safetensors")
        return {"blocks": blocks, "tokens": sums[blocks[0]][0].count}

    return exp.store.get("caft-pca", inputs, make)


def dictionary(exp: Experiment, topic: str) -> Artifact:
    """Sparse autoencoders of the blocks, their quality, and the latents that carry the largest change.

    Table ``quality``: block, origin, and :func:`polinb.scoring.sae.quality` on held-out texts. Arrays of ``latents``:
    ``vectors<b>`` (d_model, k), unit decoder rows of the k latents with the largest change; ``latent<b>`` (k,) their
    numbers; ``change<b>`` (k,), the mean over tokens and the two differences of |Δ activation| · ‖decoder row‖.
    """
    from polinb.scoring.sae_files import file_digests

    p = exp.params
    inputs = {**_inputs(exp, topic, ("sae", "sae_files")), "examples": p.train_examples, "seed": p.seed}
    if p.sae:
        inputs["sae"] = file_digests(p.sae)
    else:
        inputs["sae"] = [p.sae_latents, p.sae_k, p.sae_steps]

    def make(folder: Path) -> Mapping[str, Any]:
        from safetensors.numpy import save_file

        from polinb.scoring.sae import quality, train

        check(exp, topic)
        blocks, models = blocks_of(exp), _models(exp, topic)
        public = public_saes(exp) if p.sae else {}
        texts = direction_texts(exp, topic)
        probed = _collect(models, texts, blocks)
        more = _collect(models[::2], topic_texts(exp, topic, "train", p.train_examples), blocks)
        arrays: dict[str, np.ndarray] = {}
        rows = []
        for b in blocks:
            learn, test = _split([probed[b], more[b]])
            sae = public.get(b) or train(learn, p.sae_latents, p.sae_k, p.sae_steps, seed=p.seed)
            if not p.sae:
                sae.save(folder / f"sae{b}.safetensors")
            origin = "public" if p.sae else "trained here"
            rows.append({"block": b, "origin": origin, "latents": len(sae.b_enc), **quality(sae, test)})
            base, left, right = probed[b][1]
            latent, change, vectors = ranked(sae, base, left, right, p.caft_components)
            arrays |= {f"latent{b}": latent, f"change{b}": change, f"vectors{b}": vectors}
        pd.DataFrame(rows).to_parquet(folder / "quality.parquet")
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, folder / "latents.safetensors")
        return {"blocks": blocks, "texts": len(texts[0]), "tokens": len(probed[blocks[0]][0])}

    return exp.store.get("caft-sae", inputs, make)


def ranked(
    sae: SAE, base: np.ndarray, left: np.ndarray, right: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k latents that carry the largest change between models on the same tokens.

    Change: mean of |f(right) − f(base)| and |f(right) − f(left)| over tokens, times the decoder row's length. Latents
    whose activation does not change, or whose decoder row is zero, are no candidates.

    Args:
        base, left, right: (tokens, d_model).

    Returns:
        their numbers (k,), changes (k,) and unit decoder rows as columns (d_model, k), the largest change first; fewer
        than k where fewer change.

    Raises:
        DataError: no latent changes at all.
    """
    import torch

    with torch.no_grad():
        low, middle, high = (sae.encode(torch.from_numpy(x)) for x in (left, base, right))
        moved = ((high - middle).abs().mean(0) + (high - low).abs().mean(0)).double() / 2
        change = (moved * sae.W_dec.norm(dim=1)).numpy()
    order = [int(i) for i in np.argsort(-change, kind="stable")[:k] if change[i] > 0]
    if not order:
        raise DataError("no latent of the sparse autoencoder changes between the models: more sae_steps or texts")
    rows = sae.W_dec[order].double().numpy().T
    return np.array(order), change[order], rows / np.linalg.norm(rows, axis=0)


def _collect(
    models: Sequence[LM], texts: Texts, blocks: Sequence[int]
) -> dict[int, tuple[np.ndarray, list[np.ndarray]]]:
    """Block → (the text of each token, one array (tokens, d_model) a model); at most so many tokens as fit."""
    owners: list[int] = []
    seen: dict[int, list[list[np.ndarray]]] = {b: [[] for _ in models] for b in blocks}
    for owner, found in states(models, texts, blocks):
        if len(owners) * len(models) > _MOST_TOKENS:
            break
        owners += owner
        for b in blocks:
            for kept, each in zip(seen[b], found[b], strict=True):
                kept.append(each)
    return {b: (np.array(owners), [np.concatenate(parts) for parts in seen[b]]) for b in blocks}


def _split(parts: Sequence[tuple[np.ndarray, list[np.ndarray]]]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens to learn from and to test on, split by text so that no text is on both sides."""
    learn, test = [], []
    for owner, arrays in parts:
        held = owner // 2 % _HELD_OUT == 0  # both texts of a prompt on one side
        for each in arrays:
            learn.append(each[~held])
            test.append(each[held])
    return np.concatenate(learn), np.concatenate(test)
