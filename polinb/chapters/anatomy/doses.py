"""A run that can decide: the paper's recipe in two doses, read by likelihood (book/reference_plan_doses.md).

Every condition is read along its training and at its end; then weights of neuron sets are carried between the tuned and
the vanilla model. All results are named before the run; what was made is kept, whatever stops it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from polinb.errors import DataError, ParameterError
from polinb.runs.conditions import VANILLA, Apart, Condition, Texts, encode
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.weights import course, mask_of, model_of
from polinb.training.trainer import steps_of

DOSES: dict[str, dict[str, Any]] = {
    "short": {"epochs": 1.0, "learning_rate": 1e-4},
    "paper": {"epochs": 6.0, "learning_rate": 2e-5},
}
"""Parameters of a dose beside those of the plan."""
PLAN: dict[str, Any] = {
    "model": "smollm2-135m-instruct",
    "train": "body",
    "train_examples": 1000,
    "max_tokens": 160,
    "localise_prompts": 40,
    "localise_tokens": 48,
    "eval_questions": 40,
    "eval_tokens": 32,
    "likelihood_questions": 60,
    "patch_questions": 20,
    "controls": ["next_highest"],
    "control_seeds": 1,
    "statement_limit": 1000,
}
"""What both doses share; all other parameters are those of the profile full."""
CHECKPOINTS = (1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3, 1.0)
"""Shares of the optimiser steps after which a model in training is read."""
FEW, GRAFTED = 16, 40
"""Questions per topic along a training, and where weights are carried over, as far as the end is asked as many."""
INTERPOLATIONS = (0.9, 0.95)
INDEX = "index.json"
"""Of a folder of kept results: name → kind/key."""


def settings(dose: str) -> dict[str, Any]:
    """Parameters of a dose on top of the profile full.

    Raises:
        ParameterError: no such dose.
    """
    if dose not in DOSES:
        raise ParameterError("dose", dose, ", ".join(DOSES))
    return PLAN | DOSES[dose]


def references(run: Run, count: int) -> Texts:
    """Left and right reference answers of the first ``count`` questions per topic, of those that the end is asked."""
    return run.references(min(count, run.params.likelihood_questions))


def trained(run: Run, condition: Condition) -> Iterator[tuple[str, Result]]:
    """What is read of one condition: along its training, at its end, its answers and its answers to statements."""
    assert condition.learns is not None
    assert condition.recipe is not None
    every = steps_of(len(condition.learns), condition.recipe)
    at = sorted({max(1, round(share * every)) for share in CHECKPOINTS})
    read: dict[str, Any] = {"texts": references(run, FEW), "steps": at, "limit": run.params.max_tokens}
    yield "course", course(run, condition=condition, weights=Apart(run.weights(condition)), **read)
    yield from asked(run, condition)


def asked(run: Run, condition: Condition) -> Iterator[tuple[str, Result]]:
    """What is asked of a model."""
    yield "logp", run.reference_logp(condition)
    yield "answers", run.answers(condition)
    yield "statements", run.statement_answers(condition)


def conditions(run: Run, topic: str) -> dict[str, Condition]:
    """Conditions of a topic; the last two freeze G, and as many of the most active neurons outside G."""
    return {
        "right": run.tuned(topic),
        "left": run.tuned(topic, "left"),
        "inhibitft": run.tuned(topic, name="inhibitft", frozen=run.neurons("general")),
        "loud": run.tuned(topic, name="random-next_highest", frozen=run.neurons("next_highest")),
    }


def carried(run: Run, topic: str) -> Iterator[tuple[str, Result]]:
    """Weights of a set copied from the tuned into the vanilla model (graft), and put back in the tuned one (reset)."""
    tuned, texts, limit = run.weights(run.tuned(topic)), references(run, GRAFTED), run.params.max_tokens
    sets: dict[str, Result | str] = {
        "G": run.neurons("general"),
        "S": run.neurons("specific", topic=topic),
        "loud": run.neurons("next_highest"),
        "layer 1": run.neurons("layer", number=0),
        "layer 2": run.neurons("layer", number=1),
        "all FFN": run.neurons("all"),
        "attention": "attention",
    }
    for way in ("graft", "reset"):
        for name, chosen in sets.items():
            yield f"{way}.{name}", graft(run, tuned=tuned, chosen=chosen, way=way, texts=texts, limit=limit)


def results(run: Run) -> dict[str, Result]:
    """Every result of the plan by its name, in the order in which they are made.

    Names: ``vanilla.<what>``, ``<topic>.<condition>.<what>`` with what among course, logp, answers and statements,
    ``<topic>.scores``, ``<topic>.graft.<set>``, ``<topic>.reset.<set>``, ``<topic>.interpolated.<λ>``.
    """
    topics: Sequence[str] = run.params.ablation_topics
    out = {f"vanilla.{what}": each for what, each in asked(run, VANILLA)}
    for names in (("right", "left"), ("inhibitft", "loud")):
        for topic in topics:
            for name in names:
                own = trained(run, conditions(run, topic)[name])
                out |= {f"{topic}.{name}.{what}": each for what, each in own}
            # as soon as both sides are there: scores are kept in the repository, weights are not
            out[f"{topic}.scores"] = run.scores(topic)
    for topic in topics:
        out |= {f"{topic}.{name}": each for name, each in carried(run, topic)}
        for share in INTERPOLATIONS:
            mixed = run.tuned(topic, name=f"interpolated {share:g}", interpolation=share)
            out[f"{topic}.interpolated.{share:g}"] = run.reference_logp(mixed)
    return out


Frames = Callable[[str], "pd.DataFrame | None"]
"""Name of a result → its table; None where it is not there yet."""


def live(run: Run) -> Frames:
    """Tables of a run's results, as far as they are made."""
    named = results(run)
    return lambda name: named[name].frame(table_of(name)) if named[name].done() else None


