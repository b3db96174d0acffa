"""A small run of every stage on the random model, in processes that are cheap to start and to kill.

Imported once by multiprocessing's fork server; what is imported here is then there in every process it forks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

# what the stages import when they start
import datasets  # noqa: F401
import nnsight  # noqa: F401
import pyarrow.parquet  # noqa: F401
import safetensors.numpy  # noqa: F401
import sklearn.feature_extraction.text
import sklearn.linear_model
import sklearn.pipeline  # noqa: F401
import torch
import trl.trainer.sft_trainer  # noqa: F401
from stores import finished

from polinb.models.tiny import tiny_tokenizer
from polinb.runs.artifacts import Store
from polinb.runs.conditions import VANILLA
from polinb.runs.params import Params
from polinb.runs.results import Result
from polinb.runs.run import Run

SMALL: dict[str, Any] = {
    "topics": ["crime", "race"],
    "statements": ["compass"],
    "ablation_topics": ["crime"],
    "train_examples": 4,
    "epochs": 1.0,
    "localise_prompts": 2,
    "eval_questions": 2,
    "likelihood_questions": 2,
    "eval_tokens": 3,
    "patch_questions": 2,
    "controls": ["layer"],
    "bootstrap": 100,
}
torch.set_num_threads(1)
tiny_tokenizer()


def experiment(root: Path, **changes: Any) -> Run:
    return Run(Params.from_profile("tiny", **{**SMALL, **changes}), Store(root))


def _variants(run: Run) -> None:
    for topic in run.params.topics:
        for leaning in ("left", "right"):
            weights(run, topic, leaning).made()


def weights(run: Run, topic: str, leaning: str) -> Result:
    found = run.weights(run.tuned(topic, leaning))
    assert found is not None
    return found


def _scores(run: Run) -> None:
    for topic in run.params.topics:
        run.scores(topic).made()


def _answers(run: Run) -> None:
    for condition in (VANILLA, *(run.tuned(topic) for topic in run.params.topics)):
        run.answers(condition).made()
        run.statement_answers(condition).made()
        run.likelihood(condition)


def _judge(run: Run) -> None:
    for condition in (VANILLA, *(run.tuned(topic) for topic in run.params.topics)):
        run.stances(condition)


def _patching(run: Run) -> None:
    run.patched(run.neurons("general"), {topic: topic for topic in run.params.topics})


def _inhibitft(run: Run) -> None:
    for condition in run.inhibited("crime"):
        run.answers(condition).made()


STAGES: dict[str, Callable[[Run], None]] = {
    "variants": _variants,
    "scores": _scores,
    "answers": _answers,
    "judge": _judge,
    "patching": _patching,
    "inhibitft": _inhibitft,
}


def everything(root: Path, say: Callable[[Any], None]) -> dict[str, list[str]]:
    """Every stage in turn; tells when each begins, and at last what each made."""
    run = experiment(root)
    there, made = set(finished(root)), {}
    for name, stage in STAGES.items():
        say(("begin", name))
        stage(run)
        made[name] = sorted(set(finished(root)) - there)
        there |= set(made[name])
    say(("begin", ""))
    return made
