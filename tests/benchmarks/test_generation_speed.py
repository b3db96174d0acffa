"""Patched and plain answers, and likelihoods, over what transformers needs for the same."""

from functools import partial

import measure
import numpy as np
import pytest
import torch

from polinb.masking.patching import patched_answers
from polinb.models.generation import cut, generate, log_likelihood, stop_ids
from polinb.models.lm import LM
from polinb.models.tokens import batches, pad, prompt_ids
from polinb.runs.params import Params

QUESTIONS = (
    "Should taxes be raised?",
    "What should a town do about traffic at night, when people who live near the road cannot sleep?",
    "Is it right that schools choose their pupils?",
    "Describe how courts, police and citizens should work together in a country that wants to be safe and free.",
)


@pytest.mark.slow
def test_lock_step_over_donor_and_recipient(embedded, keep):
    donor = LM(embedded.model, embedded.tokenizer, "donor", {})
    chosen = np.random.default_rng(0).random((embedded.layers, embedded.width)) < 0.05
    prompts = [prompt_ids(embedded, text) for text in QUESTIONS * 2]
    made = {}

    def patched():
        made["patched"] = patched_answers(embedded, donor, chosen, prompts, max_new_tokens=16)

    def plain():
        for lm in (embedded, donor):
            made["plain"] = generate(lm, prompts, max_new_tokens=16)

    found = measure.in_turns(patched=patched, plain=plain)
    assert made["patched"] == made["plain"]  # a donor that is the recipient changes nothing, so the lengths are equal
    what = "lock-step patched generation ÷ (donor + recipient plain generation), same batch and tokens"
    keep("lock-step", what, measure.over(found["patched"], found["plain"]), at_most=1.15)


@pytest.mark.slow
def test_answers_over_generate_at_its_best_batch_size(embedded, keep):
    """Useful tokens a second; ``generate`` may choose its batch size, and gets the prompts sorted as well."""
    given = [prompt_ids(embedded, f"{text} Case {k}.") for k in range(8) for text in QUESTIONS]
    stop, size = stop_ids(embedded), Params.from_profile("quick").eval_batch
    settings = dict(max_new_tokens=8, do_sample=False, eos_token_id=stop, pad_token_id=embedded.tokenizer.pad_token_id)
    useful = {}

    def ours():
        useful["ours"] = sum(map(len, generate(embedded, given, max_new_tokens=8, batch=size)))

    def theirs(batch, prompts, name):
        useful[name] = 0
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            chunk = pad(embedded, part, [[] for _ in part], range(len(part)))
            with torch.inference_mode():
                made = embedded.model.generate(input_ids=chunk.ids, attention_mask=chunk.mask, **settings)
            useful[name] += sum(len(cut(row, stop)) for row in made[:, chunk.ids.shape[1] :].tolist())

    ways = {}
    for batch in (8, 16, 32):
        for how, prompts in (("given", given), ("sorted", sorted(given, key=len))):
            name = f"generate {batch} {how}"
            ways[name] = partial(theirs, batch, prompts, name)
    first = measure.in_turns(1, **ways)
    best = sorted(ways, key=lambda name: first[name][0] / useful[name])[:2]  # are measured again, in turns with ours
    found = measure.in_turns(ours=ours, **{name: ways[name] for name in best})
    speed = {name: useful[name] / np.array(seconds) for name, seconds in found.items()}
    ratios = speed["ours"] / np.maximum(*(speed[name] for name in best))
    keep("stance", "answers: tokens a second ÷ those of generate at its best batch size", ratios, at_least=0.95)


@pytest.mark.slow
def test_likelihood_over_one_forward_pass(embedded, keep):
    """The plain pass computes the output head where the likelihood needs it, and nothing else."""
    prompts, responses = measure.texts(16, 30, 50)
    responses = [each[: 50 - 3 * (k % 5)] for k, each in enumerate(responses)]

    def plain(**options):
        with torch.inference_mode():
            for chunk in batches(embedded, prompts, responses, 16):
                embedded.model(**chunk.inputs, use_cache=False, **options)

    ours = partial(log_likelihood, embedded, prompts, responses)
    found = measure.in_turns(ours=ours, strict=partial(plain, logits_to_keep=51), full=plain)
    what = "likelihood stance ÷ one forward pass over the same tokens"
    keep("likelihood, full", f"{what}, its output head at all positions", measure.over(found["ours"], found["full"]))
    strict = measure.over(found["ours"], found["strict"])
    keep("likelihood", f"{what}, its output head at response positions only", strict, at_most=1.1)
