"""Every figure: the data it carries, what is really drawn, that a gap stays a gap, what it refuses."""

import json
import re
from itertools import product

import chart_frames as cf
import numpy as np
import pandas as pd
import pytest

from polinb.display import charts
from polinb.errors import DataError


def test_every_figure_says_what_it_shows_and_where_it_shows_nothing() -> None:
    for name, maker in cf.MAKERS.items():
        spec = json.loads(cf.made(name))
        told = spec["description"]
        assert len(told) > 30 and "nan" not in told.lower() and "http" not in told, name
        assert name.endswith("unknown") or re.search(r"\d", told), f"{name}: its main numbers"
        columns = [field for field, _ in spec["usermeta"]["polinb"]["columns"]]
        assert columns and any(set(columns) <= set(data[0]) for data in spec["datasets"].values()), f"{name}: its file"
        if name in ("curve", "bars", "bars_grouped") or name.endswith("unknown"):
            shown = cf.picture(maker())
            assert not re.search(r"NaN|undefined|null|Infinity", shown), name  # not in a path, a tooltip or a label
            assert bool(re.search("no known value|not known</text>", shown)) == (name != "curve"), name


def test_curve_holds_its_points_in_order_and_its_scale() -> None:
    chart = charts.curve(cf.lines(), "γ (%)", "coupling R")
    assert "InhibitFT 0.45 at 5 to 0.3 at 20" in chart.to_dict()["description"]
    assert len(cf.drawn(chart, "point")) == 9 and len(cf.strokes(chart, "area")) == 3
    left_to_right = [float(x) for x in re.findall(r"[ML]([\d.]+),", cf.strokes(chart, "line")[0]["d"])]
    assert len(left_to_right) == 3 and left_to_right == sorted(left_to_right)
    points = cf.drawn(charts.curve(cf.lines(), "examples", "shift", log_x=True), "point")
    at = {float(one["examples"]): float(re.findall(r"\(([\d.]+)", one["transform"])[0]) for one in points}
    assert at[10] - at[5] == pytest.approx(at[20] - at[10])
    with pytest.raises(DataError, match="x = 0 has no place"):
        charts.curve(cf.lines().assign(x=0), "examples", "shift", log_x=True)


def test_a_gap_in_a_curve_is_not_bridged_and_a_lone_interval_is_a_whisker() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3, 4, 5], "y": [1.0, 2, np.nan, 3, 4], "by": "a"})
    frame = frame.assign(low=frame.y - 0.5, high=[1.5, 2.5, np.inf, 3.5, np.nan])
    chart = charts.curve(frame, "x", "y")
    assert [float(one["x"]) for one in cf.drawn(chart, "point")] == [1, 2, 4, 5]
    (line,), (band,), (whisker,) = (cf.strokes(chart, of) for of in ("line", "area", "rule"))
    assert line["d"].count("M") == 2  # from 1 to 2, and from 4 to 5
    assert band["d"].split("Z")[0].count("L") == 3  # a quadrangle from 1 to 2
    assert "x: 4" in whisker["aria-label"]
    told = [one["95 % interval"] for one in cf.drawn(chart, "point")]
    assert told == ["0.5 to 1.5", "1.5 to 2.5", "2.5 to 3.5", "not known"]


def test_layers_are_stacked_by_sign_with_their_sum() -> None:
    """By hand: in layer 1 the parts −1, +3, −0.5 reach from 0 to 3 and from 0 by −1 to −1.5; the sum is 1.5."""
    chart = charts.by_layer(cf.parts(), "contribution (logits)")
    boxes = {(r["layer"], r["part"]): (r["from"], r["to"]) for r in cf.rows(chart) if r["value"] and r["layer"] < 2}
    ends = [(0, 2), (2, 3), (0, -0.5), (0, -1), (0, 3), (-1, -1.5)]
    assert boxes == dict(zip(product((0, 1), ("neurons", "attention", "other")), ends, strict=True))
    sums = [one["sum"] for one in cf.drawn(chart, "point") if "sum" in one]
    assert sums == ["+2.5", "+1.5"]  # once a layer, and none where a part is unknown
    assert "neurons 2; attention –; other −1" in chart.to_dict()["description"]


def test_wrong_frames_are_refused_by_name() -> None:
    frame = cf.shares()
    wrong = {
        "no rows": frame.head(0),
        "no column": pd.DataFrame({"other": [1]}),
        "'low' is above": frame.assign(low=1e3),
    }
    for told, given in wrong.items():
        with pytest.raises(DataError, match=told):
            charts.bars(given, "share of the shift")
