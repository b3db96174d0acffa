"""Every figure: the data it carries, what is really drawn, that a gap stays a gap, and what it refuses."""

from __future__ import annotations

import json
import re

import chart_frames as cf
import numpy as np
import pandas as pd
import pytest

from polinb.display import charts
from polinb.errors import DataError, ParameterError
from polinb.wording import LIVE, PAYLOAD
from polinb_book import outputs

GAPS = ("bars", "bars_grouped")


def test_every_figure_says_what_it_shows_and_where_it_shows_nothing() -> None:
    for name, maker in cf.MAKERS.items():
        spec = json.loads(cf.made(name))
        told = spec["description"]
        assert len(told) > 30 and "nan" not in told.lower() and "http" not in told, name
        assert name.endswith("unknown") or re.search(r"\d", told), f"{name}: its main numbers"
        columns = [field for field, _ in spec["usermeta"]["polinb"]["columns"]]
        assert columns and any(set(columns) <= set(data[0]) for data in spec["datasets"].values()), f"{name}: its file"
        if name in GAPS or name.endswith("unknown") or name == "curve":
            shown = cf.picture(maker())
            assert not re.search(r"NaN|undefined|null|Infinity", shown), name  # not in a path, a tooltip or a label
            said = "no known value" in shown or "not known</text>" in shown
            assert said == (name.endswith("unknown") or name in GAPS), name


def test_a_charts_data_cannot_break_out_of_a_page() -> None:
    frame = cf.dots().replace("crime", "</script><script>alert(1)</script>").replace("race", 'a"><img src=x>')
    bundle, _ = charts.style.bundle(charts.stance_dots(frame).to_dict())
    page = outputs.chart_html({**bundle[PAYLOAD], "spec": bundle[LIVE], "picture": bundle["image/png"]})
    assert page.count("<script") == 1 and page.count("</script>") == 1 and "<img src=x>" not in page
    body = re.search(r'class="polinb-spec">(.*?)</script>', page, re.S)
    assert body and "</script><script>alert(1)</script>" in {r["topic"] for r in cf.rows(json.loads(body[1]))}


def test_dots_and_cells_carry_every_row_and_its_interval() -> None:
    dots = charts.stance_dots(cf.dots())
    assert len(cf.drawn(dots, "point")) == 9 and len(cf.strokes(dots, "rule")) >= 9
    # cells whose interval includes zero stand in brackets and are pale
    chart = charts.coupling_heatmap(cf.bounded())
    told = {(row["trained"], row["tested"]): (row["text"], row["interval"]) for row in cf.rows(chart)}
    assert [told[t, t][0] for t in cf.TOPICS] == ["+0.80"] * 3
    assert told["race", "crime"] == ("(−0.10)", "−0.4 to 0.2") and told["crime", "race"] == ("−0.10", "not known")
    assert sorted({one["fill-opacity"] for one in cf.drawn(chart, "rect mark")}) == ["0.35", "1"]
    assert "3 to the right and 0 to the left, of 8 cells" in chart.to_dict()["description"]


def test_paper_beside_ours_has_one_range_a_measure() -> None:
    frame = pd.concat([cf.beside(), cf.beside().assign(group="other R", value=0.9, high=1.1).head(2)])
    frame["measure"] = ["R", "R", "%", "%", "R", "R"]
    reach = {row["group"]: (row["least"], row["most"]) for row in cf.rows(charts.paper_vs_ours(frame))}
    assert reach == {"R": (0.3, 1.1), "other R": (0.3, 1.1), "share": (2.0, 4.35)}


def test_the_slider_stays_small_and_refuses_what_it_cannot_show() -> None:
    assert len(json.dumps(charts.gamma_slider(cf.raw_scores((30, 1536)), 5.0).to_dict())) < 150_000
    with pytest.raises(DataError):
        charts.gamma_slider({t: -s for t, s in cf.raw_scores().items()}, 5.0)
    with pytest.raises(ParameterError, match="gamma"):
        charts.gamma_slider(cf.raw_scores(), 100.0)
    with pytest.raises(ParameterError, match="topics"):
        charts.gamma_slider({"crime": cf.raw_scores()["crime"]}, 5.0)


def test_roc_keeps_the_curve_and_its_area() -> None:
    frame = cf.rates()
    chart = charts.roc(frame.sample(frac=1, random_state=1))  # the order of the rows does not matter
    for method, given in frame.groupby("method"):
        line = pd.DataFrame([row for row in cf.rows(chart) if row["method"] == method]).sort_values("step")
        assert len(line) < len(given) and line["step"].tolist() == list(range(len(line)))
        assert np.trapezoid(line["tpr"], line["fpr"]) == pytest.approx(given["auc"].iloc[0], abs=1e-12)
        assert (np.diff(line["fpr"]) >= 0).all() and (np.diff(line["tpr"]) >= 0).all()
        told = re.search(rf"{method} (\d\.\d\d)", chart.to_dict()["description"])
        assert told and float(told[1]) == pytest.approx(given["auc"].iloc[0], abs=0.005)
    assert len(cf.rows(charts.roc(cf.rates(size=40_000)))) <= 2 * charts.lines.CORNERS


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


