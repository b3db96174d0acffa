"""Every chart: the data it carries, how it encodes them, and that it can be drawn with no browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from polinb import charts, paper
from polinb.errors import DataError

TOPICS = ["crime", "race", "economy"]
ARMS = ["vanilla", "right fine-tune", "InhibitFT"]


def dots(by: str = "arm") -> pd.DataFrame:
    rows = [
        (t, a, 0.1 * i - 0.2 * j, 0.1 * i - 0.2 * j - 0.1, 0.9)
        for i, t in enumerate(TOPICS)
        for j, a in enumerate(ARMS)
    ]
    return pd.DataFrame(rows, columns=["topic", by, "stance", "low", "high"])


def heat(arms: bool = True) -> pd.DataFrame:
    rows = [(a, x, y, 0.8 if x == y else -0.1) for a in ARMS[1:] for x in TOPICS for y in TOPICS]
    frame = pd.DataFrame(rows, columns=["arm", "trained", "tested", "delta"])
    return frame if arms else frame.head(9).drop(columns="arm")


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


def scores() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.lognormal(size=20_000), [0.0, 0.0]])
    return pd.DataFrame({"score": score, "group": ["other"] * 19_000 + ["G"] * 1_000 + ["other"] * 2})


MAKERS: dict[str, Callable[[], Any]] = {
    "layer_distribution": lambda: charts.layer_distribution(layers()),
    "type_share": lambda: charts.type_share(
        pd.DataFrame({"type": ["G", "S"], "percent": [4.0, 1.0], "paper": [4.35, 0.65]})
    ),
    "stance_dots": lambda: charts.stance_dots(dots()),
    "stance_dots_paper": lambda: charts.stance_dots(dots().assign(paper=0.25)),
    "patch_chart": lambda: charts.patch_chart(dots("patch")),
    "coupling_heatmap": lambda: charts.coupling_heatmap(heat()),
    "coupling_heatmap_one": lambda: charts.coupling_heatmap(heat(arms=False)),
    "gamma_curve": lambda: charts.gamma_curve(curve(), curve(), theirs()),
    "gamma_curve_one": lambda: charts.gamma_curve(curve(False), curve(False), theirs(False)),
    "gamma_curve_alone": lambda: charts.gamma_curve(curve(False)),
    "paper_vs_ours": lambda: charts.paper_vs_ours(beside()),
    "score_distribution": lambda: charts.score_distribution(scores(), thresholds=[2.0]),
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


@pytest.mark.parametrize("name", MAKERS)
def test_draws_offline_and_says_what_it_shows(name: str) -> None:
    spec = MAKERS[name]().to_dict()
    assert charts.png(spec).startswith(b"\x89PNG\r\n\x1a\n")
    assert len(spec["description"]) > 30 and "nan" not in spec["description"]
    json.dumps(spec, allow_nan=False)  # NaN and infinity would break the page's script
    assert "http" not in json.dumps({k: v for k, v in spec.items() if k != "$schema"})


@pytest.mark.parametrize("name", MAKERS)
def test_colour_is_never_alone(name: str) -> None:
    """Where colour tells categories apart, position, shape, dash, a panel or a printed text does so too."""
    text = json.dumps(MAKERS[name]().to_dict())
    for unit in marks(json.loads(text)):
        colour = unit["encoding"].get("color", {})
        if colour.get("type") != "nominal":
            continue
        field = colour["field"]
        told = [c for c, e in unit["encoding"].items() if c not in ("color", "tooltip") and isinstance(e, dict)]
        same = [c for c in told if unit["encoding"][c].get("field") == field]
        faceted = re.search(rf'"(row|facet)": {{"field": "{field}"', text)
        positioned = field == "type" and unit["encoding"]["y"].get("field") == "name"
        filtered = "transform" in unit  # one series only
        assert same or faceted or positioned or filtered, (kind(unit), field)


def test_dots_carry_every_row_and_its_interval() -> None:
    chart = charts.stance_dots(dots())
    (points,) = units(chart, "point")
    rule = next(unit for unit in units(chart, "rule") if "x2" in unit["encoding"])
    assert points["encoding"]["x"]["field"] == "stance" and points["encoding"]["shape"]["field"] == "arm"
    assert points["encoding"]["x"]["scale"]["domain"] == [-1.05, 1.05]
    assert (rule["encoding"]["x"]["field"], rule["encoding"]["x2"]["field"]) == ("low", "high")
    assert points["encoding"]["yOffset"]["sort"] == ARMS and points["encoding"]["y"]["sort"] == TOPICS
    data = rows(chart.to_dict())
    assert len(data) == 9 and {tuple(sorted(row)) for row in data} == {("arm", "high", "low", "stance", "topic")}


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
    wider = charts.coupling_heatmap(heat(arms=False), limit=2.0, rows="patched", columns="asked")
    assert units(wider, "rect")[0]["encoding"]["color"]["scale"]["domain"] == [-2.0, 0, 2.0]
    assert units(wider, "text")[0]["encoding"]["y"]["title"] == "patched"


def test_heatmap_of_no_shift_at_all() -> None:
    assert charts.png(charts.coupling_heatmap(heat().assign(delta=0.0)))


def test_gamma_has_interval_null_band_and_the_papers_lines() -> None:
    spec = charts.gamma_curve(curve(), curve().assign(r=0.5), theirs()).to_dict()
    lines = {row["line"] for row in rows(spec)}
    assert {"InhibitFT (ours)", "random sets (ours)", "paper: Llama-3.1-8B"} <= lines and len(lines) == 6
    (band,) = [unit for unit in marks(spec) if kind(unit) == "area"]
    assert band["transform"] == [{"filter": "datum.line == 'random sets (ours)'"}]
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
    bare = charts.paper_vs_ours(beside().drop(columns=["low", "high", "group"]))
    assert len(units(bare, "point")) == 1


def test_scores_are_binned_and_add_up() -> None:
    spec = charts.score_distribution(scores(), bins=20, thresholds=[2.0]).to_dict()
    data = [row for row in rows(spec) if "count" in row]
    assert len(data) == 40  # 20 bins, two groups: not 20 000 neurons
    assert sum(row["count"] for row in data) == 20_000
    assert sum(row["percent"] for row in data if row["group"] == "G") == pytest.approx(100)
    assert "2 neurons with score 0" in spec["description"]


@pytest.mark.parametrize("bad", [[0.0, 0.0], [-1.0, 1.0]])
def test_scores_that_cannot_be_on_a_log_axis(bad: list[float]) -> None:
    with pytest.raises(DataError):
        charts.score_distribution(pd.DataFrame({"score": bad, "group": "G"}))


def test_equal_scores() -> None:
    assert charts.png(charts.score_distribution(pd.DataFrame({"score": [1.0, 1.0], "group": "G"})))


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
                    "arm",
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


def test_book_html_cannot_be_broken_out_of() -> None:
    frame = dots().replace("crime", "</script><script>alert(1)</script>").replace("race", 'a"><img src=x>')
    bundle = charts.book_html(charts.stance_dots(frame).to_dict())
    html = bundle["text/html"]
    assert html.count("<script") == 1 and html.count("</script>") == 1 and "<img src=x>" not in html
    body = re.search(r'class="polinb-spec">(.*?)</script>', html, re.S)
    assert body and "</script><script>alert(1)</script>" in {r["topic"] for r in rows(json.loads(body[1]))}
    assert 'role="figure"' in html and "data:image/png;base64," in html
    assert html.count("Stance by topic") == 3  # in the specification, as label and as alternative text


def test_same_chart_same_bytes() -> None:
    first, second = (charts.book_html(charts.stance_dots(dots()).to_dict()) for _ in range(2))
    assert first == second


def test_enable_book_takes_over_display() -> None:
    import altair as alt

    before = alt.renderers.active
    try:
        charts.enable_book()
        bundle = charts.stance_dots(dots())._repr_mimebundle_()
        content = bundle[0] if isinstance(bundle, tuple) else bundle
        assert content["text/html"].startswith('<div class="polinb-vega"')
        assert set(content) == {"text/html", "text/plain"}
    finally:
        alt.renderers.enable(before)
