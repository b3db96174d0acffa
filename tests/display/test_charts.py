"""Every figure: the data it carries, what is really drawn, that a gap stays a gap, and what it refuses."""

from __future__ import annotations

import html
import json
import re
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from chart_frames import (
    CALLS,
    CHECKED,
    CONDITIONS,
    MAKERS,
    METHODS,
    TOPICS,
    beside,
    bounded,
    dots,
    drawn,
    effects,
    gammas,
    heat,
    kind,
    layers,
    lines,
    made,
    marks,
    overlaps,
    parts,
    picture,
    rates,
    raw_scores,
    rows,
    shares,
    spans,
    strokes,
    theirs,
    trade,
    units,
)

from polinb.chapters.paper import results
from polinb.display import charts
from polinb.errors import DataError, ParameterError
from polinb.scoring.pnlac import neuron_sets
from polinb.stance.coupling import shift_table
from polinb.wording import LIVE, PAYLOAD
from polinb_book import export, outputs

GAPS = ("bars", "bars_grouped")


@pytest.mark.parametrize("name", MAKERS)
def test_every_figure_draws_offline_and_says_what_it_shows(name: str) -> None:
    spec = json.loads(made(name))
    shown = picture(MAKERS[name]())
    assert not re.search(r"NaN|undefined|null|Infinity", shown)  # nowhere: not in a path, a tooltip or a label
    said = "no known value" in shown or "not known</text>" in shown
    assert said == (name.endswith("unknown") or name in GAPS), "an empty figure says that it is empty"
    assert len(spec["description"]) > 30 and "nan" not in spec["description"].lower()
    assert name.endswith("unknown") or re.search(r"\d", spec["description"])  # its main numbers
    assert "http" not in json.dumps({k: v for k, v in spec.items() if k != "$schema"})
    columns = [field for field, _ in spec["usermeta"]["polinb"]["columns"]]
    assert columns and any(set(columns) <= set(data[0]) for data in spec["datasets"].values()), "what a file holds"
    field = spec["usermeta"]["polinb"]["highlight"]
    assert field is None or any(param["name"] == "highlight" for param in spec["params"])


@pytest.mark.parametrize("name", MAKERS)
def test_colour_is_never_alone(name: str) -> None:
    """Where colour tells categories apart, position, shape, dash, a panel or a printed text does so too."""
    text = made(name)
    found = list(marks(json.loads(text)))
    told_apart = {
        u["encoding"][c]["field"] for u in found for c in ("shape", "strokeDash") if c in u.get("encoding", {})
    }
    for unit in found:
        colour = unit.get("encoding", {}).get("color", {})
        if colour.get("type") != "nominal":
            continue
        field = colour["field"]
        if field == "part" and unit["encoding"].get("order"):
            continue  # the slider's stacks: always in this order, and their sizes are printed beside them
        told = [c for c, e in unit["encoding"].items() if c not in ("color", "tooltip") and isinstance(e, dict)]
        same = [c for c in told if unit["encoding"][c].get("field") in (field, "lane")]
        faceted = re.search(rf'"(row|facet)": {{"field": "{field}"', text)
        positioned = field == "type" and unit["encoding"]["y"].get("field") == "name"
        assert same or faceted or positioned or "transform" in unit or field in told_apart, (kind(unit), field)


@pytest.mark.parametrize("name", ["roc", "curve", "pareto", "angles"])
def test_each_series_has_a_symbol_that_the_legend_shows(name: str) -> None:
    (points,) = [unit for unit in units(MAKERS[name](), "point") if "shape" in unit["encoding"]]
    colour, shape = points["encoding"]["color"], points["encoding"]["shape"]
    assert colour["field"] == shape["field"] and colour["scale"]["domain"] == shape["scale"]["domain"]
    assert len({one["d"] for one in drawn(MAKERS[name](), "point")}) == len(shape["scale"]["domain"]) >= 2


def test_twenty_series_have_twenty_looks() -> None:
    frame = pd.concat([lines().head(1).assign(by=f"series {i:02d}") for i in range(20)])
    points = drawn(charts.curve(frame, "x", "y"), "point")
    assert len({(one["fill"], one["d"]) for one in points}) == 20
    assert all(max(map(float, re.findall(r"\d+\.?\d*", one["d"]))) > 1 and one["fill"] for one in points)


