"""Candidate directions for Concept Ablation Fine-Tuning (Casademunt et al. 2025): PCA of differences, and SAE latents.

They see reference texts of the training topic and everyday text without any politics; nothing of the other topics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.caft.sae_files import file_digests, load, locate
from polinb.data.prompts import neutral
from polinb.errors import DataError
from polinb.models.lm import LM
from polinb.models.tokens import batches
from polinb.runs.artifacts import save_arrays
from polinb.runs.conditions import Apart, Ids, Texts, encode
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.scoring.directions import Moments, check_components, components
from polinb.scoring.residual import blocks as envoys
from polinb.scoring.residual import depths, read_blocks
from polinb.scoring.sae import SAE, quality, train

# Hidden states a block kept for the autoencoder: about 1 GB at a width of 4096.
_MOST_TOKENS = 60_000
_HELD_OUT = 5  # one text in five is kept out of the autoencoder's training


# --- what is read


def topic_texts(run: Run, topic: str, split: str = "localise", limit: int | None = None) -> Texts:
    """Left and right reference texts of a topic; the two of a prompt follow each other."""
    pairs = run.data.topic(topic, split, limit or run.params.caft_prompts, leaning="both")
    rows = [(pair.prompt, pair.response(side)) for pair in pairs for side in ("left", "right")]
    return Texts.of(pd.DataFrame(rows, columns=["prompt", "response"]))


def direction_texts(run: Run, topic: str) -> Texts:
    """What directions are found on: the training topic's texts, and at most as many neutral ones."""
    own = topic_texts(run, topic).rows
    plain = pd.DataFrame(neutral()[: len(own)], columns=["prompt", "response"])
    return Texts.of(pd.concat([own, plain], ignore_index=True))


def states(
    models: Sequence[LM], texts: tuple[Ids, Ids], blocks: Sequence[int], batch: int = 16
) -> Iterator[tuple[list[int], dict[int, list[np.ndarray]]]]:
    """Hidden states of several models on the same texts, batch by batch, on response tokens.

    Yields:
        the text of each token, and block → one array (tokens, d_model) float32 a model.
    """
    import torch

    traced = [envoys(lm) for lm in models]
    with torch.no_grad():
        for chunk in batches(models[0], *texts, batch):
            owner = [row for row, n in zip(chunk.rows, chunk.response.sum(1).tolist(), strict=True) for _ in range(n)]
            seen = [[t.cpu().numpy() for t in read_blocks(root, found, chunk, blocks)] for root, found in traced]
            yield owner, {block: [each[k] for each in seen] for k, block in enumerate(blocks)}


# --- candidates


def ready(run: Run) -> None:
    """Refuse, before anything is trained, more components than samples or dimensions, or a wrong autoencoder."""
    p = run.params
    if all(found(run, topic).done() for topic in p.baseline_topics for found in (pca, dictionary)):
        return
    for topic in p.baseline_topics:
        said = encode(run.lm, direction_texts(run, topic), p.system_prompt, p.max_tokens)[1]
        check_components(p.caft_components, 2 * sum(map(len, said)), run.lm.d_model, p.caft_pca)
    if p.sae:
        public_saes(run.lm, p.sae, depths("caft_layers", p.caft_layers, run.lm.layers))


def public_saes(lm: LM, folder: str, blocks: Sequence[int]) -> dict[int, SAE]:
    """Autoencoders of a folder, block by block, checked against the model."""
    return {b: load(path, lm.d_model) for b, path in locate(folder, blocks).items()}


def pca(run: Run, topic: str) -> Result:
    """The run's principal components for a training topic."""
    return components_of(run, **_inputs(run, topic))


def dictionary(run: Run, topic: str) -> Result:
    """The run's latents for a training topic."""
    p = run.params
    source: dict[str, Any] = {"train": [p.sae_latents, p.sae_k, p.sae_steps], "seed": p.seed}
    if p.sae:
        source = {"files": file_digests(p.sae)}
    more = topic_texts(run, topic, "train", p.train_examples)
    return latents_of(run, **_inputs(run, topic), more=more, source=source, folder_of=Apart(p.sae))


def _inputs(run: Run, topic: str) -> dict[str, Any]:
    """What candidates of either kind are made from: the inputs that both stages hand on to :func:`_read`."""
    p = run.params
    models = {side: run.weights(run.tuned(topic, side)) for side in ("left", "right")}
    how = {"limit": p.max_tokens, "layers": p.caft_layers, "count": p.caft_components, "kind": p.caft_pca}
    return {**models, "texts": direction_texts(run, topic), **how}


