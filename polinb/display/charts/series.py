"""What the figures beyond the paper's share: checked frames, lines with bands, panels, and gaps that stay gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts.base import (
    GREY,
    colour,
    dash,
    header,
    highlight,
    legend,
    listed,
    number,
    order,
    shape,
    spelt,
    take,
)
from polinb.errors import DataError

NUMBERS = ("floating", "integer", "mixed-integer-float", "boolean", "decimal", "empty")


def checked(
    frame: pd.DataFrame,
    names: list[str],
    numbers: list[str],
    optional: list[str],
    interval: tuple[str, str] | None = None,
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """The wanted columns: ``names`` given in every row, ``numbers`` as floats, absent ``optional`` ones as NaN.

    ``keep`` is taken if given.
    """
    data = take(frame, names + numbers, [*optional, *keep])
    for name in names + [n for n in ("by", "panel") if n in data]:
        if data[name].isna().any():
            raise DataError(f"chart: column {name!r} has rows without a name")
    for name in numbers + optional:
        if name not in data:
            data[name] = np.nan
        if (kind := pd.api.types.infer_dtype(data[name], skipna=True)) not in NUMBERS:
            raise DataError(f"chart: column {name!r} must hold numbers, given {kind}")
        data[name] = pd.to_numeric(data[name]).astype(float)
    return interval_of(data, *interval) if interval else data


def interval_of(data: pd.DataFrame, low: str, high: str) -> pd.DataFrame:
    """An interval of which an end is missing is no interval; one that is upside down is an error."""
    if (data[low] > data[high]).any():
        raise DataError(f"chart: {low!r} is above {high!r} in row {int((data[low] > data[high]).idxmax())}")
    known = data[low].notna() & data[high].notna()
    return data.assign(**{low: data[low].where(known), high: data[high].where(known)})


def once(data: pd.DataFrame, keys: list[str]) -> None:
    """Two rows for the same keys are an error."""
    twice = data.duplicated(keys)
    if twice.any():
        first = data.loc[twice.idxmax(), keys].to_dict()
        raise DataError(f"chart: more than one row for {first}")


def groups(data: pd.DataFrame, name: str) -> list[str]:
    """What makes a series: its name, and the panel where there are panels."""
    return ["panel", name] if "panel" in data else [name]


def series(data: pd.DataFrame, x: dict[str, Any], y: dict[str, Any]) -> tuple[list[Any], pd.DataFrame]:
    """Band, line and points a series of ``x, y, by, low, high``; an interval with no neighbour as a whisker."""
    data = data.dropna(subset="x").sort_values("x", kind="stable", ignore_index=True)
    known = data["low"].notna()
    lines = known.groupby([data[name] for name in groups(data, "by")], sort=False)
    beside = lines.shift(1, fill_value=False) | lines.shift(-1, fill_value=False)
    data["alone"] = known & ~beside
    kinds = order(data["by"])
    base = alt.Chart().encode(x=alt.X("x:Q", **x), color=colour("by", kinds, legend=legend()))
    chosen, opacity = highlight("by")
    ends: dict[str, Any] = {"y": alt.Y("low:Q", **y), "y2": "high:Q"}
    tips: list[Any] = ["by:N", alt.Tooltip("x:Q", title=x["title"], format=".4~g")]
    tips += [alt.Tooltip("y:Q", title=y["title"], format=".3~g"), alt.Tooltip("interval:N", title="95 % interval")]
    if "panel" in data:
        tips.insert(0, "panel:N")
    data["interval"] = spelt(data, "low", "high")
    points = only_known(base, "x", "y").mark_point(filled=True, size=50)
    layers: list[Any] = [  # a screen reader reads the points; of a line it would read the first row only
        base.mark_area(opacity=0.18, aria=False).encode(**ends, detail="by:N"),
        base.transform_filter("datum.alone").mark_rule(strokeWidth=2).encode(**ends, detail="by:N", opacity=opacity),
        base.mark_line(strokeWidth=2, aria=False).encode(
            y=alt.Y("y:Q", **y), strokeDash=dash("by", kinds), opacity=opacity
        ),
        points.encode(y=alt.Y("y:Q", **y), shape=shape("by", kinds), tooltip=tips, opacity=opacity)
        .properties(name="points")
        .add_params(chosen),
    ]
    return layers + empty(data[["y", "low"]].notna().any(axis=1)), data


def panels(layers: list[Any], data: pd.DataFrame, one: tuple[int, int], many: tuple[int, int]) -> Any:
    """The layered chart, or one a ``panel`` two abreast; ``one`` and ``many`` are the widths and heights."""
    width, height = many if "panel" in data else one
    chart: Any = alt.layer(*layers, data=data).properties(width=width, height=height)
    if "panel" not in data:
        return chart
    panels = order(data["panel"])
    facet = alt.Facet("panel:N", title=None, sort=panels, header=header())
    return chart.facet(facet=facet, columns=min(2, len(panels)))


def once_drawn(colour: str, **style: Any) -> alt.Chart:
    """A line that belongs to no row: one a panel, not one a row on top of each other."""
    return alt.Chart().transform_aggregate(rows="count()").mark_rule(color=colour, **style)


def empty(known: pd.Series) -> list[alt.Chart]:
    """A note in the middle of a chart that has nothing to draw, so that it does not look broken."""
    note = (
        alt.Chart()
        .transform_aggregate(rows="count()")
        .mark_text(text="no known value", dy=-14, color=GREY, fontSize=12)
    )
    return [] if known.any() else [note]


def only_known(chart: alt.Chart, *names: str) -> alt.Chart:
    """Only the rows in which these numbers are known: a missing one must not be drawn at 0."""
    return chart.transform_filter(" && ".join(f"isValid(datum.{name})" for name in names))


def spans_zero(data: pd.DataFrame) -> bool:
    """Whether the values lie on both sides of 0."""
    values = data.to_numpy(dtype=float)
    return bool((values <= 0).any() and (values >= 0).any())


def ends_of(data: pd.DataFrame) -> str:
    """First and last point of each series, for the text."""
    told = []
    known = data.dropna(subset=["x", "y"]).sort_values("x", kind="stable")
    for keys, part in known.groupby(groups(data, "by"), sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        to = f" to {number(last['y'])} at {number(last['x'])}" if len(part) > 1 else ""
        told.append(f"{where(keys)} {number(first['y'])} at {number(first['x'])}{to}")
    return listed(told)


def where(keys: Any) -> str:
    """A series by name."""
    return ", ".join(str(key) for key in keys)