# --- what a notebook's output holds


def test_the_picture_is_packed_and_intact() -> None:
    spec = json.loads(made("coupling_heatmap"))
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
    frame = dots().replace("crime", "</script><script>alert(1)</script>").replace("race", 'a"><img src=x>')
    bundle, _ = charts.bundle(charts.stance_dots(frame).to_dict())
    page = outputs.chart_html({**bundle[PAYLOAD], "spec": bundle[LIVE], "picture": bundle["image/png"]})
    assert page.count("<script") == 1 and page.count("</script>") == 1 and "<img src=x>" not in page
    body = re.search(r'class="polinb-spec">(.*?)</script>', page, re.S)
    assert body and "</script><script>alert(1)</script>" in {r["topic"] for r in rows(json.loads(body[1]))}
    assert "data:image/png;base64," in page


def test_a_chart_carries_its_data_a_picture_and_its_words() -> None:
    before = alt.renderers.active
    try:
        charts.enable()
        content, about = charts.stance_dots(dots())._repr_mimebundle_()
        assert (content, about) == charts.stance_dots(dots())._repr_mimebundle_(), "the same chart, the same bytes"
        assert set(content) == {LIVE, PAYLOAD, "image/png", "text/plain"}
        said = content[LIVE]["description"]
        assert about["image/png"]["alt"] == content[PAYLOAD]["alt"] == said and content[PAYLOAD]["width"] > 100
        headers, held = export.behind(content[LIVE])
        assert len(held) == len(dots()) and "topic" in headers
    finally:
        alt.renderers.enable(before)


# --- stances, heat maps, gamma


def test_dots_carry_every_row_and_its_interval() -> None:
    chart = charts.stance_dots(dots().assign(paper=0.25))
    points = units(chart, "point")
    assert [unit["encoding"]["x"]["field"] for unit in points] == ["stance", "paper"]
    rule = next(unit for unit in units(chart, "rule") if "x2" in unit["encoding"])
    assert (rule["encoding"]["x"]["field"], rule["encoding"]["x2"]["field"]) == ("low", "high")
    assert points[0]["encoding"]["x"]["scale"]["domain"] == [-1.05, 1.05]
    assert points[0]["encoding"]["yOffset"]["sort"] == CONDITIONS and points[0]["encoding"]["y"]["sort"] == TOPICS
    assert len(rows(chart)) == 9 and "the paper, mean +0.25" in chart.to_dict()["description"]
    assert set(rows(charts.stance_dots(dots()))[0]) == {"topic", "condition", "stance", "low", "high", "interval"}


def test_heatmap_prints_each_shift_and_marks_the_own_topic() -> None:
    chart = charts.coupling_heatmap(heat())
    spec = chart.to_dict()
    assert {row["text"] for row in rows(spec)} == {"+0.80", "−0.10"} and spec["facet"]["sort"] == CONDITIONS[1:]
    cells, frames = units(chart, "rect")
    assert cells["encoding"]["color"]["scale"]["domain"] == [-0.8, 0, 0.8]
    assert frames["transform"] == [{"filter": "datum.own"}] and sum(row["own"] for row in rows(spec)) == 6
    assert "brackets" not in json.dumps(spec) and "ntervals" not in spec["description"]
    wider = charts.coupling_heatmap(heat(named=False), limit=2.0, rows="patched", columns="asked")
    assert units(wider, "rect")[0]["encoding"]["color"]["scale"]["domain"] == [-2.0, 0, 2.0]
    assert units(wider, "text")[0]["encoding"]["y"]["title"] == "patched"
    assert charts.png(charts.coupling_heatmap(heat().assign(delta=0.0)))


