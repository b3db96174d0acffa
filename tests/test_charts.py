"""Every chart: the data it carries, how it encodes them, and that it can be drawn with no browser."""

from __future__ import annotations

import html
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

from polinb.chapters.paper import paper, results
from polinb.display import charts
from polinb.errors import DataError, ParameterError
from polinb.scoring.pnlac import neuron_sets
from polinb.stance.coupling import shift_table
from polinb.wording import LIVE, PAYLOAD
from polinb_book import export, outputs

TOPICS = ["crime", "race", "economy"]
ARMS = ["vanilla", "right fine-tune", "InhibitFT"]


def dots(by: str = "condition") -> pd.DataFrame:
    rows = [
        (t, a, 0.1 * i - 0.2 * j, 0.1 * i - 0.2 * j - 0.1, 0.9)
        for i, t in enumerate(TOPICS)
        for j, a in enumerate(ARMS)
    ]
    return pd.DataFrame(rows, columns=["topic", by, "stance", "low", "high"])


def heat(named: bool = True) -> pd.DataFrame:
    rows = [(a, x, y, 0.8 if x == y else -0.1) for a in ARMS[1:] for x in TOPICS for y in TOPICS]
    frame = pd.DataFrame(rows, columns=["condition", "trained", "tested", "delta"])
    return frame if named else frame.head(9).drop(columns="condition")


def bounded() -> pd.DataFrame:
    """Clear of zero on the diagonal only; one cell has no interval."""
    frame = heat(named=False).assign(low=lambda d: d.delta - 0.3, high=lambda d: d.delta + 0.3, n=8)
    frame.loc[1, "high"] = np.nan
    return frame


def overlaps() -> pd.DataFrame:
    rows = [(x, y, 1.0 if x == y else 0.1 * (i + j)) for i, x in enumerate(TOPICS) for j, y in enumerate(TOPICS)]
    return pd.DataFrame(rows, columns=["first", "second", "value"])


def raw_scores(shape: tuple[int, int] = (4, 100)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shared = rng.lognormal(size=shape)
    return {topic: shared * rng.lognormal(sigma=0.5, size=shape) for topic in TOPICS}


def curve(topics: bool = True) -> pd.DataFrame:
    frame = pd.DataFrame(
        [(t, g, 0.3, 0.2, np.inf if g == 25 else 0.4) for t in TOPICS for g in (2.5, 5, 25)],
        columns=["topic", "gamma", "r", "low", "high"],
    )
    return frame if topics else frame.head(3).drop(columns="topic")


def theirs(topics: bool = True) -> pd.DataFrame:
    frame = paper.gamma_ablation().rename(columns={"gamma_percent": "gamma", "rmse": "r"})
    return frame if topics else frame[frame.topic == "race"].drop(columns="topic")


def beside() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": ["R", "R", "share", "share"],
            "item": ["crime", "crime", "general", "general"],
            "source": ["paper: Qwen2.5-3B", "ours"] * 2,
            "value": [0.5, 0.4, 4.35, 3.0],
            "low": [np.nan, 0.3, np.nan, 2.0],
            "high": [np.nan, 0.5, np.nan, 4.0],
        }
    )


def layers() -> pd.DataFrame:
    return pd.DataFrame([(n, k, n + 1) for n in range(6) for k in ("G", "S")], columns=["layer", "type", "count"])


MAKERS: dict[str, Callable[[], Any]] = {
    "layer_distribution": lambda: charts.layer_distribution(layers()),
    "type_share": lambda: charts.type_share(
        pd.DataFrame({"type": ["G", "S"], "percent": [4.0, 1.0], "paper": [4.35, 0.65]})
    ),
    "stance_dots": lambda: charts.stance_dots(dots()),
    "stance_dots_paper": lambda: charts.stance_dots(dots().assign(paper=0.25)),
    "patch_chart": lambda: charts.patch_chart(dots("patch")),
    "coupling_heatmap": lambda: charts.coupling_heatmap(heat()),
    "coupling_heatmap_one": lambda: charts.coupling_heatmap(heat(named=False)),
    "coupling_heatmap_bounded": lambda: charts.coupling_heatmap(bounded()),
    "overlap_heatmap": lambda: charts.overlap_heatmap(overlaps(), "Jaccard overlap"),
    "layer_distribution_ranged": lambda: charts.layer_distribution(layers().assign(low=0, high=9)),
    "gamma_slider": lambda: charts.gamma_slider(raw_scores(), 5.0),
    "gamma_curve": lambda: charts.gamma_curve(curve(), curve(), theirs()),
    "gamma_curve_one": lambda: charts.gamma_curve(curve(False), curve(False), theirs(False)),
    "gamma_curve_alone": lambda: charts.gamma_curve(curve(False)),
    "paper_vs_ours": lambda: charts.paper_vs_ours(beside()),
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


def rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for data in spec["datasets"].values() for row in data]


