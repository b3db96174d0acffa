"""What all figures share: colours and shapes, the common look, the book's HTML, and checks of the frames.

A chart's output is its specification, a picture and what the book needs to know (``enable``): JupyterLab and the
book's pages draw the specification, and where no script runs the picture stays.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.errors import DataError
from polinb.wording import LIVE, PAYLOAD

VEGA_LITE = "v6_4"  # the version that vl_convert draws with and vendor.py bundles

# Okabe and Ito's colours and, for their grey, Tol's wine: told apart with any common colour blindness
# (tests/test_charts_palette.py). The dark ones come first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255", "#000000")
LEFT, RIGHT = "#0072B2", "#D55E00"
GREY = "#6B6B6B"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [4, 4], [10, 3], [1, 3], [12, 2, 2, 2, 2, 2])
TYPES = {"G": "general (G)", "S": "topic-specific (S)"}
PICTURE_SCALE = 1.5  # pixels of the fallback picture a CSS pixel
PALE = 0.12  # opacity of what is not highlighted

Chart = alt.TopLevelMixin
Columns = Sequence[Any]  # fields of the data, or pairs of a field and its header


def enable() -> None:
    """Show charts as data: live in JupyterLab, as a picture elsewhere, drawn by the page's own script in the book."""
    alt.renderers.register("polinb", bundle)
    alt.renderers.enable("polinb")


def bundle(spec: dict[str, Any], **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """MIME bundle of one Vega-Lite ``spec``, and its metadata; sizes are those of the picture in CSS pixels."""
    picture = png(spec)
    width, height = (round(side / PICTURE_SCALE) for side in struct.unpack(">II", picture[16:24]))
    told = str(spec.get("description") or "chart")
    size = {"width": width, "height": height}
    data = {
        "image/png": base64.b64encode(picture).decode(),
        "text/plain": f"<chart: {told}>",
        LIVE: spec,
        PAYLOAD: {"kind": "chart", "alt": told, **size},
    }
    return data, {"image/png": {**size, "alt": told}}


def png(chart: Chart | dict[str, Any], scale: float = PICTURE_SCALE) -> bytes:
    """The chart as a PNG file, drawn here with no browser and no network."""
    import vl_convert

    spec = chart if isinstance(chart, dict) else chart.to_dict()
    return _packed(vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=scale))


def _packed(picture: bytes) -> bytes:
    """The same PNG, compressed harder: a quarter of the size, which counts in a page that carries it."""
    chunks, data, at = [], b"", 8
    while at < len(picture):
        (size,) = struct.unpack(">I", picture[at : at + 4])
        kind, content = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
        data += content if kind == b"IDAT" else b""
        chunks.append((kind, content))
        at += 12 + size
    whole = (b"IDAT", zlib.compress(zlib.decompress(data), 9))
    kept = [c for c in chunks if c[0] not in (b"IDAT", b"IEND")]
    parts = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in [*kept, whole]]
    end = b"IEND"
    return picture[:8] + b"".join(parts) + struct.pack(">I", 0) + end + struct.pack(">I", zlib.crc32(end))


# --- encodings ---


def colour(name: str, values: list[Any], colours: list[str] | None = None, **options: Any) -> alt.Color:
    """Colour by a category, in the order of ``values``."""
    scale = alt.Scale(domain=values, range=colours or cycle(PALETTE, values))
    return alt.Color(f"{name}:N", scale=scale, sort=values, **({"title": None} | options))


def shape(name: str, values: list[Any], shapes: list[str] | None = None) -> alt.Shape:
    """Shape by a category, in the order of ``values``."""
    scale = alt.Scale(domain=values, range=shapes or turned(SHAPES, values))
    return alt.Shape(f"{name}:N", scale=scale, sort=values, title=None)


def dash(name: str, values: list[Any]) -> alt.StrokeDash:
    """Dash by a category, in the order of ``values``; the legend shows the shapes."""
    scale = alt.Scale(domain=values, range=turned(DASHES, values))
    return alt.StrokeDash(f"{name}:N", scale=scale, sort=values, title=None)