def _read(
    run: Run, left: Result, right: Result, texts: Texts, limit: int, layers: Sequence[float]
) -> tuple[list[int], list[LM], tuple[Ids, Ids]]:
    """Ablated blocks, the vanilla, left-tuned and right-tuned model, and what they read."""
    read = encode(run.lm, texts, run.params.system_prompt, limit)
    models = [run.lm, run.model(left, "left"), run.model(right, "right")]
    return depths("caft_layers", layers, run.lm.layers), models, read


@stage("caft-pca", Model)
def components_of(run: Run, folder: Path, *, kind: str, count: int, **how: Any) -> Mapping[str, Any]:
    """Principal components of (tuned − base) and (right − left), by block.

    Arrays of ``candidates``: ``vectors<b>`` (d_model, k) float64, ``strength<b>`` (k,) share of the energy of the
    differences.
    """
    blocks, models, read = _read(run, **how)
    sums = {b: (Moments(run.lm.d_model), Moments(run.lm.d_model)) for b in blocks}
    for _, seen in states(models, read, blocks):
        for b, (base, low, high) in seen.items():
            sums[b][0].add(high - base)
            sums[b][1].add(high - low)
    arrays: dict[str, np.ndarray] = {}
    for b, sources in sums.items():
        arrays[f"vectors{b}"], arrays[f"strength{b}"] = components(sources, kind, count)
    save_arrays(folder / "candidates.safetensors", arrays)
    return {"blocks": blocks, "tokens": sums[blocks[0]][0].count}


@stage("caft-sae", Model)
def latents_of(
    run: Run,
    folder: Path,
    *,
    more: Texts,
    source: Mapping[str, Any],
    folder_of: Apart,
    count: int,
    kind: str,
    limit: int,
    **how: Any,
) -> Mapping[str, Any]:
    """Sparse autoencoders of the blocks, their quality, and the latents that carry the largest change.

    Table ``quality``: block, origin, and :func:`polinb.scoring.sae.quality` on held-out texts. Arrays of
    ``candidates``: ``vectors<b>`` (d_model, k), unit decoder rows of the k latents with the largest change;
    ``latent<b>`` (k,) their numbers; ``strength<b>`` (k,), the mean over tokens and the two differences of
    |Δ activation| · ‖decoder row‖.

    Args:
        more: further texts that an autoencoder learns from.
        source: files' digests, or latents, active latents, steps and seed of autoencoders trained on the spot.
        kind: of the principal components beside them; names the result alone.
    """
    blocks, models, read = _read(run, limit=limit, **how)
    public = public_saes(run.lm, folder_of.value, blocks) if folder_of.value else {}
    owner, probed = _collect(models, read, blocks)
    other, learnt = _collect(models[::2], encode(run.lm, more, run.params.system_prompt, limit), blocks)
    # both texts of a prompt are held out, or neither
    held = np.concatenate([*([owner] * len(models)), *([other] * len(models[::2]))]) // 2 % _HELD_OUT == 0
    arrays: dict[str, np.ndarray] = {}
    rows = []
    for b in blocks:
        every = np.concatenate([*probed[b], *learnt[b]])
        sae = public.get(b) or train(every[~held], *source["train"], seed=source["seed"])
        if not public:
            sae.save(folder / f"sae{b}.safetensors")
        origin = "public" if public else "trained here"
        rows.append({"block": b, "origin": origin, "latents": len(sae.b_enc), **quality(sae, every[held])})
        base, low, high = probed[b]
        latent, change, vectors = ranked(sae, base, low, high, count)
        arrays |= {f"latent{b}": latent, f"strength{b}": change, f"vectors{b}": vectors}
    pd.DataFrame(rows).to_parquet(folder / "quality.parquet")
    save_arrays(folder / "candidates.safetensors", arrays)
    return {"blocks": blocks, "texts": len(read[0]), "tokens": len(owner)}


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
    models: Sequence[LM], texts: tuple[Ids, Ids], blocks: Sequence[int]
) -> tuple[np.ndarray, dict[int, list[np.ndarray]]]:
    """The text of each token, and block → one array (tokens, d_model) a model; at most so many tokens as fit."""
    owners: list[int] = []
    seen: list[dict[int, list[np.ndarray]]] = []
    for owner, found in states(models, texts, blocks):
        if len(owners) * len(models) > _MOST_TOKENS:
            break
        owners += owner
        seen.append(found)
    by_block = {b: zip(*(found[b] for found in seen), strict=True) for b in blocks}
    return np.array(owners), {b: [np.concatenate(parts) for parts in each] for b, each in by_block.items()}
