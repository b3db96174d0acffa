"""Groups and shares of a decomposed change: cases counted by hand, simulation, and what selection alone produces."""

import numpy as np
import pytest

from polinb.errors import ParameterError
from polinb.scoring.decompose import Parts
from polinb.scoring.shares import carriers, groups, held_out_shares, null_share, share, shares, top_cosine

COSINE = np.array([[0.5, 0.4, -0.3, -0.2], [0.1, -0.9, 0.8, -0.6]])
MEAN = np.array([[1.0, -1.0, 2.0, -2.0], [3.0, 1.0, -1.0, -1.0]])
DELTA = np.array([[1.0, 2.0, 3.0, 4.0], [-5.0, -1.0, 6.0, -2.0]])


def made(folds, cosine=COSINE, mean=MEAN):
    """Parts whose neurons change as ``folds`` (B, L, F) say, and nothing else."""
    folds = np.asarray(folds, dtype=np.float32)
    delta, sizes = folds.mean(0).astype(float), np.ones(len(folds), int)
    zero, flat, change = np.zeros_like(delta), np.zeros(len(delta)), float(delta.sum())
    fold_parts = np.pad(folds.sum((1, 2))[:, None], ((0, 0), (0, 4)))
    before = (delta, zero, zero, flat, flat, cosine, mean, zero, folds, fold_parts, sizes, 0.0, change, 0.0, change)
    return Parts(*before, len(delta) - 1, len(folds), 1)


def indices(chosen):
    return set(map(tuple, np.argwhere(chosen).tolist()))


def test_groups_by_hand():
    """A stance trained upwards; toxicity trained downwards: TP and AN are dampened, AP and TN promoted."""
    stance = groups(COSINE, MEAN, DELTA, 1)  # without (1, 0), which moved the other way
    expected = {"RN": {(0, 1), (1, 2)}, "LP": {(0, 2)}, "RP": {(0, 0)}, "LN": {(0, 3)}}
    assert {name: indices(group.chosen) for name, group in stance.items()} == expected
    toxicity = groups(COSINE, MEAN, DELTA, -1, ("T", "A"))
    expected = {"TP": {(1, 0)}, "AN": {(1, 3)}, "TN": set(), "AP": {(1, 1)}}
    assert {name: indices(group.chosen) for name, group in toxicity.items()} == expected
    for found, first in ((stance, ["RN", "LP"]), (toxicity, ["TP", "AN"])):
        assert list(found)[:2] == first and [group.rises for group in found.values()] == [False, False, True, True]
    with pytest.raises(ParameterError, match="no neuron moved the trained"):
        groups(COSINE, MEAN, 0 * DELTA, 1)
    assert indices(top_cosine(COSINE, 2)) == {(1, 2), (0, 0)} and indices(top_cosine(COSINE, 2, -1)) == {(1, 1), (1, 3)}
    # upwards 6, 4, 3, 2, 1: half of 16 needs 6 + 4 (10), five eighths as well, all of it needs five neurons
    assert [carriers(DELTA, 1, part) for part in (0.1, 0.5, 0.625, 0.63, 1.0)] == [1, 2, 2, 3, 5]
    assert carriers(DELTA, -1) == 1 and carriers(np.zeros((2, 2))) == 0


def test_eq_share_by_hand():
    """Upwards, gross is 1 + 2 + 3 + 4 + 6 = 16; downwards 5 + 1 + 2 = 8."""
    first = np.zeros_like(DELTA, bool)
    first[0] = True
    assert share(DELTA, first) == pytest.approx(10 / 16) and share(DELTA, ~first) == pytest.approx(-2 / 16)
    assert share(DELTA, ~first, -1) == pytest.approx(2 / 8)
    assert np.isnan(share(np.zeros((2, 2)), np.ones((2, 2), bool)))
    parts = made([DELTA * 0.5, DELTA * 1.5])
    table = shares(parts, {"first": first, "second": ~first, "none": first & ~first}, 1, 200).set_index("set")
    row = table.loc["second"]
    assert (row["neurons"], row["percent"], row["net"]) == (4, 50, -2)
    assert row["share"] == pytest.approx(-2 / 16) and row["gross_share"] == pytest.approx(6 / 16)
    assert row["net_over_gross"] == pytest.approx(-2 / 6)
    # Both texts change alike up to a factor, so no resample moves the share.
    assert row["low"] == pytest.approx(row["share"]) == pytest.approx(row["high"])
    assert table.loc["none", "share"] == 0 and np.isnan(table.loc["none", "net_over_gross"])


def test_the_interval_of_a_share_holds_the_truth():
    """Texts drawn around known changes, all positive on average: the truth is inside about 95 % of the time."""
    rng, misses = np.random.default_rng(0), 0
    truth, chosen = rng.uniform(0.5, 1.5, size=(2, 10)), np.zeros((2, 10), bool)
    chosen[0, :4] = True
    for draw in range(100):
        parts = made(truth + 0.8 * rng.normal(size=(25, 2, 10)))
        row = shares(parts, {"set": chosen}, 1, 300, draw).iloc[0]
        misses += not row["low"] <= share(truth, chosen) <= row["high"]
    assert misses / 100 <= 0.1, misses


def test_selection_alone_makes_a_full_share_and_other_texts_expose_it():
    rng = np.random.default_rng(0)
    cosine, mean = rng.normal(size=(2, 3, 500))
    noise, alike = rng.normal(size=(20, 3, 500)), rng.normal(size=(1, 3, 500)) + 0.01 * rng.normal(size=(20, 3, 500))
    found = [held_out_shares(made(x, cosine, mean)).set_index("group") for x in (noise, alike, alike[:1])]
    others = [table.loc["all four", "other_texts"] for table in found]
    assert found[0].loc["all four", "same_texts"] == pytest.approx(1) and abs(others[0]) < 0.15
    assert others[1] > 0.99 and np.isnan(others[2])


@pytest.mark.parametrize("loud", [False, True])
def test_null_share_equals_simulation(loud):
    rng = np.random.default_rng(0)
    delta, scale = rng.normal(size=(3, 60)), rng.random((3, 60))
    delta += 3 * scale  # loud neurons carry more
    chosen = (rng.random((3, 60)) < 0.2) & (scale > 0.3)
    mean, low, high = null_share(delta, chosen, 1, scale if loud else None)
    drawn = []
    for _ in range(3000):
        mask = np.zeros_like(chosen)
        for layer in range(3):
            # Of 60 neurons the loudest 1 % is none, 2 % is one, 4 % two, 8 % four, 16 % nine, 32 % nineteen, 64 % 38.
            strata = np.split(np.argsort(-scale[layer]), [1, 2, 4, 9, 19, 38]) if loud else [np.arange(60)]
            for stratum in strata:
                mask[layer, rng.permutation(stratum)[: int(chosen[layer, stratum].sum())]] = True
        assert mask.sum() == chosen.sum()
        drawn.append(share(delta, mask))
    assert mean == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(3000))
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(drawn), rel=0.06)