def test_cells_whose_interval_includes_zero_are_in_brackets_and_pale() -> None:
    chart = charts.coupling_heatmap(bounded())
    spec = chart.to_dict()
    told = {(row["trained"], row["tested"]): row for row in rows(spec)}
    assert [told[t, t]["text"] for t in TOPICS] == ["+0.80"] * 3
    assert told["race", "crime"]["text"] == "(−0.10)" and told["race", "crime"]["interval"] == "−0.4 to 0.2"
    assert told["crime", "race"]["text"] == "−0.10" and told["crime", "race"]["interval"] == "not known"
    cells = units(chart, "rect")[0]["encoding"]
    assert cells["fillOpacity"] == {"condition": {"test": "datum.open", "value": 0.35}, "value": 1}
    assert {"trained", "tested", "delta", "interval", "n"} == {tip["field"] for tip in cells["tooltip"]}
    assert "3 to the right and 0 to the left, of 8 cells" in spec["description"]


def test_overlaps_have_no_direction() -> None:
    spec = charts.overlap_heatmap(overlaps(), "Jaccard overlap").to_dict()
    assert {row["text"] for row in rows(spec)} == {"1.00", "0.10", "0.20", "0.30"}
    assert "right" not in json.dumps(spec) and charts.LEFT not in json.dumps(spec)
    assert "lowest 0.1 (crime and race), highest 0.3 (race and economy)" in spec["description"]


def test_cells_of_conditions_take_seeds_together() -> None:
    """Two seeds of one random set: the mean of each question's scores, and the interval that goes with it."""
    rng = np.random.default_rng(0)
    base = pd.DataFrame({"topic": np.repeat(TOPICS, 6), "id": [str(i) for i in range(18)]})
    answers = {k: base.assign(score=rng.choice([-1.0, 0.0, 1.0], 18)) for k in ("plain", "a", "b", "c")}
    given = [
        SimpleNamespace(name=n, topic="crime", key=k)
        for n, k in (("random-layer", "a"), ("random-layer", "b"), ("inhibitft", "c"))
    ]
    run: Any = SimpleNamespace(
        params=SimpleNamespace(bootstrap=200, seed=0), stances=lambda one=None: answers[getattr(one, "key", "plain")]
    )
    cells = results.condition_cells(run, given)  # type: ignore[arg-type]
    assert cells["condition"].unique().tolist() == ["random, layer-matched", "InhibitFT (G)"] and len(cells) == 6
    alone = shift_table(answers["plain"], answers["c"], 200, 0)
    assert cells.loc[cells["condition"] == "InhibitFT (G)", ["delta", "low", "high", "n"]].to_numpy().tolist() == (
        alone[["shift", "low", "high", "n"]].to_numpy().tolist()
    )
    mean = (answers["a"]["score"] + answers["b"]["score"]) / 2 - answers["plain"]["score"]
    assert cells.head(3)["delta"].tolist() == pytest.approx(mean.groupby(base["topic"], sort=False).mean().tolist())


def test_gamma_has_interval_null_band_and_the_papers_lines() -> None:
    spec = charts.gamma_curve(gammas(), gammas().assign(r=0.5), theirs()).to_dict()
    named = {row["line"] for row in rows(spec)}
    assert {"InhibitFT (ours)", "one random set (ours)", "paper: Llama-3.1-8B"} <= named and len(named) == 6
    (band,) = [unit for unit in marks(spec) if kind(unit) == "area"]
    assert band["transform"] == [{"filter": "datum.line == 'one random set (ours)'"}]
    two = charts.gamma_curve(gammas(), pd.concat([gammas(), gammas()]), theirs())
    assert "random sets (ours)" in {row["line"] for row in rows(two)}
    ours = [row for row in rows(spec) if row["line"] == "InhibitFT (ours)"]
    assert len(ours) == 9 and {row["high"] for row in ours} == {0.4, None}  # infinity is drawn as missing
    printed = [row for row in rows(spec) if row["line"] == "paper: Qwen2.5-7B" and row["topic"] == "race"]
    assert len(printed) == 8 and printed[0]["r"] == 0.327


def test_paper_beside_ours_keeps_groups_apart() -> None:
    frame = beside()
    frame.loc[frame["group"] == "R", "group"] = "a title that is much longer than a phone is wide (Tables 1, 4–6)"
    spec = charts.paper_vs_ours(frame).to_dict()
    assert spec["resolve"]["scale"] == {"x": "independent", "y": "independent"}
    (points,) = [unit for unit in marks(spec) if kind(unit) == "point"]
    colours = points["encoding"]["color"]["scale"]
    assert dict(zip(colours["domain"], colours["range"], strict=True))["ours"] == "#000000"
    shown = [
        html.unescape(t) for t in re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", picture(charts.paper_vs_ours(frame)))
    ]
    broken = [t for t in shown if "title" in t or "phone" in t or "Tables" in t]
    assert broken == ["a title that is much longer than", "a phone is wide", "(Tables 1, 4–6)"]
    bare = charts.paper_vs_ours(beside().drop(columns=["low", "high", "group"]))
    assert len(units(bare, "point")) == 1