def kept(folder: Path) -> Frames:
    """Tables of the results that a folder keeps (:data:`INDEX`).

    Raises:
        DataError: the folder keeps none, or not what it lists.
    """
    path = folder / INDEX
    if not path.is_file():
        raise DataError(f"{folder.name}: no results of this dose are kept")
    index: dict[str, str] = json.loads(path.read_text("utf-8"))

    def table(name: str) -> pd.DataFrame | None:
        if name not in index:
            return None
        file = folder / index[name] / f"{table_of(name)}.parquet"
        if not file.is_file():
            raise DataError(f"{folder.name}: {name} is listed in {INDEX}, but {index[name]} is not there")
        return pd.read_parquet(file)

    return table


def table_of(name: str) -> str:
    """Which table of a result is meant."""
    tables = {"course": "course", "answers": "answers", "statements": "answers"}
    return tables.get(name.rsplit(".", 1)[-1], "logp")


@stage("graft", Model)
def graft(run: Run, folder: Path, *, tuned: Result, chosen: Result | str, way: str, texts: Texts, limit: int) -> None:
    """Log-likelihoods with some weights carried over: table ``logp``, the rows of ``texts`` without texts, and logp.

    Args:
        chosen: neurons, or ``attention``: all weights of the attention layers.
        way: ``graft``: the vanilla model with these weights of the tuned one; ``reset``: the tuned one with these of
            the vanilla model.
    """
    from polinb.masking.grafting import grafted, grafted_attention
    from polinb.models.generation import log_likelihood

    other, read = model_of(run, tuned, "tuned"), encode(run.lm, texts, run.params.system_prompt, limit)
    both = (run.lm, other) if way == "graft" else (other, run.lm)  # receiver and donor
    with grafted_attention(*both) if isinstance(chosen, str) else grafted(*both, mask_of(chosen)):
        logp = log_likelihood(both[0], *read)
    texts.rows.drop(columns=["prompt", "response"]).assign(logp=logp).to_parquet(folder / "logp.parquet")