def kind(unit: dict[str, Any]) -> str:
    return unit["mark"] if isinstance(unit["mark"], str) else unit["mark"]["type"]


def units(chart: Any, of: str) -> list[dict[str, Any]]:
    return [unit for unit in marks(chart.to_dict()) if kind(unit) == of]


@cache
def made(name: str) -> str:
    return json.dumps(MAKERS[name]().to_dict(), allow_nan=False)  # NaN and infinity would break the page's script


@pytest.mark.parametrize("name", MAKERS)
def test_draws_offline_and_says_what_it_shows(name: str) -> None:
    spec = json.loads(made(name))
    assert charts.png(spec).startswith(b"\x89PNG\r\n\x1a\n")
    assert len(spec["description"]) > 60 and "nan" not in spec["description"]
    assert len(re.findall(r"\d", spec["description"])) >= 2  # its main numbers
    assert "http" not in json.dumps({k: v for k, v in spec.items() if k != "$schema"})


@pytest.mark.parametrize("name", MAKERS)
def test_colour_is_never_alone(name: str) -> None:
    """Where colour tells categories apart, position, shape, dash, a panel or a printed text does so too."""
    text = made(name)
    for unit in marks(json.loads(text)):
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
        filtered = "transform" in unit  # one series only
        assert same or faceted or positioned or filtered, (kind(unit), field)


def test_dots_carry_every_row_and_its_interval() -> None:
    chart = charts.stance_dots(dots())
    (points,) = units(chart, "point")
    rule = next(unit for unit in units(chart, "rule") if "x2" in unit["encoding"])
    assert points["encoding"]["x"]["field"] == "stance" and points["encoding"]["shape"]["field"] == "condition"
    assert points["encoding"]["x"]["scale"]["domain"] == [-1.05, 1.05]
    assert (rule["encoding"]["x"]["field"], rule["encoding"]["x2"]["field"]) == ("low", "high")
    assert points["encoding"]["yOffset"]["sort"] == ARMS and points["encoding"]["y"]["sort"] == TOPICS
    data = rows(chart.to_dict())
    assert len(data) == 9 and {tuple(sorted(row)) for row in data} == {
        ("condition", "high", "interval", "low", "stance", "topic")
    }


def test_the_paper_is_a_layer_of_its_own() -> None:
    chart = charts.stance_dots(dots().assign(paper=0.25))
    hollow = [unit for unit in units(chart, "point") if unit["mark"].get("shape") == "diamond"]
    assert len(hollow) == 1 and hollow[0]["encoding"]["x"]["field"] == "paper"
    assert "Hollow diamonds" in chart.to_dict()["description"]


def test_heatmap_prints_each_shift_and_marks_the_own_topic() -> None:
    chart = charts.coupling_heatmap(heat())
    spec = chart.to_dict()
    assert {row["text"] for row in rows(spec)} == {"+0.80", "−0.10"}
    assert spec["facet"]["sort"] == ARMS[1:]
    cells, frames = units(chart, "rect")
    assert cells["encoding"]["color"]["scale"]["domain"] == [-0.8, 0, 0.8]
    assert frames["transform"] == [{"filter": "datum.own"}]
    assert sum(row["own"] for row in rows(spec)) == 6
    wider = charts.coupling_heatmap(heat(named=False), limit=2.0, rows="patched", columns="asked")
    assert units(wider, "rect")[0]["encoding"]["color"]["scale"]["domain"] == [-2.0, 0, 2.0]
    assert units(wider, "text")[0]["encoding"]["y"]["title"] == "patched"


