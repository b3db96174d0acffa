"""Heat maps of topics by topics: shifts of the stance, and shares."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts.base import (
    LEFT,
    RIGHT,
    Chart,
    finish,
    header,
    number,
    order,
    signed,
    take,
    with_interval,
)
from polinb.errors import DataError

OPTIONAL = ["condition", "low", "high", "n", "vanilla", "model"]
STEPS = {"width": 40, "height": 28}  # pixels of a cell


def coupling_heatmap(
    frame: pd.DataFrame,
    limit: float | None = None,
    rows: str = "topic fine-tuned on",
    columns: str = "topic asked about",
    measure: str = "shift",
) -> Chart:
    """Figures 1, 5 and 10 to 12: shift from the vanilla stance by trained and tested topic.

    The number of a cell whose interval includes 0 stands in brackets, and the cell is pale.

    Columns: ``trained``, ``tested``, ``delta`` (stance minus vanilla stance); optional ``low``, ``high`` (95 %
    interval), ``n`` (questions), ``vanilla``, ``model`` (the two stances) and ``condition`` (one panel each).

    Args:
        frame: one row a cell.
        limit: the shift with the strongest colour; by default the largest in the frame, so pass one value for
            several charts that should be compared.
        rows: title of the trained axis; patched sets use this chart too.
        columns: title of the tested axis.
        measure: what ``delta`` is called.

    Raises:
        DataError: a column is missing, or a cell is given twice.
    """
    data = take(frame, ["trained", "tested", "delta"], OPTIONAL)
    _once(data, ["condition", "trained", "tested"])
    bounded = "low" in data and "high" in data
    data = with_interval(data)
    reach = float(limit or data["delta"].abs().max() or 1.0)
    data["own"] = data["trained"].astype(str) == data["tested"].astype(str)
    known = data["low"].notna() & data["high"].notna()
    data["open"] = known & (data["low"] <= 0) & (data["high"] >= 0)
    data["text"] = [f"({signed(v)})" if o else signed(v) for v, o in zip(data["delta"], data["open"], strict=True)]
    data["dark"] = (data["delta"] < -0.8 * reach) & ~data["open"]  # black reads well on every other shade
    scale = alt.Scale(domain=[-reach, 0, reach], range=[LEFT, "#F7F7F7", RIGHT], clamp=True)
    bar = alt.Legend(orient="bottom", format="+.1f", gradientLength=200, titleLimit=300)
    tips: list[Any] = [
        *([alt.Tooltip("condition:N", title="model")] if "condition" in data else []),
        alt.Tooltip("trained:N", title=rows),
        alt.Tooltip("tested:N", title=columns),
        alt.Tooltip("delta:Q", format="+.3f", title=measure),
        *([alt.Tooltip("interval:N", title="95 % interval")] if bounded else []),
        *(alt.Tooltip(f"{c}:Q", format="+.2f", title=f"stance, {c}") for c in ("vanilla", "model") if c in data),
        *([alt.Tooltip("n:Q", title="questions")] if "n" in data else []),
    ]
    layers = _cells(
        alt.Color("delta:Q", scale=scale, title=f"{measure} (− left, + right)", legend=bar),
        alt.condition("datum.open", alt.value(0.35), alt.value(1)),
        _axes(data, rows, columns),
        tips,
    )
    said = _told(data) + (f" {_clear(data)}" if bounded else "")
    note = ["In brackets and pale: the 95 % interval includes 0."] if data["open"].any() else []
    note += [f"Framed: {rows} = {columns}."] if data["own"].any() else []
    chart = _panelled(layers, data, note)
    fields = [
        n for n in ["condition", "trained", "tested", "delta", "low", "high", "n", "vanilla", "model"] if n in data
    ]
    if not bounded:
        fields = [n for n in fields if n not in ("low", "high")]
    titles = {"trained": rows, "tested": columns, "delta": measure}
    about = f"Heat map, {rows} by {columns}: {measure} of the stance, positive is right. {said}"
    return finish(chart, about, [(name, titles.get(name, name)) for name in fields])


def overlap_heatmap(frame: pd.DataFrame, measure: str = "overlap") -> Chart:
    """Overlap of two topics' neurons, from 0 (none in common) to 1 (the same); the diagonal is 1 by definition.

    Columns: ``first``, ``second``, ``value`` (0 to 1).

    Raises:
        DataError: a column is missing, a pair is given twice or a value is out of range.
    """
    data = take(frame, ["first", "second", "value"])
    _once(data, ["first", "second"])
    if not data["value"].dropna().between(0, 1).all():
        raise DataError("overlap_heatmap: values must be from 0 to 1")
    data = data.rename(columns={"first": "trained", "second": "tested"})
    data["own"] = data["trained"].astype(str) == data["tested"].astype(str)
    data["text"] = ["–" if np.isnan(v) else f"{v:.2f}" for v in data["value"]]
    data["dark"] = data["value"] > 0.63  # where white and black stand out alike
    scale = alt.Scale(domain=[0, 1], range=["#F7F7F7", "#2B2B6B"])  # no hue of a side: this has no direction
    bar = alt.Legend(orient="bottom", format=".1f", gradientLength=200)
    tips = [alt.Tooltip("trained:N", title="first topic"), alt.Tooltip("tested:N", title="second topic")]
    layers = _cells(
        alt.Color("value:Q", scale=scale, title=measure, legend=bar),
        alt.value(1),
        _axes(data, "first topic", "second topic"),
        [*tips, alt.Tooltip("value:Q", format=".3f", title=measure)],
    )
    apart = data.loc[~data["own"]].dropna(subset="value")
    told = "no pair of topics"
    if len(apart):
        low, high = apart.loc[apart["value"].idxmin()], apart.loc[apart["value"].idxmax()]
        told = (
            f"mean over pairs {number(apart['value'].mean())}, lowest {number(low['value'])} ({low['trained']} and "
            f"{low['tested']}), highest {number(high['value'])} ({high['trained']} and {high['tested']})"
        )
    columns = [("trained", "first"), ("tested", "second"), ("value", measure)]
    return finish(_panelled(layers, data, []), f"Heat map of the {measure} of two topics, 0 to 1: {told}.", columns)


def _once(data: pd.DataFrame, keys: list[str]) -> None:
    given = [key for key in keys if key in data]
    twice = data.duplicated(given)
    if twice.any():
        raise DataError(f"chart: more than one row for {data.loc[twice.idxmax(), given].to_dict()}")


def _axes(data: pd.DataFrame, rows: str, columns: str) -> dict[str, Any]:
    return {
        "x": alt.X("tested:N", sort=order(data["tested"]), title=columns, axis=alt.Axis(labelAngle=-35)),
        "y": alt.Y("trained:N", sort=order(data["trained"]), title=rows),
    }


def _cells(colour: alt.Color, opacity: Any, axes: dict[str, Any], tips: list[Any]) -> list[alt.Chart]:
    base = alt.Chart().encode(**axes)
    ink = alt.condition("datum.dark", alt.value("white"), alt.value("black"))
    return [
        base.mark_rect(stroke="white", strokeWidth=2).encode(color=colour, fillOpacity=opacity, tooltip=tips),
        base.mark_rect(filled=False, stroke="black", strokeWidth=2, aria=False).transform_filter("datum.own"),
        base.mark_text(fontSize=10, aria=False).encode(text="text:N", color=ink, tooltip=tips),
    ]


def _panelled(layers: list[alt.Chart], data: pd.DataFrame, note: list[str]) -> Any:
    chart: Any = alt.layer(*layers, data=data).properties(
        width=alt.Step(STEPS["width"]), height=alt.Step(STEPS["height"])
    )
    if "condition" in data:
        names = order(data["condition"])
        chart = chart.facet(facet=alt.Facet("condition:N", title=None, sort=names, header=header()), columns=2)
        chart = chart.resolve_axis(x="independent")
    if note:
        title = alt.Title(note, orient="bottom", anchor="start", fontSize=11, fontWeight="normal", offset=10)
        chart = chart.properties(title=title)
    return chart


def _told(data: pd.DataFrame) -> str:
    parts = []
    for name, part in data.groupby("condition", sort=False) if "condition" in data else [("", data)]:
        own, other = part.loc[part["own"], "delta"].mean(), part.loc[~part["own"], "delta"].mean()
        means = [f"mean {where} {signed(m)}" for where, m in (("on the diagonal", own), ("elsewhere", other)) if m == m]
        parts.append((f"{name}: " if name else "") + ", ".join(means or ["no known value"]))
    return "; ".join(parts) + "."


def _clear(data: pd.DataFrame) -> str:
    known = data[data["low"].notna() & data["high"].notna()]
    right, left = int((known["low"] > 0).sum()), int((known["high"] < 0).sum())
    return f"Intervals clear of zero: {right} to the right and {left} to the left, of {len(known)} cells."
