"""A still picture of the explorer's map, for readers whose browser runs no scripts."""

from __future__ import annotations

import base64
import html
import struct
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts.style import GREY, LEFT, RIGHT, png

COLUMNS = 96  # cells in a row of the picture, each the strongest of several neurons
CELLS = 4800  # at most, in all: Altair refuses more than 5000 rows
KINDS = ("general (G)", "topic-specific", "neither")
COLOURS = (LEFT, RIGHT, "#E4E7EA")


def map_cells(levels: np.ndarray, cut: int, columns: int = COLUMNS) -> pd.DataFrame:
    """What each cell of the picture holds.

    Args:
        levels: (T, L, F) levels of the neurons for each topic, as in the payload.
        cut: the level from which on a neuron is in N_t.
        columns: cells a layer; fewer where a layer has fewer neurons.

    Returns:
        ``layer``, ``first`` and ``last`` (neurons of the cell), ``kind``: general if one of its neurons is on every
        topic's list, topic-specific if one is on some list.
    """
    inside = levels >= cut
    every, some = np.all(inside, axis=0), np.any(inside, axis=0)
    layers, width = every.shape
    parts = np.array_split(np.arange(width), min(columns, width))
    rows = []
    for layer in range(layers):
        for part in parts:
            kind = 0 if every[layer, part].any() else 1 if some[layer, part].any() else 2
            rows.append((layer, int(part[0]), int(part[-1]), KINDS[kind]))
    return pd.DataFrame(rows, columns=["layer", "first", "last", "kind"])


def picture(payload: Mapping[str, Any], levels: bytes) -> str:
    """The map at the run's γ as an ``img`` with its data and an alternative text.

    Args:
        payload: of :func:`polinb.display.explorer.explorer_payload`.
        levels: its blob of that name.
    """
    layers, width, topics = payload["layers"], payload["width"], payload["topics"]
    gamma = payload["gamma"]
    place = payload["gammas"].index(gamma)
    shape = (len(topics), layers, width)
    level, cut = np.frombuffer(levels, dtype=np.uint8).reshape(shape), payload["cuts"][place]
    cells = map_cells(level, cut, min(COLUMNS, max(1, CELLS // layers)))
    drawn = png(_chart(cells, layers, gamma), scale=1)  # larger would cost the page more than it shows
    wide, tall = struct.unpack(">II", drawn[16:24])
    count = payload["counts"][str(place)]["G"]
    most = f", most of them in layer {(level >= cut).all(axis=0).sum(axis=1).argmax()}" if count else ""
    said = (
        f"Map of all neurons, a row for each of the {layers} layers with {width:,} neurons from left to right, at γ = "
        f"{gamma:g} %: {count:,} general neurons{most}."
    )
    return (
        f'<img class="polinb-still" alt="{html.escape(said, quote=True)}" width="{wide}" height="{tall}" '
        f'src="data:image/png;base64,{base64.b64encode(drawn).decode()}">'
    )


def _chart(cells: pd.DataFrame, layers: int, gamma: float) -> alt.TopLevelMixin:
    step = max(4, min(16, 420 // layers))
    labels = list(range(0, layers, 1 if layers <= 12 else 5))
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(KINDS), range=list(COLOURS)),
        legend=alt.Legend(title=f"a cell holds, at γ = {gamma:g} %, a neuron that is", orient="bottom", titleLimit=400),
    )
    chart: Any = alt.Chart(cells, width=620, height=alt.Step(step)).mark_rect(stroke="white", strokeWidth=0.5)
    x = alt.X("first:O", title="neurons, first to last", axis=alt.Axis(labels=False, ticks=False))
    y = alt.Y("layer:O", title="layer", axis=alt.Axis(values=labels))
    drawn = chart.encode(x=x, y=y, color=colour).configure_view(stroke=None).configure(background="white")
    return drawn.configure_axis(titleColor=GREY, titleFontWeight="normal", domain=False)
