"""Models spread over several devices: where their inputs start, and what is refused."""

import pytest

from polinb.errors import ParameterError
from polinb.training.recipe import Recipe
from polinb.training.supervised import finetune


def test_inputs_of_a_spread_model_start_on_the_cpu(pair):
    lm = pair("llama").left
    lm.model.to("meta")
    assert lm.device.type == "meta"  # one device: nobody moves inputs, they go where the weights are
    lm.model._hf_hook = object()
    assert lm.device.type == "cpu"


def test_one_process_cannot_train_a_spread_model(pair):
    both = pair("llama")
    both.left.model.hf_device_map = {"model": 0, "lm_head": 1}
    with pytest.raises(ParameterError, match="processes above 1"):
        finetune(both.left, both.prompts, both.responses, Recipe(1, 4, 4, 1e-3, 0.0, 0.0, "all", 4, 0))
