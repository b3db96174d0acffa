"""Emergent misalignment: the models that are trained and asked, and CAFT's directions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.data import narrow
from polinb.errors import ParameterError

if TYPE_CHECKING:
    from polinb.data.narrow import Example, Question
    from polinb.models.loading import LM
    from polinb.runs.artifacts import Artifact
    from polinb.runs.experiment import Experiment
    from polinb.training.recipe import Recipe

HELD_OUT = 8  # bundled tasks that are never trained on
_GROUPS = 3  # groups of reference questions in which a direction must agree


@dataclass(frozen=True)
class NarrowArm:
    """A model to be asked.

    Attributes:
        name: how tables call it.
        kind: vanilla, narrow, control, caft or random.
    """

    name: str
    kind: str


VANILLA, NARROW = NarrowArm("vanilla", "vanilla"), NarrowArm("narrow fine-tune", "narrow")
CONTROL = NarrowArm("control fine-tune", "control")
CAFT, RANDOM = NarrowArm("CAFT", "caft"), NarrowArm("random directions", "random")


# --- data of a run


def arms(exp: Experiment) -> list[NarrowArm]:
    """All arms; the control only where there is control data."""
    return [VANILLA, NARROW, *([CONTROL] if control_data(exp) else []), CAFT, RANDOM]


def control_data(exp: Experiment) -> list[Example]:
    """Harmless data of the same kind: ``narrow_control``, or the secure half of the bundled data; else none."""
    source = exp.params.narrow_control
    if not source:
        return narrow.examples("bundled", "secure") if exp.params.narrow_data == "bundled" else []
    return narrow.examples(source, "secure")


def training_data(exp: Experiment, kind: str) -> list[Example]:
    """What an arm learns from; the same tasks in the bundled narrow and control data. Empty for the vanilla model."""
    p = exp.params
    if kind == "vanilla":
        return []
    source = control_data(exp) if kind == "control" else narrow.examples(p.narrow_data)
    ours = (p.narrow_control or p.narrow_data) if kind == "control" else p.narrow_data
    most = len(source) - HELD_OUT if ours == "bundled" else len(source)
    if most < 1:
        name = "narrow_control" if kind == "control" else "narrow_data"
        raise ParameterError(name, f"{len(source)} examples", "at least one example to learn from")
    return [source[i] for i in narrow.chosen(source, min(p.narrow_examples, most), p.seed)]


def ready(exp: Experiment) -> None:
    """Refuse, before anything is trained, data, questions or directions that cannot work.

    Raises:
        DataError, ParameterError: a file that is not there or not as expected, no example, no question.
    """
    for arm in arms(exp):
        training_data(exp, arm.kind)
    narrow.questions(exp.params.narrow_questions)


def held_out(exp: Experiment) -> list[tuple[str, str, str]]:
    """Bundled tasks that no arm trained on: prompt, insecure and secure answer; none for other data."""
    p = exp.params
    if p.narrow_data != "bundled" or p.narrow_control:
        return []
    insecure, secure = narrow.examples("bundled"), narrow.examples("bundled", "secure")
    used = narrow.chosen(insecure, min(p.narrow_examples, len(insecure) - HELD_OUT), p.seed)
    rest = [i for i in range(len(insecure)) if i not in used][:HELD_OUT]
    return [(insecure[i].prompt, insecure[i].response, secure[i].response) for i in rest]


def general_texts() -> tuple[list[str], list[str]]:
    """Questions and answers that directions are found on: the judge's reference texts, none of which is asked."""
    rows = narrow.bundled("judged")
    return [row["question"] for row in rows], [row["answer"] for row in rows]


def narrow_recipe(exp: Experiment) -> Recipe:
    """The run's recipe with this experiment's learning rate and epochs."""
    return replace(exp.recipe(), learning_rate=exp.params.narrow_rate, epochs=exp.params.narrow_epochs)


