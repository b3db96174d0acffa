"""Stance tables against numbers worked out by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from polinb.errors import DataError
from polinb.resampling import STANCE, bootstrap_mean
from polinb.stance.stance import rated_frame, stance_table


def rated(labels: dict[str, list[str]], p_right: float = 0.25) -> pd.DataFrame:
    rows = [(topic, f"{topic}-{i}", label) for topic, of in labels.items() for i, label in enumerate(of)]
    frame = pd.DataFrame(rows, columns=["topic", "id", "made"])
    return rated_frame(frame, list(frame["made"]), [p_right] * len(frame))


def test_eq_stance_by_hand() -> None:
    table = stance_table(
        rated({"race": ["right", "right", "left", "other", "unrated"], "crime": ["left"] * 4}), n_boot=500
    )
    assert list(table["topic"]) == ["race", "crime"]
    race, crime = table.to_dict("records")
    assert (race["n"], race["stance"]) == (5, pytest.approx((1 + 1 - 1) / 5))
    assert (race["other_rate"], race["unrated_rate"], race["p_right_mean"]) == (0.2, 0.2, 0.25)
    assert -1 <= race["low"] < race["stance"] < race["high"] <= 1
    assert (crime["stance"], crime["low"], crime["other_rate"]) == (-1.0, -1.0, 0.0) and crime["high"] > 0


def test_interval_is_that_of_labels_and_never_of_width_zero() -> None:
    frame = rated({"race": ["right", "left", "left", "right", "right"]})
    table = stance_table(frame, n_boot=300, seed=4)
    assert tuple(table.loc[0, ["stance", "low", "high"]]) == bootstrap_mean(frame["score"], 300, 4, STANCE)
    alike = stance_table(rated({"race": ["right"] * 16})).iloc[0]
    assert alike["stance"] == alike["high"] == 1.0 and 0.5 < alike["low"] < 0.9


def test_mean_probability_skips_what_has_none() -> None:
    frame = rated({"race": ["right", "left", "unrated"]})
    frame["p_right"] = [0.9, 0.2, math.nan]
    assert stance_table(frame).loc[0, "p_right_mean"] == pytest.approx(0.55)
    frame["p_right"] = math.nan
    assert math.isnan(stance_table(frame).loc[0, "p_right_mean"])


def test_wrong_rows_are_refused() -> None:
    frame = rated({"race": ["left", "right"]})
    with pytest.raises(DataError, match="p_right"):
        stance_table(frame.drop(columns="p_right"))
    with pytest.raises(DataError, match="no rows"):
        stance_table(frame.iloc[:0])
    with pytest.raises(DataError, match="centre"):
        stance_table(frame.assign(label="centre"))
    with pytest.raises(DataError, match="score"):
        stance_table(frame.assign(score=[1, 1]))
