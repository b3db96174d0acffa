"""Coupling against gamma, with the band of random sets and the paper's curves."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from polinb.display.charts.base import (
    SHAPES,
    Chart,
    colour,
    cycle,
    dash,
    finish,
    header,
    highlight,
    legend,
    listed,
    number,
    order,
    shape,
    take,
    with_interval,
)

OURS = "InhibitFT (ours)"
RANDOM = {True: "one random set (ours)", False: "random sets (ours)"}


def gamma_curve(frame: pd.DataFrame, null: pd.DataFrame | None = None, paper: pd.DataFrame | None = None) -> Chart:
    """Section 5.2: R against gamma with its interval, the band of random sets, the paper's curves.

    Args:
        frame: ``gamma`` (per cent), ``r``, ``low``, ``high``; optional ``topic`` (one panel each).
        null: the same of random sets of equal size: ``gamma, r, low, high`` and ``topic`` if ``frame`` has
            it.
        paper: ``gamma, r, model`` and ``topic`` if ``frame`` has it; one dashed line a model.
    """
    need = ["gamma", "r", "low", "high"] + (["topic"] if "topic" in frame else [])
    ours = take(frame, need).assign(line=OURS)
    parts = [ours]
    random = RANDOM[True]
    if null is not None:
        random = RANDOM[not null.duplicated([n for n in ("topic", "gamma") if n in need]).any()]
        parts.append(take(null, need).assign(line=random))
    if paper is not None:
        theirs = take(paper, [n for n in need if n not in ("low", "high")] + ["model"])
        parts.append(theirs.assign(line="paper: " + theirs["model"].astype(str)).drop(columns="model"))
    data = with_interval(pd.concat(parts, ignore_index=True))
    lines = order(data["line"])
    chosen, opacity = highlight("line")
    base = alt.Chart().encode(
        x=alt.X("gamma:Q", title="γ (% of all neurons kept per topic)", scale=alt.Scale(zero=False, nice=False)),
        color=colour("line", lines, legend=legend()),
    )
    y = alt.Y("r:Q", title="coupling R")
    ends: dict[str, Any] = {"y": alt.Y("low:Q", title="coupling R"), "y2": "high:Q"}
    tips = ["line:N", alt.Tooltip("gamma:Q", title="γ (%)"), alt.Tooltip("r:Q", format=".3f", title="R")]
    tips.append(alt.Tooltip("interval:N", title="95 % interval"))
    if "topic" in need:
        tips.insert(0, alt.Tooltip("topic:N", title="trained on"))
    band = base.transform_filter(f"datum.line == '{random}'").mark_area(opacity=0.25, aria=False)
    whiskers = base.transform_filter(f"datum.line == '{OURS}'").mark_rule(strokeWidth=2, aria=False)
    drawn = [
        band.encode(**ends),
        whiskers.encode(**ends, opacity=opacity),
        base.mark_line(strokeWidth=2, aria=False).encode(y=y, strokeDash=dash("line", lines), opacity=opacity),
        base.mark_point(filled=True, size=60)
        .encode(y=y, shape=shape("line", lines, cycle(SHAPES, lines)), tooltip=tips, opacity=opacity)
        .properties(name="points")
        .add_params(chosen),
    ]
    chart: Any = alt.layer(*drawn, data=data).properties(width=420, height=240)
    if "topic" in need and len(order(ours["topic"])) > 1:
        topics = order(ours["topic"])
        chart = alt.layer(*drawn, data=data).properties(width=250, height=150)
        chart = chart.facet(facet=alt.Facet("topic:N", title=None, sort=topics, header=header()), columns=2)
    elif "topic" in need:
        title = alt.Title(str(ours["topic"].iloc[0]), fontSize=12, anchor="start")
        chart = chart.properties(title=title)
    told = [f"{line}: {_along(part)}" for line, part in data.groupby("line", sort=False)]
    columns = [*(["topic"] if "topic" in need else []), "line", "gamma", ("r", "R"), "low", "high"]
    about = f"Coupling R against γ in per cent, with 95 % intervals, mean over topics. {listed(told)}."
    return finish(chart, about, columns, "line")


def _along(part: pd.DataFrame) -> str:
    """First, lowest and last mean of a line."""
    mean = part.groupby("gamma")["r"].mean().dropna()
    if mean.empty:
        return "not known"
    at = dict.fromkeys([mean.index[0], mean.idxmin(), mean.index[-1]])
    return ", ".join(f"{number(mean[g])} at {number(g)}" for g in sorted(at))