def test_panels_of_one_measure_have_one_range() -> None:
    frame = pd.concat([beside(), beside().assign(group="other R", value=0.9, high=1.1).head(2)])
    frame["measure"] = ["R", "R", "%", "%", "R", "R"]
    reach = {row["group"]: (row["least"], row["most"]) for row in rows(charts.paper_vs_ours(frame))}
    assert reach == {"R": (0.3, 1.1), "other R": (0.3, 1.1), "share": (2.0, 4.35)}
    alone = rows(charts.paper_vs_ours(frame.drop(columns="measure"), "value"))
    assert {row["most"] for row in alone} == {4.35}, "without measures all panels have one range"


# --- neurons


@pytest.mark.parametrize("pool", ["model", "layer"])
def test_the_slider_holds_the_exact_sets(pool: str) -> None:
    scores = raw_scores()
    spec = charts.gamma_slider(scores, 5.0, [1.0, 20.0, 33.3], pool=pool, bins=12).to_dict()
    found = spec["datasets"]["sets"]
    assert len(found) == 4 * len(TOPICS)
    for row in found:
        sets = neuron_sets(scores, row["gamma"], pool)
        mine = scores[row["topic"]][sets.political[row["topic"]]]
        assert row["N"] == mine.size and row["cut"] == pytest.approx(mine.min(), rel=1e-3)
        assert (row["G"], row["S"]) == (sets.general.sum(), sets.specific[row["topic"]].sum())
        assert row["strict"] == sets.strict[row["topic"]].sum()
        assert (sum(row["general"]), sum(row["specific"])) == (row["G"], row["S"])  # no neuron falls out of the bins
    assert all(sum(whole["count"]) == 400 for whole in spec["datasets"]["scores"])
    start = next(param for param in spec["params"] if param["name"] == "step")
    assert spec["usermeta"]["polinb"]["labels"]["step"][start["value"]] == "5 %" and start["bind"]["max"] == 3
    large = charts.gamma_slider(raw_scores((30, 1536)), 5.0).to_dict()
    assert len(json.dumps(large)) < 150_000


def test_the_slider_refuses_what_it_cannot_show() -> None:
    with pytest.raises(DataError):
        charts.gamma_slider({t: -s for t, s in raw_scores().items()}, 5.0)
    with pytest.raises(ParameterError, match="gamma"):
        charts.gamma_slider(raw_scores(), 100.0)
    with pytest.raises(ParameterError, match="topics"):
        charts.gamma_slider({"crime": raw_scores()["crime"]}, 5.0)


def test_layers_and_shares_tell_their_numbers() -> None:
    spec = charts.layer_distribution(layers()).to_dict()
    assert spec["facet"]["row"]["sort"] == ["general (G)", "topic-specific (S)"]
    assert "most in layer 5" in spec["description"]
    assert {row["even"] for row in rows(spec)} == {21 / 6} and rows(spec)[0]["percent"] == pytest.approx(100 / 21)
    frame = pd.DataFrame({"type": ["G", "S", "S"], "topic": ["all", "crime", "race"], "percent": [4.0, 1.0, 1.125]})
    data = rows(charts.type_share(frame))
    assert [row["text"] for row in data] == ["4.00 %", "1.00 %", "1.12 %"]
    assert [row["name"] for row in data][1] == "topic-specific (S): crime"


def test_single_neurons_stand_over_the_band_of_the_null() -> None:
    spec = charts.card_effects(effects(), "random", "effect").to_dict()
    assert "cards −1 to 0.5; random −0.1 to 0.2" in spec["description"]
    assert [d for d in spec["datasets"].values() if len(d) == 1 and "low" in d[0]] == [[{"low": -0.1, "high": 0.2}]]
    assert not units(charts.card_effects(effects(), "nobody", "effect"), "rect")
    with pytest.raises(DataError, match="not known"):
        charts.card_effects(effects().assign(value=np.nan), "random", "effect")


