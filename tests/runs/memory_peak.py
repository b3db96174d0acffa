"""Run by ``test_memory.py`` in a process of its own: one stage with texts of full length; prints its peak in bytes.

Argument: a JSON object with ``stage`` and parameters.
"""

import json
import resource
import sys

import numpy as np

from polinb.models.generation import generate
from polinb.models.variants import shared_copy, variant
from polinb.runs.memory import PROMPT_TOKENS, READ_BATCH
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.scoring.tracing import contrast
from polinb.training.supervised import finetune, trainable, trained_weights

asked = json.loads(sys.argv[1])
stage = asked.pop("stage")
p = Params.from_profile("tiny", **asked)
run = Run(p)
lm, recipe, rng = run.lm, run.recipe(), np.random.default_rng(0)


def texts(count, tokens):
    return [rng.integers(10, 700, tokens).tolist() for _ in range(count)]


if stage == "train":
    rows, half = 2 * p.batch_size, p.max_tokens // 2
    finetune(lm, texts(rows, half), texts(rows, p.max_tokens - half), recipe)
elif stage == "score":
    weights = trained_weights(*trainable(shared_copy(lm.model), recipe), "", recipe) if p.train == "lora" else {}
    others = [variant(lm, weights, "copy") for _ in range(2)]
    contrast(*others, lm, texts(2 * READ_BATCH, PROMPT_TOKENS), texts(2 * READ_BATCH, p.localise_tokens))
else:
    generate(lm, texts(p.eval_batch, PROMPT_TOKENS), max_new_tokens=p.eval_tokens, batch=p.eval_batch)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
