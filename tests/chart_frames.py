"""Small frames for every figure, the figures made from them, and what a drawn figure holds."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import vl_convert

from polinb.display import charts

TOPICS = ["crime", "race", "economy"]
CONDITIONS = ["vanilla", "right fine-tune", "InhibitFT"]
METHODS = ["InhibitFT", "random set", "CAFT"]


def dots(by: str = "condition") -> pd.DataFrame:
    grid = [(t, c, 0.1 * i - 0.2 * j) for i, t in enumerate(TOPICS) for j, c in enumerate(CONDITIONS)]
    return pd.DataFrame(grid, columns=["topic", by, "stance"]).assign(low=lambda d: d.stance - 0.1, high=0.9)


def heat(named: bool = True) -> pd.DataFrame:
    rows = [(a, x, y, 0.8 if x == y else -0.1) for a in CONDITIONS[1:] for x in TOPICS for y in TOPICS]
    frame = pd.DataFrame(rows, columns=["condition", "trained", "tested", "delta"])
    return frame if named else frame.head(9).drop(columns="condition")


def bounded() -> pd.DataFrame:
    """Above zero on the diagonal only; one cell has no interval."""
    frame = heat(named=False).assign(low=lambda d: d.delta - 0.3, high=lambda d: d.delta + 0.3, n=8)
    frame.loc[1, "high"] = np.nan
    return frame


def overlaps() -> pd.DataFrame:
    rows = [(x, y, 1.0 if x == y else 0.1 * (i + j)) for i, x in enumerate(TOPICS) for j, y in enumerate(TOPICS)]
    return pd.DataFrame(rows, columns=["first", "second", "value"])


def raw_scores() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shared = rng.lognormal(size=(4, 100))
    return {topic: shared * rng.lognormal(sigma=0.5, size=(4, 100)) for topic in TOPICS}


def beside() -> pd.DataFrame:
    frame = pd.DataFrame({"group": ["R", "R", "share", "share"], "item": ["crime", "crime", "general", "general"]})
    frame = frame.assign(source=["paper: Qwen2.5-3B", "ours"] * 2, value=[0.5, 0.4, 4.35, 3.0])
    return frame.assign(low=[np.nan, 0.3, np.nan, 2.0], high=[np.nan, 0.5, np.nan, 4.0])


def layers() -> pd.DataFrame:
    return pd.DataFrame([(n, k, n + 1) for n in range(6) for k in ("G", "S")], columns=["layer", "type", "count"])


def lines() -> pd.DataFrame:
    places = [(a, x, 0.5 - 0.1 * i - x / 100) for i, a in enumerate(METHODS) for x in (20, 5, 10)]
    frame = pd.DataFrame(places, columns=["by", "x", "y"])  # not sorted
    return frame.assign(low=frame.y - 0.1, high=frame.y + 0.1)


def trade() -> pd.DataFrame:
    rows = [(f"{a} {k}", a, 0.3 * k, 0.1 * k + 0.05 * i) for i, a in enumerate(METHODS) for k in (1, 2, 3)]
    frame = pd.DataFrame(rows, columns=["condition", "family", "x", "y"])
    return frame.assign(x_low=frame.x - 0.1, x_high=frame.x + 0.2, y_low=frame.y - 0.05, y_high=frame.y + 0.04)


def shares() -> pd.DataFrame:
    frame = pd.DataFrame({"label": ["whole", "general (G)", "attention", "random"], "value": [0.8, 0.3, np.nan, -0.05]})
    return frame.assign(low=[0.7, 0.2, np.nan, np.nan], high=[0.9, 0.4, 0.3, 0.1])


def parts() -> pd.DataFrame:
    rows = [(0, "neurons", 2.0), (0, "attention", 1.0), (0, "other", -0.5)]
    rows += [(1, "neurons", -1.0), (1, "attention", 3.0), (1, "other", -0.5)]
    rows += [(2, "neurons", 1.0), (2, "attention", np.nan), (2, "other", 0.0)]
    return pd.DataFrame(rows, columns=["layer", "part", "value"])


def effects() -> pd.DataFrame:
    frame = pd.DataFrame({"group": ["cards", "cards", "random", "random"], "label": list("abcd")})
    return frame.assign(value=[0.5, -1.0, -0.1, 0.2], low=[0.1, np.nan, -0.3, 0.0], high=[0.9, np.nan, 0.1, 0.4])


def blank(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**dict.fromkeys(frame.select_dtypes("float"), np.nan))


CALLS: dict[str, tuple[Callable[[pd.DataFrame], Any], Callable[[], pd.DataFrame]]] = {
    "layer_distribution": (charts.layer_distribution, layers),
    "stance_dots": (charts.stance_dots, dots),
    "coupling_heatmap": (charts.coupling_heatmap, heat),
    "overlap_heatmap": (lambda f: charts.overlap_heatmap(f, "Jaccard overlap"), overlaps),
    "paper_vs_ours": (charts.paper_vs_ours, beside),
    "curve": (lambda f: charts.curve(f, "γ (%)", "coupling R"), lines),
    "pareto": (lambda f: charts.pareto(f, "shift ΔS", "coupling R"), trade),
    "bars": (lambda f: charts.bars(f, "share of the shift"), shares),
    "by_layer": (lambda f: charts.by_layer(f, "contribution (logits)"), parts),
    "card_effects": (lambda f: charts.card_effects(f, "random", "effect"), effects),
}
CHECKED = ("curve", "pareto", "bars", "by_layer")
"""Figures of the chapters beyond the paper: they take frames with gaps."""
MAKERS: dict[str, Callable[[], Any]] = {
    **{name: (lambda call=call, frame=frame: call(frame())) for name, (call, frame) in CALLS.items()},
    **{f"{n}_unknown": (lambda n=n: CALLS[n][0](blank(CALLS[n][1]()))) for n in CHECKED},
    "coupling_heatmap_one": lambda: charts.coupling_heatmap(heat(named=False)),
    "coupling_heatmap_bounded": lambda: charts.coupling_heatmap(bounded()),
    "gamma_slider": lambda: charts.gamma_slider(raw_scores(), 5.0),
    "curve_log": lambda: charts.curve(lines(), "examples", "shift", log_x=True),
}


@cache
def made(name: str) -> str:
    """A figure's specification; NaN and infinity would break the page's script."""
    return json.dumps(MAKERS[name]().to_dict(), allow_nan=False)


def rows(chart: Any) -> list[dict[str, Any]]:
    return [row for data in chart.to_dict()["datasets"].values() for row in data]


@cache
def _picture(spec: str) -> str:
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=charts.VEGA_LITE)
    return svg


def picture(chart: Any) -> str:
    return _picture(json.dumps(chart.to_dict()))


def drawn(chart: Any, role: str) -> list[dict[str, str]]:
    """What the renderer drew: the attributes of every SVG element of this role, its label split into fields."""
    nodes = [n.attrib for n in ElementTree.fromstring(picture(chart)).iter() if n.get("aria-roledescription") == role]
    fields = [[field.split(": ", 1) for field in each["aria-label"].split("; ")] for each in nodes]
    return [each | dict(pair for pair in told if len(pair) == 2) for each, told in zip(nodes, fields, strict=True)]


def strokes(chart: Any, of: str) -> list[dict[str, str]]:
    """The drawn ``line``, ``area`` or ``rule`` marks, those without a label for the reader too."""
    every = ElementTree.fromstring(picture(chart)).iter()
    groups = [node for node in every if node.get("class", "").startswith(f"mark-{of} role-mark")]
    return [node.attrib for group in groups for node in group if {"d", "x2", "y2"} & set(node.keys())]
