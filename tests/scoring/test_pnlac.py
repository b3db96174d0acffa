"""Neuron sets obey their algebra; controls have the size and the layers they claim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polinb.masking.random_sets import KINDS, random_set
from polinb.scoring.pnlac import neuron_sets, normalised, overlap, top_share

SHAPES = st.tuples(st.integers(1, 6), st.integers(2, 40))
FINITE = st.floats(0, 1e6, allow_nan=False, width=32)


@st.composite
def score_maps(draw):
    shape, n = draw(SHAPES), draw(st.integers(2, 6))
    return {f"t{i}": draw(hnp.arrays(np.float64, shape, elements=FINITE)) for i in range(n)}


@settings(max_examples=60, deadline=None)
@given(score_maps(), st.floats(0.5, 99.5), st.sampled_from(["model", "layer"]))
def test_eq_sets_set_algebra(scores, gamma, pool):
    sets = neuron_sets(scores, gamma, pool)
    for topic, chosen in sets.political.items():
        pools = chosen.shape if pool == "layer" else (1, -1)
        for row, score in zip(chosen.reshape(pools), scores[topic].reshape(pools), strict=True):
            assert row.sum() == round(gamma / 100 * row.size)
            assert score[row].min(initial=np.inf) >= score[~row].max(initial=0), "the highest scores"
        others = [theirs for other, theirs in sets.political.items() if other != topic]
        assert ((sets.specific[topic] | sets.general) == chosen).all()
        assert not (sets.specific[topic] & sets.general).any()
        assert (sets.strict[topic] == chosen & ~np.any(others, axis=0)).all()
        assert (sets.general_without(topic) == np.all(others, axis=0)).all()


def test_shares_normalised_scores_and_overlap_by_hand():
    """Gamma is a percentage of the whole model, and ties go to the first."""
    score = np.array([[9.0, 8, 7, 6], [1, 2, 3, 4]])
    assert top_share(score, 50, "model").tolist() == [[True] * 4, [False] * 4]
    assert top_share(score, 50, "layer").tolist() == [[True, True, False, False], [False, False, True, True]]
    assert top_share(np.ones((2, 5)), 30).tolist() == [[True, True, True, False, False], [False] * 5]
    with pytest.raises(ValueError, match="not finite"):
        top_share(np.array([[1.0, np.nan]]), 50)
    got = normalised(np.array([2.0, 3.0, 1.0]), np.array([4.0, 0.0, 0.5]))
    assert got.tolist() == pytest.approx([0.5, 3 / 0.535, 1 / 0.535])  # 0.535: 1 % of the way from 0.5 to 4
    assert not normalised(np.ones(3), np.zeros(3)).any()
    a, b = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert overlap(a, b) == 0.5 and np.isnan(overlap(a & ~a, b))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, SHAPES), st.sampled_from(KINDS), st.integers(0, 50), st.data())
def test_controls_match_what_they_promise(chosen, kind, seed, data):
    scale = data.draw(hnp.arrays(np.float64, chosen.shape, elements=FINITE))
    got = random_set(kind, chosen, scale, seed)
    assert got.sum() == chosen.sum()
    assert (got == random_set(kind, chosen, scale, seed)).all()
    if kind == "layer":
        assert (got.sum(1) == chosen.sum(1)).all()
        room = chosen.shape[1] - chosen.sum(1)
        assert ((got & chosen).sum(1) == np.maximum(chosen.sum(1) - room, 0)).all()  # from inside only when it must
    elif chosen.sum() * 2 <= chosen.size:
        assert not (got & chosen).any()


def test_scale_matched_controls_are_as_loud():
    scale = np.random.default_rng(0).lognormal(size=(10, 500))
    chosen = np.zeros_like(scale, bool)
    chosen.ravel()[np.argsort(-scale.ravel())[100:600:2]] = True  # loud, with equally loud neighbours left outside
    matched = random_set("next_highest", chosen, scale, 1)
    uniform, other = (random_set("uniform", chosen, scale, seed) for seed in (1, 2))
    assert (uniform != other).any()
    gap, plain = (abs(np.log(scale[drawn]).mean() - np.log(scale[chosen]).mean()) for drawn in (matched, uniform))
    assert gap < 0.05 < plain
