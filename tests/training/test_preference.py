"""DPO through the trainer against a plain PyTorch float64 implementation, and the promises of ``prefer``."""

import copy
import math
from dataclasses import replace

import numpy as np
import oracles
import pytest
import torch

from polinb.errors import ParameterError
from polinb.training.preference import prefer

BETA = 0.2
RECIPE = replace(oracles.RECIPE, epochs=4, learning_rate=1e-3, weight_decay=0.01)


def log_probability(model, prompt, response):
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[torch.arange(len(response)), torch.tensor(response)].sum()


def plain_loss(model, reference, prompts, chosen, rejected):
    """DPO as its paper writes it, pair by pair, without padding."""
    losses = []
    for p, c, r in zip(prompts, chosen, rejected, strict=True):
        with torch.no_grad():
            base = log_probability(reference, p, c) - log_probability(reference, p, r)
        gain = log_probability(model, p, c) - log_probability(model, p, r) - base
        losses.append(-torch.nn.functional.logsigmoid(BETA * gain))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_eq_dpo_the_whole_training_equals_plain_adamw(pair, architecture):
    """Full batches, so the order of the pairs does not matter: losses and margins of every step."""
    both = pair(architecture)
    prompts, chosen, rejected = both.prompts, both.responses, both.responses[1:] + both.responses[:1]
    start = oracles.state(both.left)
    got = prefer(both.left, prompts, chosen, rejected, RECIPE, beta=BETA)
    assert oracles.same(start, oracles.state(both.left))
    model, reference = (copy.deepcopy(both.left.model).double() for _ in range(2))
    plain = ("norm", "ln_", "bias")  # no decay on these
    groups = [
        {"params": [parameter], "weight_decay": 0.0 if any(word in name for word in plain) else 0.01}
        for name, parameter in model.named_parameters()
    ]
    optimiser, losses = torch.optim.AdamW(groups), []
    for step in range(4):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * (1 - step / 4)
        optimiser.zero_grad()
        loss = plain_loss(model, reference, prompts, chosen, rejected)
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    np.testing.assert_allclose(got.losses, losses, rtol=2e-3)
    assert got.losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < 0.9 * losses[0], "four steps must matter, else this proves nothing"
    assert set(got.weights) == set(start)
    own = torch.cat([(got.weights[n].double() - start[n]).flatten() for n in start])
    want = torch.cat([(p.detach() - start[n]).flatten() for n, p in model.named_parameters()])
    assert float(torch.nn.functional.cosine_similarity(own, want, dim=0)) > 0.999
    assert got.extra["margins"][0] == 0 and got.extra["margins"][-1] > 0.1 and got.extra["beta"] == BETA


def test_batches_that_do_not_fit_and_pairs_of_the_same_responses_are_refused(pair):
    both = pair("llama")
    with pytest.raises(ParameterError, match=r"micro_batch.*got 3; allowed: a divisor of batch_size"):
        prefer(both.left, both.prompts, both.responses, both.responses[::-1], replace(RECIPE, micro_batch=3))
    with pytest.raises(ParameterError, match="'rejected'"):
        prefer(both.left, both.prompts, both.responses, both.responses, RECIPE)