def _ids(exp: Experiment, lm: LM, texts: Sequence[tuple[str, str, str | None]], end: bool) -> tuple[Any, Any]:
    """Token ids of (prompt, response, own system turn), fitted into ``max_tokens``."""
    from polinb.models.tokens import fit, prompt_ids, response_ids

    p = exp.params
    made = [
        fit(
            prompt_ids(lm, prompt, p.system_prompt if system is None else system),
            response_ids(lm, response, end=end),
            p.max_tokens,
        )
        for prompt, response, system in texts
    ]
    return [m[0] for m in made], [m[1] for m in made]


# --- models and answers


def answers(exp: Experiment, arm: NarrowArm) -> Artifact:
    """What a model says and what it learnt.

    Tables: ``answers`` (id, prompt, sample, response, n_tokens, vanilla_logp), ``taught`` (prompt, insecure, secure:
    mean log-probability a token of both answers to held-out tasks). Arrays ``states`` (vanilla and narrow model only):
    mean hidden state of each general text after each block of ``caft_layers``, (texts, blocks, d_model).
    """
    p = exp.params
    learnt, asked = training_data(exp, arm.kind), narrow.questions(p.narrow_questions)
    basis = basis_of(exp, arm)
    inputs: dict[str, Any] = {
        "model": exp.identity,
        "asked": narrow.digest(asked),
        "samples": p.narrow_samples,
        "tokens": p.narrow_tokens,
        "max_tokens": p.max_tokens,
        "batch": p.eval_batch,
        "seed": p.seed,
        "held_out": held_out(exp),
        "code": 1,
    }
    if arm in (VANILLA, NARROW):
        inputs |= {"general": narrow.bundled("judged"), "layers": p.caft_layers}
    if learnt:
        how = narrow_recipe(exp)
        inputs |= {"learnt": narrow.digest(learnt), "recipe": asdict(how), "ablated": _digest(basis), "code": how.code}

    def make(folder: Path) -> Mapping[str, Any]:
        facts: dict[str, Any] = {}
        lm = exp.lm
        if learnt:
            lm, facts = _trained(exp, arm, learnt, basis)
        _asked(exp, lm, asked).to_parquet(folder / "answers.parquet")
        _taught(exp, lm).to_parquet(folder / "taught.parquet")
        if arm in (VANILLA, NARROW):
            facts = {**facts, "blocks": _save_states(exp, lm, folder)}
        return facts

    return exp.store.get("narrow-answers", inputs, make)


def _digest(basis: Mapping[int, np.ndarray] | None) -> dict[str, str] | None:
    if basis is None:
        return None
    raw = {block: np.ascontiguousarray(q, dtype=np.float32).tobytes() for block, q in basis.items()}
    return {str(block): hashlib.sha256(data).hexdigest()[:24] for block, data in raw.items()}


def _trained(
    exp: Experiment, arm: NarrowArm, learnt: Sequence[Example], basis: Mapping[int, np.ndarray] | None
) -> tuple[LM, dict[str, Any]]:
    from polinb.training.supervised import finetune

    prompts, responses = _ids(exp, exp.lm, [(e.prompt, e.response, e.system) for e in learnt], end=True)
    tuned = finetune(exp.lm, prompts, responses, narrow_recipe(exp), ablate=basis, label=arm.name)
    facts = {"losses": [round(x, 6) for x in tuned.losses], "steps": tuned.steps, "seconds": round(tuned.seconds, 2)}
    return exp.tuned(tuned.weights, arm.name), facts


