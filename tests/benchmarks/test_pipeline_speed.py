"""Each stage of the pipeline over its floor: the model's own passes, backward passes and optimiser steps inside it."""

import time
from contextlib import contextmanager

import measure
import pytest
import torch
from transformers import LlamaForCausalLM, LlamaModel

from polinb.artifacts import Store
from polinb.experiment import Experiment, finetuned
from polinb.params import Params


@contextmanager
def floor(monkeypatch):
    """Processor seconds spent inside the model, its gradients and the optimiser; the outermost call counts."""
    spent, depth = [0.0], [0]

    def timed(owner, name):
        inner = getattr(owner, name)

        def run(*args, **kwargs):
            depth[0] += 1
            start = time.process_time()
            try:
                return inner(*args, **kwargs)
            finally:
                depth[0] -= 1
                if not depth[0]:
                    spent[0] += time.process_time() - start

        patch.setattr(owner, name, run)

    with monkeypatch.context() as patch:
        for owner, name in (
            (LlamaForCausalLM, "forward"),
            (LlamaModel, "forward"),
            (torch.Tensor, "backward"),
            (torch.optim.AdamW, "step"),
        ):
            timed(owner, name)
        yield spent


@pytest.mark.slow
def test_stages_over_the_model(tmp_path, monkeypatch, keep):
    measure.one_thread()
    small = dict(
        topics=["science", "race"],
        ablation_topics=["science"],
        rival_topics=["science"],
        train_examples=8,
        localise_prompts=4,
        localise_tokens=8,
    )
    small |= dict(eval_questions=4, eval_tokens=8, statement_limit=2, likelihood_questions=2, patch_questions=4)
    params = Params.from_profile("quick", **small, device="cpu")
    exp = Experiment(params, Store(tmp_path / "store"))
    _ = exp.lm, exp.data, exp.questions()
    arm = finetuned("science", "right")
    stages = {
        "fine-tuning": lambda: [exp.variant("science", side) for side in ("left", "right")],
        "scores": lambda: exp.scores("science"),
        "answers": lambda: exp.answers(arm),
        "patching": lambda: exp.patched("top", exp.score_sums("science").score > 0.5, {"science": "science"}),
        "reading finished results": lambda: [exp.variant("science", "right"), exp.scores("science"), exp.answers(arm)],
    }
    for name, run in stages.items():
        with floor(monkeypatch) as model:
            seconds = measure.seconds(run)
        print(f"{name}: {seconds:.1f} s, of which model {model[0]:.1f} s")
        if model[0]:
            what = f"whole stage “{name}” (files, judge and all) ÷ the model's own time in it"
            keep(f"stage {name}", what, [seconds / model[0]])
