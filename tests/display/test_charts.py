"""Every figure: the data it carries, what is really drawn, that a gap stays a gap, and what it refuses."""

from __future__ import annotations

import html
import json
import re
import struct
import zlib

import altair as alt
import chart_frames as cf
import numpy as np
import pandas as pd
import pytest
import vl_convert

from polinb.display import charts
from polinb.errors import DataError, ParameterError
from polinb.wording import LIVE, PAYLOAD
from polinb_book import export, outputs

GAPS = ("bars", "bars_grouped")


def test_every_figure_says_what_it_shows_and_where_it_shows_nothing() -> None:
    for name, maker in cf.MAKERS.items():
        spec = json.loads(cf.made(name))
        told = spec["description"]
        assert len(told) > 30 and "nan" not in told.lower() and "http" not in told, name
        assert name.endswith("unknown") or re.search(r"\d", told), f"{name}: its main numbers"
        columns = [field for field, _ in spec["usermeta"]["polinb"]["columns"]]
        assert columns and any(set(columns) <= set(data[0]) for data in spec["datasets"].values()), f"{name}: its file"
        field = spec["usermeta"]["polinb"]["highlight"]
        assert field is None or any(param["name"] == "highlight" for param in spec["params"]), name
        if name in GAPS or name.removesuffix("_unknown") in cf.CHECKED:
            shown = cf.picture(maker())
            assert not re.search(r"NaN|undefined|null|Infinity", shown), name  # not in a path, a tooltip or a label
            said = "no known value" in shown or "not known</text>" in shown
            assert said == (name.endswith("unknown") or name in GAPS), name


def test_colour_is_never_alone() -> None:
    """Where colour tells categories apart, position, shape, dash, a panel or a printed text does so too."""
    for name in cf.MAKERS:
        text = cf.made(name)
        found = [unit for unit in cf.marks(json.loads(text)) if "encoding" in unit]
        told_apart = {u["encoding"][c]["field"] for u in found for c in ("shape", "strokeDash") if c in u["encoding"]}
        for unit in found:
            colour = unit["encoding"].get("color", {})
            if colour.get("type") != "nominal":
                continue
            field = colour["field"]
            if field == "part" and unit["encoding"].get("order"):
                continue  # the slider's stacks: always in this order, and their sizes are printed beside them
            told = [c for c, e in unit["encoding"].items() if c not in ("color", "tooltip") and isinstance(e, dict)]
            same = [c for c in told if unit["encoding"][c].get("field") in (field, "lane")]
            faceted = re.search(rf'"(row|facet)": {{"field": "{field}"', text)
            positioned = field == "type" and unit["encoding"]["y"].get("field") == "name"
            assert same or faceted or positioned or "transform" in unit or field in told_apart, (name, field)


def test_each_series_has_a_look_of_its_own() -> None:
    for name, series in (("roc", 2), ("curve", 3), ("pareto", 3), ("angles", 2)):
        assert len({one["d"] for one in cf.drawn(cf.MAKERS[name](), "point")}) == series, name
    frame = pd.concat([cf.lines().head(1).assign(by=f"series {i:02d}") for i in range(20)])
    points = cf.drawn(charts.curve(frame, "x", "y"), "point")
    assert len({(one["fill"], one["d"]) for one in points}) == 20


# --- what a notebook's output holds


def test_the_picture_is_packed_and_intact() -> None:
    spec = json.loads(cf.made("coupling_heatmap"))
    plain = vl_convert.vegalite_to_png(spec, vl_version=charts.VEGA_LITE, scale=1.5)
    packed = charts.png(spec)
    assert len(packed) < 0.6 * len(plain) and packed == charts.png(spec)

    def pixels(image: bytes) -> bytes:
        at, data = 8, b""
        while at < len(image):
            (size,) = struct.unpack(">I", image[at : at + 4])
            name, content = image[at + 4 : at + 8], image[at + 8 : at + 8 + size]
            assert struct.unpack(">I", image[at + 8 + size : at + 12 + size])[0] == zlib.crc32(name + content)
            data += content if name == b"IDAT" else b""
            at += 12 + size
        return zlib.decompress(data)

    assert pixels(packed) == pixels(plain) and packed.endswith(plain[-12:])


