"""Token ids, batches, greedy answers and likelihoods against plain one-by-one computation."""

import copy

import numpy as np
import pytest
import torch

from polinb.masking.decoding import changed_answers, scale
from polinb.models.generation import cut, generate, log_likelihood, stop_ids
from polinb.models.loading import load
from polinb.models.tiny import TINY
from polinb.models.tokens import end_ids, fit, prompt_ids, response_ids


def test_prompt_and_response_join_like_the_template_and_fit_keeps_the_prompt():
    lm = load("tiny:llama")
    turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes."}]
    whole = lm.tokenizer.apply_chat_template(turns, tokenize=False)
    parts = prompt_ids(lm, "Is it?") + response_ids(lm, "Yes.", end=True)
    assert lm.tokenizer.decode(parts) == whole and end_ids(lm) == [lm.tokenizer.eos_token_id]
    assert fit([1, 2], [3, 4, 5], 4) == ([1, 2], [3, 4])


@pytest.mark.parametrize("architecture", TINY)
def test_greedy_in_any_batch_equals_one_by_one(pair, architecture):
    both = pair(architecture)
    lm = both.left
    expected = []
    for prompt in both.prompts:
        ids = list(prompt)
        with torch.no_grad():
            for _ in range(8):
                ids.append(int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        expected.append(cut(ids[len(prompt) :], stop_ids(lm)))
    for batch in (1, 3):
        assert generate(lm, both.prompts, max_new_tokens=8, batch=batch) == expected


def test_a_models_generation_settings_reach_no_answer(pair):
    """Greedy stays what the lock-step loop writes with nobody patched, whatever stands in the model's settings."""
    both = pair("llama")
    lm = both.left
    plain = changed_answers(lm, both.prompts, np.zeros((lm.layers, lm.width), bool), scale(1.0), max_new_tokens=6)
    drawn = generate(lm, both.prompts, temperature=1.0, max_new_tokens=6, seed=1)
    first = sorted({ids[0] for ids in plain})
    planted = copy.deepcopy(lm.model.generation_config)
    planted.__dict__ |= {
        "do_sample": True, "temperature": 5.0, "top_k": 3, "num_beams": 3, "repetition_penalty": 3.0,
        "no_repeat_ngram_size": 1, "bad_words_ids": [[token] for token in first], "suppress_tokens": first,
        "sequence_bias": [[[token], -100.0] for token in first], "forced_eos_token_id": 7, "max_length": 3,
        "eos_token_id": [ids[2] for ids in plain], "min_new_tokens": 8, "stop_strings": ["e", "a"],
        "num_return_sequences": 2, "guidance_scale": 3.0, "return_dict_in_generate": True,
    }  # fmt: skip
    lm.model.generation_config = planted
    assert generate(lm, both.prompts, max_new_tokens=6) == plain
    assert generate(lm, both.prompts, temperature=1.0, max_new_tokens=6, seed=1) == drawn
    assert lm.model.generation_config is planted


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_likelihood_by_hand(pair, architecture):
    both = pair(architecture)
    expected = []
    for prompt, response in zip(both.prompts, both.responses, strict=True):
        with torch.no_grad():
            logp = both.left.model(input_ids=torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        expected.append(float(logp[len(prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None]).mean()))
    for batch in (1, 3, 4):
        got = log_likelihood(both.left, both.prompts, both.responses, batch=batch)
        np.testing.assert_allclose(got, expected, rtol=1e-4)
    empty = log_likelihood(both.left, both.prompts, [both.responses[0], [], *both.responses[2:]])
    assert np.isnan(empty[1]) and np.isfinite(empty[[0, 2, 3]]).all()


def test_what_is_no_response_cannot_spoil_a_likelihood(pair):
    lm, prompts, responses = pair("llama").left, [[5, 6], [5, 6]], [[7, 8, 9], [7]]
    clean = log_likelihood(lm, prompts, responses)

    def spoil(model, args, out):
        out.logits[1, :2] = float("nan")  # the second text's response is the last position's alone

    lm.model.register_forward_hook(spoil)
    np.testing.assert_array_equal(log_likelihood(lm, prompts, responses), clean)
