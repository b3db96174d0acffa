"""Dots with intervals: stances by topic, and the paper's values beside ours."""

from __future__ import annotations

from typing import Any

import altair as alt
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
    header,
    highlight,
    legend,
    listed,
    number,
    order,
    shape,
    signed,
    take,
    with_interval,
)

SIGNED_LABEL = "datum.value ? format(datum.value, '+.1f') : '0'"
STANCE_AXIS = "stance (−1 left ← 0 → right +1)"
LANE = 14  # pixels of one lane of dots
TITLE_WIDTH = 32  # characters of a line of a panel's title: what a small screen has room for
OURS = "ours"


def stance_dots(frame: pd.DataFrame, by: str = "condition") -> Chart:
    """Stance with its interval per topic, conditions side by side (Tables 2 and 3; any comparison of models).

    Columns: ``topic``, ``condition`` (or the column named by ``by``), ``stance``, ``low``, ``high`` (all from -1
    to 1); optional ``n`` (questions) and ``paper`` (the paper's stance, drawn as a hollow diamond).
    """
    return _stances(frame, by, "Stance by topic")


def patch_chart(frame: pd.DataFrame) -> Chart:
    """Figures 4 and 7 to 9: stance by topic of the vanilla model with neurons patched in.

    Columns: ``topic``, ``patch`` (``vanilla``, ``G``, ``S_t``, ``random``, ... in the order of first
    appearance), ``stance``, ``low``, ``high``; optional ``n`` (questions).
    """
    return _stances(frame, "patch", "Stance of the patched model by topic")


def paper_vs_ours(frame: pd.DataFrame, title: str = "") -> Chart:
    """The closing page: the paper's values in one lane an item, ours with its interval in the lane below.

    Columns: ``item``, ``source`` (``paper: ...``, ``ours``), ``value``; optional ``low``, ``high`` (NaN
    where unknown), ``group`` (one panel each, with its own axis) and ``measure`` (what a panel's axis shows: panels of
    one measure have the same range, so that they can be compared; without it all panels have one).

    Args:
        frame: one row a value.
        title: what all values are, for the axis; empty where the panels differ and say it themselves.
    """
    data = with_interval(take(frame, ["item", "source", "value"], ["low", "high", "group", "measure"]))
    items = order(data["item"])
    sources = sorted(order(data["source"]), key=lambda source: source == OURS)  # ours last, and black
    colours = ["#000000" if s == OURS else c for s, c in zip(sources, cycle(PALETTE, sources), strict=True)]
    marks = ["circle" if s == OURS else m for s, m in zip(sources, cycle(SHAPES[1:], sources), strict=True)]
    data["lane"] = ["ours" if s == OURS else "paper" for s in data["source"]]
    lanes = [lane for lane in ("paper", "ours") if lane in set(data["lane"])]
    base = alt.Chart().encode(
        y=alt.Y("item:N", sort=items, title=None, axis=bands()),
        yOffset=alt.YOffset("lane:N", sort=lanes, scale=alt.Scale(domain=lanes)),
        color=colour("source", sources, colours, legend=legend("top")),
    )
    x: dict[str, Any] = {
        "title": title or None,
        "scale": alt.Scale(zero=True, padding=6),
        "axis": alt.Axis(tickCount=5),
    }
    tips: list[Any] = ["item:N", "source:N", alt.Tooltip("value:Q", format=".3~f", title=title or "value")]
    tips.append(alt.Tooltip("interval:N", title="95 % interval"))
    drawn = _dots(base, "value", "source", sources, marks, x, tips)
    grouped = "group" in data
    if grouped:
        by = data["measure"] if "measure" in data else pd.Series("", data.index)
        ends = data[["value", "low", "high"]]
        data["least"] = ends.min(axis=1).groupby(by).transform("min")
        data["most"] = ends.max(axis=1).groupby(by).transform("max")
        reach = base.mark_rule(opacity=0, aria=False)  # it only widens the axis
        drawn.insert(0, reach.encode(x=alt.X("least:Q", **x), x2="most:Q"))
    chart: Any = alt.layer(*drawn, data=data).properties(width=400, height=alt.Step(LANE))
    if grouped:
        row = alt.Row("group:N", title=None, sort=order(data["group"]), header=header(TITLE_WIDTH))
        chart = chart.facet(row=row).resolve_scale(x="independent", y="independent")
    told = [
        f"{f'{keys[0]}, ' if grouped else ''}{keys[-1]} {number(part.mean())}"
        for keys, part in data.groupby([*(["group"] if grouped else []), "source"], sort=False)["value"]
    ]
    about = f"The paper beside this book, {title or 'values'} of {len(items)} items. Means: {listed(told, 40)}."
    fields = [*(["group"] if grouped else []), "item", "source", ("value", title or "value"), "low", "high"]
    return finish(chart, about, fields, "source")


