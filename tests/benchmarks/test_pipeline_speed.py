"""Each stage of the pipeline over its floor: the model's own passes, backward passes and optimiser steps inside it."""

import time
from contextlib import contextmanager

import measure
import pytest
import torch
from transformers import LlamaForCausalLM, LlamaModel

from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run


@contextmanager
def floor():
    """Processor seconds spent inside the model, its gradients and the optimiser; the outermost call counts."""
    spent, depth = [0.0], [0]

    @contextmanager
    def inside():
        begun = time.process_time()
        depth[0] += 1
        try:
            yield
        finally:
            depth[0] -= 1
            spent[0] += 0.0 if depth[0] else time.process_time() - begun

    parts = ((LlamaForCausalLM, "forward"), (LlamaModel, "forward"), (torch.Tensor, "backward"))
    with pytest.MonkeyPatch.context() as patch:
        for place, name in (*parts, (torch.optim.AdamW, "step")):
            patch.setattr(place, name, inside()(getattr(place, name)))
        yield spent


@pytest.mark.slow
def test_stages_over_the_model(tmp_path, keep):
    measure.one_thread()
    # One topic at the sizes of the profile quick; two topics, so that there is another one to ask about.
    some = {"topics": ["science", "race"], "ablation_topics": ["science"], "baseline_topics": ["science"]}
    run = Run(Params.from_profile("quick", **some, device="cpu"), Store(tmp_path / "store"))
    _ = run.lm, run.data, run.questions(), run.judge
    import trl.trainer.sft_trainer  # noqa: F401  imported once a process, whatever it trains

    condition = run.tuned("science")
    stages = {
        "fine-tuning": lambda: [run.weights(run.tuned("science", side)).made() for side in ("left", "right")],
        "scores": lambda: run.scores("science").made(),
        "answers": lambda: run.answers(condition).made(),
        "neurons": lambda: run.neurons("all").made(),  # of the other topic: not measured
        "patching": lambda: run.patched(run.neurons("all"), {"science": "science"}),
    }
    with floor() as model:  # once: nnsight keeps the forward that it finds
        for name, work in stages.items():
            model[0] = 0.0
            seconds = measure.seconds(work)
            print(f"{name}: {seconds:.1f} s, of which model {model[0]:.1f} s")
            assert model[0], f"{name}: no call of the model was seen"
            if name != "neurons":
                what = f"whole stage “{name}” (files, judge and all) ÷ the model's own time in it"
                keep(f"stage {name}", what, [seconds / model[0]])