# --- error curves


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


def test_roc_of_a_single_point_and_gaps() -> None:
    frame = pd.DataFrame({"fpr": [0.2, np.nan], "tpr": [0.6, 0.5], "method": ["a", "b"]})
    chart = charts.roc(frame)
    assert len(drawn(chart, "point")) == 1 and len(rows(chart)) == 1
    assert "a 0.70" in chart.to_dict()["description"]  # (0.2 · 0.6 + 0.8 · (0.6 + 1)) / 2


# --- curves and angles


def test_curve_holds_the_right_fields() -> None:
    chart = charts.curve(lines(), "γ (%)", "coupling R")
    (points,), (band,) = units(chart, "point"), units(chart, "area")
    assert (points["encoding"]["x"]["field"], points["encoding"]["y"]["field"]) == ("x", "y")
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("low", "high")
    assert points["encoding"]["x"]["title"] == "γ (%)" and points["encoding"]["y"]["title"] == "coupling R"
    assert points["encoding"]["color"]["scale"]["domain"] == METHODS
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


def test_a_null_may_be_a_band_alone() -> None:
    frame = spans()
    frame.loc[frame["kind"] != "observed", "degrees"] = np.nan
    chart = charts.angles(frame)
    assert len(strokes(chart, "area")) == 1 and len(drawn(chart, "point")) == 5
    alone = charts.angles(frame[frame["kind"] != "observed"])
    assert len(strokes(alone, "area")) == 1 and "no known value" not in picture(alone)


# --- trade-offs


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
    assert {row["condition"] for row in rows(chart) if row["label"]} == {f"{a} 1" for a in METHODS}
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


# --- bars


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


# --- refusals

NUMBER = {"roc": "tpr", "curve": "y", "pareto": "x", "bars": "value", "by_layer": "value", "angles": "degrees"}


@pytest.mark.parametrize("name", CALLS)
def test_frames_without_a_column_or_a_row_are_refused(name: str) -> None:
    call, make = CALLS[name]
    before = make()
    call(good := before.assign(further="ignored"))
    assert good.drop(columns="further").equals(before), "the caller's frame is left alone"
    with pytest.raises(DataError, match="no rows"):
        call(before.head(0))
    with pytest.raises(DataError, match="no column"):
        call(pd.DataFrame({"other": [1]}))


@pytest.mark.parametrize("name", CHECKED)
def test_wrong_values_are_refused_by_name(name: str) -> None:
    (call, make), column = CALLS[name], NUMBER[name]
    with pytest.raises(DataError, match=f"no column '{column}'"):
        call(make().drop(columns=column))
    with pytest.raises(DataError, match=f"'{column}' must hold numbers"):
        call(make().assign(**{column: "0.5"}))
    text = next(n for n in ("method", "by", "family", "part", "kind", "label") if n in make())
    with pytest.raises(DataError, match=f"'{text}' has rows without a name"):
        call(make().assign(**{text: None}))


@pytest.mark.parametrize("name", ["coupling_heatmap", "overlap_heatmap", "bars", "by_layer", "angles"])
def test_a_row_given_twice_is_refused(name: str) -> None:
    call, make = CALLS[name]
    with pytest.raises(DataError, match="more than one row for"):
        call(pd.concat([make(), make().tail(1)]))


@pytest.mark.parametrize(("name", "low"), [("curve", "low"), ("pareto", "y_low"), ("bars", "low"), ("angles", "low")])
def test_an_interval_upside_down_is_refused(name: str, low: str) -> None:
    call, make = CALLS[name]
    with pytest.raises(DataError, match=f"'{low}' is above"):
        call(make().assign(**{low: 1e3}))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(DataError, match="from 0 to 1"):
        charts.roc(rates().assign(fpr=1.5))
    with pytest.raises(DataError, match="from 0 to 1"):
        charts.overlap_heatmap(overlaps().assign(value=-0.2))
    with pytest.raises(DataError, match="from 0 to 90"):
        charts.angles(spans().assign(degrees=1.2e2))
