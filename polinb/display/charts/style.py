"""What all figures share: colours and shapes, layers and legends, the common look, and what a notebook's output holds.

A chart's output is its specification, a picture and what the book needs to know (``bundle``): JupyterLab and the
book's pages draw the specification, and where no script runs the picture stays.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from polinb.display.charts.frames import order
from polinb.wording import LIVE, PAYLOAD

VEGA_LITE = "v6_4"  # the version that vl_convert draws with and vendor.py bundles

# Okabe and Ito's colours and, for their grey, Tol's wine: told apart with any common colour blindness
# (tests/display/test_charts.py). The dark ones come first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255", "#000000")
LEFT, RIGHT = "#0072B2", "#D55E00"
GREY = "#6B6B6B"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [4, 4], [10, 3], [1, 3], [12, 2, 2, 2, 2, 2])
PICTURE_SCALE = 1.5  # pixels of the fallback picture a CSS pixel
PALE = 0.12  # opacity of what is not highlighted
# A click on the legend, or the toolbar, pales all series but one: the parameter is on one layer (``symbols``), the
# opacity on every layer drawn by series.
OPACITY = alt.condition(alt.selection_point(name="highlight"), alt.value(1), alt.value(PALE))

Chart = alt.TopLevelMixin


def bundle(spec: dict[str, Any], **_: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
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


def png(spec: dict[str, Any]) -> bytes:
    """A chart's specification as a PNG file, drawn here with no browser and no network."""
    import vl_convert

    return _packed(vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=PICTURE_SCALE))


def _packed(picture: bytes) -> bytes:
    """The same PNG, compressed harder: a quarter of the size, which counts in a page that carries it."""
    head, data, at = picture[:8], b"", 8
    while at < len(picture):
        (size,) = struct.unpack(">I", picture[at : at + 4])
        kind, whole = picture[at + 4 : at + 8], picture[at : at + 12 + size]
        data += whole[8:-4] if kind == b"IDAT" else b""
        head += whole if kind not in (b"IDAT", b"IEND") else b""
        at += len(whole)
    body = b"IDAT" + zlib.compress(zlib.decompress(data), 9)
    return head + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + picture[-12:]


# --- encodings ---


def tip(field: str, title: str = "", form: str = "") -> alt.Tooltip:
    """A line of the tooltip."""
    return alt.Tooltip(field, title=title or alt.Undefined, format=form or alt.Undefined)


INTERVAL = tip("interval:N", "95 % interval")


def colour(name: str, values: list[Any], colours: list[str] | None = None, **options: Any) -> alt.Color:
    """Colour by a category, in the order of ``values``, with the names below the chart."""
    scale = alt.Scale(domain=values, range=colours or cycle(PALETTE, values))
    return alt.Color(f"{name}:N", scale=scale, sort=values, title=None, **{"legend": legend()} | options)


def shape(name: str, values: list[Any], shapes: list[str] | None = None) -> alt.Shape:
    """Shape by a category, in the order of ``values``."""
    scale = alt.Scale(domain=values, range=shapes or turned(SHAPES, values))
    return alt.Shape(f"{name}:N", scale=scale, sort=values, title=None)


def dash(name: str, values: list[Any], **options: Any) -> alt.StrokeDash:
    """Dash by a category, in the order of ``values``; the legend shows the shapes."""
    scale = alt.Scale(domain=values, range=turned(DASHES, values))
    return alt.StrokeDash(f"{name}:N", scale=scale, sort=values, title=None, **options)


