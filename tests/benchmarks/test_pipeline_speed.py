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
    """Processor seconds spent inside the model, its gradients and the optimiser; the outermost call counts.

    Hooks on all modules see a model however it is called: nnsight calls what it has wrapped in its own way.
    """
    spent, depth, begun = [0.0], [0], [0.0]

    def enter(*_):
        if not depth[0]:
            begun[0] = time.process_time()
        depth[0] += 1

    def leave(*_):
        depth[0] -= 1
        if not depth[0]:
            spent[0] += time.process_time() - begun[0]

    def timed(inner):
        def run(*args, **kwargs):
            enter()
            try:
                return inner(*args, **kwargs)
            finally:
                leave()

        return run

    module = torch.nn.modules.module
    whole = (LlamaForCausalLM, LlamaModel)
    hooks = [
        module.register_module_forward_pre_hook(lambda m, _: enter() if isinstance(m, whole) else None),
        module.register_module_forward_hook(lambda m, *_: leave() if isinstance(m, whole) else None, always_call=True),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", timed(torch.Tensor.backward))
        patch.setattr(torch.optim.AdamW, "step", timed(torch.optim.AdamW.step))
        try:
            yield spent
        finally:
            for hook in hooks:
                hook.remove()
    assert not depth[0], "a call that began inside the model did not end"


@pytest.mark.slow
def test_stages_over_the_model(tmp_path, keep):
    measure.one_thread()
    # One topic at the sizes of the profile quick; two topics, so that there is another one to ask about.
    topics = ["science", "race"]
    params = Params.from_profile(
        "quick", topics=topics, ablation_topics=["science"], baseline_topics=["science"], device="cpu"
    )
    run = Run(params, Store(tmp_path / "store"))
    _ = run.lm, run.data, run.questions(), run.judge
    import trl.trainer.sft_trainer  # noqa: F401  imported once a process, whatever it trains

    condition = run.tuned("science")

    def finished():
        return run.weights(condition), run.scores("science"), run.answers(condition)

    stages = {
        "fine-tuning": lambda: [run.weights(run.tuned("science", side)).made() for side in ("left", "right")],
        "scores": lambda: run.scores("science").made(),
        "answers": lambda: run.answers(condition).made(),
        "neurons": lambda: run.neurons("all").made(),  # of the other topic: not measured
        "patching": lambda: run.patched(run.neurons("all"), {"science": "science"}),
        "reading finished results": lambda: [each.made() for each in finished()],
    }
    for name, work in stages.items():
        with floor() as model:
            seconds = measure.seconds(work)
        if name == "neurons":
            continue
        print(f"{name}: {seconds:.1f} s, of which model {model[0]:.1f} s")
        if name.startswith("reading"):
            assert not model[0], "a finished result was made again"
        else:
            assert model[0], f"{name}: no call of the model was seen"
            what = f"whole stage “{name}” (files, judge and all) ÷ the model's own time in it"
            keep(f"stage {name}", what, [seconds / model[0]])
