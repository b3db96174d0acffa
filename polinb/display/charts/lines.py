"""Error curves, lines with interval bands, and principal angles."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts import style
from polinb.display.charts.frames import ENDS, checked, groups, listed, number, once, order
from polinb.display.charts.style import GREY, INTERVAL, OPACITY, Chart, tip
from polinb.errors import DataError

CORNERS = 400  # points a drawn error curve keeps at most
MARKED = 7  # symbols along an error curve


def roc(frame: pd.DataFrame) -> Chart:
    """Error curves: true against false positive rate, one line a method, and the diagonal of guessing.

    Columns: ``fpr``, ``tpr`` (0 to 1, any order: both rise along a curve), ``method``, ``auc`` (one value a method and
    panel, for the text); optional ``panel`` (one panel each).
    """
    data = checked(frame, ["method"], ["fpr", "tpr", "auc"], keep=["panel"])
    methods, parts, told = order(data["method"]), [], []
    for keys, part in data.dropna(subset=["fpr", "tpr"]).groupby(groups(data, "method"), sort=False):
        line = part.sort_values(["fpr", "tpr"], kind="stable")
        told.append(f"{', '.join(map(str, keys))} {line['auc'].iloc[0]:.2f}")
        parts.append(_corners(line, offset=methods.index(line["method"].iloc[0]) / len(methods)))
    drawn = pd.concat(parts, ignore_index=True) if parts else data.assign(step=0, marked=False)
    scale = alt.Scale(domain=[0, 1], nice=False)
    base = alt.Chart().encode(
        x=alt.X("fpr:Q", title="false positive rate", scale=scale),
        y=alt.Y("tpr:Q", title="true positive rate", scale=scale),
        color=style.colour("method", methods),
    )
    tips = ["method:N", tip("fpr:Q", form=".3f"), tip("tpr:Q", form=".3f")]
    diagonal = style.once_drawn(GREY, strokeDash=[2, 3])
    line = style.only_known(base, "fpr", "tpr").mark_line(strokeWidth=2, aria=False)
    marked, shape = base.transform_filter("datum.marked"), style.shape("method", methods)
    layers = [
        diagonal.encode(x=alt.datum(0), y=alt.datum(0), x2=alt.datum(1), y2=alt.datum(1)),
        line.encode(strokeDash=style.dash("method", methods), order="step:Q", opacity=OPACITY),
        style.symbols(marked, "method", shape=shape, tooltip=tips),
        *style.empty(drawn[["fpr", "tpr"]].notna().all(axis=1)),
    ]
    chart = style.panels(layers, drawn.drop(columns="auc"), (300, 300), (220, 220))
    about = f"True against false positive rate; dotted: guessing. Areas: {listed(told, 24)}."
    return style.finish(chart, about, [*groups(data, "method"), "fpr", "tpr"], "method")


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


def angles(frame: pd.DataFrame) -> Chart:
    """Principal angles between two subspaces, smallest first, with the band of a null.

    Columns: ``index`` (whole numbers), ``degrees`` (0 to 90), ``kind`` (observed, random, ... one line each);
    optional ``low``, ``high`` (degrees; drawn as a band, NaN where there is none) and ``panel``.
    """
    data = checked(frame, ["kind"], ["index", "degrees"], [ENDS], keep=["panel"])
    once(data, [*groups(data, "kind"), "index"])
    data = data.rename(columns={"index": "x", "degrees": "y", "kind": "by"})
    numbers = sorted({int(i) for i in data["x"].dropna()})
    axis = alt.Axis(values=numbers[:: max(1, len(numbers) // 15)], format="d", grid=False)
    scale = alt.Scale(domain=[min(numbers, default=0) - 0.4, max(numbers, default=1) + 0.4], nice=False)
    degrees: dict[str, Any] = {"axis": alt.Axis(values=[0, 15, 30, 45, 60, 75, 90])}
    degrees |= {"title": "principal angle (degrees)", "scale": alt.Scale(domain=[0, 92], nice=False)}
    x: dict[str, Any] = {"title": "number of the angle (smallest first)", "axis": axis, "scale": scale}
    layers, drawn = _series(data, x, degrees)
    chart = style.panels(layers, drawn, (360, 230), (230, 160))
    columns: list[Any] = [*groups(data, "by"), ("x", "number of the angle"), ("y", "degrees"), "low", "high"]
    about = f"Principal angles in degrees by number; 90: orthogonal. {_ends(data)}."
    return style.finish(chart, about, columns, "by")


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


def _corners(line: pd.DataFrame, offset: float) -> pd.DataFrame:
    """A sorted error curve without the points on a straight piece, with its order and where symbols stand."""
    step = np.diff(line[["fpr", "tpr"]].to_numpy(), axis=0)
    turn = step[:-1, 0] * step[1:, 1] - step[:-1, 1] * step[1:, 0]
    kept = line[np.concatenate([[True], np.abs(turn) > 1e-12, [True]])[: len(line)]]
    if len(kept) > CORNERS:
        kept = kept.iloc[np.unique(np.linspace(0, len(kept) - 1, CORNERS).round().astype(int))]
    length = kept["fpr"].to_numpy() + kept["tpr"].to_numpy()
    # Symbols stand evenly along the curve, shifted from method to method so that close curves stay apart.
    aims = length[0] + (np.arange(MARKED) + 0.25 + offset / 2) / MARKED * (length[-1] - length[0])
    nearest = {int(np.abs(length - aim).argmin()) for aim in aims}
    steps = np.arange(len(kept))
    return kept.assign(step=steps, marked=[s in nearest for s in steps])
