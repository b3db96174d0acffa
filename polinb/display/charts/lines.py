"""Lines with interval bands."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from polinb.display.charts import style
from polinb.display.charts.frames import ENDS, checked, groups, listed, number, order
from polinb.display.charts.style import GREY, INTERVAL, OPACITY, Chart, tip
from polinb.errors import DataError


def curve(frame: pd.DataFrame, x_title: str, y_title: str, log_x: bool = False, zero: bool = False) -> Chart:
    """Lines with points and interval bands.

    Columns: ``x``, ``y``, ``by`` (one line each); optional ``low``, ``high`` (interval of ``y``; NaN where
    unknown) and ``panel`` (one panel each). An interval with no neighbour is drawn as a whisker.

    Args:
        zero: whether the y axis must reach 0.

    Raises:
        DataError: an x has no place on a logarithmic axis.
    """
    data = checked(frame, ["by"], ["x", "y"], [ENDS], keep=["panel"])
    if log_x and (data["x"] <= 0).any():
        raise DataError(f"curve: x = {data['x'].min():g} has no place on a logarithmic axis; x must be above 0")
    kind: dict[str, Any] = {"type": "log"} if log_x else {"zero": False}
    axis = alt.Axis(format=".4~g", labelOverlap="greedy", labelSeparation=8, tickCount=6)
    measured = sorted(set(data["x"].dropna()))
    if 0 < len(measured) <= 8:
        axis.values = measured
    values = data.loc[data["x"].notna(), ["y", "low", "high"]].stack().dropna()
    scale = alt.Scale(zero=zero, nice=False, padding=8) if len(values) else alt.Scale(domain=[0, 1])
    x: dict[str, Any] = {"title": x_title, "scale": alt.Scale(nice=False, padding=8, **kind), "axis": axis}
    layers, drawn = _series(data, x, {"title": y_title, "scale": scale})
    if (values <= 0).any() and (values >= 0).any():
        layers = [style.once_drawn(GREY).encode(y=alt.datum(0)), *layers]
    chart = style.panels(layers, drawn, (400, 230), (250, 160))
    columns: list[Any] = [*groups(data, "by"), ("x", x_title), ("y", y_title), "low", "high"]
    return style.finish(chart, f"{y_title} against {x_title}. {_ends(data)}.", columns, "by")


def _series(data: pd.DataFrame, x: dict[str, Any], y: dict[str, Any]) -> tuple[list[Any], pd.DataFrame]:
    """Layers for lines with points, a band where the interval has a neighbour, else a whisker; and their data."""
    data = data.dropna(subset="x").sort_values("x", kind="stable", ignore_index=True)
    known = data["low"].notna()
    lines = known.groupby([data[name] for name in groups(data, "by")], sort=False)
    data["alone"] = known & ~(lines.shift(1, fill_value=False) | lines.shift(-1, fill_value=False))
    kinds = order(data["by"])
    base = alt.Chart().encode(x=alt.X("x:Q", **x), color=style.colour("by", kinds))
    height = alt.Y("y:Q", **y)
    ends: dict[str, Any] = {"y": alt.Y("low:Q", **y), "y2": "high:Q", "detail": "by:N"}
    tips: list[Any] = ["panel:N"] if "panel" in data else []
    tips += ["by:N", tip("x:Q", x["title"], ".4~g"), tip("y:Q", y["title"], ".3~g"), INTERVAL]
    points, line = style.only_known(base, "x", "y"), base.mark_line(strokeWidth=2, aria=False)
    layers = [  # a screen reader reads the points; of a line it would read the first row only
        base.mark_area(opacity=0.18, aria=False).encode(**ends),
        base.transform_filter("datum.alone").mark_rule(strokeWidth=2).encode(**ends, opacity=OPACITY),
        line.encode(y=height, strokeDash=style.dash("by", kinds), opacity=OPACITY),
        style.symbols(points, "by", size=50, y=height, shape=style.shape("by", kinds), tooltip=tips),
        *style.empty(data["y"].notna()),
    ]
    return layers, data


def _ends(data: pd.DataFrame) -> str:
    """First and last point of each series, for the text."""
    told = []
    known = data.dropna(subset=["x", "y"]).sort_values("x", kind="stable")
    for keys, part in known.groupby(groups(data, "by"), sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        to = f" to {number(last['y'])} at {number(last['x'])}" if len(part) > 1 else ""
        told.append(f"{', '.join(map(str, keys))} {number(first['y'])} at {number(first['x'])}{to}")
    return listed(told)
