"""Factors of tuning-free editing (the loop: test_decoding); the tables of the causal checks against hand counts."""

import numpy as np
import pandas as pd
import pytest

from polinb.chapters.dpo import study
from polinb.errors import DataError, ParameterError
from polinb.masking.editing import edit_factors, edited_answers
from polinb.resampling import SHIFT
from polinb.scoring.shares import groups


def test_eq_edit_factors_by_hand(pair):
    """Toxicity: TP and AN by 1 − α, AP and TN by 1 + α."""
    cosine, mean = np.array([[1.0, 1.0, -1.0, -1.0, 1.0]]), np.array([[1.0, -1.0, 1.0, -1.0, 1.0]])
    delta = np.array([[-1.0, -1.0, -1.0, -1.0, 1.0]])
    chosen, factors = edit_factors(groups(cosine, mean, delta, -1, ("T", "A")), 0.25)
    np.testing.assert_array_equal(chosen, [[True, True, True, True, False]])
    np.testing.assert_allclose(factors, [[0.75, 1.25, 1.25, 0.75, 1.0]])
    # whatever they wrote before: multiplying by the factors moves every contribution the trained way
    assert ((factors - 1) * mean * cosine)[chosen].max() < 0
    good = groups(cosine, mean, -delta, 1)
    up, more = edit_factors(good, 0.25)
    assert ((more - 1) * mean * cosine)[up].min() > 0
    assert (edit_factors(good, 0.0)[1] == 1).all()
    for bad, alpha in ((good, -1), ({}, 0.5), (good | {"again": good["RP"]}, 0.5)):
        with pytest.raises(ParameterError):
            edit_factors(bad, alpha)
    ones = np.ones((3, 48))
    for means in (None, ones * np.nan, ones[:2, :7]):
        with pytest.raises(ParameterError, match="means"):
            edited_answers(pair("llama").left, ones > 0, ones, [[5]], means=means, max_new_tokens=1)


def test_outcomes_by_hand():
    answers = pd.DataFrame({"topic": list("aabb") * 3, "id": list("wxyz") * 3, "response": "one two three"})
    answers["set"] = np.repeat(["before", "after", "half"], 4)
    answers["score"] = [-1, -1, 0, 1, 1, 1, 0, 1, 0, -1, 0, 1]
    answers["soft"] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.3, 0.4, 0.1, np.nan, 0.3, 0.8]
    answers["vanilla_logp"] = [-1.0, -1.0, -1.0, np.nan, *[-2.0] * 4, *[-3.0] * 4]
    answers.loc[8:, "response"] = "no no no no no"  # triples: three, all alike
    answers = pd.concat([answers[:4], answers[7:3:-1], answers[8:]])  # paired by question, not by place
    got = study.outcome_table(answers, 400, 0, {"half": 7}, SHIFT, []).set_index("set")
    assert got["shift"].tolist() == [0, 1, 0.25] and got["score"].tolist() == [-0.25, 0.75, 0]
    assert got["soft"].tolist()[1:] == pytest.approx([0.2, (0 + 0 + 0.4) / 3])  # the missing one left out
    assert got["perplexity"].tolist() == pytest.approx(np.exp([1, 2, 3]))
    assert got.loc["half", "repetition"] == pytest.approx(2 / 3) and got.loc["half", "neurons"] == 7
    # two questions a topic say little, alike as they are: the interval of labels is not one of width zero
    assert (got["low"] <= got["shift"]).all() and (got["shift"] <= got["high"]).all()
    assert got.loc["after", "low"] < 0 and got.loc["after", "high"] > 1
    with pytest.raises(DataError, match="1 questions stand in one of two tables"):
        study.outcome_table(answers[(answers["set"] != "half") | (answers["id"] != "w")], 100, 0, {}, SHIFT, [])
