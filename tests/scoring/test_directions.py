"""PCA, bases, angles and the rule, against numpy's SVD, scipy, planted directions and cases done by hand."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.metrics import roc_auc_score

from polinb.chapters.caft.rule import auc, stance_rule
from polinb.errors import ParameterError
from polinb.scoring.directions import Moments, components, of_rows, orthonormal, principal_angles, shared


def streamed(rows, chunk=7):
    sums = Moments(rows.shape[1])
    for start in range(0, len(rows), chunk):
        sums.add(rows[start : start + chunk].astype(np.float32))
    return sums


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def tokens(rng, n, d=12):
    """Differences with a spectrum and a mean far from zero, in float32 as a model gives them."""
    return (rng.standard_normal((n, d)) * np.linspace(3, 0.2, d) + rng.standard_normal(d)).astype(np.float32)


def test_a_basis_keeps_the_span_and_the_first_direction_and_counts_a_repeated_one_once(rng):
    one, two, three = rng.standard_normal((3, 8))
    columns = np.stack([one, 2 * one, two, one + two, three], 1)
    basis = orthonormal(columns)
    assert basis.shape == (8, 3) and np.allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    assert np.allclose(basis @ basis.T @ columns, columns) and np.allclose(basis[:, 0], one / np.linalg.norm(one))
    with pytest.raises(ParameterError, match="directions"):
        orthonormal(np.full((4, 1), np.nan))


@pytest.mark.parametrize("kind", ["uncentred", "centred"])
def test_components_are_the_right_singular_vectors(rng, kind):
    rows = tokens(rng, 50)
    vectors, share = components([streamed(rows)], kind, 5)
    wide = rows.astype(np.float64)
    _, s, vt = np.linalg.svd(wide - (wide.mean(0) if kind == "centred" else 0), full_matrices=False)
    assert np.allclose(np.abs(vectors.T @ vt[:5].T), np.eye(5), atol=1e-8)
    assert np.allclose(share, s[:5] ** 2 / (s**2).sum(), atol=1e-10)
    assert (wide.mean(0) @ vectors > 0).all(), "each points to where the shift goes"
    assert np.allclose(np.abs(of_rows(rows, kind, 99)[:, :5].T @ vt[:5].T), np.eye(5), atol=1e-8)
    assert of_rows(rows[:4], kind, 99).shape == (12, 3)
    with pytest.raises(ParameterError, match=r"caft_components.*got 6;.*1 to 5"):
        components([streamed(rows[: 5 + (kind == "centred")])], kind, 6)


def test_two_sources_are_stacked_after_scaling_each_to_unit_energy_and_a_mean_is_one_direction(rng):
    first, second = tokens(rng, 40), 100 * tokens(rng, 25)
    vectors, share = components([streamed(first), streamed(second)], "uncentred", 3)
    parts = [x.astype(np.float64) / np.linalg.norm(x.astype(np.float64)) for x in (first, second)]
    _, s, vt = np.linalg.svd(np.concatenate(parts), full_matrices=False)
    assert np.allclose(np.abs(vectors.T @ vt[:3].T), np.eye(3), atol=1e-8)
    assert np.allclose(share, s[:3] ** 2 / 2, atol=1e-10)
    rows = np.array([[3.0, 0.0, 1.0], [3.0, 8.0, -1.0]])
    vectors, share = components([streamed(rows)], "mean_difference", 7)
    assert np.allclose(vectors, [[0.6], [0.8], [0.0]])
    assert np.allclose(share, ((rows @ [0.6, 0.8, 0]) ** 2).sum() / (rows**2).sum())
    near = (1e4 + rng.standard_normal((3000, 2))).astype(np.float32)  # sums are wider than the rows that come in
    assert np.abs(streamed(near).matrix(centred=True) - np.cov(near.astype(float).T, bias=True)).max() < 1e-5


def test_eq_angle_angles_by_hand_and_by_scipy(rng):
    x, y, z = np.eye(3)
    tilted = np.cos(np.radians(30)) * y + np.sin(np.radians(30)) * z
    found = principal_angles(np.stack([x, y], 1), np.stack([2 * x, tilted + x], 1))  # any columns, only spans count
    assert np.allclose(found, [0, 30], atol=1e-12) and shared(found) == pytest.approx((1 + 0.75) / 2)
    assert np.allclose(principal_angles(x[:, None], np.stack([y, z], 1)), [90])
    tiny = 1e-9
    found = principal_angles(x[:, None], np.array([[np.cos(tiny)], [np.sin(tiny)], [0.0]]))
    assert found[0] == pytest.approx(np.degrees(tiny), rel=1e-6)
    for k, m in ((3, 5), (7, 6)):
        first, second = rng.standard_normal((10, k)), rng.standard_normal((10, m))
        second[:, 0] = first[:, 0] + 1e-4 * second[:, 0]
        assert np.allclose(principal_angles(first, second), np.degrees(subspace_angles(first, second))[::-1], atol=1e-7)


AXES = np.eye(60)
TEN = AXES[:, :10]
TOPICS = ("race", "economy", "gender", "science", "crime")


def planted(rng, strengths, pairs=12, right=0.0):
    """Texts whose side shows along axis 4: topic → (pairs, 2, 60), with a prompt effect that both sides share."""
    out = {}
    for topic, strength in zip(TOPICS, strengths, strict=True):
        out[topic] = rng.standard_normal((pairs, 2, 60)) + 3 * rng.standard_normal((pairs, 1, 60))
        out[topic] += [-strength * AXES[4], strength * AXES[4] + right]
    return out


def kept(table):
    return table[table.kept].candidate.tolist()


def test_the_rule_finds_the_planted_stance_direction_and_only_it(rng):
    states = planted(rng, [6.0] * 5)
    table = stance_rule(states, TEN, keep=3, seed=0)
    row = table.loc[4]
    assert kept(table) == [4] and row.why == "passes" and row.auc > 0.9
    assert row.value == pytest.approx(abs(row.auc - 0.5)) and row.value > max(row.swapped, row.random)
    assert (table.loc[table.candidate != 4, "why"] == "no better than swapped labels").all()
    assert row.same_side == 1.0 and row.auc == pytest.approx(np.mean([row[f"auc_{t}"] for t in TOPICS]))
    turned = stance_rule(states, -TEN, keep=3, seed=0)
    assert np.allclose(table.auc, 1 - turned.auc) and (table.kept == turned.kept).all(), "the sign does not matter"
    scores = np.round(rng.standard_normal((30, 2, 3)), 1)
    expected = [roc_auc_score(np.tile([0, 1], 30), scores[:, :, c].ravel()) for c in range(3)]
    assert np.allclose(auc(scores), expected)


def test_a_direction_that_turns_round_between_topics_is_not_general(rng):
    table = stance_rule(planted(rng, [4.0, 4.0, 4.0, -0.5, -0.5], pairs=40, right=5 * AXES[7]), TEN, 3, 0)
    row = table.loc[4]
    assert row.same_side == 0.6 and row.value > max(row.swapped, row.random)
    assert row.why == "differs between topics" and kept(table) == [7]
    best = stance_rule(planted(rng, [3.0] * 5, right=12 * AXES[7]), TEN, keep=1, seed=0)
    assert kept(best) == [7] and best.loc[4].why == "enough better ones"
    steady = stance_rule(planted(rng, [4.0, 4.0, 4.0, 4.0, -0.5], pairs=40), TEN, 3, 0).loc[4]
    assert steady.same_side == 0.8 and steady.kept and steady.why == "passes"


def test_stance_spread_over_the_whole_space_or_none_at_all_is_no_direction_of_its_own(rng):
    """Left and right differ along a random axis: every direction tells them apart a little, none of ours much more."""
    axis = rng.standard_normal(60) / np.sqrt(60)
    table = stance_rule(planted(rng, [0.0] * 5, right=60 * axis), TEN, 10, 0)
    beaten = table[table.why == "no better than random directions"]
    assert len(beaten) >= 3 and (beaten.value > beaten.swapped).all() and (beaten.value <= beaten.random).all()
    states = planted(rng, [0.0] * 5)
    for each in states.values():
        each[:, 1] = each[:, 0]  # the two sides are the same text
        each[0, 1, 6] += 1e-3
    table = stance_rule(states, TEN, 3, 0)
    assert kept(table) == [6] and table[table.kept].why.item() == "no candidate passes: the best one"


def test_the_threshold_holds_its_error_rate(rng):
    """Without any stance the *best* of all candidates passes in about 5 % of runs, not each one of them."""
    tables = [stance_rule(planted(rng, [0.0] * 5, pairs=8), TEN, 3, seed) for seed in range(60)]
    assert sum((table.value > table.swapped).any() for table in tables) <= 8  # binomial(60, 0.05): 0.3 % are above