def test_cells_whose_interval_includes_zero_are_in_brackets_and_pale() -> None:
    chart = charts.coupling_heatmap(bounded())
    spec = chart.to_dict()
    told = {(row["trained"], row["tested"]): row for row in rows(spec)}
    assert [told[t, t]["text"] for t in TOPICS] == ["+0.80"] * 3
    assert told["race", "crime"]["text"] == "(−0.10)" and told["race", "crime"]["interval"] == "−0.4 to 0.2"
    assert told["crime", "race"]["text"] == "−0.10" and told["crime", "race"]["interval"] == "not known"
    cells = units(chart, "rect")[0]["encoding"]
    assert cells["fillOpacity"] == {"condition": {"test": "datum.open", "value": 0.35}, "value": 1}
    tips = [tip["field"] for tip in cells["tooltip"]]
    assert {"trained", "tested", "delta", "interval", "n"} <= set(tips)
    assert "brackets" in spec["title"]["text"][0] and "Framed" in spec["title"]["text"][1]
    assert "3 to the right and 0 to the left, of 8 cells" in spec["description"]


def test_heatmap_without_intervals_has_no_brackets() -> None:
    spec = charts.coupling_heatmap(heat(named=False)).to_dict()
    assert not any("(" in row["text"] for row in rows(spec)) and "brackets" not in json.dumps(spec)
    assert "ntervals" not in spec["description"]


def test_a_cell_given_twice_is_refused() -> None:
    with pytest.raises(DataError, match="more than one row"):
        charts.coupling_heatmap(pd.concat([heat(), heat().tail(1)]))
    with pytest.raises(DataError, match="more than one row"):
        charts.overlap_heatmap(pd.concat([overlaps(), overlaps()]))


def test_overlaps_have_no_direction() -> None:
    spec = charts.overlap_heatmap(overlaps(), "Jaccard overlap").to_dict()
    assert {row["text"] for row in rows(spec)} == {"1.00", "0.10", "0.20", "0.30"}
    assert "right" not in json.dumps(spec) and charts.LEFT not in json.dumps(spec)
    assert "lowest 0.1 (crime and race), highest 0.3 (race and economy)" in spec["description"]
    with pytest.raises(DataError, match="from 0 to 1"):
        charts.overlap_heatmap(overlaps().assign(value=-0.2))


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


def test_the_slider_is_small_for_a_large_model() -> None:
    spec = charts.gamma_slider(raw_scores((30, 1536)), 5.0).to_dict()
    assert len(json.dumps(spec)) < 150_000


def test_the_slider_refuses_what_it_cannot_show() -> None:
    with pytest.raises(DataError):
        charts.gamma_slider({t: -s for t, s in raw_scores().items()}, 5.0)
    with pytest.raises(ParameterError, match="gamma"):
        charts.gamma_slider(raw_scores(), 100.0)
    with pytest.raises(ParameterError, match="topics"):
        charts.gamma_slider({"crime": raw_scores()["crime"]}, 5.0)


@pytest.mark.parametrize("name", MAKERS)
def test_what_the_toolbar_saves_is_in_the_data(name: str) -> None:
    spec = json.loads(made(name))
    columns = [field for field, _ in spec["usermeta"]["polinb"]["columns"]]
    assert columns and any(set(columns) <= set(data[0]) for data in spec["datasets"].values())
    field = spec["usermeta"]["polinb"]["highlight"]
    assert field is None or any(param["name"] == "highlight" for param in spec["params"])


