"""DPO through the trainer against a plain PyTorch float64 implementation, and the promises of ``prefer``."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from polinb.errors import ParameterError
from polinb.models.variants import variant
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.training.preference import _trainer, dpo_loss, margins, prefer
from polinb.training.recipe import Recipe

BETA = 0.2
RECIPE = Recipe(
    epochs=4, batch_size=4, micro_batch=2, learning_rate=1e-3, weight_decay=0.01, warmup=0.0, train="all",
    lora_rank=4, seed=0,
)  # fmt: skip


def triple(both):
    """Prompts, chosen and rejected responses of different lengths."""
    return both.prompts, both.responses, both.responses[1:] + both.responses[:1]


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
def test_loss_and_gradient_equal_plain_float64(pair, architecture, tmp_path):
    from datasets import Dataset

    both = pair(architecture)
    prompts, chosen, rejected = triple(both)
    rows = [
        {"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in zip(prompts, chosen, rejected, strict=True)
    ]
    # The policy is another model than the reference, so that the loss is not log 2.
    policy, reference = copy.deepcopy(both.right.model), copy.deepcopy(both.left.model)
    trainer = _trainer(policy, reference, both.left, Dataset.from_list(rows), RECIPE, BETA, str(tmp_path), "test")
    loss = trainer.compute_loss(policy, trainer.data_collator(rows))
    loss.backward()
    exact, plain = copy.deepcopy(both.right.model).double(), copy.deepcopy(both.left.model).double()
    expected = plain_loss(exact, plain, prompts, chosen, rejected)
    expected.backward()
    assert abs(loss.item() - expected.item()) < 1e-4 and abs(loss.item() - math.log(2)) > 0.05
    for (name, got), want in zip(policy.named_parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(got.grad.double(), want.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_whole_training_equals_plain_adamw(pair):
    """Full batches, so the order of the pairs does not matter: losses and margins of every step."""
    both = pair("llama")
    prompts, chosen, rejected = triple(both)
    got = prefer(both.left, prompts, chosen, rejected, RECIPE, beta=BETA)
    model, reference = (copy.deepcopy(both.left.model).double() for _ in range(2))
    names = [n for n, _ in model.named_parameters()]
    plain = ("norm", "bias")  # no decay on these
    decayed = [p for n, p in model.named_parameters() if not any(word in n for word in plain)]
    rest = [p for n, p in model.named_parameters() if any(word in n for word in plain)]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}])
    losses = []
    for step in range(4):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * (1 - step / 4)
        optimiser.zero_grad()
        loss = plain_loss(model, reference, prompts, chosen, rejected)
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    np.testing.assert_allclose(got.losses, losses, rtol=2e-3)
    assert got.losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < 0.9 * losses[0], "four steps must matter, else this proves nothing"
    assert set(got.weights) == set(names)
    start = dict(both.left.model.named_parameters())
    own = torch.cat([(got.weights[n].double() - start[n]).flatten() for n in names])
    want = torch.cat([(p.detach() - start[n]).flatten() for n, p in model.named_parameters()])
    assert float(torch.nn.functional.cosine_similarity(own, want, dim=0)) > 0.999
    assert got.extra["margins"][0] == 0 and got.extra["margins"][-1] > 0.1 and got.extra["beta"] == BETA


@pytest.mark.parametrize("train", ["all", "lora"])
def test_margins_rise_and_the_mirror_falls(pair, train):
    both = pair("llama")
    prompts, chosen, rejected = triple(both)
    before = {k: v.clone() for k, v in both.left.model.state_dict().items()}
    recipe = dataclasses.replace(RECIPE, train=train, learning_rate=5e-3 if train == "lora" else 1e-3)
    moved = []
    for first, second in ((chosen, rejected), (rejected, chosen)):
        tuned = prefer(both.left, prompts, first, second, recipe, beta=BETA)
        assert tuned.losses[0] == pytest.approx(math.log(2), abs=1e-6) and tuned.steps == 4
        ends = {"model.embed_tokens.weight", "lm_head.weight"}
        assert (train == "all") == (ends <= set(tuned.weights))
        table = margins(both.left, variant(both.left, tuned.weights, "tuned"), prompts, chosen, rejected)
        moved.append(float((table["chosen_gain"] - table["rejected_gain"]).mean()))
    assert moved[0] > 0.3 and moved[1] < -0.3
    assert all(torch.equal(before[k], v) for k, v in both.left.model.state_dict().items())
    assert "forward" not in vars(both.left.model) and not both.left.model.training


def test_eq_dpo_loss_by_hand(pair):
    assert dpo_loss([0.0], [0.0])[0] == pytest.approx(math.log(2))
    assert dpo_loss([3.0, -2.0], [1.0, 2.0], 0.5) == pytest.approx(
        [math.log(1 + math.exp(-1)), math.log(1 + math.exp(2))]
    )
    assert dpo_loss([1e6], [-1e6])[0] == 0 and dpo_loss([-1e6], [1e6])[0] == pytest.approx(2e5)
    both = pair("llama")
    prompts, chosen, rejected = triple(both)
    table = margins(both.left, both.right, prompts, chosen, rejected)
    loss = dpo_loss(table["chosen_gain"], table["rejected_gain"], BETA).mean()
    exact = [copy.deepcopy(lm.model).double() for lm in (both.right, both.left)]
    assert loss == pytest.approx(float(plain_loss(*exact, prompts, chosen, rejected).detach()), abs=1e-4)
    lengths = np.array([len(ids) for ids in chosen])
    np.testing.assert_allclose(table["chosen_token"] * lengths, table["chosen_gain"])


def test_two_equal_responses_are_refused(pair):
    prompts, chosen, _ = triple(pair("llama"))
    with pytest.raises(ParameterError, match="'rejected': got 'the chosen response itself in pair 0'"):
        prefer(pair("llama").left, prompts, chosen, chosen, RECIPE)


def test_pairs_are_spread_over_topics_and_mirrored():
    from polinb.chapters.dpo import shift

    run = Run(Params.from_profile("tiny", dpo_pairs=8))
    model, mirror = (shift.preferred(run, side) for side in ("right", "left"))
    texts, swapped = model.learns.rows, {"response": "rejected", "rejected": "response"}
    assert len(texts) == 8 and mirror.learns.rows.equals(texts.rename(columns=swapped)[list(texts)])
    mixed = shift.preferred(run, shift.SHUFFLED).learns.rows
    same = (mixed == texts).all(axis=1)
    assert same.sum() == 4 and mixed[~same].equals(mirror.learns.rows[~same]), "a coin chooses half of the sides"
    assert mirror == dataclasses.replace(model, name="DPO left", learns=mirror.learns)
    assert (model.beta, model.recipe.learning_rate) == (run.params.dpo_beta, run.params.dpo_rate)
    wanted = [(t, k) for n, t in enumerate(run.params.topics) for k in range(2 if n < 2 else 1)]
    data = [run.data.topic(t, "train", leaning="both")[k] for t, k in wanted]
    assert texts["rejected"].tolist() == [each.left for each in data]
