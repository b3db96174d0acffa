"""Stances by topic as dots with intervals, and the paper's values beside ours."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from polinb.display.charts import style
from polinb.display.charts.frames import listed, number, order, take, with_interval
from polinb.display.charts.style import GREY, INTERVAL, OPACITY, Chart, tip
from polinb.wording import number as signed

STANCE: dict[str, Any] = {
    "title": "stance (−1 left ← 0 → right +1)",
    "scale": alt.Scale(domain=[-1.05, 1.05], nice=False),
    "axis": alt.Axis(values=[-1, -0.5, 0, 0.5, 1], labelExpr="datum.value ? format(datum.value, '+.1f') : '0'"),
}
LANE = 14  # pixels of one lane of dots
TITLE_WIDTH = 32  # characters of a line of a panel's title: what a small screen has room for
OURS = "ours"


def stance_dots(frame: pd.DataFrame, by: str = "condition", title: str = "Stance by topic") -> Chart:
    """Stance with its interval per topic, conditions side by side (Tables 2 and 3; any comparison of models).

    Columns: ``topic``, the one named ``by``, ``stance``, ``low``, ``high`` (all from -1 to 1); optional ``n``
    (questions).
    """
    data = with_interval(take(frame, ["topic", by, "stance", "low", "high"], ["n"]))
    conditions, counted = order(data[by]), ["n"] if "n" in data else []
    base = alt.Chart().encode(
        y=alt.Y("topic:N", sort=order(data["topic"]), title=None, axis=style.bands()),
        yOffset=alt.YOffset(f"{by}:N", sort=conditions),
        color=style.colour(by, conditions, legend=style.legend("top")),
    )
    tips = ["topic:N", f"{by}:N", tip("stance:Q", form="+.3f"), INTERVAL, *(tip("n:Q", "questions") for _ in counted)]
    drawn = [
        style.once_drawn(GREY, aria=False).encode(x=alt.datum(0)),
        *_dots(base, "stance", STANCE, by, shape=style.shape(by, conditions), tooltip=tips),
    ]
    chart = alt.layer(*drawn, data=data).properties(width=420, height=alt.Step(LANE))
    what, each = ("By topic", "topic") if len(conditions) == 1 else ("Means over topics", by)
    told = [f"{name} {signed(part.mean())}" for name, part in data.groupby(each, sort=False)["stance"]]
    about = f"{title}, from −1 (left) to +1 (right), with intervals. {what}: {listed(told)}."
    return style.finish(chart, about, ["topic", by, "stance", "low", "high", *counted], by)


def paper_vs_ours(frame: pd.DataFrame, title: str = "") -> Chart:
    """The closing page: the paper's values in one lane an item, ours with its interval in the lane below.

    Columns: ``group`` (one panel each, with its own axis), ``item``, ``source`` (``paper: ...``, ``ours``), ``value``;
    optional ``low``, ``high`` (NaN where unknown) and ``measure`` (what a panel's axis shows: panels of one measure
    have the same range, so that they can be compared; without it all panels have one).

    Args:
        title: what all values are, for the axis; empty where the panels differ and say it themselves.
    """
    data = with_interval(take(frame, ["group", "item", "source", "value"], ["low", "high", "measure"]))
    items = order(data["item"])
    sources = sorted(order(data["source"]), key=lambda source: source == OURS)  # ours last, and black
    colours, shapes = style.cycle(style.PALETTE, sources), style.cycle(style.SHAPES[1:], sources)
    if OURS in sources:
        colours[-1], shapes[-1] = "#000000", "circle"
    data["lane"] = data["source"].where(data["source"] == OURS, "paper")
    lanes = sorted(set(data["lane"]), reverse=True)  # the paper above
    base = alt.Chart().encode(
        y=alt.Y("item:N", sort=items, title=None, axis=style.bands()),
        yOffset=alt.YOffset("lane:N", sort=lanes, scale=alt.Scale(domain=lanes)),
        color=style.colour("source", sources, colours, legend=style.legend("top")),
    )
    ends = data[["value", "low", "high"]]
    by = data["measure"] if "measure" in data else pd.Series("", data.index)
    data["least"] = ends.min(axis=1).groupby(by).transform("min")
    data["most"] = ends.max(axis=1).groupby(by).transform("max")
    x: dict[str, Any] = {"title": title or None, "axis": alt.Axis(tickCount=5)}
    x["scale"] = alt.Scale(zero=True, padding=6)
    tips = ["item:N", "source:N", tip("value:Q", title or "value", ".3~f"), INTERVAL]
    drawn = [
        base.mark_rule(opacity=0, aria=False).encode(x=alt.X("least:Q", **x), x2="most:Q"),  # it only widens the axis
        *_dots(base, "value", x, "source", shape=style.shape("source", sources, shapes), tooltip=tips),
    ]
    row = alt.Row("group:N", title=None, sort=order(data["group"]), header=style.header(TITLE_WIDTH))
    chart: Any = alt.layer(*drawn, data=data).properties(width=400, height=alt.Step(LANE)).facet(row=row)
    parts = data.groupby(["group", "source"], sort=False)["value"]
    told = [f"{group}, {source} {number(part.mean())}" for (group, source), part in parts]
    about = f"The paper beside this book, {title or 'values'} of {len(items)} items. Means: {listed(told, 40)}."
    fields = ["group", "item", "source", ("value", title or "value"), "low", "high"]
    return style.finish(chart.resolve_scale(x="independent", y="independent"), about, fields, "source")


def _dots(base: alt.Chart, value: str, x: dict[str, Any], by: str, **encoding: Any) -> list[alt.Chart]:
    """An interval as a line and the value as a dot whose shape tells the series."""
    ends = base.mark_rule(strokeWidth=2, clip=True, aria=False)
    return [
        ends.encode(x=alt.X("low:Q", **x), x2="high:Q", opacity=OPACITY),
        style.symbols(base, by, x=alt.X(f"{value}:Q", **x), **encoding),
    ]
