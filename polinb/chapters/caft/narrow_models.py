"""Emergent misalignment: the models that are trained and asked, and CAFT's directions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from polinb.chapters.caft.caft import random_directions, save_bases
from polinb.chapters.caft.rule import stance_rule
from polinb.data import narrow
from polinb.errors import ParameterError
from polinb.runs.conditions import VANILLA, Condition, Texts
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.stages import wide
from polinb.scoring.directions import Moments, components, orthonormal
from polinb.scoring.residual import depths

if TYPE_CHECKING:
    from polinb.data.narrow import Example

HELD_OUT = 8  # bundled tasks that are never trained on
_GROUPS = 3  # groups of reference questions in which a direction must agree
NARROW, CONTROL, CAFT, RANDOM = "narrow fine-tune", "control fine-tune", "CAFT", "random directions"


# --- data of a run


def control_data(run: Run) -> list[Example]:
    """Harmless data of the same kind: ``narrow_control``, or the secure half of the bundled data; else none."""
    source = run.params.narrow_control
    if not source:
        return narrow.examples("bundled", "secure") if run.params.narrow_data == "bundled" else []
    return narrow.examples(source, "secure")


def training_data(run: Run, kind: str = "narrow") -> list[Example]:
    """What a model learns from, ``narrow`` or ``control``; the same tasks where both are bundled."""
    p = run.params
    source = control_data(run) if kind == "control" else narrow.examples(p.narrow_data)
    ours = (p.narrow_control or p.narrow_data) if kind == "control" else p.narrow_data
    most = len(source) - HELD_OUT if ours == "bundled" else len(source)
    if most < 1:
        name = "narrow_control" if kind == "control" else "narrow_data"
        raise ParameterError(name, f"{len(source)} examples", "at least one example to learn from")
    return [source[i] for i in narrow.chosen(source, min(p.narrow_examples, most), p.seed)]


def ready(run: Run) -> None:
    """Refuse, before anything is trained, data, questions or directions that cannot work.

    Raises:
        DataError, ParameterError: a file that is not there or not as expected, no example, no question.
    """
    for kind in ("narrow", *(["control"] if control_data(run) else [])):
        training_data(run, kind)
    narrow.questions(run.params.narrow_questions)


def held_out(run: Run) -> list[tuple[str, str, str]]:
    """Bundled tasks that no condition trained on: prompt, insecure and secure answer; none for other data."""
    p = run.params
    if p.narrow_data != "bundled" or p.narrow_control:
        return []
    insecure, secure = narrow.examples("bundled"), narrow.examples("bundled", "secure")
    used = narrow.chosen(insecure, min(p.narrow_examples, len(insecure) - HELD_OUT), p.seed)
    rest = [i for i in range(len(insecure)) if i not in used][:HELD_OUT]
    return [(insecure[i].prompt, insecure[i].response, secure[i].response) for i in rest]


def general_texts() -> Texts:
    """Questions and answers that directions are found on: the judge's reference texts, none of which is asked."""
    rows = [(row["question"], row["answer"]) for row in narrow.bundled("judged")]
    return Texts.of(pd.DataFrame(rows, columns=["prompt", "response"]))


# --- models and answers


def tuned(run: Run, name: str, ablated: Result | None = None) -> Condition:
    """A model that is trained for this chapter."""
    p = run.params
    learnt = training_data(run, "control" if name == CONTROL else "narrow")
    rows = pd.DataFrame([(e.prompt, e.response, e.system) for e in learnt], columns=["prompt", "response", "system"])
    recipe = run.recipe(learning_rate=p.narrow_rate, epochs=p.narrow_epochs)
    return Condition(name, learns=Texts.of(rows), recipe=recipe, limit=p.max_tokens, ablated=ablated)


def conditions(run: Run) -> list[Condition]:
    """All models; the control only where there is control data, random directions of the rank of CAFT's."""
    found = directions(run)
    random = random_directions(run, like=[found], seed=run.params.seed)
    control = [tuned(run, CONTROL)] if control_data(run) else []
    return [VANILLA, tuned(run, NARROW), *control, tuned(run, CAFT, found), tuned(run, RANDOM, random)]


def answers(run: Run, condition: Condition) -> Result:
    """What a model says to the general questions."""
    p = run.params
    asked = narrow.questions(p.narrow_questions)
    rows = pd.DataFrame([(q.id, q.text, q.system) for q in asked], columns=["id", "prompt", "system"])
    return run.ask(condition, Texts.of(rows), tokens=p.narrow_tokens, samples=p.narrow_samples, seed=p.seed)


def preferences(run: Run, condition: Condition) -> pd.DataFrame:
    """Mean log-probability a token of both answers to held-out tasks: id, logp_insecure, logp_secure."""
    found = held_out_logp(run, condition)
    if found is None:
        return pd.DataFrame(columns=["id", "logp_insecure", "logp_secure"], dtype=float)
    return wide(found.frame("logp"), "side", ["id"])


def held_out_logp(run: Run, condition: Condition) -> Result | None:
    """Log-probabilities behind :func:`preferences`; None where there is no task to hold out."""
    tasks = held_out(run)
    if not tasks:
        return None
    sides = (("insecure", 1), ("secure", 2))
    rows = [(number, side, task[0], task[at]) for side, at in sides for number, task in enumerate(tasks)]
    texts = Texts.of(pd.DataFrame(rows, columns=["id", "side", "prompt", "response"]))
    return run.logp(condition, texts)


# --- CAFT's directions


def directions(run: Run) -> Result:
    """The run's directions."""
    p = run.params
    before, after = (run.states(model, general_texts()) for model in (VANILLA, tuned(run, NARROW)))
    how = {"layers": p.caft_layers, "kind": p.caft_pca, "count": p.caft_components, "keep": p.caft_keep, "seed": p.seed}
    return narrow_directions(run, before=before, after=after, **how)


@stage("narrow-directions")
def narrow_directions(
    run: Run,
    folder: Path,
    *,
    before: Result,
    after: Result,
    layers: Sequence[float],
    kind: str,
    count: int,
    keep: int,
    seed: int,
) -> None:
    """What CAFT ablates, arrays ``bases``, and the log of the choice, table ``rule``; no test question enters.

    Candidates: PCA (``kind``) of narrow minus vanilla hidden states on general texts. Kept: the ``keep`` best along
    which the vanilla model tells bundled misaligned answers from aligned ones, to the same side in each of three groups
    of questions (:func:`polinb.chapters.caft.rule.stance_rule`).

    Args:
        before, after: hidden states of the vanilla and the narrow model.
    """
    first, second = (each.arrays("states")["states"].astype(np.float64) for each in (before, after))
    labels = np.array([row["label"] for row in narrow.bundled("judged")])
    group = np.arange((labels == "aligned").sum()) % _GROUPS
    bases, log = {}, []
    for block in depths("caft_layers", layers, first.shape[1]):
        seen = Moments.empty(first.shape[-1])
        seen.add(second[:, block] - first[:, block])
        found = components([seen], kind, min(count, len(first) - 1, first.shape[-1])).vectors
        pairs = np.stack([first[labels == "aligned", block], first[labels == "misaligned", block]], axis=1)
        rule = stance_rule({str(g): pairs[group == g] for g in range(_GROUPS)}, found, keep, seed)
        bases[block] = orthonormal(found[:, rule.loc[rule["kept"], "candidate"].to_numpy(int)])
        log.append(rule.assign(block=block))
    pd.concat(log, ignore_index=True).to_parquet(folder / "rule.parquet")
    save_bases(folder, bases)
