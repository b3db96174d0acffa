"""The charts of the further chapters: what they carry, what is really drawn, and that a gap stays a gap."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from polinb.display import charts
from polinb.errors import DataError

ARMS = ["InhibitFT", "random set", "CAFT"]


def rates(panels: bool = False, size: int = 300) -> pd.DataFrame:
    rng, parts = np.random.default_rng(0), []
    truth = np.arange(size) < size // 5
    for panel in ("one", "two") if panels else ("one",):
        for method, shift in (("PNLAC", 1.5), ("guess", 0.0)):
            score = rng.normal(size=size) + shift * truth
            fpr, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
            area = roc_auc_score(truth, score)
            parts.append(pd.DataFrame({"fpr": fpr, "tpr": tpr, "method": method, "panel": panel, "true": area}))
    frame = pd.concat(parts, ignore_index=True)
    return frame if panels else frame.drop(columns="panel")


def lines(panels: bool = False) -> pd.DataFrame:
    rows = [
        (p, a, x, 0.5 - 0.1 * i - x / 100, 0.4 - 0.1 * i - x / 100, 0.6 - 0.1 * i - x / 100)
        for p in ("crime", "race", "economy")
        for i, a in enumerate(ARMS)
        for x in (20, 5, 10)  # not sorted
    ]
    frame = pd.DataFrame(rows, columns=["panel", "by", "x", "y", "low", "high"])
    return frame if panels else frame.head(9).drop(columns="panel")


def trade() -> pd.DataFrame:
    rows = [(f"{a} {k}", a, 0.3 * k, 0.1 * k + 0.05 * i, k == 1) for i, a in enumerate(ARMS) for k in (1, 2, 3)]
    frame = pd.DataFrame(rows, columns=["condition", "family", "x", "y", "label"])
    return frame.assign(x_low=frame.x - 0.1, x_high=frame.x + 0.2, y_low=frame.y - 0.05, y_high=frame.y + 0.04)


def shares(grouped: bool = False) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "label": ["whole", "general (G)", "attention", "random"],
            "value": [0.8, 0.3, np.nan, -0.05],
            "low": [0.7, 0.2, np.nan, np.nan],
            "high": [0.9, 0.4, 0.3, 0.1],
        }
    )
    return pd.concat([frame.assign(by="left"), frame.assign(by="right")]) if grouped else frame


def parts() -> pd.DataFrame:
    rows = [(0, "neurons", 2.0), (0, "attention", 1.0), (0, "other", -0.5)]
    rows += [(1, "neurons", -1.0), (1, "attention", 3.0), (1, "other", -0.5)]
    rows += [(2, "neurons", 1.0), (2, "attention", np.nan), (2, "other", 0.0)]
    return pd.DataFrame(rows, columns=["layer", "part", "value"])


def spans() -> pd.DataFrame:
    index = np.arange(1, 6)
    ours = pd.DataFrame({"index": index, "degrees": 15.0 * index, "kind": "observed"})
    null = pd.DataFrame({"index": index, "degrees": 80.0 + index, "kind": "random subspaces"})
    return pd.concat([ours, null.assign(low=null.degrees - 4, high=null.degrees + 4)], ignore_index=True)


def blank(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**dict.fromkeys(frame.select_dtypes("float"), np.nan))


MAKERS: dict[str, Callable[[], Any]] = {
    "roc": lambda: charts.roc(rates()),
    "roc_panels": lambda: charts.roc(rates(panels=True)),
    "roc_unknown": lambda: charts.roc(blank(rates())),
    "curve": lambda: charts.curve(lines(), "γ (%)", "coupling R"),
    "curve_log": lambda: charts.curve(lines(), "examples", "shift", log_x=True),
    "curve_panels": lambda: charts.curve(lines(panels=True), "γ (%)", "coupling R"),
    "curve_bare": lambda: charts.curve(lines()[["x", "y", "by"]], "γ (%)", "coupling R"),
    "curve_one_row": lambda: charts.curve(lines().head(1), "γ (%)", "coupling R"),
    "curve_unknown": lambda: charts.curve(blank(lines()), "γ (%)", "coupling R", log_x=True),
    "pareto": lambda: charts.pareto(trade(), "shift ΔS", "coupling R"),
    "pareto_one_row": lambda: charts.pareto(trade().head(1), "shift ΔS", "coupling R"),
    "pareto_bare": lambda: charts.pareto(trade()[["condition", "family", "x", "y"]], "shift ΔS", "coupling R"),
    "pareto_unknown": lambda: charts.pareto(blank(trade()), "shift ΔS", "coupling R"),
    "bars": lambda: charts.bars(shares(), "share of the shift"),
    "bars_grouped": lambda: charts.bars(shares(grouped=True), "share of the shift"),
    "bars_one_row": lambda: charts.bars(shares().head(1), "share of the shift"),
    "bars_unknown": lambda: charts.bars(blank(shares()), "share of the shift"),
    "by_layer": lambda: charts.by_layer(parts(), "contribution (logits)"),
    "by_layer_one_row": lambda: charts.by_layer(parts().head(1), "contribution (logits)"),
    "by_layer_unknown": lambda: charts.by_layer(blank(parts()), "contribution (logits)"),
    "angles": lambda: charts.angles(spans()),
    "angles_one_row": lambda: charts.angles(spans().tail(1)),
    "angles_unknown": lambda: charts.angles(blank(spans())),
}


def marks(spec: Any) -> Iterator[dict[str, Any]]:
    """Every unit of a specification: the innermost parts with a mark."""
    if isinstance(spec, dict):
        if "mark" in spec:
            yield spec
        for value in spec.values():
            yield from marks(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from marks(value)


def units(chart: Any, of: str) -> list[dict[str, Any]]:
    return [unit for unit in marks(chart.to_dict()) if unit["mark"]["type"] == of]


def rows(chart: Any) -> list[dict[str, Any]]:
    return [row for data in chart.to_dict()["datasets"].values() for row in data]


@cache
def _picture(spec: str) -> str:
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=charts.VEGA_LITE)
    return svg


def picture(chart: Any) -> str:
    return _picture(json.dumps(chart.to_dict()))


def drawn(chart: Any, role: str) -> list[dict[str, str]]:
    """What the renderer drew: the attributes of every SVG element of this role, its label split into fields."""
    found = []
    for tag in re.findall(rf'<\w+ [^>]*aria-roledescription="{role}"[^>]*>', picture(chart)):
        one = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        fields = [field.split(": ", 1) for field in one["aria-label"].split("; ")]
        found.append(one | {pair[0]: pair[1] for pair in fields if len(pair) == 2})
    return found


def strokes(chart: Any, of: str) -> list[dict[str, str]]:
    """The drawn ``line``, ``area`` or ``rule`` marks, those without a label for the reader too."""
    groups = re.findall(rf'class="mark-{of} role-mark[^>]*(?<!/)>(.*?)</g>', picture(chart), re.S)
    tags = [tag for group in groups for tag in re.findall(r"<(?:path|line) [^>]*>", group)]
    found = [dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in tags]
    return [one for one in found if one.get("d") or "x2" in one or "y2" in one]


@pytest.mark.parametrize("name", MAKERS)
def test_draws_offline_and_says_what_it_shows(name: str) -> None:
    spec = MAKERS[name]().to_dict()
    assert not re.search(
        r"NaN|undefined|null|Infinity", picture(MAKERS[name]())
    )  # nowhere: not in a path, a tooltip or a label
    assert len(spec["description"]) > 30 and "nan" not in spec["description"].lower()
    json.dumps(spec, allow_nan=False)  # NaN and infinity would break the page's script
    assert "http" not in json.dumps({k: v for k, v in spec.items() if k != "$schema"})


@pytest.mark.parametrize("name", MAKERS)
def test_a_chart_with_nothing_to_draw_says_so(name: str) -> None:
    said = "no known value" in picture(MAKERS[name]()) or "not known</text>" in picture(MAKERS[name]())
    assert said == (name.endswith("unknown") or name in ("bars", "bars_grouped"))  # these have a gap


@pytest.mark.parametrize("name", ["roc_panels", "pareto", "by_layer"])
def test_png_and_same_bytes(name: str) -> None:
    first, second = (charts.png(MAKERS[name]()) for _ in range(2))
    assert first.startswith(b"\x89PNG\r\n\x1a\n") and first == second


@pytest.mark.parametrize("name", ["roc", "curve", "pareto", "angles"])
def test_colour_is_never_alone(name: str) -> None:
    """Each series has a symbol of its own beside its colour, and the legend shows the symbol."""
    (points,) = [unit for unit in units(MAKERS[name](), "point") if "shape" in unit["encoding"]]
    colour, shape = points["encoding"]["color"], points["encoding"]["shape"]
    assert colour["field"] == shape["field"] and colour["scale"]["domain"] == shape["scale"]["domain"]
    assert len(set(shape["scale"]["range"])) == len(shape["scale"]["domain"]) >= 2
    assert len({one["d"] for one in drawn(MAKERS[name](), "point")}) == len(shape["scale"]["domain"])


def test_twenty_series_have_twenty_looks() -> None:
    frame = pd.concat([lines().head(1).assign(by=f"series {i:02d}") for i in range(20)])
    points = drawn(charts.curve(frame, "x", "y"), "point")
    assert len({(one["fill"], one["d"]) for one in points}) == 20
    assert all(max(map(float, re.findall(r"\d+\.?\d*", one["d"]))) > 1 and one["fill"] for one in points)


# --- roc ---


def test_roc_keeps_the_curve_and_its_area() -> None:
    frame = rates()
    chart = charts.roc(frame.sample(frac=1, random_state=1))  # the order of the rows does not matter
    for method, given in frame.groupby("method"):
        line = pd.DataFrame([row for row in rows(chart) if row["method"] == method]).sort_values("step")
        assert len(line) < len(given) and line["step"].tolist() == list(range(len(line)))
        assert np.trapezoid(line["tpr"], line["fpr"]) == pytest.approx(given["true"].iloc[0], abs=1e-12)
        assert (np.diff(line["fpr"]) >= 0).all() and (np.diff(line["tpr"]) >= 0).all()
        told = re.search(rf"{method} (\d\.\d\d)", chart.to_dict()["description"])
        assert told and float(told[1]) == pytest.approx(given["true"].iloc[0], abs=0.005)


def test_roc_of_many_neurons_stays_small() -> None:
    chart = charts.roc(rates(size=40_000))
    assert len(rows(chart)) <= 2 * charts.CORNERS
    assert 8 <= sum(row["marked"] for row in rows(chart)) <= 2 * charts.MARKED


def test_roc_has_the_diagonal_once_a_panel() -> None:
    (rule,) = units(charts.roc(rates()), "rule")
    ends = {channel: value["datum"] for channel, value in rule["encoding"].items()}
    assert ends == {"x": 0, "y": 0, "x2": 1, "y2": 1}
    assert len(strokes(charts.roc(rates()), "rule")) == 1
    assert len(strokes(charts.roc(rates(panels=True)), "rule")) == 2


def test_roc_tells_a_given_area() -> None:
    assert "guess 0.12" in charts.roc(rates().assign(auc=0.123)).to_dict()["description"]


def test_roc_of_a_single_point_and_gaps() -> None:
    frame = pd.DataFrame({"fpr": [0.2, np.nan], "tpr": [0.6, 0.5], "method": ["a", "b"]})
    chart = charts.roc(frame)
    assert len(drawn(chart, "point")) == 1 and len(rows(chart)) == 1
    assert "a 0.70" in chart.to_dict()["description"]  # (0.2 · 0.6 + 0.8 · (0.6 + 1)) / 2


# --- curve and angles ---


def test_curve_holds_the_right_fields() -> None:
    chart = charts.curve(lines(), "γ (%)", "coupling R")
    (points,), (band,) = units(chart, "point"), units(chart, "area")
    assert (points["encoding"]["x"]["field"], points["encoding"]["y"]["field"]) == ("x", "y")
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("low", "high")
    assert points["encoding"]["x"]["title"] == "γ (%)" and points["encoding"]["y"]["title"] == "coupling R"
    assert points["encoding"]["color"]["scale"]["domain"] == ARMS
    assert points["encoding"]["x"]["axis"]["values"] == [5, 10, 20]
    assert "InhibitFT 0.45 at 5 to 0.3 at 20" in chart.to_dict()["description"]
    assert len(drawn(chart, "point")) == 9 and len(strokes(chart, "area")) == 3
    left_to_right = [float(x) for x in re.findall(r"[ML]([\d.]+),", strokes(chart, "line")[0]["d"])]
    assert len(left_to_right) == 3 and left_to_right == sorted(left_to_right)


def test_curve_on_a_logarithmic_axis() -> None:
    chart = charts.curve(lines(), "examples", "shift", log_x=True)
    at = {float(one["examples"]): float(re.search(r"\(([\d.]+)", one["transform"])[1]) for one in drawn(chart, "point")}  # type: ignore[index]
    assert at[10] - at[5] == pytest.approx(at[20] - at[10])
    with pytest.raises(DataError, match="x = 0 has no place"):
        charts.curve(lines().assign(x=0), "examples", "shift", log_x=True)


def test_a_gap_in_a_curve_is_not_bridged_and_a_lone_interval_is_a_whisker() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3, 4, 5], "y": [1.0, 2, np.nan, 3, 4], "by": "a"})
    frame = frame.assign(low=frame.y - 0.5, high=[1.5, 2.5, np.inf, 3.5, np.nan])
    chart = charts.curve(frame, "x", "y")
    assert [float(one["x"]) for one in drawn(chart, "point")] == [1, 2, 4, 5]
    (line,), (band,) = strokes(chart, "line"), strokes(chart, "area")
    assert line["d"].count("M") == 2  # from 1 to 2, and from 4 to 5
    assert band["d"].split("Z")[0].count("L") == 3  # a quadrangle from 1 to 2
    (whisker,) = strokes(chart, "rule")
    assert "x: 4" in whisker["aria-label"]
    assert [row["alone"] for row in rows(chart)] == [False, False, False, True, False]
    assert [one["95 % interval"] for one in drawn(chart, "point")] == [
        "0.5 to 1.5",
        "1.5 to 2.5",
        "2.5 to 3.5",
        "not known",
    ]


def test_intervals_of_two_panels_are_not_neighbours() -> None:
    frame = lines(panels=True).query("(panel == 'crime' and x == 5) or (panel == 'race' and x == 10)")
    assert all(row["alone"] for row in rows(charts.curve(frame, "x", "y"))) and len(frame) == 6


def test_curve_panels_in_given_order_from_any_column() -> None:
    spec = charts.curve(lines(panels=True), "x", "y").to_dict()
    assert spec["facet"]["field"] == "panel" and spec["facet"]["sort"] == ["crime", "race", "economy"]
    other = lines(panels=True).rename(columns={"panel": "topic"})
    assert charts.curve(other, "x", "y", facet="topic").to_dict() == spec
    with pytest.raises(DataError, match="no column 'topic'"):
        charts.curve(lines(), "x", "y", facet="topic")


def test_curve_has_a_zero_line_only_where_it_passes_zero() -> None:
    assert len(strokes(charts.curve(lines()[["x", "y", "by"]].assign(y=[1, -1] + [2] * 7), "x", "y"), "rule")) == 1
    assert not strokes(charts.curve(lines()[["x", "y", "by"]].assign(y=1.0), "x", "y"), "rule")


def test_angles_have_the_null_as_a_band() -> None:
    chart = charts.angles(spans())
    (band,) = strokes(chart, "area")
    assert band["fill"] == charts.PALETTE[1]  # that of the second kind, the null
    assert len(drawn(chart, "point")) == 10
    (points,) = units(chart, "point")
    assert points["encoding"]["y"]["axis"]["values"] == [0, 15, 30, 45, 60, 75, 90]
    assert points["encoding"]["x"]["axis"]["values"] == [1, 2, 3, 4, 5]
    assert "observed 15 at 1 to 75 at 5" in chart.to_dict()["description"]


def test_a_null_may_be_a_band_alone() -> None:
    frame = spans()
    frame.loc[frame["kind"] != "observed", "degrees"] = np.nan
    chart = charts.angles(frame)
    assert len(strokes(chart, "area")) == 1 and len(drawn(chart, "point")) == 5
    alone = charts.angles(frame[frame["kind"] != "observed"])
    assert len(strokes(alone, "area")) == 1 and "no known value" not in picture(alone)


# --- pareto ---


def test_pareto_has_both_intervals_and_the_zero_lines() -> None:
    chart = charts.pareto(trade(), "shift ΔS", "coupling R")
    pairs = {(u["encoding"]["x"].get("field"), u["encoding"]["y"].get("field")) for u in units(chart, "rule")[2:4]}
    assert pairs == {("x_low", "y"), ("x", "y_low")}
    zeros = [u["encoding"] for u in units(chart, "rule")[:2]]
    assert zeros == [{"x": {"datum": 0}}, {"y": {"datum": 0}}]
    (points,) = units(chart, "point")
    assert points["encoding"]["shape"]["field"] == points["encoding"]["color"]["field"] == "family"
    assert {"field": "condition", "type": "nominal"} in points["encoding"]["tooltip"]
    for channel, ends in (("x", ("x_low", "x_high")), ("y", ("y_low", "y_high"))):
        low, high = points["encoding"][channel]["scale"]["domain"]
        assert low < min(0, trade()[ends[0]].min()) and high > trade()[ends[1]].max()
    assert len(drawn(chart, "point")) == 9 and len(strokes(chart, "rule")) == 2 + 18


def test_pareto_prints_the_wanted_names_and_no_others() -> None:
    chart = charts.pareto(trade(), "shift ΔS", "coupling R")
    assert {row["condition"] for row in rows(chart) if row["label"]} == {f"{a} 1" for a in ARMS}
    assert len(drawn(chart, "text mark")) == 3
    assert not drawn(charts.pareto(trade().drop(columns="label"), "x", "y"), "text mark")  # nine: too many
    assert len(drawn(charts.pareto(trade().drop(columns="label").head(5), "x", "y"), "text mark")) == 5


def test_names_keep_off_the_points_and_each_other() -> None:
    """Close pairs of points: each name's box, laid out again from the chart's own scale, is free."""
    frame = pd.DataFrame(
        [(f"arm {i}{k}", "f", 0.2 * i + 0.03 * k, 0.2 * (i % 3) + 0.02 * k, True) for i in range(5) for k in (0, 1)],
        columns=["condition", "family", "x", "y", "label"],
    )
    chart = charts.pareto(frame, "x", "y")
    (points,) = units(chart, "point")
    (x0, x1), (y0, y1) = (points["encoding"][c]["scale"]["domain"] for c in ("x", "y"))
    boxes, dots = [], []
    for row in rows(chart):
        at, up = (row["tx"] - x0) / (x1 - x0) * 440, (row["ty"] - y0) / (y1 - y0) * 320
        wide = 6 * len(row["condition"])
        left = {"left": at, "right": at - wide, "center": at - wide / 2}[row["align"]]
        boxes.append((left, up - 5, left + wide, up + 5))
        px, py = (row["x"] - x0) / (x1 - x0) * 440, (row["y"] - y0) / (y1 - y0) * 320
        dots.append((px - 4, py - 4, px + 4, py + 4))
        assert left >= 0 and left + wide <= 440 and 0 <= up <= 320

    def apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]

    assert all(apart(box, dot) for box in boxes for dot in dots)
    assert all(apart(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_pareto_draws_nothing_of_an_unknown_point() -> None:
    frame = trade()
    frame.loc[0, "y"] = np.nan
    frame.loc[1, "x_low"] = np.nan
    frame.loc[2, "y_high"] = np.inf
    chart = charts.pareto(frame, "x", "y")
    assert len(drawn(chart, "point")) == 8 and len(strokes(chart, "rule")) == 2 + 2 * 8 - 2
    assert "InhibitFT 1" not in {one["condition"] for one in drawn(chart, "text mark")}
    assert "conditions drawn: 8 of 9" in chart.to_dict()["description"]


# --- bars ---


def test_bars_keep_the_given_order_and_their_length() -> None:
    chart = charts.bars(shares(), "share of the shift")
    (bar,) = units(chart, "bar")
    assert bar["encoding"]["y"]["sort"] == bar["encoding"]["y"]["scale"]["domain"] == list(shares()["label"])
    assert bar["encoding"]["x"]["field"] == "value" and bar["encoding"]["x"]["title"] == "share of the shift"
    wide = {one["label"]: float(re.search(r"h([\d.]+)v", one["d"])[1]) for one in drawn(chart, "bar")}  # type: ignore[index]
    assert wide["whole"] / wide["general (G)"] == pytest.approx(0.8 / 0.3)
    assert wide["whole"] / wide["random"] == pytest.approx(0.8 / 0.05)  # from zero, to the left


def test_an_unknown_bar_is_said_to_be_unknown() -> None:
    chart = charts.bars(shares(), "share of the shift")
    assert {one["label"] for one in drawn(chart, "bar")} == {"whole", "general (G)", "random"}
    assert [one["label"] for one in drawn(chart, "text mark")] == ["attention"]
    assert len(strokes(chart, "rule")) == 2 + 1  # two known intervals and the zero line
    assert len(drawn(chart, "tick")) == 4
    assert "attention –" in chart.to_dict()["description"]


def test_grouped_bars_stand_side_by_side() -> None:
    chart = charts.bars(shares(grouped=True), "share of the shift")
    (bar,) = units(chart, "bar")
    assert bar["encoding"]["yOffset"]["field"] == bar["encoding"]["color"]["field"] == "by"
    assert bar["encoding"]["yOffset"]["sort"] == ["left", "right"]
    tops = [re.match(r"M[\d.]+,([\d.]+)", one["d"])[1] for one in drawn(chart, "bar")]  # type: ignore[index]
    assert len(tops) == len(set(tops)) == 6


# --- by_layer ---


def test_layers_are_stacked_by_sign_with_their_sum() -> None:
    """By hand: in layer 1 the parts −1, +3, −0.5 reach from 0 to 3 and from 0 by −1 to −1.5; the sum is 1.5."""
    chart = charts.by_layer(parts(), "contribution (logits)")
    boxes = {(r["layer"], r["part"]): (r["from"], r["to"]) for r in rows(chart) if r["value"]}
    assert boxes == {
        **{(0, "neurons"): (0, 2), (0, "attention"): (2, 3), (0, "other"): (0, -0.5)},
        **{(1, "neurons"): (0, -1), (1, "attention"): (0, 3), (1, "other"): (-1, -1.5)},
        (2, "neurons"): (0, 1),
    }
    assert {r["layer"]: r["net"] for r in rows(chart)} == {0: 2.5, 1: 1.5, 2: None}
    sums = [one["sum"] for one in drawn(chart, "point") if "sum" in one]
    assert sums == ["+2.5", "+1.5"]  # once a layer, and none where a part is unknown
    assert "neurons 2; attention –; other −1" in chart.to_dict()["description"]


def test_layers_are_sorted_by_number_and_names_kept() -> None:
    (bar,) = units(charts.by_layer(parts().sample(frac=1, random_state=3), "x"), "bar")
    assert bar["encoding"]["x"]["sort"] == [0, 1, 2]
    assert bar["encoding"]["y"]["title"] == "x" and bar["encoding"]["y2"]["field"] == "to"
    named = parts().assign(layer=parts()["layer"].map({0: "output", 1: "block 1", 2: "block 0"}))
    (bar,) = units(charts.by_layer(named, "x"), "bar")
    assert bar["encoding"]["x"]["sort"] == ["output", "block 1", "block 0"]


def test_segments_carry_the_symbol_of_their_part() -> None:
    chart = charts.by_layer(parts(), "x")
    symbols = next(unit for unit in units(chart, "point") if "shape" in unit["encoding"])["encoding"]
    legend = units(chart, "bar")[0]["encoding"]["color"]["scale"]["domain"]
    assert symbols["y"]["field"] == "middle" and symbols["shape"]["field"] == "part"
    assert symbols["shape"]["scale"]["domain"] == legend == ["neurons", "attention", "other", charts.SUM]
    middles = {(r["layer"], r["part"]): r["middle"] for r in rows(chart) if r["large"]}
    assert middles[1, "other"] == -1.25 and (2, "other") not in middles and (2, "attention") not in middles


# --- refusals ---

CALLS: dict[str, tuple[Callable[[pd.DataFrame], Any], Callable[[], pd.DataFrame], str]] = {
    "roc": (charts.roc, rates, "tpr"),
    "curve": (lambda f: charts.curve(f, "x", "y"), lines, "y"),
    "pareto": (lambda f: charts.pareto(f, "x", "y"), trade, "x"),
    "bars": (lambda f: charts.bars(f, "x"), shares, "value"),
    "by_layer": (lambda f: charts.by_layer(f, "x"), parts, "value"),
    "angles": (charts.angles, spans, "degrees"),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_frames_are_refused_by_name(name: str) -> None:
    call, make, column = CALLS[name]
    good = make()
    call(good.assign(further="ignored"))
    with pytest.raises(DataError, match=f"no column '{column}'"):
        call(good.drop(columns=column))
    with pytest.raises(DataError, match="no rows"):
        call(good.head(0))
    with pytest.raises(DataError, match=f"'{column}' must hold numbers"):
        call(good.assign(**{column: "0.5"}))
    text = next(n for n in ("method", "by", "family", "part", "kind", "label") if n in good)
    with pytest.raises(DataError, match=f"'{text}' has rows without a name"):
        call(good.assign(**{text: None}))


@pytest.mark.parametrize("name", ["bars", "by_layer", "angles"])
def test_a_row_given_twice_is_refused(name: str) -> None:
    call, make, _ = CALLS[name]
    with pytest.raises(DataError, match="more than one row for"):
        call(pd.concat([make(), make().tail(1)]))


@pytest.mark.parametrize(("name", "low"), [("curve", "low"), ("pareto", "y_low"), ("bars", "low"), ("angles", "low")])
def test_an_interval_upside_down_is_refused(name: str, low: str) -> None:
    call, make, _ = CALLS[name]
    with pytest.raises(DataError, match=f"'{low}' is above"):
        call(make().assign(**{low: 1e3}))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(DataError, match="from 0 to 1"):
        charts.roc(rates().assign(fpr=1.5))
    with pytest.raises(DataError, match="from 0 to 90"):
        charts.angles(spans().assign(degrees=1.2e2))
    with pytest.raises(DataError, match="whole numbers"):
        charts.angles(spans().assign(index=spans()["index"] + 0.5))


def test_the_callers_frame_is_left_alone() -> None:
    for call, make, _ in CALLS.values():
        frame = make()
        call(frame)
        pd.testing.assert_frame_equal(frame, make())
