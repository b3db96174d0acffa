"""The two-cue task's models: CAFT's directions of each cue, the arms that are trained, and their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.chapters.caft import cues
from polinb.chapters.caft.cues import CUES, margin, material, minimal_pairs, prompts
from polinb.errors import ParameterError

if TYPE_CHECKING:
    from polinb.models.loading import LM
    from polinb.runs.artifacts import Artifact
    from polinb.runs.experiment import Experiment
    from polinb.training.recipe import Recipe

RANDOM_SETS = 2  # sets of random directions, the control of CAFT


@dataclass(frozen=True)
class CueArm:
    """A model to be asked: ``vanilla``, ``fine-tune``, ``CAFT`` without a cue's directions, or ``random`` ones.

    Attributes:
        name: how tables call it.
        kind: vanilla, fine-tune, caft or random.
        cue: the cue whose directions are ablated (caft).
        number: which random set (random).
    """

    name: str
    kind: str
    cue: str = ""
    number: int = 0


def arms() -> list[CueArm]:
    """All arms of the chapter."""
    caft = [CueArm(f"CAFT without {cue}", "caft", cue) for cue in CUES]
    random = [CueArm(f"random directions {i + 1}", "random", number=i) for i in range(RANDOM_SETS)]
    return [CueArm("vanilla", "vanilla"), CueArm("fine-tune", "fine-tune"), *caft, *random]


def questions(exp: Experiment, split: str) -> pd.DataFrame:
    """The run's questions: ``cue_test`` to be tested on, ``cue_examples`` / 2 to learn from, each in both orders."""
    p = exp.params
    return cues.questions(split, p.cue_test if split == "test" else p.cue_examples // 2, p.seed)


def cue_recipe(exp: Experiment) -> Recipe:
    """The run's recipe with this task's learning rate and epochs."""
    p = exp.params
    return replace(exp.recipe(), learning_rate=p.cue_rate, epochs=p.cue_epochs)


def directions(exp: Experiment) -> Artifact:
    """CAFT's directions of each cue in the vanilla model: arrays ``<cue>-<block>`` (d_model, k); no test text enters.

    Candidates: PCA (``caft_pca``) of the differences between the mean hidden states of
    ``cues.minimal_pairs`` after the blocks at the depths ``caft_layers``, at most ``caft_components``.
    Kept: the best ``caft_keep`` that tell the cue's values apart on pairs they were not found on, to the same side for
    both values of the other cue (``directions.stance_rule``). Table ``rule``: cue, block, that rule's log.
    """
    p = exp.params
    inputs = {
        "model": exp.identity,
        "layers": p.caft_layers,
        "pca": p.caft_pca,
        "components": p.caft_components,
        "keep": p.caft_keep,
        "seed": p.seed,
        "code": 1,
        "material": material(),
    }

    def make(folder: Path) -> Mapping[str, Any]:
        from safetensors.numpy import save_file

        from polinb.scoring.directions import Moments, components, orthonormal, stance_rule
        from polinb.scoring.residual import depths, mean_states

        blocks = depths("caft_layers", p.caft_layers, exp.lm.layers)
        bases, log = {}, []
        for cue in CUES:
            pairs = minimal_pairs(cue)
            texts = [*pairs["first"], *pairs["second"]]
            read = mean_states(exp.lm, *_option_ids(exp, texts))[:, blocks].astype(np.float64)
            states = read.reshape(2, len(pairs), len(blocks), -1)
            find = (pairs["part"] == "find").to_numpy()
            choose = {value: ~find & (pairs["other"] == value).to_numpy() for value in pairs["other"].unique()}
            for i, block in enumerate(blocks):
                seen = Moments.empty(states.shape[-1])
                seen.add(states[0, find, i] - states[1, find, i])
                most = min(p.caft_components, int(find.sum()) - 1, states.shape[-1])
                found = components([seen], p.caft_pca, most).vectors
                held = {value: np.stack([states[1, rows, i], states[0, rows, i]], 1) for value, rows in choose.items()}
                rule = stance_rule(held, found, p.caft_keep, p.seed)
                bases[f"{cue}-{block}"] = orthonormal(found[:, rule.loc[rule["kept"], "candidate"].to_numpy(int)])
                shown = rule.drop(columns=[name for name in rule if name.startswith("auc_")])
                log.append(shown.assign(cue=cue, block=block))
        pd.concat(log, ignore_index=True).to_parquet(folder / "rule.parquet")
        save_file(
            {name: np.ascontiguousarray(basis) for name, basis in bases.items()}, folder / "directions.safetensors"
        )
        return {"blocks": blocks}

    return exp.store.get("cue-directions", inputs, make)


def found_directions(exp: Experiment) -> pd.DataFrame:
    """What is ablated, by cue and block.

    Returns:
        cue, block, candidates, kept (counts), auc (the lowest of those kept, mirrored above ½), threshold (the rule's),
        shared (mean squared cosine of the principal angles with the other cue's directions).
    """
    from polinb.scoring.directions import principal_angles, shared

    artifact = directions(exp)
    bases, rows = artifact.arrays("directions"), []
    for (cue, block), rule in artifact.frame("rule").groupby(["cue", "block"], sort=False):
        kept = rule[rule["kept"]]
        overlap = shared(principal_angles(bases[f"mood-{block}"], bases[f"gender-{block}"]))
        auc, least = 0.5 + float(kept["value"].min()), 0.5 + float(kept[["swapped", "random"]].iloc[0].max())
        rows.append((cue, block, len(rule), len(kept), auc, least, overlap))
    return pd.DataFrame(rows, columns=["cue", "block", "candidates", "kept", "auc", "threshold", "shared"])


def _option_ids(exp: Experiment, options: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
    """The start of a user turn, and each option with its letter as the tokens that are read."""
    from polinb.models.tokens import prompt_ids, response_ids

    lm, system = exp.lm, exp.params.system_prompt
    empty, whole = prompt_ids(lm, "", system), prompt_ids(lm, options[0], system)
    start = next((i for i, (a, b) in enumerate(zip(empty, whole, strict=False)) if a != b), len(empty))
    return [whole[:start]] * len(options), [response_ids(lm, text, end=False) for text in options]


def basis_of(exp: Experiment, arm: CueArm) -> dict[int, np.ndarray] | None:
    """The directions that are ablated while ``arm`` learns, block → (d_model, k); ``None`` where nothing is.

    Random sets have the rank of the cue's directions where that is larger.
    """
    if arm.kind not in ("caft", "random"):
        return None
    from polinb.scoring.directions import random_basis

    artifact = directions(exp)
    found, blocks = artifact.arrays("directions"), artifact.summary["blocks"]
    if arm.kind == "caft":
        return {block: found[f"{arm.cue}-{block}"] for block in blocks}
    rng = np.random.default_rng([exp.params.seed, arm.number])
    shapes = {block: [found[f"{cue}-{block}"].shape for cue in CUES] for block in blocks}
    return {block: random_basis(two[0][0], max(two[0][1], two[1][1]), rng) for block, two in shapes.items()}


def answers(exp: Experiment, arm: CueArm) -> Artifact:
    """One model's answers: table ``answers`` as :func:`rate` gives it."""
    p = exp.params
    basis = basis_of(exp, arm)
    inputs: dict[str, Any] = {
        "model": exp.identity,
        "test": questions(exp, "test").to_dict("list"),
        "batch": p.eval_batch,
        "code": 1,
    }
    if arm.kind != "vanilla":
        inputs["train"] = questions(exp, "train").to_dict("list")
        inputs["recipe"] = asdict(cue_recipe(exp))
        inputs["code"] = cue_recipe(exp).code
        inputs["ablated"] = None if basis is None else {str(b): _digest(q) for b, q in basis.items()}

    def make(folder: Path) -> Mapping[str, Any]:
        lm: LM = exp.lm
        facts: dict[str, Any] = {}
        if arm.kind != "vanilla":
            lm, facts = _trained(exp, arm, basis)
        rate(lm, questions(exp, "test"), p.system_prompt, p.eval_batch).to_parquet(folder / "answers.parquet")
        return facts

    return exp.store.get("cue-answers", inputs, make)


def _digest(basis: np.ndarray) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(basis, dtype=np.float32).tobytes()).hexdigest()[:24]


def _trained(exp: Experiment, arm: CueArm, basis: Mapping[int, np.ndarray] | None) -> tuple[LM, dict[str, Any]]:
    from polinb.models.tokens import prompt_ids, response_ids
    from polinb.training.supervised import finetune

    lm, p = exp.lm, exp.params
    asked = [prompt_ids(lm, text, p.system_prompt) for text in prompts(questions(exp, "train"))]
    letters = [response_ids(lm, letter, end=False) for letter in "AB"] * (len(asked) // 2)
    tuned = finetune(lm, asked, letters, cue_recipe(exp), ablate=basis, label=f"two cues, {arm.name}")
    facts = {"losses": [round(x, 6) for x in tuned.losses], "steps": tuned.steps, "seconds": round(tuned.seconds, 2)}
    return exp.tuned(tuned.weights, arm.name), facts


def rate(lm: LM, asked: pd.DataFrame, system: Any, batch: int) -> pd.DataFrame:
    """Answers to questions by the logits of the two letters, each question in both orders.

    Returns:
        id, half, good_first, good_second (logit of A minus logit of B, the good sentence first or second), margin.

    Raises:
        ParameterError: the tokenizer does not give the letters a token each.
    """
    import torch

    from polinb.models.tokens import batches, prompt_ids, response_ids

    letters = [response_ids(lm, letter, end=False)[-1] for letter in "AB"]
    if letters[0] == letters[1]:
        raise ParameterError("model", lm.name, "a tokenizer that tells the letters A and B apart")
    texts = [prompt_ids(lm, text, system) for text in prompts(asked)]
    out = np.zeros(len(texts))
    with torch.inference_mode():
        for chunk in batches(lm, texts, [[] for _ in texts], batch):
            logits = lm.model(**chunk.inputs, logits_to_keep=1, use_cache=False).logits[:, -1].float()
            out[chunk.rows] = (logits[:, letters[0]] - logits[:, letters[1]]).cpu().numpy()
    first, second = out[0::2], out[1::2]
    return asked[["id", "half"]].assign(good_first=first, good_second=second, margin=margin(first, second))
