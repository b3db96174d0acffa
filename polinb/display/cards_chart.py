"""The figure of the explorer's chapter: what ablating single neurons does, beside random neurons."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from polinb.display.charts.base import (
    GREY,
    PALETTE,
    Chart,
    colour,
    finish,
    legend,
    number,
    order,
    shape,
    take,
    with_interval,
)
from polinb.errors import DataError


def card_effects(frame: pd.DataFrame, null: str, title: str) -> Chart:
    """Effects of single neurons with intervals, group by group, over the band of a null group.

    Columns: ``group`` (rows of a group stand together), ``label`` (one neuron), ``value``; optional ``low``, ``high``
    (NaN where unknown). The grey band is the range of the values of the group ``null``; none without such a group.

    Args:
        frame: one row a neuron, in the order in which they are drawn.
        null: which group's range is the band.
        title: title of the value axis, with the unit.

    Raises:
        DataError: no rows, a column is missing, or an effect is not known.
    """
    data = with_interval(take(frame, ["group", "label", "value"], ["low", "high"]))
    if data["value"].isna().any():
        raise DataError("card_effects: an effect is not known")
    names = order(data["group"])
    data["place"] = range(1, len(data) + 1)
    y: dict[str, Any] = {
        "title": title,
        "scale": alt.Scale(nice=False, padding=8),
        "axis": alt.Axis(tickCount=6, labelExpr="datum.value ? format(datum.value, '+.2~g') : '0'"),
    }
    along = alt.X(
        "place:Q",
        title="neurons, group by group",
        scale=alt.Scale(nice=False, zero=False, padding=10),
        axis=alt.Axis(labels=False, ticks=False, grid=False),
    )
    tint = colour("group", names, legend=legend())
    tips: list[Any] = ["label:N", "group:N", alt.Tooltip("value:Q", format="+.2~g"), "interval:N"]
    base = alt.Chart().encode(x=along, color=tint)
    layers: list[alt.Chart] = []
    band = data.loc[data["group"] == null, "value"]
    if len(band):
        grey = alt.Chart(pd.DataFrame({"low": [band.min()], "high": [band.max()]}))
        layers.append(grey.mark_rect(color=GREY, opacity=0.3).encode(y=alt.Y("low:Q", **y), y2="high:Q"))
    layers += [
        alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=PALETTE[-1]).encode(y="zero:Q"),
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(strokeWidth=1.5)
        .encode(y=alt.Y("low:Q", **y), y2="high:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(
            y=alt.Y("value:Q", **y), shape=shape("group", names), tooltip=tips
        ),
    ]
    chart = alt.layer(*layers, data=data).properties(width=540, height=280)
    told = "; ".join(
        f"{name} {number(part['value'].min())} to {number(part['value'].max())}"
        for name, part in data.groupby("group", sort=False)
    )
    held = [("group", "group"), ("label", "neuron"), ("value", title), ("low", "low"), ("high", "high")]
    return finish(chart, f"{title}, neuron by neuron. Smallest and largest: {told}.", held)
