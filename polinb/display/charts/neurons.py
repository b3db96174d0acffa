"""Which neurons: how many in each layer, what share, how their scores are spread, and which of them each γ takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts import style
from polinb.display.charts.frames import listed, number, order, take
from polinb.display.charts.style import PALETTE, Chart, tip
from polinb.errors import DataError
from polinb.scoring.pnlac import neuron_sets

TYPES = {"G": "general (G)", "S": "topic-specific (S)"}
GAMMAS = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 10, 12.5, 15, 20, 25)  # per cent; the paper's range and below
BINS = 40  # of the histogram; the first also holds the neurons with a lower score (0.1 % at most) or a score of 0
GENERAL, SPECIFIC, EVERY = "general (G)", "topic-specific (Sₜ)", "all neurons"
PARTS = ("general (G)", "Sₜ, shared with some topics", "Sₜ of this topic alone (strict)")
SCORE_AXIS = "PNLAC score (log scale)"
TICKS: dict[str, Any] = {"format": "~g", "tickCount": 6, "labelOverlap": "greedy", "labelSeparation": 10}


def layer_distribution(frame: pd.DataFrame) -> Chart:
    """Figures 3a and 6: political neurons per layer, one panel a type; dashed: the same number in every layer.

    Columns: ``layer`` (from 0), ``type`` (``G``, ``S`` or any other name), ``count`` (neurons); optional ``low``
    and ``high`` (the lowest and highest topic, where ``count`` is a mean over topics).
    """
    data = take(frame, ["layer", "type", "count"], ["low", "high"]).replace({"type": TYPES})
    kinds, layers = order(data["type"]), order(sorted(data["layer"]))
    sums = data.groupby("type")["count"].transform("sum")
    data["even"] = sums / len(layers)
    data["percent"] = (100 * data["count"] / sums.where(sums > 0)).fillna(0)
    ranged = ["low", "high"] if {"low", "high"} <= set(data) else []
    tips = ["layer:O", "type:N", tip("count:Q", "neurons", ",.4~g"), tip("percent:Q", "% of this type", ".1f")]
    tips += [tip(f"{end}:Q", f"{end}est topic", ",.4~g") for end in ranged]
    base = alt.Chart().encode(x=style.layer_axis(layers, 12))
    fill = style.colour("type", kinds, legend=None)
    drawn = [base.mark_bar().encode(y=alt.Y("count:Q", title="neurons"), color=fill, tooltip=tips)]
    if ranged:
        ends = base.transform_filter("datum.high > datum.low").mark_rule(color="black", aria=False)
        drawn.append(ends.encode(y=alt.Y("low:Q", title="neurons"), y2="high:Q"))
    even = alt.Chart().transform_aggregate(even="mean(even)", groupby=["type"])
    even = even.mark_rule(strokeDash=[4, 3], color="black", aria=False).encode(y=alt.Y("even:Q", title="neurons"))
    chart = alt.layer(*drawn, even, data=data).properties(width=420, height=110)
    rows = alt.Row("type:N", title=None, sort=kinds, header=style.header())
    told = []
    for kind, part in data.groupby("type", sort=False):
        top = part.loc[part["count"].idxmax()]
        most = f"most in layer {top['layer']} ({number(top['count'])}, {number(top['percent'])} %)"
        told.append(f"{kind}: {number(part['count'].sum())} in all, {most}")
    columns: list[Any] = ["layer", "type", ("count", "neurons"), ("percent", "percent of type"), *ranged]
    about = f"Political neurons per layer; dashed line: an even spread. {'; '.join(told)}."
    return style.finish(chart.facet(row=rows).resolve_scale(y="independent"), about, columns)


def gamma_slider(scores: Mapping[str, np.ndarray], gamma: float, pool: str = "model") -> Chart:
    """Scores of a topic's neurons with the line that γ draws, and the sets that follow, for a slider and a menu.

    Above: neurons of the chosen topic by score, those of G and S_t by themselves, and the lowest score of N_t.
    Below: the sizes of the sets for every topic. Every size is that of ``pnlac.neuron_sets`` at that γ.
    Without a script the picture shows ``gamma`` and the first topic.

    Args:
        scores: topic → (L, F) scores, zero or positive.
        gamma: the run's own γ in per cent; it becomes a step of the slider, beside :data:`GAMMAS`.
        pool: as for ``neuron_sets``.

    Raises:
        DataError: a negative score, or no score above 0.
        ParameterError: a γ that is not between 0 and 100, or fewer than two topics.
    """
    flat = np.concatenate([score.ravel() for score in scores.values()]) if scores else np.zeros(0)
    if (flat < 0).any() or not (flat > 0).any():
        raise DataError("gamma_slider: scores must be zero or positive, and not all zero")
    steps = sorted({float(g) for g in (*GAMMAS, gamma)})
    low, high = float(np.quantile(flat[flat > 0], 0.001)), float(flat.max())
    edges = np.geomspace(low, high if high > low else low * 10, BINS + 1)  # equally wide in the logarithm
    edges[-1] = max(edges[-1], high)  # rounding must not drop the largest
    whole, rows = [{"topic": topic, "count": _binned(score, edges)} for topic, score in scores.items()], []
    for i, g in enumerate(steps):
        sets = neuron_sets(scores, g, pool)
        specific, strict, general = sets.specific, sets.strict, int(sets.general.sum())
        for topic, score in scores.items():
            mine, own = score[sets.political[topic]], score[specific[topic]]
            row = {"topic": topic, "step": i, "gamma": g, "cut": float(f"{mine.min():.4g}") if mine.size else None}
            row |= {"N": mine.size, "G": general, "S": own.size, "strict": int(strict[topic].sum())}
            rows.append(row | {"general": _binned(score[sets.general], edges), "specific": _binned(own, edges)})
    topics, start = list(scores), steps.index(float(gamma))
    step = alt.param(name="step", value=start, bind=alt.binding_range(min=0, max=len(steps) - 1, step=1, name="γ"))
    menu = alt.param(name="topic", value=topics[0], bind=alt.binding_select(options=topics, name="topic"))
    parts = alt.vconcat(_histogram(whole, edges), _stacks(rows, topics), spacing=24, center=False)
    chart: Any = parts.resolve_scale(color="independent", strokeDash="independent").add_params(step, menu)
    chart.datasets = {"sets": rows, "scores": whole}  # not inline: Altair would copy them many times
    own = [row for row in rows if row["step"] == start]
    told = [f"{r['topic']} {r['N']:,} chosen, {r['S']:,} topic-specific, {r['strict']:,} of it alone" for r in own]
    about = (
        f"PNLAC scores and neuron sets at γ = {gamma:g} %: {own[0]['G']:,} general neurons in G; {listed(told)}. "
        f"The line is at {number(own[0]['cut'] or 0)} for {topics[0]}. "
        f"A slider moves γ from {steps[0]:g} to {steps[-1]:g} %."
    )
    columns: list[Any] = ["topic", ("gamma", "gamma (%)"), ("N", "N_t"), "G", ("S", "S_t"), "strict"]
    columns.append(("cut", "lowest score in Nₜ"))
    return style.finish(chart, about, columns, labels={"step": [f"{g:g} %" for g in steps]})


def _binned(score: np.ndarray, edges: np.ndarray) -> Any:
    """Neurons a bin; what lies below the first edge is in the first bin."""
    return np.histogram(np.maximum(score, edges[0]), edges)[0].tolist()


def _histogram(whole: list[Any], edges: np.ndarray) -> Any:
    """All neurons of the chosen topic, its G and its S_t by score; the counts in words above."""
    start, ratio = float(np.log(edges[0])), float(np.log(edges[1] / edges[0]))
    middle = f"exp({start:.6g} + {ratio:.6g} * (datum.bin - 0.5))"
    names = [GENERAL, SPECIFIC, EVERY]
    top = max(max(row["count"]) for row in whole)
    scale = alt.Scale(type="log", nice=False, domain=[float(edges[0]), float(edges[-1])])
    height = alt.Scale(type="symlog", constant=1, domain=[0, top], nice=False)
    ticks = alt.Axis(values=[0, *(10**k for k in range(9) if 10**k <= top)], format=",d")
    place: dict[str, Any] = {
        "x": alt.X("score:Q", title=SCORE_AXIS, scale=scale, axis=alt.Axis(**TICKS)),
        "y": alt.Y("count:Q", title="neurons (log scale)", scale=height, axis=ticks),
    }
    below = style.legend(columns=3, symbolStrokeWidth=2)
    look: dict[str, Any] = {
        "color": style.colour("set", names, [PALETTE[0], PALETTE[1], "#000000"], legend=below),
        "strokeDash": style.dash("set", names, legend=below),
        "tooltip": [tip("set:N"), tip("score:Q", form=".3g"), tip("count:Q", "neurons")],
    }
    every = alt.Chart(alt.NamedData("scores")).transform_filter("datum.topic == topic").transform_flatten(["count"])
    every = every.transform_window(bin="row_number()").transform_calculate(score=middle, set=f"'{EVERY}'")
    now = alt.Chart(alt.NamedData("sets")).transform_filter("datum.topic == topic && datum.step == step")
    sets = now.transform_flatten(["general", "specific"]).transform_window(bin="row_number()")
    sets = sets.transform_fold(["general", "specific"], as_=["kind", "count"])
    sets = sets.transform_calculate(score=middle, set=f"datum.kind == 'general' ? '{GENERAL}' : '{SPECIFIC}'")
    said = (
        "'γ = ' + datum.gamma + ' %, ' + datum.topic + ': ' + format(datum.N, ',') + ' neurons in Nₜ, '"
        " + format(datum.G, ',') + ' in G, ' + format(datum.S, ',') + ' in Sₜ'"
    )
    words = now.transform_calculate(said=said).mark_text(align="left", baseline="bottom", fontSize=12, dy=-6)
    line = now.transform_filter("isValid(datum.cut)").mark_rule(strokeWidth=1.5, color="black")
    lowest = tip("cut:Q", "lowest score in Nₜ", ".4g")
    return alt.layer(
        every.mark_area(interpolate="step", opacity=0.12, color="black", aria=False).encode(**place),
        every.mark_line(interpolate="step", strokeWidth=1).encode(**place, **look),
        sets.mark_line(interpolate="step", strokeWidth=2).encode(**place, **look),
        line.encode(x=alt.X("cut:Q", title=SCORE_AXIS), tooltip=[lowest]),
        words.encode(x=alt.value(0), y=alt.value(0), text="said:N"),
    ).properties(width=420, height=200)


def _stacks(rows: list[Any], topics: list[str]) -> Any:
    """Sizes of the sets of every topic at the chosen γ, as bars and as numbers."""
    base = alt.Chart(alt.NamedData("sets")).transform_filter("datum.step == step")
    base = base.encode(y=alt.Y("topic:N", sort=topics, title=None))
    split = base.transform_calculate(shared="datum.S - datum.strict")
    split = split.transform_fold(["G", "shared", "strict"], as_=["kind", "count"])
    split = split.transform_calculate(
        part=f"datum.kind == 'G' ? '{PARTS[0]}' : datum.kind == 'shared' ? '{PARTS[1]}' : '{PARTS[2]}'",
        rank="datum.kind == 'G' ? 0 : datum.kind == 'shared' ? 1 : 2",
    )
    wide = alt.Scale(domain=[0, max(row["N"] for row in rows)], nice=False)
    colours, below = [PALETTE[0], PALETTE[5], PALETTE[6]], style.legend(columns=1)
    bars = split.mark_bar(stroke="white", strokeWidth=1).encode(
        x=alt.X("count:Q", title="neurons in Nₜ", scale=wide),
        color=style.colour("part", list(PARTS), colours, legend=below),
        order="rank:Q",
        tooltip=["topic:N", tip("part:N", "set"), tip("count:Q", "neurons")],
    )
    said = "'G ' + format(datum.G, ',') + ' · Sₜ ' + format(datum.S, ',') + ' · strict ' + format(datum.strict, ',')"
    words = base.transform_calculate(said=said).mark_text(align="left", fontSize=11, dx=6)
    beside = words.encode(x=alt.value("width"), text="said:N")  # right of the bars, however wide they are
    return alt.layer(bars, beside).properties(width=340, height=alt.Step(22))