def test_a_charts_data_cannot_break_out_of_a_page() -> None:
    frame = cf.dots().replace("crime", "</script><script>alert(1)</script>").replace("race", 'a"><img src=x>')
    bundle, _ = charts.style.bundle(charts.stance_dots(frame).to_dict())
    page = outputs.chart_html({**bundle[PAYLOAD], "spec": bundle[LIVE], "picture": bundle["image/png"]})
    assert page.count("<script") == 1 and page.count("</script>") == 1 and "<img src=x>" not in page
    body = re.search(r'class="polinb-spec">(.*?)</script>', page, re.S)
    assert body and "</script><script>alert(1)</script>" in {r["topic"] for r in cf.rows(json.loads(body[1]))}


def test_a_chart_carries_its_data_a_picture_and_its_words() -> None:
    before = alt.renderers.active
    try:
        charts.style.enable()
        content, about = charts.stance_dots(cf.dots())._repr_mimebundle_()
        assert (content, about) == charts.stance_dots(cf.dots())._repr_mimebundle_(), "the same chart, the same bytes"
        assert set(content) == {LIVE, PAYLOAD, "image/png", "text/plain"}
        assert about["image/png"]["alt"] == content[PAYLOAD]["alt"] == content[LIVE]["description"]
        headers, held = export.behind(content[LIVE])
        assert len(held) == len(cf.dots()) and "topic" in headers
    finally:
        alt.renderers.enable(before)


# --- stances, heat maps, gamma


def test_dots_carry_every_row_and_its_interval() -> None:
    chart = charts.stance_dots(cf.dots().assign(paper=0.25))
    assert len(cf.drawn(chart, "point")) == 18 and len(cf.strokes(chart, "rule")) >= 9
    points = cf.units(chart, "point")[0]["encoding"]
    assert points["x"]["scale"]["domain"] == [-1.05, 1.05]
    assert points["yOffset"]["sort"] == cf.CONDITIONS and points["y"]["sort"] == cf.TOPICS


def test_heatmap_prints_each_shift_and_marks_what_is_open() -> None:
    spec = charts.coupling_heatmap(cf.heat()).to_dict()
    assert {row["text"] for row in cf.rows(spec)} == {"+0.80", "−0.10"} and spec["facet"]["sort"] == cf.CONDITIONS[1:]
    assert sum(row["own"] for row in cf.rows(spec)) == 6 and "ntervals" not in spec["description"]
    wider = charts.coupling_heatmap(cf.heat(named=False), limit=2.0, rows="patched", columns="asked")
    assert cf.units(wider, "rect")[0]["encoding"]["color"]["scale"]["domain"] == [-2.0, 0, 2.0]
    assert charts.png(charts.coupling_heatmap(cf.heat().assign(delta=0.0)))
    # cells whose interval includes zero stand in brackets and are pale
    chart = charts.coupling_heatmap(cf.bounded())
    told = {(row["trained"], row["tested"]): (row["text"], row["interval"]) for row in cf.rows(chart)}
    assert [told[t, t][0] for t in cf.TOPICS] == ["+0.80"] * 3
    assert told["race", "crime"] == ("(−0.10)", "−0.4 to 0.2") and told["crime", "race"] == ("−0.10", "not known")
    assert sorted({one["fill-opacity"] for one in cf.drawn(chart, "rect mark")}) == ["0.35", "1"]
    assert "3 to the right and 0 to the left, of 8 cells" in chart.to_dict()["description"]