def test_the_picture_is_packed_and_intact() -> None:
    import vl_convert

    spec = json.loads(made("coupling_heatmap"))
    plain = vl_convert.vegalite_to_png(spec, vl_version=charts.VEGA_LITE, scale=1.5)
    packed = charts.png(spec)
    assert len(packed) < 0.6 * len(plain)

    def pixels(picture: bytes) -> bytes:
        at, data = 8, b""
        while at < len(picture):
            (size,) = struct.unpack(">I", picture[at : at + 4])
            kind, content = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
            assert struct.unpack(">I", picture[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + content)
            data += content if kind == b"IDAT" else b""
            at += 12 + size
        return zlib.decompress(data)

    assert pixels(packed) == pixels(plain) and packed.endswith(plain[-12:])


def test_cells_of_arms_take_seeds_together() -> None:
    """Two seeds of one random set: the mean of each question's scores, and the interval that goes with it."""
    rng = np.random.default_rng(0)
    base = pd.DataFrame({"topic": np.repeat(TOPICS, 6), "id": [str(i) for i in range(18)]})
    answers = {k: base.assign(score=rng.choice([-1.0, 0.0, 1.0], 18)) for k in ("plain", "a", "b", "c")}
    arms = [
        SimpleNamespace(name=n, topic="crime", key=k)
        for n, k in (("random-layer", "a"), ("random-layer", "b"), ("inhibitft", "c"))
    ]
    run = SimpleNamespace(
        params=SimpleNamespace(bootstrap=200, seed=0), stances=lambda arm=None: answers[getattr(arm, "key", "plain")]
    )
    cells = results.condition_cells(run, arms)  # type: ignore[arg-type]
    assert cells["condition"].unique().tolist() == ["random, layer-matched", "InhibitFT (G)"] and len(cells) == 6
    alone = shift_table(answers["plain"], answers["c"], 200, 0)
    assert cells.loc[cells["condition"] == "InhibitFT (G)", ["delta", "low", "high", "n"]].to_numpy().tolist() == (
        alone[["shift", "low", "high", "n"]].to_numpy().tolist()
    )
    mean = (answers["a"]["score"] + answers["b"]["score"]) / 2 - answers["plain"]["score"]
    want = mean.groupby(base["topic"], sort=False).mean()
    assert cells.head(3)["delta"].tolist() == pytest.approx(want.tolist())


def test_heatmap_of_no_shift_at_all() -> None:
    assert charts.png(charts.coupling_heatmap(heat().assign(delta=0.0)))


def test_gamma_has_interval_null_band_and_the_papers_lines() -> None:
    spec = charts.gamma_curve(curve(), curve().assign(r=0.5), theirs()).to_dict()
    lines = {row["line"] for row in rows(spec)}
    assert {"InhibitFT (ours)", "one random set (ours)", "paper: Llama-3.1-8B"} <= lines and len(lines) == 6
    (band,) = [unit for unit in marks(spec) if kind(unit) == "area"]
    assert band["transform"] == [{"filter": "datum.line == 'one random set (ours)'"}]
    two = charts.gamma_curve(curve(), pd.concat([curve(), curve()]), theirs()).to_dict()
    assert "random sets (ours)" in {row["line"] for row in rows(two)}
    ours = [row for row in rows(spec) if row["line"] == "InhibitFT (ours)"]
    assert len(ours) == 9 and {row["high"] for row in ours} == {0.4, None}  # infinity is drawn as missing
    printed = [row for row in rows(spec) if row["line"] == "paper: Qwen2.5-7B" and row["topic"] == "race"]
    assert len(printed) == 8 and printed[0]["r"] == 0.327


def test_layers_are_one_panel_a_type() -> None:
    spec = charts.layer_distribution(layers()).to_dict()
    assert spec["facet"]["row"]["sort"] == ["general (G)", "topic-specific (S)"]
    assert "most in layer 5" in spec["description"]


def test_share_prints_its_percentages() -> None:
    frame = pd.DataFrame({"type": ["G", "S", "S"], "topic": ["all", "crime", "race"], "percent": [4.0, 1.0, 1.125]})
    data = rows(charts.type_share(frame).to_dict())
    assert [row["text"] for row in data] == ["4.00 %", "1.00 %", "1.12 %"]
    assert [row["name"] for row in data][1] == "topic-specific (S): crime"


def test_paper_beside_ours_keeps_groups_apart() -> None:
    spec = charts.paper_vs_ours(beside()).to_dict()
    assert spec["resolve"]["scale"] == {"x": "independent", "y": "independent"}
    assert spec["facet"]["row"]["sort"] == ["R", "share"]
    (points,) = [unit for unit in marks(spec) if kind(unit) == "point"]
    colours = points["encoding"]["color"]["scale"]
    assert dict(zip(colours["domain"], colours["range"], strict=True))["ours"] == "#000000"
    assert colours["domain"][-1] == "ours"
    assert "title" not in points["encoding"]["x"] or points["encoding"]["x"]["title"] is None
    bare = charts.paper_vs_ours(beside().drop(columns=["low", "high", "group"]))
    assert len(units(bare, "point")) == 1


def test_panels_of_one_measure_have_one_range() -> None:
    frame = pd.concat([beside(), beside().assign(group="other R", value=0.9, high=1.1).head(2)])
    frame["measure"] = ["R", "R", "%", "%", "R", "R"]
    data = [row for row in rows(charts.paper_vs_ours(frame).to_dict()) if "most" in row]
    reach = {row["group"]: (row["least"], row["most"]) for row in data}
    assert reach == {"R": (0.3, 1.1), "other R": (0.3, 1.1), "share": (2.0, 4.35)}
    alone = rows(charts.paper_vs_ours(frame.drop(columns="measure"), "value").to_dict())
    assert {row["most"] for row in alone if "most" in row} == {4.35}, "without measures all panels have one range"


def test_a_long_title_of_a_panel_is_drawn_in_lines() -> None:
    long = beside().assign(group="a title that is much longer than a phone is wide (Tables 1, 4–6)")
    spec = charts.paper_vs_ours(long).to_dict()
    svg = vl_convert.vegalite_to_svg(spec, vl_version=charts.VEGA_LITE)
    shown = [html.unescape(t) for t in re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", svg)]
    lines = [t for t in shown if "title" in t or "phone" in t or "Tables" in t]
    assert lines == ["a title that is much longer than", "a phone is wide", "(Tables 1, 4–6)"], lines


@pytest.mark.parametrize(
    "make",
    [charts.stance_dots, charts.patch_chart, charts.coupling_heatmap, charts.layer_distribution, charts.type_share],
)
def test_missing_columns_and_rows_are_named(make: Callable[[pd.DataFrame], Any]) -> None:
    with pytest.raises(DataError, match="no column"):
        make(pd.DataFrame({"other": [1]}))
    with pytest.raises(DataError, match="no rows"):
        make(
            pd.DataFrame(
                columns=[
                    "topic",
                    "condition",
                    "patch",
                    "stance",
                    "low",
                    "high",
                    "trained",
                    "tested",
                    "delta",
                    "layer",
                    "type",
                    "count",
                    "percent",
                ]
            )
        )


def test_a_charts_data_cannot_break_out_of_a_page() -> None:
    frame = dots().replace("crime", "</script><script>alert(1)</script>").replace("race", 'a"><img src=x>')
    bundle, _ = charts.bundle(charts.stance_dots(frame).to_dict())
    html = outputs.chart_html({**bundle[PAYLOAD], "spec": bundle[LIVE], "picture": bundle["image/png"]})
    assert html.count("<script") == 1 and html.count("</script>") == 1 and "<img src=x>" not in html
    body = re.search(r'class="polinb-spec">(.*?)</script>', html, re.S)
    assert body and "</script><script>alert(1)</script>" in {r["topic"] for r in rows(json.loads(body[1]))}
    assert "data:image/png;base64," in html
    assert html.count("Stance by topic") == 2  # in the specification and as alternative text


def test_same_chart_same_bytes() -> None:
    first, second = (charts.bundle(charts.stance_dots(dots()).to_dict()) for _ in range(2))
    assert first == second


def test_a_chart_carries_its_data_a_picture_and_its_words() -> None:
    import altair as alt

    before = alt.renderers.active
    try:
        charts.enable()
        content, about = charts.stance_dots(dots())._repr_mimebundle_()
        assert about["image/png"]["alt"] == content[PAYLOAD]["alt"]
        assert set(content) == {LIVE, PAYLOAD, "image/png", "text/plain"}
        assert content[PAYLOAD]["alt"] == content[LIVE]["description"] and content[PAYLOAD]["width"] > 100
        headers, lines = export.behind(content[LIVE])
        assert len(lines) == len(dots().drop_duplicates()) and "topic" in headers
        assert export.chart_csv(content[LIVE]).count("\r\n") == 1 + len(lines)
    finally:
        alt.renderers.enable(before)