def _stances(frame: pd.DataFrame, by: str, title: str) -> Chart:
    data = with_interval(take(frame, ["topic", by, "stance", "low", "high"], ["n", "paper"]))
    arms, topics = order(data[by]), order(data["topic"])
    base = alt.Chart().encode(
        y=alt.Y("topic:N", sort=topics, title=None, axis=bands()),
        yOffset=alt.YOffset(f"{by}:N", sort=arms),
        color=colour(by, arms, legend=legend("top")),
    )
    x = {
        "scale": alt.Scale(domain=[-1.05, 1.05], nice=False),
        "axis": alt.Axis(values=[-1, -0.5, 0, 0.5, 1], labelExpr=SIGNED_LABEL),
        "title": STANCE_AXIS,
    }
    tips: list[Any] = ["topic:N", f"{by}:N", alt.Tooltip("stance:Q", format="+.3f")]
    tips.append(alt.Tooltip("interval:N", title="95 % interval"))
    if "n" in data:
        tips.append(alt.Tooltip("n:Q", title="questions"))
    zero = alt.Chart().transform_aggregate(rows="count()").mark_rule(color=GREY, aria=False)
    drawn = [zero.encode(x=alt.datum(0)), *_dots(base, "stance", by, arms, cycle(SHAPES, arms), x, tips)]
    columns = ["topic", by, "stance", "low", "high", *(n for n in ("n", "paper") if n in data)]
    if "paper" in data:
        theirs = base.mark_point(shape="diamond", filled=False, size=110, strokeWidth=2, color="black")
        tip = alt.Tooltip("paper:Q", format="+.2f", title="the paper")
        drawn.append(theirs.encode(x="paper:Q", color=alt.value("black"), tooltip=["topic:N", tip]))
    chart = alt.layer(*drawn, data=data).properties(width=420, height=alt.Step(LANE))
    told = [f"{arm} {signed(part.mean())}" for arm, part in data.groupby(by, sort=False)["stance"]]
    if len(arms) == 1:
        told = [f"{row.topic} {signed(row.stance)}" for row in data.itertuples()]
    what = "By topic" if len(arms) == 1 else "Means over topics"
    note = f" Hollow diamonds: the paper, mean {signed(data['paper'].mean())}." if "paper" in data else ""
    about = f"{title}, from −1 (left) to +1 (right), with intervals. {what}: {listed(told)}.{note}"
    return finish(chart, about, columns, by)


def _dots(
    base: alt.Chart, value: str, by: str, arms: list[Any], shapes: list[str], x: dict[str, Any], tips: list[Any]
) -> list[Any]:
    """An interval as a line and the value as a dot whose shape tells the arm."""
    chosen, opacity = highlight(by)
    marks = shape(by, arms, shapes)
    return [
        base.mark_rule(strokeWidth=2, clip=True, aria=False).encode(
            x=alt.X("low:Q", **x), x2="high:Q", opacity=opacity
        ),
        base.mark_point(filled=True, size=60)
        .encode(x=alt.X(f"{value}:Q", **x), shape=marks, tooltip=tips, opacity=opacity)
        .properties(name="dots")
        .add_params(chosen),
    ]