def test_paper_beside_ours_keeps_groups_apart_and_measures_together() -> None:
    frame = cf.beside()
    frame.loc[frame["group"] == "R", "group"] = "a title that is much longer than a phone is wide (Tables 1, 4–6)"
    shown = re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", cf.picture(charts.paper_vs_ours(frame)))
    broken = [t for t in map(html.unescape, shown) if re.search("title|phone|Tables", t)]
    assert broken == ["a title that is much longer than", "a phone is wide", "(Tables 1, 4–6)"]
    bare = charts.paper_vs_ours(cf.beside().drop(columns=["low", "high", "group"]))
    assert len(cf.units(bare, "point")) == 1
    frame = pd.concat([cf.beside(), cf.beside().assign(group="other R", value=0.9, high=1.1).head(2)])
    frame["measure"] = ["R", "R", "%", "%", "R", "R"]
    reach = {row["group"]: (row["least"], row["most"]) for row in cf.rows(charts.paper_vs_ours(frame))}
    assert reach == {"R": (0.3, 1.1), "other R": (0.3, 1.1), "share": (2.0, 4.35)}
    alone = cf.rows(charts.paper_vs_ours(frame.drop(columns="measure"), "value"))
    assert {row["most"] for row in alone} == {4.35}, "without measures all panels have one range"


# --- neurons


def test_the_slider_stays_small_and_refuses_what_it_cannot_show() -> None:
    assert len(json.dumps(charts.gamma_slider(cf.raw_scores((30, 1536)), 5.0).to_dict())) < 150_000
    with pytest.raises(DataError):
        charts.gamma_slider({t: -s for t, s in cf.raw_scores().items()}, 5.0)
    with pytest.raises(ParameterError, match="gamma"):
        charts.gamma_slider(cf.raw_scores(), 100.0)
    with pytest.raises(ParameterError, match="topics"):
        charts.gamma_slider({"crime": cf.raw_scores()["crime"]}, 5.0)


# --- error curves


def test_roc_keeps_the_curve_and_its_area() -> None:
    frame = cf.rates()
    chart = charts.roc(frame.sample(frac=1, random_state=1))  # the order of the rows does not matter
    for method, given in frame.groupby("method"):
        line = pd.DataFrame([row for row in cf.rows(chart) if row["method"] == method]).sort_values("step")
        assert len(line) < len(given) and line["step"].tolist() == list(range(len(line)))
        assert np.trapezoid(line["tpr"], line["fpr"]) == pytest.approx(given["true"].iloc[0], abs=1e-12)
        assert (np.diff(line["fpr"]) >= 0).all() and (np.diff(line["tpr"]) >= 0).all()
        told = re.search(rf"{method} (\d\.\d\d)", chart.to_dict()["description"])
        assert told and float(told[1]) == pytest.approx(given["true"].iloc[0], abs=0.005)
    assert (
        len(cf.strokes(chart, "rule")) == 1 and len(cf.strokes(charts.roc(cf.rates(panels=True)), "rule")) == 2
    )  # diagonals


def test_roc_of_many_neurons_stays_small_and_of_one_point_has_an_area() -> None:
    chart = charts.roc(cf.rates(size=40_000))
    assert len(cf.rows(chart)) <= 2 * charts.lines.CORNERS
    assert 8 <= sum(row["marked"] for row in cf.rows(chart)) <= 2 * charts.lines.MARKED
    chart = charts.roc(pd.DataFrame({"fpr": [0.2, np.nan], "tpr": [0.6, 0.5], "method": ["a", "b"]}))
    assert len(cf.drawn(chart, "point")) == 1 and len(cf.rows(chart)) == 1
    assert "a 0.70" in chart.to_dict()["description"]  # (0.2 · 0.6 + 0.8 · (0.6 + 1)) / 2


# --- curves and angles


