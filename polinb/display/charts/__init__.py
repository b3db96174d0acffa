"""The paper's figures, one function each: a tidy frame in, an Altair chart out that draws with no network.

The columns a function needs stand in its docstring; further columns are ignored, a missing one is an error.
Left and right, and any two arms, differ by position, shape or a printed number as well as by colour.

Everything that notebooks import of the paper's figures is here; what all figures share is in ``charts_base``.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from polinb.display.charts.base import (
    DASHES,
    LEFT,
    PALETTE,
    RIGHT,
    SHAPES,
    VEGA_LITE,
    Chart,
    bundle,
    colour,
    cycle,
    enable,
    finish,
    header,
    listed,
    number,
    order,
    png,
    take,
    typed,
)
from polinb.display.charts.dots import paper_vs_ours, patch_chart, stance_dots
from polinb.display.charts.gamma import gamma_curve
from polinb.display.charts.heat import coupling_heatmap, overlap_heatmap
from polinb.display.charts.scores import gamma_slider, score_distribution

__all__ = [
    "DASHES",
    "LEFT",
    "PALETTE",
    "RIGHT",
    "SHAPES",
    "VEGA_LITE",
    "Chart",
    "bundle",
    "coupling_heatmap",
    "enable",
    "gamma_curve",
    "gamma_slider",
    "layer_distribution",
    "overlap_heatmap",
    "paper_vs_ours",
    "patch_chart",
    "png",
    "score_distribution",
    "stance_dots",
    "type_share",
]
_colour, _cycle, _finish, _order, _take = colour, cycle, finish, order, take  # other modules use these names


def layer_distribution(frame: pd.DataFrame) -> Chart:
    """Figures 3a and 6: political neurons per layer, one panel a type; dashed: the same number in every layer.

    Columns: ``layer`` (from 0), ``type`` (``G``, ``S`` or any other name), ``count`` (neurons); optional ``low``
    and ``high`` (the lowest and highest topic, where ``count`` is a mean over topics).
    """
    data = typed(take(frame, ["layer", "type", "count"], ["low", "high"]))
    kinds = order(data["type"])
    layers = order(sorted(data["layer"]))
    data["even"] = data["type"].map(data.groupby("type")["count"].sum()) / len(layers)
    sums = data.groupby("type")["count"].transform("sum")
    data["percent"] = (100 * data["count"] / sums.where(sums > 0)).fillna(0)
    step = 1 if len(layers) <= 12 else 5 if len(layers) <= 60 else 10
    axis = alt.Axis(values=layers[::step], labelAngle=0)
    ranged = {"low", "high"} <= set(data)
    tips: list[Any] = ["layer:O", "type:N", alt.Tooltip("count:Q", format=",.4~g", title="neurons")]
    tips += [alt.Tooltip("percent:Q", format=".1f", title="% of this type")]
    if ranged:
        tips += [alt.Tooltip(f"{n}:Q", format=",.4~g", title=f"{n}est topic") for n in ("low", "high")]
    base = alt.Chart().encode(x=alt.X("layer:O", title="layer (0 = first)", sort=layers, axis=axis))
    y = alt.Y("count:Q", title="neurons")
    drawn = [base.mark_bar().encode(y=y, color=colour("type", kinds, legend=None), tooltip=tips)]
    if ranged:
        ends = base.transform_filter("datum.high > datum.low").mark_rule(color="black", aria=False)
        drawn.append(ends.encode(y=alt.Y("low:Q", title="neurons"), y2="high:Q"))
    even = alt.Chart().transform_aggregate(even="mean(even)", groupby=["type"])
    even = even.mark_rule(strokeDash=[4, 3], color="black", aria=False)
    bars = (
        alt.layer(*drawn, even.encode(y=alt.Y("even:Q", title="neurons")), data=data)
        .properties(width=420, height=110)
        .facet(row=alt.Row("type:N", title=None, sort=kinds, header=header()))
        .resolve_scale(y="independent")
    )
    told = [_peak(kind, data[data["type"] == kind]) for kind in kinds]
    columns: list[Any] = ["layer", "type", ("count", "neurons"), ("percent", "percent of type")] + [
        "low",
        "high",
    ] * ranged
    about = f"Political neurons per layer; dashed line: an even spread. {'; '.join(told)}."
    return finish(bars, about, columns)


def type_share(frame: pd.DataFrame) -> Chart:
    """Figure 3b: share of all neurons by type.

    Columns: ``type``, ``percent`` (of all neurons of the model); optional ``topic`` (one bar each) and
    ``paper`` (the paper's percentage, drawn as a black tick).
    """
    data = typed(take(frame, ["type", "percent"], ["topic", "paper"]))
    data["name"] = data["type"] + (": " + data["topic"].astype(str) if "topic" in data else "")
    data["text"] = [f"{p:.2f} %" for p in data["percent"]]
    names, kinds = order(data["name"]), order(data["type"])
    y = alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=260))
    base = alt.Chart(data, width=360, height=alt.Step(26)).encode(y=y)
    x = alt.X("percent:Q", title="% of all neurons")
    tips = [alt.Tooltip("name:N", title="type"), alt.Tooltip("text:N", title="share of all neurons")]
    bars = base.mark_bar(opacity=0.85).encode(x=x, color=colour("type", kinds, legend=None), tooltip=tips)
    label = base.mark_text(align="left", dx=5, stroke="white", strokeWidth=3, strokeJoin="round", aria=False)
    layers = [bars]
    told = [f"{n} {t}" for n, t in zip(data["name"], data["text"], strict=True)]
    columns: list[Any] = ["type", *(["topic"] if "topic" in data else []), "percent"]
    if "paper" in data:
        ticks = base.mark_tick(color="black", thickness=3, size=22)
        tip = alt.Tooltip("paper:Q", title="the paper (%)", format=".2f")
        layers.append(ticks.encode(x=alt.X("paper:Q"), tooltip=[alt.Tooltip("name:N", title="type"), tip]))
        pairs = data.dropna(subset="paper").drop_duplicates("type")[["type", "paper"]].itertuples(index=False)
        told.append("black ticks, the paper: " + ", ".join(f"{kind} {number(value)} %" for kind, value in pairs))
        columns.append(("paper", "paper percent"))
    layers += [label.encode(x=x, text="text:N"), base.mark_text(align="left", dx=5).encode(x=x, text="text:N")]
    return finish(alt.layer(*layers), f"Share of all neurons by type. {listed(told)}.", columns)


def _peak(kind: str, data: pd.DataFrame) -> str:
    top = data.loc[data["count"].idxmax()]
    return (
        f"{kind}: {number(data['count'].sum())} in all, most in layer {top['layer']} "
        f"({number(top['count'])}, {number(top['percent'])} %)"
    )
