"""Residual stream reads against plain PyTorch hooks, for every architecture."""

import numpy as np
import pytest
import torch

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
        seen = {}
        hooks = [
            b.register_forward_hook(
                lambda m, a, o, k=k, s=seen: s.__setitem__(k, (o[0] if isinstance(o, tuple) else o).detach())
            )
            for k, b in enumerate(blocks)
        ]
        with torch.no_grad():
            p.left.model(torch.tensor([[*prompt, *response]]))
        for hook in hooks:
            hook.remove()
        for layer in range(3):
            expected = seen[layer][0, len(prompt) :].double().mean(0).numpy()
            np.testing.assert_allclose(states[text, layer], expected, atol=2e-5)


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
