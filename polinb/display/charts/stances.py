"""Stances by topic as dots with intervals, the paper's values beside ours, and coupling against gamma."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from polinb.display.charts.frames import listed, number, order, take, with_interval
from polinb.display.charts.style import (
    GREY,
    INTERVAL,
    OPACITY,
    PALETTE,
    SHAPES,
    Chart,
    bands,
    colour,
    cycle,
    dash,
    facetted,
    finish,
    header,
    legend,
    once_drawn,
    shape,
    symbols,
    tip,
)
from polinb.wording import number as signed

SIGNED_LABEL = "datum.value ? format(datum.value, '+.1f') : '0'"
STANCE_AXIS = "stance (−1 left ← 0 → right +1)"
LANE = 14  # pixels of one lane of dots
TITLE_WIDTH = 32  # characters of a line of a panel's title: what a small screen has room for
OURS = "ours"
OUR_LINE = "InhibitFT (ours)"
RANDOM = {True: "one random set (ours)", False: "random sets (ours)"}


def stance_dots(frame: pd.DataFrame) -> Chart:
    """Stance with its interval per topic, conditions side by side (Tables 2 and 3; any comparison of models).

    Columns: ``topic``, ``condition``, ``stance``, ``low``, ``high`` (all from -1 to 1); optional ``n`` (questions).
    """
    return _stances(frame, "condition", "Stance by topic")


def patch_chart(frame: pd.DataFrame) -> Chart:
    """Figures 4 and 7 to 9: stance by topic of the vanilla model with neurons patched in.

    Columns: ``topic``, ``patch`` (``vanilla``, ``G``, ``S_t``, ``random``, ... in the order of first
    appearance), ``stance``, ``low``, ``high``; optional ``n`` (questions).
    """
    return _stances(frame, "patch", "Stance of the patched model by topic")


def _stances(frame: pd.DataFrame, by: str, title: str) -> Chart:
    data = with_interval(take(frame, ["topic", by, "stance", "low", "high"], ["n"]))
    conditions, topics = order(data[by]), order(data["topic"])
    base = alt.Chart().encode(
        y=alt.Y("topic:N", sort=topics, title=None, axis=bands()),
        yOffset=alt.YOffset(f"{by}:N", sort=conditions),
        color=colour(by, conditions, legend=legend("top")),
    )
    x = {
        "scale": alt.Scale(domain=[-1.05, 1.05], nice=False),
        "axis": alt.Axis(values=[-1, -0.5, 0, 0.5, 1], labelExpr=SIGNED_LABEL),
        "title": STANCE_AXIS,
    }
    tips: list[Any] = ["topic:N", f"{by}:N", tip("stance:Q", form="+.3f"), INTERVAL]
    tips += [tip("n:Q", "questions")] if "n" in data else []
    zero = once_drawn(GREY, aria=False).encode(x=alt.datum(0))
    drawn = [zero, *_dots(base, "stance", by, shape(by, conditions), x, tips)]
    chart = alt.layer(*drawn, data=data).properties(width=420, height=alt.Step(LANE))
    what, each = ("By topic", "topic") if len(conditions) == 1 else ("Means over topics", by)
    told = [f"{name} {signed(part.mean())}" for name, part in data.groupby(each, sort=False)["stance"]]
    about = f"{title}, from −1 (left) to +1 (right), with intervals. {what}: {listed(told)}."
    return finish(chart, about, ["topic", by, "stance", "low", "high", *(["n"] if "n" in data else [])], by)


def paper_vs_ours(frame: pd.DataFrame, title: str = "") -> Chart:
    """The closing page: the paper's values in one lane an item, ours with its interval in the lane below.

    Columns: ``item``, ``source`` (``paper: ...``, ``ours``), ``value``; optional ``low``, ``high`` (NaN
    where unknown), ``group`` (one panel each, with its own axis) and ``measure`` (what a panel's axis shows: panels of
    one measure have the same range, so that they can be compared; without it all panels have one).

    Args:
        title: what all values are, for the axis; empty where the panels differ and say it themselves.
    """
    data = with_interval(take(frame, ["item", "source", "value"], ["low", "high", "group", "measure"]))
    grouped = "group" in data
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
    scale = alt.Scale(zero=True, padding=6)
    x: dict[str, Any] = {"title": title or None, "scale": scale, "axis": alt.Axis(tickCount=5)}
    tips = ["item:N", "source:N", tip("value:Q", title or "value", ".3~f"), INTERVAL]
    drawn = _dots(base, "value", "source", shape("source", sources, marks), x, tips)
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
    parts = data.groupby([*["group"] * grouped, "source"], sort=False)["value"]
    told = [f"{f'{keys[0]}, ' if grouped else ''}{keys[-1]} {number(part.mean())}" for keys, part in parts]
    about = f"The paper beside this book, {title or 'values'} of {len(items)} items. Means: {listed(told, 40)}."
    fields = [*["group"] * grouped, "item", "source", ("value", title or "value"), "low", "high"]
    return finish(chart, about, fields, "source")


def _dots(base: alt.Chart, value: str, by: str, marks: alt.Shape, x: dict[str, Any], tips: list[Any]) -> list[Any]:
    """An interval as a line and the value as a dot whose shape tells the series."""
    ends = base.mark_rule(strokeWidth=2, clip=True, aria=False)
    return [
        ends.encode(x=alt.X("low:Q", **x), x2="high:Q", opacity=OPACITY),
        symbols(base, by, name="dots", x=alt.X(f"{value}:Q", **x), shape=marks, tooltip=tips),
    ]


def gamma_curve(frame: pd.DataFrame, null: pd.DataFrame, paper: pd.DataFrame) -> Chart:
    """Section 5.2: R against gamma with its interval, the band of random sets, the paper's curves.

    Args:
        frame: ``gamma`` (per cent), ``r``, ``low``, ``high``, ``topic`` (one panel each).
        null: the same of random sets of equal size.
        paper: ``gamma``, ``r``, ``topic``, ``model``; one dashed line a model.
    """
    need = ["gamma", "r", "low", "high", "topic"]
    ours, sets = take(frame, need).assign(line=OUR_LINE), take(null, need)
    random = RANDOM[not sets.duplicated(["topic", "gamma"]).any()]
    theirs = take(paper, ["gamma", "r", "topic", "model"])
    theirs = theirs.assign(line="paper: " + theirs["model"].astype(str)).drop(columns="model")
    data = with_interval(pd.concat([ours, sets.assign(line=random), theirs], ignore_index=True))
    lines = order(data["line"])
    base = alt.Chart().encode(
        x=alt.X("gamma:Q", title="γ (% of all neurons kept per topic)", scale=alt.Scale(zero=False, nice=False)),
        color=colour("line", lines, legend=legend()),
    )
    y = alt.Y("r:Q", title="coupling R")
    ends: dict[str, Any] = {"y": alt.Y("low:Q", title="coupling R"), "y2": "high:Q"}
    tips = [tip("topic:N", "trained on"), "line:N", tip("gamma:Q", "γ (%)"), tip("r:Q", "R", ".3f"), INTERVAL]
    band = base.transform_filter(f"datum.line == '{random}'").mark_area(opacity=0.25, aria=False)
    whiskers = base.transform_filter(f"datum.line == '{OUR_LINE}'").mark_rule(strokeWidth=2, aria=False)
    line = base.mark_line(strokeWidth=2, aria=False)
    drawn = [
        band.encode(**ends),
        whiskers.encode(**ends, opacity=OPACITY),
        line.encode(y=y, strokeDash=dash("line", lines), opacity=OPACITY),
        symbols(base, "line", y=y, shape=shape("line", lines), tooltip=tips),
    ]
    chart: Any = alt.layer(*drawn, data=data).properties(width=420, height=240)
    if ours["topic"].nunique() > 1:
        chart = facetted(chart.properties(width=250, height=150), ours, "topic")
    else:
        chart = chart.properties(title=alt.Title(str(ours["topic"].iloc[0]), fontSize=12, anchor="start"))
    told = [f"{name}: {_along(part)}" for name, part in data.groupby("line", sort=False)]
    about = f"Coupling R against γ in per cent, with 95 % intervals, mean over topics. {listed(told)}."
    return finish(chart, about, ["topic", "line", "gamma", ("r", "R"), "low", "high"], "line")


def _along(part: pd.DataFrame) -> str:
    """First, lowest and last mean of a line."""
    mean = part.groupby("gamma")["r"].mean().dropna()
    if mean.empty:
        return "not known"
    at = dict.fromkeys([mean.index[0], mean.idxmin(), mean.index[-1]])
    return ", ".join(f"{number(mean[g])} at {number(g)}" for g in sorted(at))
