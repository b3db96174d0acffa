"""Probes on states whose direction is known, against scikit-learn and brute force."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from polinb.errors import ParameterError
from polinb.scoring.probes import KINDS, _quality, held_out_scores, layer_direction, probe_table, unit_direction

TOPICS, PROMPTS, WIDTH, LAYERS = 4, 12, 16, 3


def planted(strength=3.0):
    """States with a stance direction in layer 1 only, a level of each topic, and one huge coordinate."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=WIDTH)
    w /= np.linalg.norm(w)
    topics = np.repeat(np.arange(TOPICS), 2 * PROMPTS)
    units = np.repeat(np.arange(TOPICS * PROMPTS), 2)
    labels = np.tile([True, False], TOPICS * PROMPTS)
    states = rng.normal(size=(len(labels), LAYERS, WIDTH))
    states += 2 * rng.normal(size=(TOPICS, 1, WIDTH))[topics]
    states[:, 1] += strength * (labels - 0.5)[:, None] * w
    states[..., 0] *= 300  # as a few coordinates of a residual stream are
    w[0] /= 300  # the direction that separates after that stretch
    return states, labels, topics, units, w / np.linalg.norm(w)


def test_the_planted_direction_is_found():
    states, labels, topics, units, w = planted()
    for kind in KINDS:
        got = layer_direction(states, labels, 1, kind)
        assert got.shape == (WIDTH,) and np.linalg.norm(got) == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(layer_direction(states, labels, -2, kind), got)
        np.testing.assert_allclose(layer_direction(states, ~labels, 1, kind), -got, atol=1e-6)
    assert layer_direction(states, labels, 1) @ w > 0.8
    table = probe_table(states, labels, topics, units, n_boot=200).set_index(["layer", "probe"])
    assert len(table) == LAYERS * len(KINDS)
    # A new topic's own level shifts its scores: accuracy pays for that, the AUC within the topic does not.
    assert table.loc[(1, "logistic"), "accuracy"] > 0.7 and table.loc[(1, "logistic"), "auc"] > 0.92
    for layer in (0, 2):  # nothing is planted there
        row = table.loc[(layer, "logistic")]
        assert row["auc_low"] < 0.5 < row["auc_high"] and row["accuracy_low"] < 0.5 < row["accuracy_high"]
    same = float(layer_direction(states, labels, 1) @ layer_direction(states, labels, 1, "mean_difference"))
    assert table.loc[(1, "logistic"), "cosine"] == pytest.approx(same)


def test_eq_probe_by_hand_and_by_scikit_learn():
    states, labels = np.array([[2.0, 1.0], [4.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), np.array([True, True, False, False])
    np.testing.assert_allclose(unit_direction(states, labels, "mean_difference"), [1, 0])
    np.testing.assert_allclose(unit_direction(states, labels, "logistic"), [1, 0], atol=1e-9)
    scores = held_out_scores(np.tile(states, (2, 1)), np.tile(labels, 2), [0] * 4 + [1] * 4, "mean_difference")
    np.testing.assert_allclose(scores, np.tile([1.5, 7.5, -4.5, -4.5], 2))  # slope 3, from the middle at 1.5
    # the direction is the gradient of the log-odds; a topic's scores are those of a model fitted without it
    states, labels, topics, *_ = planted(strength=1.0)
    states, model = states[:, 1], make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    gradient = model.fit(states, labels).decision_function(np.eye(WIDTH)) - model.decision_function([np.zeros(WIDTH)])
    np.testing.assert_allclose(unit_direction(states, labels), gradient / np.linalg.norm(gradient), rtol=1e-6)
    got = held_out_scores(states, labels, topics)
    for topic in range(TOPICS):
        out = topics == topic
        model.fit(states[~out], labels[~out])
        np.testing.assert_allclose(got[out], model.decision_function(states[out]), rtol=1e-6, atol=1e-8)
    with pytest.raises(ParameterError, match="without group 0: 72 negative and 0 positive"):
        held_out_scores(states, topics == 0, topics)


def test_responses_to_one_prompt_are_resampled_together_and_not_compared():
    labels, scores, prompts = np.tile([True, False], 10), np.ones(20), np.repeat(np.arange(10), 2)
    one = np.zeros(20)
    # always says right: one of each pair is, so that no resample of prompts can change the accuracy
    assert _quality(scores, labels, one, prompts, 300, 0) == [0.5] * 6
    alone = _quality(scores, labels, one, np.arange(20), 300, 0)
    assert alone[1] < 0.4 and alone[2] > 0.6
    # within each prompt the right response wins, across prompts never: not counted in the value nor in resamples
    scores = 10.0 * prompts + labels
    assert _quality(scores, labels, one, prompts, 500, 0)[3:] == pytest.approx([0.5] * 3)
    alone = _quality(scores, labels, one, one, 100, 0)  # one unit: nothing to compare
    assert np.isnan(alone[3:]).all() and not np.isnan(alone[0])
    rng = np.random.default_rng(0)
    told = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + told, 1)  # with ties, and a unit each: scikit-learn's own
    assert _quality(scores, told, 0 * scores, np.arange(200), 2, 0)[3] == pytest.approx(roc_auc_score(told, scores))


def test_intervals_hold_the_truth():
    """Answers right with a known chance, scores of a known AUC: 95 % intervals miss about 5 % of the time."""
    rng, misses = np.random.default_rng(5), np.zeros(2)
    groups, labels = np.repeat([0, 1], 40), np.tile([True, False], 40)
    for draw in range(100):
        scores = rng.normal(size=80) + np.where(labels, 0.5, -0.5)
        _, low, high, _, auc_low, auc_high = _quality(scores, labels, groups, np.arange(80), 300, draw)
        misses += [not low <= 0.6915 <= high, not auc_low <= 0.7602 <= auc_high]  # Φ(0.5), Φ(1/√2)
    assert (misses / 100 <= 0.1).all(), misses
