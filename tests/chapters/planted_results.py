"""Results put into a run's store as if their stages had made them: a planted truth that every later stage reads."""

import numpy as np
from safetensors.numpy import save_file

from polinb.models.variants import save_variant


def put(result, write, **summary):
    """Keep what ``write(folder)`` writes, and the summary, as ``result``."""

    def make(folder):
        write(folder)
        return summary

    result.run.store.get(result.stage.kind, result.identity, make)
    return result


def put_weights(result, model, **summary):
    """Keep all parameters of a PyTorch model as trained weights."""
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    return put(result, lambda folder: save_variant(folder, weights), **summary)


def put_neurons(result, mask):
    """Keep (L, F) bool as the neurons of a rule."""
    arrays = {"mask": np.ascontiguousarray(mask, dtype=np.uint8)}
    return put(result, lambda folder: save_file(arrays, folder / "neurons.safetensors"), neurons=int(mask.sum()))


def trained(monkeypatch):
    """What every supervised fine-tuning is given from now on: label → prompts, responses, recipe, directions."""
    from polinb.training import supervised

    calls, real = {}, supervised.finetune

    def spy(base, prompts, responses, recipe, **how):
        assert how["frozen"] is None and how["stop"] == 1.0
        calls[how["label"]] = (prompts, responses, recipe, how["ablate"])
        return real(base, prompts, responses, recipe, **how)

    monkeypatch.setattr(supervised, "finetune", spy)
    return calls
