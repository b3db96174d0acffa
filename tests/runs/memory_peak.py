"""Run by ``test_memory.py`` in a process of its own: one stage with texts of full length; prints its peak memory.

Arguments: a JSON object with ``stage`` and parameters. Output: a JSON object with peak and start, in bytes.
"""

import json
import resource
import sys


def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main():
    asked = json.loads(sys.argv[1])
    stage = asked.pop("stage")

    import datasets  # noqa: F401  libraries first: the start is what they take
    import numpy as np
    import trl.trainer.sft_trainer  # noqa: F401

    from polinb.runs.params import Params
    from polinb.runs.run import Run
    from polinb.training.supervised import finetune

    start = peak()
    params = Params.from_profile("tiny", **asked)
    run = Run(params)
    lm = run.lm
    rng = np.random.default_rng(0)

    def texts(count, tokens):
        return [rng.integers(10, 700, tokens).tolist() for _ in range(count)]

    if stage == "train":
        half = params.max_tokens // 2
        rows = 2 * params.batch_size
        finetune(lm, texts(rows, half), texts(rows, params.max_tokens - half), run.recipe())
    elif stage == "score":
        from polinb.models.variants import shared_copy, variant
        from polinb.runs.memory import PROMPT_TOKENS, READ_BATCH
        from polinb.scoring.tracing import contrast
        from polinb.training.supervised import trainable, trained_weights

        recipe = run.recipe()
        weights = {}
        if params.train == "lora":
            weights = trained_weights(*trainable(shared_copy(lm.model), recipe), "", recipe)
        others = [variant(lm, weights, "copy") for _ in range(2)]
        n = 2 * READ_BATCH
        contrast(*others, lm, texts(n, PROMPT_TOKENS), texts(n, params.localise_tokens))
    else:
        from polinb.models.generation import generate
        from polinb.runs.memory import PROMPT_TOKENS

        limit = {"max_new_tokens": params.eval_tokens, "batch": params.eval_batch}
        generate(lm, texts(params.eval_batch, PROMPT_TOKENS), **limit)
    print(json.dumps({"peak": peak(), "start": start}))


if __name__ == "__main__":
    main()