def test_curve_holds_its_points_bands_and_scale() -> None:
    chart = charts.curve(cf.lines(), "γ (%)", "coupling R")
    (points,) = cf.units(chart, "point")
    assert points["encoding"]["color"]["scale"]["domain"] == cf.METHODS
    assert points["encoding"]["x"]["axis"]["values"] == [5, 10, 20]
    assert "InhibitFT 0.45 at 5 to 0.3 at 20" in chart.to_dict()["description"]
    assert len(cf.drawn(chart, "point")) == 9 and len(cf.strokes(chart, "area")) == 3
    left_to_right = [float(x) for x in re.findall(r"[ML]([\d.]+),", cf.strokes(chart, "line")[0]["d"])]
    assert len(left_to_right) == 3 and left_to_right == sorted(left_to_right)
    chart = charts.curve(cf.lines(), "examples", "shift", log_x=True)
    at = {
        float(one["examples"]): float(re.search(r"\(([\d.]+)", one["transform"])[1]) for one in cf.drawn(chart, "point")
    }  # type: ignore[index]
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


def test_curve_has_panels_in_given_order_and_a_zero_line_where_it_passes_zero() -> None:
    spec = charts.curve(cf.lines(panels=True), "x", "y").to_dict()
    assert spec["facet"]["field"] == "panel" and spec["facet"]["sort"] == cf.TOPICS
    other = cf.lines(panels=True).rename(columns={"panel": "topic"})
    assert charts.curve(other, "x", "y", facet="topic").to_dict() == spec
    assert (
        len(cf.strokes(charts.curve(cf.lines()[["x", "y", "by"]].assign(y=[1, -1] + [2] * 7), "x", "y"), "rule")) == 1
    )
    assert not cf.strokes(charts.curve(cf.lines()[["x", "y", "by"]].assign(y=1.0), "x", "y"), "rule")


# --- trade-offs


def test_pareto_has_both_intervals_and_the_wanted_names() -> None:
    chart = charts.pareto(cf.trade(), "shift ΔS", "coupling R")
    (points,) = cf.units(chart, "point")
    for channel, ends in (("x", ("x_low", "x_high")), ("y", ("y_low", "y_high"))):
        low, high = points["encoding"][channel]["scale"]["domain"]
        assert low < min(0, cf.trade()[ends[0]].min()) and high > cf.trade()[ends[1]].max()
    assert len(cf.drawn(chart, "point")) == 9 and len(cf.strokes(chart, "rule")) == 2 + 18, (
        "two zero lines, two intervals"
    )
    assert {one["condition"] for one in cf.drawn(chart, "text mark")} == {f"{a} 1" for a in cf.METHODS}
    assert not cf.drawn(charts.pareto(cf.trade().drop(columns="label"), "x", "y"), "text mark")  # nine: too many
    assert len(cf.drawn(charts.pareto(cf.trade().drop(columns="label").head(5), "x", "y"), "text mark")) == 5
    frame = cf.trade()
    frame.loc[0, "y"] = np.nan
    frame.loc[1, "x_low"] = np.nan
    frame.loc[2, "y_high"] = np.inf
    chart = charts.pareto(frame, "x", "y")
    assert len(cf.drawn(chart, "point")) == 8 and len(cf.strokes(chart, "rule")) == 2 + 2 * 8 - 2
    assert "InhibitFT 1" not in {one["condition"] for one in cf.drawn(chart, "text mark")}
    assert "conditions drawn: 8 of 9" in chart.to_dict()["description"]


def test_names_keep_off_the_points_and_each_other() -> None:
    """Close pairs of points: each name's box, laid out again from the chart's own scale, is free."""
    frame = pd.DataFrame(
        [(f"arm {i}{k}", "f", 0.2 * i + 0.03 * k, 0.2 * (i % 3) + 0.02 * k, True) for i in range(5) for k in (0, 1)],
        columns=["condition", "family", "x", "y", "label"],
    )
    chart = charts.pareto(frame, "x", "y")
    (points,) = cf.units(chart, "point")
    (x0, x1), (y0, y1) = (points["encoding"][c]["scale"]["domain"] for c in ("x", "y"))
    boxes, dots = [], []
    for row in cf.rows(chart):
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


