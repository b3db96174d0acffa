"""Residual stream reads against plain PyTorch hooks, for every architecture."""

import numpy as np
import pytest
from oracles import seen

from polinb.errors import ParameterError
from polinb.models.architectures import architecture_of, resolve
from polinb.models.tiny import TINY
from polinb.scoring.residual import block_index, depths, mean_states


@pytest.mark.parametrize("architecture", list(TINY))
def test_mean_states_against_hooks_one_text_at_a_time(pair, architecture):
    p = pair(architecture)
    states = mean_states(p.left, p.prompts, p.responses, batch=3)
    assert states.shape == (4, 3, 32)
    blocks = resolve(p.left.model, architecture_of(p.left.model).blocks)
    for text, (prompt, response) in enumerate(zip(p.prompts, p.responses, strict=True)):
        for layer, written in enumerate(seen(p.left.model, [*prompt, *response], blocks, output=True)):
            np.testing.assert_allclose(states[text, layer], written[len(prompt) :].double().mean(0), atol=2e-5)


def test_an_empty_response_has_no_mean(pair):
    p = pair("llama")
    with pytest.raises(ValueError, match="without tokens"):
        mean_states(p.left, p.prompts[:1], [[]])


def test_blocks_by_number_and_depth():
    assert block_index("probe_layer", -1, 30) == 29 and block_index("probe_layer", 4, 30) == 4
    for wrong in (30, -31):
        with pytest.raises(ParameterError, match="'probe_layer'"):
            block_index("probe_layer", wrong, 30)
    assert depths("caft_layers", [0.25, 0.5, 0.8], 30) == [7, 14, 23]
    assert depths("caft_layers", [0, 0.1, 1], 3) == [0, 2]
    for wrong in ([], [1.5]):
        with pytest.raises(ParameterError, match="'caft_layers'"):
            depths("caft_layers", wrong, 30)