def cycle(choices: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """One choice a value, from the start again where there are too few."""
    return [choices[i % len(choices)] for i in range(len(values))]


def turned(choices: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """As ``cycle``, but the ninth is not the first: with eight colours, 64 pairs of colour and shape."""
    return [choices[(i + i // len(PALETTE)) % len(choices)] for i in range(len(values))]


def legend(orient: Any = "bottom", columns: int = 2, **options: Any) -> alt.Legend:
    """Names above or below the chart: beside it, long ones would make it wider than the page."""
    options = {"symbolStrokeWidth": 0} | options
    return alt.Legend(title=None, orient=orient, columns=columns, labelLimit=300, **options)


def bands() -> alt.Axis:
    """A category axis with a line between the categories, so that offset dots stay with their own."""
    return alt.Axis(grid=True, tickBand="extent", ticks=False, labelLimit=260)


def layer_axis(layers: list[Any], few: int) -> alt.X:
    """The model's layers from left to right; where there are more than ``few``, a label for every fifth or tenth."""
    step = 1 if len(layers) <= few else 5 if len(layers) <= 60 else 10
    axis = alt.Axis(values=layers[::step], labelAngle=0)
    return alt.X("layer:O", title="layer (0 = first)", sort=layers, axis=axis)


def header(width: int = 0) -> alt.Header:
    """Title of a panel, in lines of at most ``width`` characters (0: one line)."""
    lines: dict[str, Any] = {}
    if width:  # the page may make the panel narrower than its title
        text = f"length(datum.label) > {width} ? replace(datum.label, ' (', '\\n(') : datum.label"
        broken = f"split(trim(replace({text}, /(.{{1,{width}}})(\\s+|$)/g, '$1\\n')), '\\n')"
        lines = {"labelExpr": broken, "labelLimit": 0, "labelLineHeight": 15}
    return alt.Header(labelFontSize=12, labelFontWeight="bold", labelOrient="top", labelAnchor="start", **lines)


# --- layers ---


def symbols(base: alt.Chart, by: str, size: int = 60, **encoding: Any) -> alt.Chart:
    """A symbol a row, which a click on the legend pales; it tells the series ``by`` without its colour."""
    drawn = base.mark_point(filled=True, size=size).encode(opacity=OPACITY, **encoding)
    return drawn.properties(name="points").add_params(alt.selection_point(name="highlight", fields=[by], bind="legend"))


def once_drawn(colour: str, **style: Any) -> alt.Chart:
    """A line that belongs to no row: one a panel, not one a row on top of each other."""
    return alt.Chart().transform_aggregate(rows="count()").mark_rule(color=colour, **style)


def only_known(chart: alt.Chart, *names: str) -> alt.Chart:
    """Only the rows in which these numbers are known: a missing one must not be drawn at 0."""
    return chart.transform_filter(" && ".join(f"isValid(datum.{name})" for name in names))


def empty(known: pd.Series) -> list[alt.Chart]:
    """A note in the middle of a chart that has nothing to draw, so that it does not look broken."""
    note = alt.Chart().transform_aggregate(rows="count()")
    return [] if known.any() else [note.mark_text(text="no known value", dy=-14, color=GREY, fontSize=12)]


def panels(layers: list[Any], data: pd.DataFrame, one: tuple[int, int], many: tuple[int, int]) -> Any:
    """The layered chart, or one a ``panel`` two abreast; ``one`` and ``many`` are the widths and heights."""
    width, height = many if "panel" in data else one
    chart: Any = alt.layer(*layers, data=data).properties(width=width, height=height)
    return facetted(chart, data, "panel") if "panel" in data else chart


def facetted(chart: Any, data: pd.DataFrame, name: str) -> Any:
    """One panel a value of the column, two abreast."""
    values = order(data[name])
    facet = alt.Facet(f"{name}:N", title=None, sort=values, header=header())
    return chart.facet(facet=facet, columns=min(2, len(values)))


def finish(
    chart: Any,
    description: str,
    columns: Sequence[Any],
    highlighted: str | None = None,
    labels: dict[str, list[str]] | None = None,
) -> Chart:
    """The common look, the alternative text, and what the page's toolbar needs.

    Args:
        chart: any Altair chart.
        description: the alternative text: what the chart shows, and its main numbers.
        columns: what its CSV and LaTeX hold: fields, or pairs of a field and the header it gets.
        highlighted: the field of ``symbols``, if the chart has them.
        labels: what the page shows beside a slider in place of its number 0, 1, ...: parameter → text a step.
    """
    if alt.renderers.active != "polinb":
        alt.renderers.register("polinb", bundle)
        alt.renderers.enable("polinb")
    pairs = [(name, name) if isinstance(name, str) else name for name in columns]
    meta: dict[str, Any] = {"columns": [list(pair) for pair in pairs], "highlight": highlighted}
    meta |= {"labels": labels} if labels else {}
    done: Chart = (
        chart.properties(description=description, background="white", usermeta={"polinb": meta})
        .configure(font="DejaVu Sans, Verdana, sans-serif")
        .configure_axis(labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#E5E5E5")
        .configure_legend(labelFontSize=11, titleFontSize=11, symbolOpacity=1, labelLimit=260)
        .configure_view(stroke="#BBBBBB")
    )
    return done
