"""Heat maps of topics by topics: shifts of the stance, and shares."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts import style
from polinb.display.charts.frames import number, order, take, with_interval
from polinb.display.charts.style import INTERVAL, LEFT, RIGHT, Chart, tip
from polinb.wording import number as signed


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
        limit: the shift with the strongest colour; by default the largest in the frame, so pass one value for
            several charts that should be compared.
        rows: title of the trained axis; patched sets use this chart too.
        columns: title of the tested axis.
        measure: what ``delta`` is called.
    """
    data = take(frame, ["trained", "tested", "delta"], ["condition", "low", "high", "n", "vanilla", "model"])
    ends = ["low", "high"] if {"low", "high"} <= set(data) else []
    wanted = ["condition", "trained", "tested", "delta", *ends, "n", "vanilla", "model"]
    given = [name for name in wanted if name in data]
    data = with_interval(data)
    reach = float(limit or data["delta"].abs().max() or 1.0)
    right, left = (data["low"] > 0) & data["high"].notna(), (data["high"] < 0) & data["low"].notna()
    known = data[["low", "high"]].notna().all(axis=1)
    data["own"] = data["trained"].astype(str) == data["tested"].astype(str)
    data["open"] = known & ~right & ~left
    data["text"] = [f"({signed(v)})" if o else signed(v) for v, o in zip(data["delta"], data["open"], strict=True)]
    data["dark"] = (data["delta"] < -0.8 * reach) & ~data["open"]  # black reads well on every other shade
    scale = alt.Scale(domain=[-reach, 0, reach], range=[LEFT, "#F7F7F7", RIGHT], clamp=True)
    bar = alt.Legend(orient="bottom", format="+.1f", gradientLength=200, titleLimit=300)
    tips = {
        "condition": tip("condition:N", "model"),
        "trained": tip("trained:N", rows),
        "tested": tip("tested:N", columns),
        "delta": tip("delta:Q", measure, "+.3f"),
        "low": INTERVAL,
        **{side: tip(f"{side}:Q", f"stance, {side}", "+.2f") for side in ("vanilla", "model")},
        "n": tip("n:Q", "questions"),
    }
    chart = _cells(
        data,
        alt.Color("delta:Q", scale=scale, title=f"{measure} (− left, + right)", legend=bar),
        alt.condition("datum.open", alt.value(0.35), alt.value(1)),
        (rows, columns),
        [each for name, each in tips.items() if name in given],
    )
    note = ["In brackets and pale: the 95 % interval includes 0."] if data["open"].any() else []
    note += [f"Framed: {rows} = {columns}."] if data["own"].any() else []
    if note:
        title = alt.Title(note, orient="bottom", anchor="start", fontSize=11, fontWeight="normal", offset=10)
        chart = chart.properties(title=title)
    told = []
    for name, part in data.groupby("condition", sort=False) if "condition" in data else [("", data)]:
        own, other = part.loc[part["own"], "delta"].mean(), part.loc[~part["own"], "delta"].mean()
        means = [f"mean {where} {signed(m)}" for where, m in (("on the diagonal", own), ("elsewhere", other)) if m == m]
        told.append((f"{name}: " if name else "") + ", ".join(means or ["no known value"]))
    about = f"Heat map, {rows} by {columns}: {measure} of the stance, positive is right. {'; '.join(told)}."
    if ends:
        clear = f"{right.sum()} to the right and {left.sum()} to the left"
        about += f" Intervals clear of zero: {clear}, of {known.sum()} cells."
    titles = {"trained": rows, "tested": columns, "delta": measure}
    return style.finish(chart, about, [(name, titles.get(name, name)) for name in given])


def overlap_heatmap(frame: pd.DataFrame, measure: str = "overlap") -> Chart:
    """Overlap of two topics' neurons, from 0 (none in common) to 1 (the same); the diagonal is 1 by definition.

    Columns: ``first``, ``second``, ``value`` (0 to 1).
    """
    data = take(frame, ["first", "second", "value"])
    data = data.rename(columns={"first": "trained", "second": "tested"})
    data["own"] = data["trained"].astype(str) == data["tested"].astype(str)
    data["text"] = ["–" if np.isnan(v) else f"{v:.2f}" for v in data["value"]]
    data["dark"] = data["value"] > 0.63  # where white and black stand out alike
    scale = alt.Scale(domain=[0, 1], range=["#F7F7F7", "#2B2B6B"])  # no hue of a side: this has no direction
    bar = alt.Legend(orient="bottom", format=".1f", gradientLength=200)
    tips = [tip("trained:N", "first topic"), tip("tested:N", "second topic"), tip("value:Q", measure, ".3f")]
    shade = alt.Color("value:Q", scale=scale, title=measure, legend=bar)
    chart = _cells(data, shade, alt.value(1), ("first topic", "second topic"), tips)
    apart = data.loc[~data["own"]].dropna(subset="value")
    told = "no pair of topics"
    if len(apart):
        low, high = apart.loc[apart["value"].idxmin()], apart.loc[apart["value"].idxmax()]
        told = (
            f"mean over pairs {number(apart['value'].mean())}, lowest {number(low['value'])} ({low['trained']} and "
            f"{low['tested']}), highest {number(high['value'])} ({high['trained']} and {high['tested']})"
        )
    columns = [("trained", "first"), ("tested", "second"), ("value", measure)]
    return style.finish(chart, f"Heat map of the {measure} of two topics, 0 to 1: {told}.", columns)


def _cells(data: pd.DataFrame, colour: alt.Color, opacity: Any, titles: tuple[str, str], tips: list[Any]) -> Any:
    """Coloured cells with their number, the own topic framed; one panel a ``condition``."""
    base = alt.Chart().encode(
        x=alt.X("tested:N", sort=order(data["tested"]), title=titles[1], axis=alt.Axis(labelAngle=-35)),
        y=alt.Y("trained:N", sort=order(data["trained"]), title=titles[0]),
    )
    ink = alt.condition("datum.dark", alt.value("white"), alt.value("black"))
    chart: Any = alt.layer(
        base.mark_rect(stroke="white", strokeWidth=2).encode(color=colour, fillOpacity=opacity, tooltip=tips),
        base.mark_rect(filled=False, stroke="black", strokeWidth=2, aria=False).transform_filter("datum.own"),
        base.mark_text(fontSize=10, aria=False).encode(text="text:N", color=ink, tooltip=tips),
        data=data,
    ).properties(width=alt.Step(40), height=alt.Step(28))
    if "condition" not in data:
        return chart
    return style.facetted(chart, data, "condition").resolve_axis(x="independent")
