"""Token ids, batches, greedy answers and likelihoods against plain one-by-one computation."""

import copy

import numpy as np
import pytest
import torch

from polinb.errors import ParameterError
from polinb.masking.decoding import changed_answers, scale
from polinb.models.generation import cut, decode, generate, log_likelihood, stop_ids
from polinb.models.loading import load
from polinb.models.tiny import TINY
from polinb.models.tokens import end_ids, fit, prompt_ids, response_ids


def test_prompt_and_response_join_like_the_template():
    lm = load("tiny:llama")
    turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes."}]
    whole = lm.tokenizer.apply_chat_template(turns, tokenize=False)
    parts = prompt_ids(lm, "Is it?") + response_ids(lm, "Yes.", end=True)
    assert lm.tokenizer.decode(parts) == whole
    assert end_ids(lm) == [lm.tokenizer.eos_token_id]


def test_fit_keeps_the_prompt():
    assert fit([1, 2], [3, 4, 5], 4) == ([1, 2], [3, 4])
    with pytest.raises(ParameterError, match=r"'max_tokens': got 2; allowed: more than the 2 tokens of a prompt"):
        fit([1, 2], [3], 2)


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


LEAKS = {
    "do_sample": True, "temperature": 5.0, "top_k": 3, "num_beams": 3, "repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1, "bad_words_ids": "own", "suppress_tokens": "own", "sequence_bias": "own",
    "forced_eos_token_id": 7, "eos_token_id": "own", "max_length": 3, "min_new_tokens": 8, "stop_strings": ["e", "a"],
    "num_return_sequences": 2, "guidance_scale": 3.0, "return_dict_in_generate": True,
}  # fmt: skip


def test_a_models_generation_settings_reach_no_answer(pair):
    """Greedy stays what the lock-step loop writes with nobody patched, whatever stands in the model's settings."""
    both = pair("llama")
    lm = both.left
    nobody = np.zeros((lm.layers, lm.width), bool)
    plain = changed_answers(lm, both.prompts, nobody, scale(1.0), max_new_tokens=6)
    drawn = generate(lm, both.prompts, temperature=1.0, max_new_tokens=6, seed=1)
    first = sorted({ids[0] for ids in plain})
    own = {
        "bad_words_ids": [[token] for token in first],
        "sequence_bias": [[[token], -100.0] for token in first],
        "eos_token_id": [ids[2] for ids in plain],
    }
    clean = lm.model.generation_config
    for name, value in {**LEAKS, "all": None}.items():
        planted = copy.deepcopy(clean)
        for key, each in ({name: value} if name != "all" else LEAKS).items():
            setattr(planted, key, own.get(key, first) if each == "own" else each)
        lm.model.generation_config = planted
        assert generate(lm, both.prompts, max_new_tokens=6) == plain, name
        assert generate(lm, both.prompts, temperature=1.0, max_new_tokens=6, seed=1) == drawn, name
        assert lm.model.generation_config is planted


def test_answers_stop_at_the_end_of_turn(pair):
    both = pair("llama")
    free = generate(both.left, both.prompts, max_new_tokens=8)
    tokenizer = both.left.tokenizer = copy.deepcopy(both.left.tokenizer)
    tokenizer.chat_template, tokenizer.eos_token = None, tokenizer.convert_ids_to_tokens(free[0][3])
    got = generate(both.left, both.prompts, max_new_tokens=8)
    assert got[0] == free[0][: free[0].index(free[0][3])]
    assert decode(both.left, []) == ""


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