def cycle(choices: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """One choice a value, from the start again where there are too few."""
    return [choices[i % len(choices)] for i in range(len(values))]


def turned(choices: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """As ``cycle``, but the ninth is not the first: with eight colours, 64 pairs of colour and shape."""
    return [choices[(i + i // len(PALETTE)) % len(choices)] for i in range(len(values))]


def highlight(name: str) -> tuple[alt.Parameter, Any]:
    """Parameter and opacity with which a click on the legend, or the toolbar, pales all but one series.

    The parameter goes to one named layer; the opacity to every layer drawn by series.
    """
    chosen = alt.selection_point(name="highlight", fields=[name], bind="legend")
    return chosen, alt.condition(chosen, alt.value(1), alt.value(PALE))


def legend(orient: Any = "bottom", columns: int = 2, **options: Any) -> alt.Legend:
    """Names above or below the chart: beside it, long ones would make it wider than the page."""
    return alt.Legend(
        title=None, orient=orient, columns=columns, labelLimit=300, **({"symbolStrokeWidth": 0} | options)
    )


def bands() -> alt.Axis:
    """A category axis with a line between the categories, so that offset dots stay with their own."""
    return alt.Axis(grid=True, tickBand="extent", ticks=False, labelLimit=260)


def header(width: int = 0) -> alt.Header:
    """Title of a panel, in lines of at most ``width`` characters (0: one line)."""
    lines: dict[str, Any] = {}
    if width:  # the page may make the panel narrower than its title
        text = f"length(datum.label) > {width} ? replace(datum.label, ' (', '\\n(') : datum.label"
        broken = f"split(trim(replace({text}, /(.{{1,{width}}})(\\s+|$)/g, '$1\\n')), '\\n')"
        lines = {"labelExpr": broken, "labelLimit": 0, "labelLineHeight": 15}
    return alt.Header(labelFontSize=12, labelFontWeight="bold", labelOrient="top", labelAnchor="start", **lines)


def finish(
    chart: Any,
    description: str,
    columns: Columns = (),
    highlighted: str | None = None,
    fit: bool = True,
    labels: dict[str, list[str]] | None = None,
) -> Chart:
    """The common look, the alternative text, and what the page's toolbar needs.

    Args:
        chart: any Altair chart.
        description: the alternative text: what the chart shows, and its main numbers.
        columns: what its CSV and LaTeX hold: fields, or pairs of a field and the header it gets; by default all.
        highlighted: the field of ``highlight``, if the chart has one.
        fit: whether the page may make the chart narrower than drawn here to fit a small screen.
        labels: what the page shows beside a slider in place of its number 0, 1, ...: parameter → text a step.
    """
    if alt.renderers.active != "polinb":
        enable()
    pairs = [(name, name) if isinstance(name, str) else name for name in columns]
    meta: dict[str, Any] = {"columns": [list(pair) for pair in pairs], "highlight": highlighted, "fit": fit}
    meta |= {"labels": labels} if labels else {}
    font = "DejaVu Sans, Verdana, sans-serif"
    done: Chart = (
        chart.properties(description=description, background="white", usermeta={"polinb": meta})
        .configure(font=font)
        .configure_axis(labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#E5E5E5")
        .configure_legend(labelFontSize=11, titleFontSize=11, symbolOpacity=1, labelLimit=260)
        .configure_view(stroke="#BBBBBB")
    )
    return done


# --- frames ---


def take(frame: pd.DataFrame, need: list[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Only the wanted columns, infinities as missing; the chart carries no more data than it shows."""
    missing = [name for name in need if name not in frame.columns]
    if missing:
        raise DataError(f"chart: no column {missing[0]!r}; needed {need}, given {list(frame.columns)}")
    if frame.empty:
        raise DataError("chart: the frame has no rows")
    chosen = need + [name for name in optional if name in frame.columns]
    return frame[chosen].replace([np.inf, -np.inf], np.nan).reset_index(drop=True)


def typed(data: pd.DataFrame) -> pd.DataFrame:
    """``type`` spelt out."""
    return data.assign(type=[TYPES.get(str(kind), str(kind)) for kind in data["type"]])


def order(values: Iterable[Any]) -> list[Any]:
    """Distinct values in the order of first appearance, as plain Python values."""
    return [v.item() if isinstance(v, np.generic) else v for v in dict.fromkeys(values)]


def with_interval(data: pd.DataFrame) -> pd.DataFrame:
    """``low`` and ``high`` (missing where not given) and ``interval``, the same as text for the tooltip."""
    for end in ("low", "high"):
        data[end] = pd.to_numeric(data[end]) if end in data else np.nan
    return data.assign(interval=spelt(data, "low", "high"))


def spelt(data: pd.DataFrame, low: str, high: str) -> list[str]:
    """The intervals as text: a tooltip would show a missing end as "null"."""
    pairs = zip(data[low], data[high], strict=True)
    return ["not known" if np.isnan(a) or np.isnan(b) else f"{number(a)} to {number(b)}" for a, b in pairs]


# --- text ---


def signed(value: float) -> str:
    """With its sign and two decimals."""
    return (
        "–" if np.isnan(value) else f"{value:+.2f}".replace("-", "−").replace("+0.00", "0.00").replace("−0.00", "0.00")
    )


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
