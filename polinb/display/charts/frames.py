"""What the figures ask of a frame, and numbers as text: a wrong column is an error, a missing number stays a gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.errors import DataError

ENDS = ("low", "high", "interval")


def take(frame: pd.DataFrame, need: list[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Only the wanted columns, infinities as missing; the chart carries no more data than it shows."""
    missing = [name for name in need if name not in frame.columns]
    if missing:
        raise DataError(f"chart: no column {missing[0]!r}; needed {need}, given {list(frame.columns)}")
    if frame.empty:
        raise DataError("chart: the frame has no rows")
    chosen = need + [name for name in optional if name in frame.columns]
    return frame[chosen].replace([np.inf, -np.inf], np.nan).reset_index(drop=True)


def checked(
    frame: pd.DataFrame,
    names: list[str],
    numbers: list[str],
    ends: Sequence[tuple[str, str, str]] = (),
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """The wanted columns: ``names``, ``numbers`` as floats, absent ends as NaN.

    ``ends`` are the columns of an interval, and the one that will hold it as text. An interval that lacks an end or one
    of ``numbers`` is no interval, one upside down is an error. ``keep`` is taken if given.
    """
    further = [end for low, high, _ in ends for end in (low, high)]
    data = take(frame, names + numbers, [*further, *keep])
    for name in [*numbers, *further]:
        data[name] = data[name].astype(float) if name in data else np.nan
    for low, high, text in ends:
        if (data[low] > data[high]).any():
            raise DataError(f"chart: {low!r} is above {high!r} in row {int((data[low] > data[high]).idxmax())}")
        data[[low, high]] = data[[low, high]].where(data[[*numbers, low, high]].notna().all(axis=1))
        data[text] = spelt(data[low], data[high])
    return data


def with_interval(data: pd.DataFrame) -> pd.DataFrame:
    """``low`` and ``high`` (missing where not given) and ``interval``, the same as text for the tooltip."""
    for end in ("low", "high"):
        data[end] = pd.to_numeric(data[end]) if end in data else np.nan
    return data.assign(interval=spelt(data["low"], data["high"]))


def spelt(lows: pd.Series, highs: pd.Series) -> list[str]:
    """The intervals as text: a tooltip would show a missing end as "null"."""
    pairs = zip(lows, highs, strict=True)
    return ["not known" if np.isnan(a) or np.isnan(b) else f"{number(a)} to {number(b)}" for a, b in pairs]


def order(values: Iterable[Any]) -> list[Any]:
    """Distinct values in the order of first appearance, as plain Python values."""
    return [v.item() if isinstance(v, np.generic) else v for v in dict.fromkeys(values)]


def groups(data: pd.DataFrame, name: str) -> list[str]:
    """What makes a series: its name, and the panel where there are panels."""
    return ["panel", name] if "panel" in data else [name]


def number(value: float) -> str:
    """With three significant digits."""
    if np.isnan(value):
        return "–"
    return (f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}").replace("-", "−")


def listed(told: Iterable[str], most: int = 10) -> str:
    """The first ``most`` facts; a screen reader should not read out a table."""
    told = list(told)
    more = f"; and {len(told) - most} more" if len(told) > most else ""
    return "; ".join(told[:most]) + more if told else "no known value"