def test_pareto_draws_what_is_known() -> None:
    chart = charts.pareto(cf.trade(), "shift ΔS", "coupling R")
    assert len(cf.drawn(chart, "point")) == 9 and len(cf.strokes(chart, "rule")) == 2 + 18, "zero lines, intervals"
    assert {one["condition"] for one in cf.drawn(chart, "text mark")} == {f"{a} 1" for a in cf.METHODS}
    frame = cf.trade()
    frame.loc[0, "y"], frame.loc[1, "x_low"], frame.loc[2, "y_high"] = np.nan, np.nan, np.inf
    chart = charts.pareto(frame, "x", "y")
    assert len(cf.drawn(chart, "point")) == 8 and len(cf.strokes(chart, "rule")) == 2 + 2 * 8 - 2
    assert "InhibitFT 1" not in {one["condition"] for one in cf.drawn(chart, "text mark")}
    assert "conditions drawn: 8 of 9" in chart.to_dict()["description"]


def test_bars_have_the_length_of_their_value_and_say_what_is_unknown() -> None:
    chart = charts.bars(cf.shares(), "share of the shift")
    wide = {one["label"]: float(re.findall(r"h([\d.]+)v", one["d"])[0]) for one in cf.drawn(chart, "bar")}
    assert wide["whole"] / wide["general (G)"] == pytest.approx(0.8 / 0.3)
    assert wide["whole"] / wide["random"] == pytest.approx(0.8 / 0.05)  # from zero, to the left
    assert set(wide) == {"whole", "general (G)", "random"}
    assert [one["label"] for one in cf.drawn(chart, "text mark")] == ["attention"]
    assert len(cf.strokes(chart, "rule")) == 2 + 1  # two known intervals and the zero line
    assert "attention –" in chart.to_dict()["description"]


def test_layers_are_stacked_by_sign_with_their_sum() -> None:
    """By hand: in layer 1 the parts −1, +3, −0.5 reach from 0 to 3 and from 0 by −1 to −1.5; the sum is 1.5."""
    chart = charts.by_layer(cf.parts(), "contribution (logits)")
    boxes = {(r["layer"], r["part"]): (r["from"], r["to"]) for r in cf.rows(chart) if r["value"]}
    assert boxes == {
        **{(0, "neurons"): (0, 2), (0, "attention"): (2, 3), (0, "other"): (0, -0.5)},
        **{(1, "neurons"): (0, -1), (1, "attention"): (0, 3), (1, "other"): (-1, -1.5)},
        (2, "neurons"): (0, 1),
    }
    sums = [one["sum"] for one in cf.drawn(chart, "point") if "sum" in one]
    assert sums == ["+2.5", "+1.5"]  # once a layer, and none where a part is unknown
    assert "neurons 2; attention –; other −1" in chart.to_dict()["description"]


# --- refusals

NUMBER = {"roc": "tpr", "curve": "y", "pareto": "x", "bars": "value", "by_layer": "value", "angles": "degrees"}
LOW = {"curve": "low", "pareto": "y_low", "bars": "low", "angles": "low"}
TWINS = ("coupling_heatmap", "overlap_heatmap", "bars", "by_layer", "angles")


@pytest.mark.parametrize("name", cf.CALLS)
def test_wrong_frames_are_refused_by_name(name: str) -> None:
    call, make = cf.CALLS[name]
    before = make()
    call(good := before.assign(further="ignored"))
    assert good.drop(columns="further").equals(before), "the caller's frame is left alone"
    wrong = [(before.head(0), "no rows"), (pd.DataFrame({"other": [1]}), "no column")]
    if name in TWINS:
        wrong.append((pd.concat([before, before.tail(1)]), "more than one row for"))
    if name in cf.CHECKED:
        text = next(n for n in ("method", "by", "family", "part", "kind", "label") if n in before)
        wrong.append((before.assign(**{NUMBER[name]: "0.5"}), f"'{NUMBER[name]}' must hold numbers"))
        wrong.append((before.assign(**{text: None}), f"'{text}' has rows without a name"))
    if name in LOW:
        wrong.append((before.assign(**{LOW[name]: 1e3}), f"'{LOW[name]}' is above"))
    if name == "card_effects":
        wrong.append((before.assign(value=np.nan), "not known"))
    for frame, told in wrong:
        with pytest.raises(DataError, match=told):
            call(frame)
