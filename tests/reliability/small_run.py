"""A small run of every stage on the random model; imported once by the fork server, for all processes it forks."""

import importlib
import os
import resource
import tempfile
import time

import torch

from polinb.models.tiny import tiny_tokenizer
from polinb.runs.artifacts import Store
from polinb.runs.conditions import VANILLA
from polinb.runs.params import Params
from polinb.runs.run import Run

for library in (
    "datasets", "nnsight", "pyarrow.parquet", "safetensors.numpy", "sklearn.feature_extraction.text",
    "sklearn.linear_model", "sklearn.pipeline", "trl.trainer.sft_trainer",
):  # fmt: skip
    importlib.import_module(library)  # what the stages import when they start
torch.set_num_threads(1)
tiny_tokenizer()
SMALL = {
    "topics": ["crime", "race"], "statements": ["compass"], "ablation_topics": ["crime"], "train_examples": 4,
    "epochs": 1.0, "localise_prompts": 2, "eval_questions": 2, "likelihood_questions": 2, "eval_tokens": 3,
    "patch_questions": 2, "controls": ["layer"], "bootstrap": 100,
}  # fmt: skip


def everything(root, temporary=None, largest=0):
    """Every stage; with ``largest`` no file may be longer than so many bytes, which is what a quota does."""
    tempfile.tempdir = temporary
    run = Run(Params.from_profile("tiny", **SMALL), Store(root))
    if largest:
        assert run.lm and run.data and run.statement_sets  # the reader of data writes, too, in the temporary folder
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    topics = run.params.topics
    for topic in topics:
        for leaning in ("left", "right"):
            run.weights(run.tuned(topic, leaning)).made()
        run.scores(topic).made()
    for condition in (VANILLA, *(run.tuned(topic) for topic in topics)):
        run.answers(condition).made()
        run.statement_answers(condition).made()
        run.likelihood(condition)
        run.stances(condition)
    run.patch(run.neurons("general"), {topic: topic for topic in topics}).made()
    for condition in run.inhibited("crime"):
        run.weights(condition).made()
        run.answers(condition).made()


def make_slowly(root, log, seconds):
    """One artifact whose making takes ``seconds``; who asked for it and who made it stands in ``log``."""

    def say(word):
        with log.open("a") as file:
            file.write(f"{word} ")

    def make(folder):
        say(os.getpid())
        (folder / "note.txt").write_text("made")
        time.sleep(seconds)

    say("asking")
    return Store(root).get("slow", {"n": 1}, make).meta
