"""A trade-off of two effects: points with intervals in both directions, and names that keep out of their way."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts.base import (
    GREY,
    PALE,
    Chart,
    colour,
    finish,
    highlight,
    legend,
    listed,
    number,
    order,
    shape,
    spelt,
)
from polinb.display.charts.series import checked, empty, interval_of, once_drawn, only_known

# Where a name may stand beside its point: pixels right, pixels up, alignment. The first that is free is taken.
SIDES = (
    *((9, 0, "left"), (-9, 0, "right"), (0, 14, "center"), (0, -14, "center")),
    *((7, 12, "left"), (7, -12, "left"), (-7, 12, "right"), (-7, -12, "right")),
    *((7, 26, "left"), (7, -26, "left"), (-7, 26, "right"), (-7, -26, "right")),
)


def pareto(frame: pd.DataFrame, x_title: str, y_title: str, limit: float | None = None) -> Chart:
    """A trade-off of two effects: one point a condition with both intervals, and the two lines of no effect.

    Columns: ``condition``, ``family`` (colour and shape), ``x``, ``y``; optional ``x_low``, ``x_high``, ``y_low``,
    ``y_high`` (NaN where unknown) and ``label`` (bool: print the condition's name; by default all if at most six).

    Args:
        frame: one row a point.
        x_title, y_title: of the axes.
        limit: both axes go from −limit to limit; None: as far as the numbers.

    Raises:
        DataError: a column is missing or holds no numbers.
    """
    ends = ["x_low", "x_high", "y_low", "y_high"]
    data = checked(frame, ["condition", "family"], ["x", "y"], ends, interval=("x_low", "x_high"), keep=["label"])
    data = interval_of(data, "y_low", "y_high")
    known = data[["x", "y"]].notna().all(axis=1)
    data[ends] = data[ends].where(known)  # no interval without its point
    data["label"] = known & (data["label"].eq(True).fillna(False) if "label" in data else len(data) <= 6)
    width, height = 440, 320
    xs, ys = _domain(data[["x", "x_low", "x_high"]]), _domain(data[["y", "y_low", "y_high"]])
    if limit is not None:
        xs = ys = [-1.07 * limit, 1.07 * limit]
    data = _place_labels(data, xs, ys, width, height)
    data["x interval"], data["y interval"] = spelt(data, "x_low", "x_high"), spelt(data, "y_low", "y_high")
    families = order(data["family"])
    x: dict[str, Any] = {"title": x_title, "scale": alt.Scale(domain=xs, nice=False), "axis": alt.Axis(tickCount=6)}
    y: dict[str, Any] = {"title": y_title, "scale": alt.Scale(domain=ys, nice=False), "axis": alt.Axis(tickCount=6)}
    chosen, opacity = highlight("family")
    base = alt.Chart().encode(color=colour("family", families, legend=legend()))
    fainter = alt.condition(chosen, alt.value(0.6), alt.value(PALE))
    whiskers = base.mark_rule(strokeWidth=1.2, aria=False).encode(opacity=fainter)
    tips: list[Any] = [
        "condition:N",
        "family:N",
        alt.Tooltip("x:Q", format="+.3~g", title=x_title),
        alt.Tooltip("x interval:N", title="its 95 % interval"),
    ]
    tips += [alt.Tooltip("y:Q", format="+.3~g", title=y_title), alt.Tooltip("y interval:N", title="its 95 % interval ")]
    placed = alt.Chart().transform_filter("datum.label").encode(x=alt.X("tx:Q", **x), y=alt.Y("ty:Q", **y))
    text = placed.encode(text="condition:N")
    style: dict[str, Any] = {"fontSize": 11, "align": alt.ExprRef("datum.align"), "baseline": "middle"}
    layers = [
        once_drawn(GREY).encode(x=alt.datum(0)),
        once_drawn(GREY).encode(y=alt.datum(0)),
        only_known(whiskers, "x_low", "x_high", "y").encode(
            x=alt.X("x_low:Q", **x), x2="x_high:Q", y=alt.Y("y:Q", **y)
        ),
        only_known(whiskers, "y_low", "y_high", "x").encode(
            y=alt.Y("y_low:Q", **y), y2="y_high:Q", x=alt.X("x:Q", **x)
        ),
        only_known(base, "x", "y")
        .mark_point(filled=True, size=80)
        .encode(
            x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y), shape=shape("family", families), tooltip=tips, opacity=opacity
        )
        .properties(name="points")
        .add_params(chosen),
        placed.transform_filter("datum.far").mark_rule(color=GREY, strokeWidth=0.8, aria=False).encode(x2="x", y2="y"),
        text.mark_text(
            stroke="white", strokeWidth=3, strokeJoin="round", aria=False, **style
        ),  # keeps the name off the lines
        text.mark_text(color="black", **style),
    ]
    chart = alt.layer(*layers, *empty(known), data=data).properties(width=width, height=height)
    chosen = data[data["label"]] if data["label"].any() else data
    told = [f"{a} {number(p)}, {number(q)}" for a, p, q in chosen[["condition", "x", "y"]].itertuples(index=False)]
    note = f"conditions drawn: {known.sum()} of {len(data)}"
    columns: list[Any] = [
        "condition",
        "family",
        ("x", x_title),
        *((f"x_{e}", f"{x_title}, {e}") for e in ("low", "high")),
    ]
    columns += [("y", y_title), *((f"y_{e}", f"{y_title}, {e}") for e in ("low", "high"))]
    return finish(chart, f"{y_title} (up) against {x_title} (right); {note}. {listed(told)}.", columns, "family")


def _place_labels(data: pd.DataFrame, xs: list[float], ys: list[float], width: int, height: int) -> pd.DataFrame:
    """Where each wanted name goes (``tx``, ``ty`` in data units, ``align``): the side with the least in its way."""
    per_x, per_y = width / (xs[1] - xs[0]), height / (ys[1] - ys[0])
    px = ((data["x"] - xs[0]) * per_x).to_numpy()
    py = ((data["y"] - ys[0]) * per_y).to_numpy()
    solid = [(a - 6, b - 6, a + 6, b + 6) for a, b in zip(px, py, strict=True) if np.isfinite(a + b)]
    zero_x, zero_y = -xs[0] * per_x, -ys[0] * per_y
    thin = [(zero_x - 1, 0.0, zero_x + 1, float(height)), (0.0, zero_y - 1, float(width), zero_y + 1)]
    for i, row in enumerate(data.itertuples()):
        thin.append(((row.x_low - xs[0]) * per_x, py[i] - 1, (row.x_high - xs[0]) * per_x, py[i] + 1))
        thin.append((px[i] - 1, (row.y_low - ys[0]) * per_y, px[i] + 1, (row.y_high - ys[0]) * per_y))
    data = data.assign(tx=np.nan, ty=np.nan, align="left", far=False)
    for i in np.flatnonzero(data["label"]).tolist():
        wide = 6.4 * len(str(data["condition"].iloc[i]))  # a character at 11 px, on average
        best: tuple[float, float, float, str] | None = None
        for rank, (dx, dy, align) in enumerate(SIDES):
            x, y = px[i] + dx, py[i] + dy
            left = x if align == "left" else x - wide if align == "right" else x - wide / 2
            box = (left, y - 7, left + wide, y + 7)
            outside = max(0.0, -box[0]) + max(0.0, box[2] - width) + max(0.0, -box[1]) + max(0.0, box[3] - height)
            cost = 20 * outside + 0.5 * rank + 3 * sum(_overlap(box, b) for b in solid)
            cost += sum(_overlap(box, b) for b in thin)
            if best is None or cost < best[0]:
                best, chosen = (cost, x, y, align), box
        assert best is not None
        solid.append(chosen)
        data.loc[data.index[i], ["tx", "ty"]] = [xs[0] + best[1] / per_x, ys[0] + best[2] / per_y]
        data.loc[data.index[i], "align"] = best[3]
        data.loc[data.index[i], "far"] = abs(best[2] - py[i]) > 20
    return data


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Common area of two boxes (left, bottom, right, top); 0 where an edge is unknown."""
    if not np.isfinite(b).all():
        return 0.0
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _domain(data: pd.DataFrame) -> list[float]:
    """From the smallest to the largest number and 0, with a margin."""
    values = np.append(data.to_numpy(dtype=float).ravel(), 0.0)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.07 * (high - low) or 1.0
    return [low - margin, high + margin]
