"""PNLAC scores: how they are spread, and which neurons each γ takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from polinb.display.charts.base import (
    DASHES,
    PALETTE,
    Chart,
    colour,
    cycle,
    finish,
    legend,
    listed,
    number,
    order,
    take,
)
from polinb.errors import DataError, ParameterError
from polinb.scoring.pnlac import neuron_sets

GAMMAS = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 10, 12.5, 15, 20, 25)  # per cent; the paper's range and below
GENERAL, SPECIFIC, EVERY = "general (G)", "topic-specific (Sₜ)", "all neurons"
PARTS = ("general (G)", "Sₜ, shared with some topics", "Sₜ of this topic alone (strict)")
SCORE_AXIS = "PNLAC score (log scale)"
TICKS: dict[str, Any] = {"format": "~g", "tickCount": 6, "labelOverlap": "greedy", "labelSeparation": 10}


def score_distribution(frame: pd.DataFrame, thresholds: Iterable[float] = (), bins: int = 40) -> Chart:
    """How PNLAC scores are spread: share of each group's neurons by score, on a logarithmic axis.

    Columns: ``score`` (zero or positive), ``group`` (``G``, ``S``, ``other``, ...). The scores are binned
    here, so the chart stays small however many neurons there are; scores of 0 have no place on the axis and
    are counted in the text.

    Args:
        frame: one row a neuron.
        thresholds: scores drawn as vertical lines, such as the lowest score of the top gamma per cent.
        bins: number of bins, equally wide in the logarithm.
    """
    data = take(frame, ["score", "group"])
    if (data["score"] < 0).any() or not (data["score"] > 0).any():
        raise DataError("score_distribution: scores must be zero or positive, and not all zero")
    zero = int((data["score"] == 0).sum())
    positive = data[data["score"] > 0]
    edges = _edges(float(positive["score"].min()), float(positive["score"].max()), bins)
    groups, parts = order(data["group"]), []
    for group in groups:
        mine = positive.loc[positive["group"] == group, "score"]
        counts = np.histogram(mine, edges)[0]
        share = 100 * counts / max(1, int((data["group"] == group).sum()))
        middle = np.sqrt(edges[:-1] * edges[1:])
        parts.append(pd.DataFrame({"score": middle, "percent": share, "count": counts, "group": group}))
    binned = pd.concat(parts, ignore_index=True)
    dashes = alt.StrokeDash("group:N", scale=alt.Scale(domain=groups, range=cycle(DASHES, groups)))
    x = alt.X("score:Q", title=SCORE_AXIS, scale=alt.Scale(type="log", nice=False), axis=alt.Axis(**TICKS))
    curve = (
        alt.Chart(binned, width=420, height=200)
        .mark_line(interpolate="step", strokeWidth=2)
        .encode(
            x=x,
            y=alt.Y("percent:Q", title="% of the group's neurons"),
            color=colour("group", groups, legend=legend(symbolStrokeWidth=2)),
            strokeDash=dashes,
            tooltip=["group:N", alt.Tooltip("score:Q", format=".3g"), "count:Q"],
        )
    )
    marks = pd.DataFrame({"score": [float(t) for t in thresholds if t > 0]})
    chart: Any = curve
    if len(marks):
        chart = alt.layer(curve, alt.Chart(marks).mark_rule(color="black", strokeWidth=1.5).encode(x="score:Q"))
    medians = positive.groupby("group", sort=False)["score"].median()
    told = ", ".join(f"{g} {v:.2g}" for g, v in medians.items())
    note = f" {zero} neurons with score 0 are not drawn." if zero else ""
    columns = [("score", "score (middle of the bin)"), "group", ("count", "neurons"), ("percent", "percent of group")]
    return finish(chart, f"Distribution of PNLAC scores. Medians: {told}.{note}", columns)


def gamma_slider(
    scores: Mapping[str, np.ndarray],
    gamma: float,
    gammas: Sequence[float] = GAMMAS,
    pool: str = "model",
    bins: int = 40,
) -> Chart:
    """Scores of a topic's neurons with the line that γ draws, and the sets that follow, for a slider and a menu.

    Above: neurons of the chosen topic by score, those of G and S_t by themselves, and the lowest score of N_t.
    Below: the sizes of the sets for every topic. Every size is that of ``pnlac.neuron_sets`` at that γ.
    Without a script the picture shows ``gamma`` and the first topic.

    Args:
        scores: topic → (L, F) scores, zero or positive.
        gamma: the run's own γ in per cent; it becomes a step of the slider.
        gammas: further steps, in per cent.
        pool: as for ``neuron_sets``.
        bins: bins of the histogram, equally wide in the logarithm. The first also holds the neurons with a lower
            score (0.1 % at most) or a score of 0.

    Raises:
        DataError: a negative score, or no score above 0.
        ParameterError: a γ that is not between 0 and 100, or fewer than two topics.
    """
    flat = np.concatenate([score.ravel() for score in scores.values()]) if scores else np.zeros(0)
    if (flat < 0).any() or not (flat > 0).any():
        raise DataError("gamma_slider: scores must be zero or positive, and not all zero")
    if bins < 2:
        raise ParameterError("bins", bins, "2 or more")
    steps = sorted({float(g) for g in (*gammas, gamma)})
    edges = _edges(float(np.quantile(flat[flat > 0], 0.001)), float(flat.max()), bins)
    rows = [row for i, g in enumerate(steps) for row in _sizes(scores, i, g, pool, edges)]
    whole = [{"topic": topic, "count": _binned(score.ravel(), edges)} for topic, score in scores.items()]
    topics, start = list(scores), steps.index(float(gamma))
    step = alt.param(name="step", value=start, bind=alt.binding_range(min=0, max=len(steps) - 1, step=1, name="γ"))
    topic = alt.param(name="topic", value=topics[0], bind=alt.binding_select(options=topics, name="topic"))
    chart: Any = alt.vconcat(
        _histogram(rows, whole, edges), _stacks(rows, topics), spacing=24, center=False
    ).resolve_scale(color="independent", strokeDash="independent")
    own = [row for row in rows if row["step"] == start]
    told = [f"{r['topic']} {r['N']:,} chosen, {r['S']:,} topic-specific, {r['strict']:,} of it alone" for r in own]
    about = (
        f"PNLAC scores and neuron sets at γ = {gamma:g} %: {own[0]['G']:,} general neurons in G; {listed(told)}. "
        f"The line is at {number(own[0]['cut'] or 0)} for {topics[0]}. "
        f"A slider moves γ from {steps[0]:g} to {steps[-1]:g} %."
    )
    columns = [
        "topic",
        ("gamma", "gamma (%)"),
        ("N", "N_t"),
        "G",
        ("S", "S_t"),
        "strict",
        ("cut", "lowest score in Nₜ"),
    ]
    labels = {"step": [f"{g:g} %" for g in steps]}
    chart.datasets = {"sets": rows, "scores": whole}  # not inline: Altair would copy them many times
    return finish(chart.add_params(step, topic), about, columns, labels=labels)


def _edges(low: float, high: float, bins: int) -> np.ndarray:
    edges = np.geomspace(low, high if high > low else low * 10, bins + 1)
    edges[-1] = max(edges[-1], high)  # rounding must not drop the largest
    return edges


def _binned(score: np.ndarray, edges: np.ndarray) -> list[int]:
    """Neurons a bin; what lies below the first edge is in the first bin."""
    counts: list[int] = np.histogram(np.maximum(score, edges[0]), edges)[0].tolist()
    return counts


def _sizes(scores: Mapping[str, np.ndarray], step: int, gamma: float, pool: str, edges: np.ndarray) -> list[Any]:
    """One row a topic: exact sizes at this γ, and G and S_t by bin."""
    sets = neuron_sets(scores, gamma, pool)
    specific, strict = sets.specific, sets.strict
    rows = []
    for topic, score in scores.items():
        mine = score[sets.political[topic]]
        rows.append(
            {
                "topic": topic,
                "step": step,
                "gamma": gamma,
                "cut": float(f"{mine.min():.4g}") if mine.size else None,
                "N": int(mine.size),
                "G": int(sets.general.sum()),
                "S": int(specific[topic].sum()),
                "strict": int(strict[topic].sum()),
                "general": _binned(score[sets.general], edges),
                "specific": _binned(score[specific[topic]], edges),
            }
        )
    return rows


def _histogram(rows: list[Any], whole: list[Any], edges: np.ndarray) -> Any:
    """All neurons of the chosen topic, its G and its S_t by score; the counts in words above."""
    start, ratio = float(np.log(edges[0])), float(np.log(edges[1] / edges[0]))
    middle = f"exp({start:.6g} + {ratio:.6g} * (datum.bin - 0.5))"
    names = [GENERAL, SPECIFIC, EVERY]
    top = max(max(row["count"]) for row in whole)
    scale = alt.Scale(type="log", nice=False, domain=[float(edges[0]), float(edges[-1])])
    x = alt.X("score:Q", title=SCORE_AXIS, scale=scale, axis=alt.Axis(**TICKS))
    ticks = [0, *(10**k for k in range(9) if 10**k <= top)]
    y = alt.Y(
        "count:Q",
        title="neurons (log scale)",
        scale=alt.Scale(type="symlog", constant=1, domain=[0, top], nice=False),
        axis=alt.Axis(values=ticks, format=",d"),
    )
    below = legend(columns=3, symbolStrokeWidth=2)
    shade = colour("set", names, [PALETTE[0], PALETTE[1], "#000000"], legend=below)
    dashed = alt.Scale(domain=names, range=cycle(DASHES, names))
    dashes = alt.StrokeDash("set:N", scale=dashed, sort=names, title=None, legend=below)
    tips = [alt.Tooltip("set:N"), alt.Tooltip("score:Q", format=".3g"), alt.Tooltip("count:Q", title="neurons")]
    chosen, here = "datum.topic == topic", "datum.topic == topic && datum.step == step"
    every = (
        alt.Chart(alt.NamedData("scores"))
        .transform_filter(chosen)
        .transform_flatten(["count"])
        .transform_window(bin="row_number()")
        .transform_calculate(score=middle, set=f"'{EVERY}'")
        .encode(x=x, y=y)
    )
    sets = (
        alt.Chart(alt.NamedData("sets"))
        .transform_filter(here)
        .transform_flatten(["general", "specific"])
        .transform_window(bin="row_number()")
        .transform_fold(["general", "specific"], as_=["kind", "count"])
        .transform_calculate(score=middle, set=f"datum.kind == 'general' ? '{GENERAL}' : '{SPECIFIC}'")
    )
    now = alt.Chart(alt.NamedData("sets")).transform_filter(here)
    said = (
        "'γ = ' + datum.gamma + ' %, ' + datum.topic + ': ' + format(datum.N, ',') + ' neurons in Nₜ, '"
        " + format(datum.G, ',') + ' in G, ' + format(datum.S, ',') + ' in Sₜ'"
    )
    words = now.transform_calculate(said=said).mark_text(align="left", baseline="bottom", fontSize=12, dy=-6)
    line = now.transform_filter("isValid(datum.cut)").mark_rule(strokeWidth=1.5, color="black")
    lowest = alt.Tooltip("cut:Q", title="lowest score in Nₜ", format=".4g")
    return alt.layer(
        every.mark_area(interpolate="step", opacity=0.12, color="black", aria=False),
        every.mark_line(interpolate="step", strokeWidth=1).encode(color=shade, strokeDash=dashes, tooltip=tips),
        sets.mark_line(interpolate="step", strokeWidth=2).encode(
            x=x, y=y, color=shade, strokeDash=dashes, tooltip=tips
        ),
        line.encode(x=alt.X("cut:Q", title=SCORE_AXIS), tooltip=[lowest]),
        words.encode(x=alt.value(0), y=alt.value(0), text="said:N"),
    ).properties(width=420, height=200)


def _stacks(rows: list[Any], topics: list[str]) -> Any:
    """Sizes of the sets of every topic at the chosen γ, as bars and as numbers."""
    most = max(row["N"] for row in rows)
    kinds = list(PARTS)
    base = (
        alt.Chart(alt.NamedData("sets"))
        .transform_filter("datum.step == step")
        .encode(y=alt.Y("topic:N", sort=topics, title=None))
    )
    bars = (
        base.transform_calculate(shared="datum.S - datum.strict")
        .transform_fold(["G", "shared", "strict"], as_=["kind", "count"])
        .transform_calculate(
            part=f"datum.kind == 'G' ? '{kinds[0]}' : datum.kind == 'shared' ? '{kinds[1]}' : '{kinds[2]}'",
            rank="datum.kind == 'G' ? 0 : datum.kind == 'shared' ? 1 : 2",
        )
        .mark_bar(stroke="white", strokeWidth=1)
        .encode(
            x=alt.X("count:Q", title="neurons in Nₜ", scale=alt.Scale(domain=[0, most], nice=False)),
            color=colour("part", kinds, [PALETTE[0], PALETTE[5], PALETTE[6]], legend=legend(columns=1)),
            order="rank:Q",
            tooltip=["topic:N", alt.Tooltip("part:N", title="set"), alt.Tooltip("count:Q", title="neurons")],
        )
    )
    said = "'G ' + format(datum.G, ',') + ' · Sₜ ' + format(datum.S, ',') + ' · strict ' + format(datum.strict, ',')"
    words = base.transform_calculate(said=said).mark_text(align="left", fontSize=11, dx=6)
    beside = words.encode(x=alt.value("width"), text="said:N")  # right of the bars, however wide they are
    return alt.layer(bars, beside).properties(width=340, height=alt.Step(22))