# --- bars


def test_bars_keep_order_and_length_and_say_what_is_unknown() -> None:
    chart = charts.bars(cf.shares(), "share of the shift")
    assert cf.units(chart, "bar")[0]["encoding"]["y"]["sort"] == list(cf.shares()["label"])
    wide = {one["label"]: float(re.search(r"h([\d.]+)v", one["d"])[1]) for one in cf.drawn(chart, "bar")}  # type: ignore[index]
    assert wide["whole"] / wide["general (G)"] == pytest.approx(0.8 / 0.3)
    assert wide["whole"] / wide["random"] == pytest.approx(0.8 / 0.05)  # from zero, to the left
    assert set(wide) == {"whole", "general (G)", "random"}
    assert [one["label"] for one in cf.drawn(chart, "text mark")] == ["attention"]
    assert len(cf.strokes(chart, "rule")) == 2 + 1  # two known intervals and the zero line
    assert "attention –" in chart.to_dict()["description"]
    grouped = cf.drawn(charts.bars(cf.shares(grouped=True), "share of the shift"), "bar")
    tops = [re.match(r"M[\d.]+,([\d.]+)", one["d"])[1] for one in grouped]  # type: ignore[index]
    assert len(tops) == len(set(tops)) == 6, "side by side"


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
    middles = {(r["layer"], r["part"]): r["middle"] for r in cf.rows(chart) if r["large"]}  # of the parts' symbols
    assert middles[1, "other"] == -1.25 and (2, "other") not in middles and (2, "attention") not in middles
    (bar,) = cf.units(charts.by_layer(cf.parts().sample(frac=1, random_state=3), "x"), "bar")
    assert bar["encoding"]["x"]["sort"] == [0, 1, 2]
    named = cf.parts().assign(layer=cf.parts()["layer"].map({0: "output", 1: "block 1", 2: "block 0"}))
    (bar,) = cf.units(charts.by_layer(named, "x"), "bar")
    assert bar["encoding"]["x"]["sort"] == ["output", "block 1", "block 0"]


# --- refusals

NUMBER = {"roc": "tpr", "curve": "y", "pareto": "x", "bars": "value", "by_layer": "value", "angles": "degrees"}
TWINS = ("coupling_heatmap", "overlap_heatmap", "bars", "by_layer", "angles")


@pytest.mark.parametrize("name", cf.CALLS)
def test_wrong_frames_are_refused_by_name(name: str) -> None:
    call, make = cf.CALLS[name]
    before = make()
    call(good := before.assign(further="ignored"))
    assert good.drop(columns="further").equals(before), "the caller's frame is left alone"
    with pytest.raises(DataError, match="no rows"):
        call(before.head(0))
    with pytest.raises(DataError, match="no column"):
        call(pd.DataFrame({"other": [1]}))
    if name in TWINS:
        with pytest.raises(DataError, match="more than one row for"):
            call(pd.concat([before, before.tail(1)]))
    if name in cf.CHECKED:
        column = NUMBER[name]
        with pytest.raises(DataError, match=f"'{column}' must hold numbers"):
            call(before.assign(**{column: "0.5"}))
        text = next(n for n in ("method", "by", "family", "part", "kind", "label") if n in before)
        with pytest.raises(DataError, match=f"'{text}' has rows without a name"):
            call(before.assign(**{text: None}))
    if low := {"curve": "low", "pareto": "y_low", "bars": "low", "angles": "low"}.get(name):
        with pytest.raises(DataError, match=f"'{low}' is above"):
            call(before.assign(**{low: 1e3}))


def test_an_unknown_effect_of_a_neuron_is_refused() -> None:
    with pytest.raises(DataError, match="not known"):
        charts.card_effects(cf.effects().assign(value=np.nan), "random", "effect")