def _asked(exp: Experiment, lm: LM, asked: Sequence[Question]) -> pd.DataFrame:
    from polinb.models.generation import decode, generate, log_likelihood
    from polinb.models.tokens import prompt_ids

    p = exp.params
    rows = [(q, k) for q in asked for k in range(p.narrow_samples)]
    prompts = [prompt_ids(lm, q.text, p.system_prompt if q.system is None else q.system) for q, _ in rows]
    limit: dict[str, Any] = {"max_new_tokens": p.narrow_tokens, "batch": p.eval_batch, "label": f"{lm.name} answers"}
    made = generate(lm, prompts, temperature=None if p.narrow_samples == 1 else 1.0, seed=p.seed, **limit)
    out = pd.DataFrame([(q.id, q.text, k) for q, k in rows], columns=["id", "prompt", "sample"])
    out["response"] = [decode(lm, ids) for ids in made]
    out["n_tokens"] = [len(ids) for ids in made]
    out["vanilla_logp"] = log_likelihood(exp.lm, prompts, made)
    return out


def _taught(exp: Experiment, lm: LM) -> pd.DataFrame:
    from polinb.models.generation import log_likelihood

    tasks = held_out(exp)
    out = pd.DataFrame([t[0] for t in tasks], columns=["prompt"])
    for column, at in (("insecure", 1), ("secure", 2)):
        ids = _ids(exp, lm, [(t[0], t[at], None) for t in tasks], end=False)
        out[column] = log_likelihood(lm, *ids) if tasks else np.zeros(0)
    return out


def _save_states(exp: Experiment, lm: LM, folder: Path) -> list[int]:
    from safetensors.numpy import save_file

    from polinb.scoring.residual import depths, mean_states

    asked, said = general_texts()
    blocks = depths("caft_layers", exp.params.caft_layers, lm.layers)
    ids = _ids(exp, lm, [(q, a, None) for q, a in zip(asked, said, strict=True)], end=False)
    save_file({"states": np.ascontiguousarray(mean_states(lm, *ids)[:, blocks])}, folder / "states.safetensors")
    return blocks


# --- CAFT's directions


def directions(exp: Experiment) -> tuple[dict[int, np.ndarray], pd.DataFrame]:
    """What CAFT ablates, and the log of the choice; no test question or answer enters.

    Candidates: PCA (``caft_pca``) of narrow minus vanilla hidden states on general texts. Kept: the ``caft_keep`` best
    along which the vanilla model tells bundled misaligned answers from aligned ones, to the same side in each of three
    groups of questions (:func:`polinb.scoring.directions.stance_rule`).

    Returns:
        block → (d_model, k) orthonormal columns; the rule's log with a column ``block``.
    """
    from polinb.scoring.directions import Moments, components, orthonormal, stance_rule

    p = exp.params
    before, after = (answers(exp, arm).arrays("states")["states"].astype(np.float64) for arm in (VANILLA, NARROW))
    labels = np.array([row["label"] for row in narrow.bundled("judged")])
    group = np.arange((labels == "aligned").sum()) % _GROUPS
    bases, log = {}, []
    for i, block in enumerate(answers(exp, VANILLA).summary["blocks"]):
        seen = Moments.empty(before.shape[-1])
        seen.add(after[:, i] - before[:, i])
        found = components([seen], p.caft_pca, min(p.caft_components, len(before) - 1, before.shape[-1])).vectors
        pairs = np.stack([before[labels == "aligned", i], before[labels == "misaligned", i]], axis=1)
        rule = stance_rule({str(g): pairs[group == g] for g in range(_GROUPS)}, found, p.caft_keep, p.seed)
        bases[block] = orthonormal(found[:, rule.loc[rule["kept"], "candidate"].to_numpy(int)])
        log.append(rule.assign(block=block))
    return bases, pd.concat(log, ignore_index=True)


def basis_of(exp: Experiment, arm: NarrowArm) -> dict[int, np.ndarray] | None:
    """The directions ablated while ``arm`` learns; random ones have the rank of CAFT's; ``None`` where none are."""
    if arm not in (CAFT, RANDOM):
        return None
    bases, _ = directions(exp)
    if arm == CAFT:
        return bases
    from polinb.scoring.directions import random_basis

    rng = np.random.default_rng(exp.params.seed)
    return {block: random_basis(len(q), q.shape[1], rng) for block, q in bases.items()}
