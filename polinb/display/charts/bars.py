"""Bars: effects with whiskers, and signed contributions by layer."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts.base import (
    GREY,
    PALETTE,
    SHAPES,
    Chart,
    bands,
    colour,
    cycle,
    finish,
    legend,
    listed,
    number,
    order,
    shape,
    spelt,
    turned,
)
from polinb.display.charts.series import checked, empty, once, once_drawn, only_known, where

BAR = "M-1,-0.2L1,-0.2L1,0.2L-1,0.2Z"  # a line, as a symbol of the legend
SUM = "sum of the parts (line)"


def bars(frame: pd.DataFrame, title: str) -> Chart:
    """Horizontal bars from zero with interval whiskers, in the order of the frame.

    Columns: ``label`` (one bar each, or one group of bars), ``value``; optional ``by`` (the bars of a group),
    ``low``, ``high`` (NaN where unknown).

    Args:
        frame: one row a bar.
        title: title of the value axis, with the unit.

    Raises:
        DataError: a column is missing or holds no numbers, or two rows are the same bar.
    """
    data = checked(frame, ["label"], ["value"], ["low", "high"], interval=("low", "high"), keep=["by"])
    data[["low", "high"]] = data[["low", "high"]].where(data["value"].notna())
    grouped = "by" in data
    once(data, ["label", "by"] if grouped else ["label"])
    labels = order(data["label"])
    y = alt.Y("label:N", sort=labels, title=None, axis=bands(), scale=alt.Scale(domain=labels))
    x: dict[str, Any] = {"title": title, "axis": alt.Axis(tickCount=6), "scale": alt.Scale(nice=False, padding=8)}
    base = alt.Chart().encode(y=y)
    if grouped:
        kinds = order(data["by"])
        base = base.encode(yOffset=alt.YOffset("by:N", sort=kinds, scale=alt.Scale(domain=kinds, paddingInner=0.1)))
        fill: Any = colour("by", kinds, legend=legend())
    else:
        fill = alt.value(PALETTE[0])
    tips: list[Any] = ["label:N", *(["by:N"] if grouped else [])]
    tips += [alt.Tooltip("value:Q", format="+.3~g", title=title), alt.Tooltip("interval:N", title="95 % interval")]
    data["interval"] = spelt(data, "low", "high")
    drawn = only_known(base, "value").mark_bar(opacity=0.75).encode(x=alt.X("value:Q", **x), color=fill, tooltip=tips)
    symbols = []
    if grouped:  # the symbol at its end tells a bar without its colour, and so does the legend
        ends = only_known(base, "value").mark_point(filled=True, size=45, opacity=1, stroke="white", strokeWidth=0.8)
        symbols = [ends.encode(x=alt.X("value:Q", **x), color=fill, shape=shape("by", kinds), tooltip=tips)]
    bounded = only_known(base, "low", "high")
    unknown = base.transform_filter("!isValid(datum.value)").mark_text(text="not known", align="left", dx=5, color=GREY)
    layers = [
        drawn,
        bounded.mark_rule(strokeWidth=1.5, color="black").encode(x=alt.X("low:Q", **x), x2="high:Q"),
        bounded.mark_tick(thickness=1.5, size=7, color="black").encode(x=alt.X("low:Q", **x)),
        bounded.mark_tick(thickness=1.5, size=7, color="black").encode(x=alt.X("high:Q", **x)),
        *symbols,
        unknown.encode(x=alt.datum(0)),
        once_drawn("black").encode(x=alt.datum(0)),
    ]
    step = alt.Step(16, **{"for": "offset"}) if grouped else alt.Step(22)
    chart = alt.layer(*layers, data=data).properties(width=400, height=step)
    names = [where((r.label, r.by)) if grouped else str(r.label) for r in data.itertuples()]
    told = [f"{n} {number(v)}" for n, v in zip(names, data["value"], strict=True)]
    columns: list[Any] = ["label", *(["by"] if grouped else []), ("value", title), "low", "high"]
    return finish(chart, f"Bars of {title}: {listed(told)}.", columns)


def by_layer(frame: pd.DataFrame, title: str) -> Chart:
    """Signed contributions by layer: parts stacked up and down from zero, and their sum as a black line.

    Columns: ``layer``, ``part``, ``value``. A symbol in the larger segments tells the part without its colour.
    Where a value is NaN, the sum of that layer is unknown and not drawn.

    Args:
        frame: one row a layer and part.
        title: title of the value axis, with the unit.

    Raises:
        DataError: a column is missing or holds no numbers, or a layer has a part twice.
    """
    data = checked(frame, ["layer", "part"], ["value"], [])
    once(data, ["layer", "part"])
    layers, parts = _layers(data["layer"]), order(data["part"])
    data = data.sort_values("part", key=lambda part: part.map(parts.index), kind="stable", ignore_index=True)
    data["from"], data["to"] = 0.0, 0.0
    for sign in (1, -1):  # the parts above zero and those below are two stacks
        mine = data["value"].where(np.sign(data["value"]) == sign, 0.0)
        data["to"] += mine.groupby(data["layer"]).cumsum().where(mine != 0, 0.0)
    data["from"] = data["to"] - data["value"].fillna(0)
    net = data.groupby("layer", sort=False)["value"].agg(lambda v: v.sum(skipna=False))
    reach = np.nanmax(np.abs(data[["from", "to"]].to_numpy()))
    data["middle"], data["large"] = (data["from"] + data["to"]) / 2, data["value"].abs() > 0.07 * reach
    data["net"], data["first"] = data["layer"].map(net), ~data["layer"].duplicated()
    step = 1 if len(layers) <= 16 else 5 if len(layers) <= 60 else 10
    x = alt.X("layer:O", title="layer (0 = first)", sort=layers, axis=alt.Axis(values=layers[::step], labelAngle=0))
    y: dict[str, Any] = {"title": title}
    base = alt.Chart().encode(x=x)
    tips: list[Any] = ["layer:O", "part:N", alt.Tooltip("value:Q", format="+.3~g")]
    total = base.transform_filter("datum.first").encode(y=alt.Y("net:Q", **y))
    named = [*parts, SUM]  # the line has its place in the legend too
    fill = colour("part", named, [*cycle(PALETTE, parts), "#000000"], legend=legend())
    symbol = shape("part", named, [*turned(SHAPES, parts), BAR])
    drawn = [
        only_known(base, "value")
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(y=alt.Y("from:Q", **y), y2="to:Q", color=fill, tooltip=tips),
        base.transform_filter("datum.large")
        .mark_point(filled=True, size=22, opacity=1, color="white")
        .encode(y=alt.Y("middle:Q", **y), shape=symbol),
        once_drawn("black").encode(y=alt.datum(0)),
        total.mark_line(color="black", strokeWidth=1.5, aria=False),
        total.mark_point(filled=True, color="black", stroke="white", strokeWidth=1, size=40, opacity=1).encode(
            tooltip=["layer:O", alt.Tooltip("net:Q", format="+.3~g", title="sum")]
        ),
    ]
    chart = alt.layer(*drawn, *empty(data["value"].notna()), data=data).properties(
        width=max(160, min(460, 40 * len(layers))), height=230
    )
    sums = data.groupby("part", sort=False)["value"].agg(lambda v: v.sum(skipna=False))
    told = [f"{name} {number(value)}" for name, value in sums.items()]
    columns: list[Any] = ["layer", "part", ("value", title)]
    about = f"{title} by layer; black line: sum of the parts. Over all layers: {listed(told)}."
    return finish(chart, about, columns)


def _layers(values: pd.Series) -> list[Any]:
    """Layers by number; layers with names in the order given."""
    return order(values.sort_values()) if pd.api.types.is_numeric_dtype(values) else order(values)
