"""A small run of every stage on the random model, in processes that are cheap to start and to kill.

Imported once by multiprocessing's fork server; what is imported here is then there in every process it forks.
"""

import tempfile

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
from forked import note
from stores import finished

from polinb.models.tiny import tiny_tokenizer
from polinb.runs.artifacts import Store
from polinb.runs.conditions import VANILLA
from polinb.runs.params import Params
from polinb.runs.run import Run

torch.set_num_threads(1)
tiny_tokenizer()


def experiment(root):
    given = {
        "topics": ["crime", "race"], "statements": ["compass"], "ablation_topics": ["crime"], "train_examples": 4,
        "epochs": 1.0, "localise_prompts": 2, "eval_questions": 2, "likelihood_questions": 2, "eval_tokens": 3,
        "patch_questions": 2, "controls": ["layer"], "bootstrap": 100,
    }  # fmt: skip
    return Run(Params.from_profile("tiny", **given), Store(root))


def asked(run):
    return (VANILLA, *(run.tuned(topic) for topic in run.params.topics))


def variants(run):
    for topic in run.params.topics:
        for leaning in ("left", "right"):
            run.weights(run.tuned(topic, leaning)).made()


def scores(run):
    for topic in run.params.topics:
        run.scores(topic).made()


def answers(run):
    for condition in asked(run):
        run.answers(condition).made()
        run.statement_answers(condition).made()
        run.likelihood(condition)


def judge(run):
    for condition in asked(run):
        run.stances(condition)


def patching(run):
    run.patched(run.neurons("general"), {topic: topic for topic in run.params.topics})


def inhibitft(run):
    for condition in run.inhibited("crime"):
        run.answers(condition).made()


STAGES = {stage.__name__: stage for stage in (variants, scores, answers, judge, patching, inhibitft)}


def everything(root, log=None, temporary=None):
    """Every stage in turn; notes when each begins, and returns what each made."""
    tempfile.tempdir = temporary
    run = experiment(root)
    there, made = set(finished(root)), {}
    for name, stage in STAGES.items():
        if log:
            note(log, name)
        stage(run)
        made[name] = sorted(set(finished(root)) - there)
        there |= set(made[name])
    return made
