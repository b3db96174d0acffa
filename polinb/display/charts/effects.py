"""Effects: bars with whiskers, contributions by layer, single neurons over a null, and a trade-off of two effects."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts import style
from polinb.display.charts.frames import ENDS, checked, listed, number, order, take, with_interval
from polinb.display.charts.style import GREY, INTERVAL, PALETTE, Chart, tip
from polinb.errors import DataError

BAR = "M-1,-0.2L1,-0.2L1,0.2L-1,0.2Z"  # a line, as a symbol of the legend
SUM = "sum of the parts (line)"


def bars(frame: pd.DataFrame, title: str) -> Chart:
    """Horizontal bars from zero with interval whiskers, in the order of the frame.

    Columns: ``label`` (one bar each, or one group of bars), ``value``; optional ``by`` (the bars of a group),
    ``low``, ``high`` (NaN where unknown).
    """
    data = checked(frame, ["label"], ["value"], [ENDS], keep=["by"])
    by = ["by"] if "by" in data else []
    labels = order(data["label"])
    y = alt.Y("label:N", sort=labels, title=None, axis=style.bands(), scale=alt.Scale(domain=labels))
    x: dict[str, Any] = {"title": title, "axis": alt.Axis(tickCount=6), "scale": alt.Scale(nice=False, padding=8)}
    value = alt.X("value:Q", **x)
    base, step = alt.Chart().encode(y=y), alt.Step(22)
    fill: Any = alt.value(PALETTE[0])
    if by:
        kinds = order(data["by"])
        base = base.encode(yOffset=alt.YOffset("by:N", sort=kinds, scale=alt.Scale(domain=kinds, paddingInner=0.1)))
        fill, step = style.colour("by", kinds), alt.Step(16, **{"for": "offset"})
    known, bounded = style.only_known(base, "value"), style.only_known(base, "low", "high")
    tips = ["label:N", *(f"{name}:N" for name in by), tip("value:Q", title, "+.3~g"), INTERVAL]
    unknown = base.transform_filter("!isValid(datum.value)").mark_text(text="not known", align="left", dx=5, color=GREY)
    cap = bounded.mark_tick(thickness=1.5, size=7, color="black")
    layers = [
        known.mark_bar(opacity=0.75).encode(x=value, color=fill, tooltip=tips),
        bounded.mark_rule(strokeWidth=1.5, color="black").encode(x=alt.X("low:Q", **x), x2="high:Q"),
        *(cap.encode(x=alt.X(f"{end}:Q", **x)) for end in ("low", "high")),
        unknown.encode(x=alt.datum(0)),
        style.once_drawn("black").encode(x=alt.datum(0)),
    ]
    if by:  # the symbol at its end tells a bar without its colour, and so does the legend
        point = known.mark_point(filled=True, size=45, opacity=1, stroke="white", strokeWidth=0.8)
        layers.insert(4, point.encode(x=value, color=fill, shape=style.shape("by", kinds), tooltip=tips))
    chart = alt.layer(*layers, data=data).properties(width=400, height=step)
    rows = data[["label", *by, "value"]].itertuples(index=False)
    told = [f"{', '.join(map(str, names))} {number(value)}" for *names, value in rows]
    return style.finish(chart, f"Bars of {title}: {listed(told)}.", ["label", *by, ("value", title), "low", "high"])


def by_layer(frame: pd.DataFrame, title: str) -> Chart:
    """Signed contributions by layer: parts stacked up and down from zero, and their sum as a black line.

    Columns: ``layer`` (from 0), ``part``, ``value``. A symbol in the larger segments tells the part without its colour.
    Where a value is NaN, the sum of that layer is unknown and not drawn.
    """
    data = checked(frame, ["layer", "part"], ["value"])
    layers, parts = order(data["layer"].sort_values()), order(data["part"])
    data = data.sort_values("part", key=lambda part: part.map(parts.index), kind="stable", ignore_index=True)
    signs = [data["layer"], np.sign(data["value"])]  # the parts above zero and those below are two stacks
    data["to"] = data["value"].groupby(signs).cumsum().fillna(0)
    data["from"] = data["to"] - data["value"].fillna(0)
    reach = np.nanmax(np.abs(data[["from", "to"]].to_numpy()))
    data["middle"], data["large"] = (data["from"] + data["to"]) / 2, data["value"].abs() > 0.07 * reach
    data["net"] = data.groupby("layer")["value"].transform(lambda v: v.sum(skipna=False))
    data["first"] = ~data["layer"].duplicated()
    y: dict[str, Any] = {"title": title}
    base = alt.Chart().encode(x=style.layer_axis(layers, 16))
    total = base.transform_filter("datum.first").encode(y=alt.Y("net:Q", **y))
    named = [*parts, SUM]  # the line has its place in the legend too
    fill = style.colour("part", named, [*style.cycle(PALETTE, parts), "#000000"])
    shapes = style.shape("part", named, [*style.turned(style.SHAPES, parts), BAR])
    bar = style.only_known(base, "value").mark_bar(stroke="white", strokeWidth=0.5)
    symbol = base.transform_filter("datum.large").mark_point(filled=True, size=22, opacity=1, color="white")
    sums = total.mark_point(filled=True, color="black", stroke="white", strokeWidth=1, size=40, opacity=1)
    tips = ["layer:O", "part:N", tip("value:Q", form="+.3~g")]
    drawn = [
        bar.encode(y=alt.Y("from:Q", **y), y2="to:Q", color=fill, tooltip=tips),
        symbol.encode(y=alt.Y("middle:Q", **y), shape=shapes),
        style.once_drawn("black").encode(y=alt.datum(0)),
        total.mark_line(color="black", strokeWidth=1.5, aria=False),
        sums.encode(tooltip=["layer:O", tip("net:Q", "sum", "+.3~g")]),
        *style.empty(data["value"].notna()),
    ]
    width = max(160, min(460, 40 * len(layers)))
    chart = alt.layer(*drawn, data=data).properties(width=width, height=230)
    every = data.groupby("part", sort=False)["value"].agg(lambda v: v.sum(skipna=False))
    told = [f"{name} {number(value)}" for name, value in every.items()]
    about = f"{title} by layer; black line: sum of the parts. Over all layers: {listed(told)}."
    return style.finish(chart, about, ["layer", "part", ("value", title)])


def card_effects(frame: pd.DataFrame, null: str, title: str) -> Chart:
    """Effects of single neurons with intervals, group by group, over the band of a null group.

    Columns: ``group`` (rows of a group stand together), ``label`` (one neuron), ``value``; optional ``low``, ``high``
    (NaN where unknown). The grey band is the range of the values of the group ``null``; none without such a group.

    Raises:
        DataError: an effect is not known.
    """
    data = with_interval(take(frame, ["group", "label", "value"], ["low", "high"]))
    if data["value"].isna().any():
        raise DataError("card_effects: an effect is not known")
    names = order(data["group"])
    data["place"] = range(1, len(data) + 1)
    axis = alt.Axis(tickCount=6, labelExpr="datum.value ? format(datum.value, '+.2~g') : '0'")
    y: dict[str, Any] = {"title": title, "scale": alt.Scale(nice=False, padding=8), "axis": axis}
    bare = alt.Axis(labels=False, ticks=False, grid=False)
    place = alt.Scale(nice=False, zero=False, padding=10)
    along = alt.X("place:Q", title="neurons, group by group", scale=place, axis=bare)
    base = alt.Chart().encode(x=along, color=style.colour("group", names))
    tips = ["label:N", "group:N", tip("value:Q", form="+.2~g"), "interval:N"]
    points = base.mark_point(filled=True, size=45, opacity=1)
    layers = [
        alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=PALETTE[-1]).encode(y="zero:Q"),
        style.only_known(base, "low", "high").mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", **y), y2="high:Q"),
        points.encode(y=alt.Y("value:Q", **y), shape=style.shape("group", names), tooltip=tips),
    ]
    band = data.loc[data["group"] == null, "value"]
    if len(band):
        grey = alt.Chart(pd.DataFrame({"low": [band.min()], "high": [band.max()]}))
        layers.insert(0, grey.mark_rect(color=GREY, opacity=0.3).encode(y=alt.Y("low:Q", **y), y2="high:Q"))
    chart = alt.layer(*layers, data=data).properties(width=540, height=280)
    parts = data.groupby("group", sort=False)["value"]
    told = "; ".join(f"{name} {number(part.min())} to {number(part.max())}" for name, part in parts)
    held = ["group", ("label", "neuron"), ("value", title), "low", "high"]
    return style.finish(chart, f"{title}, neuron by neuron. Smallest and largest: {told}.", held)


def pareto(frame: pd.DataFrame, x_title: str, y_title: str, limit: float | None = None) -> Chart:
    """A trade-off of two effects: one point a condition with both intervals, and the two lines of no effect.

    Columns: ``condition``, ``family`` (colour and shape), ``x``, ``y``; optional ``x_low``, ``x_high``, ``y_low``,
    ``y_high`` (NaN where unknown).

    Args:
        limit: |x| + |y| cannot be larger: a border is drawn there; None: the axes reach as far as the numbers.
    """
    ends = [("x_low", "x_high", "x interval"), ("y_low", "y_high", "y interval")]
    data = checked(frame, ["condition", "family"], ["x", "y"], ends)
    known = data[["x", "y"]].notna().all(axis=1)
    families = order(data["family"])
    reach: dict[str, Any] = {"domain": [-1.07 * limit, 1.07 * limit]} if limit else {"padding": 20}
    axes: dict[str, Any] = {"scale": alt.Scale(nice=False, **reach), "axis": alt.Axis(tickCount=6)}
    x, y = {"title": x_title, **axes}, {"title": y_title, **axes}
    right, up = alt.X("x:Q", **x), alt.Y("y:Q", **y)
    base = alt.Chart().encode(color=style.colour("family", families))
    fainter = alt.condition(alt.selection_point(name="highlight"), alt.value(0.6), alt.value(style.PALE))
    whiskers = base.mark_rule(strokeWidth=1.2, aria=False).encode(opacity=fainter)
    tips = ["condition:N", "family:N", tip("x:Q", x_title, "+.3~g"), tip("x interval:N", "its 95 % interval")]
    tips += [tip("y:Q", y_title, "+.3~g"), tip("y interval:N", "its 95 % interval ")]
    border = style.once_drawn(GREY, strokeDash=[4, 3]).encode(y=alt.datum(0), x2=alt.datum(0))
    corners = [(a * limit, b * limit) for a in (-1, 1) for b in (-1, 1)] if limit else []
    points, shape = style.only_known(base, "x", "y"), style.shape("family", families)
    layers = [
        style.once_drawn(GREY).encode(x=alt.datum(0)),
        style.once_drawn(GREY).encode(y=alt.datum(0)),
        *(border.encode(x=alt.datum(a), y2=alt.datum(b)) for a, b in corners),
        style.only_known(whiskers, "x_low", "x_high", "y").encode(x=alt.X("x_low:Q", **x), x2="x_high:Q", y=up),
        style.only_known(whiskers, "y_low", "y_high", "x").encode(y=alt.Y("y_low:Q", **y), y2="y_high:Q", x=right),
        style.symbols(points, "family", size=80, x=right, y=up, shape=shape, tooltip=tips),
        *style.empty(known),
    ]
    chart = alt.layer(*layers, data=data).properties(width=440, height=320)
    told = [f"{a} {number(p)}, {number(q)}" for a, p, q in data[["condition", "x", "y"]].itertuples(index=False)]
    about = f"{y_title} (up) against {x_title} (right); conditions drawn: {known.sum()} of {len(data)}. {listed(told)}."
    columns: list[Any] = ["condition", "family"]
    for axis, title in (("x", x_title), ("y", y_title)):
        columns += [(axis, title), *((f"{axis}_{end}", f"{title}, {end}") for end in ("low", "high"))]
    return style.finish(chart, about, columns, "family")
