"""The paper beside ours: its claims, its exhibits and its numbers next to this run's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper import paper
from polinb.chapters.paper.neuron_tables import type_shares
from polinb.chapters.paper.results import (
    couplings,
    gamma_ablation,
    inhibit_conditions,
    stances,
    statement_stances,
)
from polinb.labels import SETS
from polinb.runs.run import Run
from polinb.stance.coupling import mitigation
from polinb.wording import Effect, Interval, intervals, listed, number, told

METHODS = {"fine-tune": "right fine-tune", "inhibitft": "InhibitFT", "inhibitft-random": "random sets"}
_STATEMENTS = {"compass": "political_compass", "ideologies": "idrlabs_ideologies"}
_OURS, _ALL = "ours", "paper: all models"
_STANCE, _SHARE = "stance", "% of neurons"
PAPER_SHARES = {"general": 4.35, "topic-specific": 0.65}  # Figure 3b, for all models


def paper_mitigation() -> pd.DataFrame:
    """The paper's mitigation by model and method, counted both ways: condition, points, relative."""
    rows = []
    for model, own in paper.inhibitft().groupby("model", sort=False):
        by = {m: g.set_index("topic")["rmse"].to_dict() for m, g in own.groupby("method")}
        for method, title in (("inhibitft", "InhibitFT"), ("inhibitft-random", "random")):
            rows.append({"condition": f"paper: {model}, {title}", **mitigation(by["fine-tune"], by[method])})
    return pd.DataFrame(rows)


def inhibit_lines(table: pd.DataFrame) -> pd.DataFrame:
    """R by topic and method for the figure: item, source, value, low, high, group."""
    titles = {"fine-tune": "right fine-tune", "inhibitft": "InhibitFT (G)", "inhibitft-random": "random"}
    theirs = paper.inhibitft()
    rows = pd.DataFrame(
        {
            "item": theirs["topic"],
            "source": "paper: " + theirs["model"],
            "value": theirs["rmse"],
            "group": theirs["method"].map(titles),
        }
    )
    mean = _by_method(table).query("kind in @titles")  # the paper has no other controls
    own = pd.DataFrame(
        {
            "item": mean["trained"],
            "source": "ours",
            "value": mean["r"],
            "low": mean["r_low"],
            "high": mean["r_high"],
            "group": mean["kind"].map(titles),
        }
    )
    both = pd.concat([own, rows], ignore_index=True)
    order = list(titles.values())
    return both.sort_values("group", key=lambda c: c.map(order.index), kind="stable").reset_index(drop=True)


def _by_method(table: pd.DataFrame) -> pd.DataFrame:
    """R by the paper's methods and trained topic, random sets averaged: kind, trained, r, r_low, r_high."""
    kind = table["condition"].where(~table["condition"].str.startswith("random"), "inhibitft-random")
    return _averaged(table.assign(kind=kind), ["kind", "trained"])


def _averaged(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means of R; a mean of several rows has no interval, one row keeps its own: r, r_low, r_high."""
    ends = ["r_low", "r_high"]
    groups = table.groupby(by, sort=False)
    mean = groups[["r", *ends]].mean()
    mean.loc[groups.size() > 1, ends] = np.nan
    return mean.reset_index()


def claim(text: str, measure: str, effect: Effect, sign: int = 1) -> dict[str, Any]:
    """A row of the table of claims, with what its interval allows to say.

    Args:
        sign: of the effect that the claim is about; 0: it says that there is none.

    Returns:
        claim, measure, effect (with interval), verdict.
    """
    if sign:
        above, below = ("seen here", "the opposite is seen")[::sign]
        verdict = told(effect, above, below, "not decided: the interval includes 0", "not decided: no interval")
    else:
        out = "not so: the interval excludes 0"
        verdict = told(effect, out, out, "compatible", "not decided: no interval")
    return {"claim": text, "measure": measure, "effect": Interval(*effect, signed=True), "verdict": verdict}


def on_topics(topics: Sequence[str]) -> str:
    """Which topics a mean is over."""
    return topics[0] if len(topics) == 1 else f"mean over {listed(topics)}"


def dots(run: Run) -> pd.DataFrame:
    """The paper's numbers and ours for one figure: group, measure (of the group), item, source, value, low, high."""
    wide = ["group", "measure", "item", "source", "value", "low", "high"]
    parts = []
    theirs = paper.vanilla_stance()
    group = {"group": "vanilla stance (Table 2)", "measure": _STANCE}
    parts.append(theirs.assign(**group, item=theirs["topic"], value=theirs["stance"]))
    ours = stances(run)
    parts.append(ours.assign(**group, item=ours["topic"], value=ours["stance"], model=None))
    theirs = paper.vanilla_transfer()
    group = {"group": "stance on statements (Table 3)", "measure": _STANCE}
    parts.append(theirs.assign(**group, item=theirs["statements"].replace(SETS), value=theirs["stance"]))
    ours = statement_stances(run)
    item = ours["topic"].map(_STATEMENTS).fillna(ours["topic"]).replace(SETS)
    parts.append(ours.assign(**group, item=item, value=ours["stance"], model=None))
    shares = type_shares(run.sets()).groupby("type", sort=False)["percent"].mean()
    for kind, value in PAPER_SHARES.items():
        both = pd.DataFrame({"model": ["all models", None], "value": [value, float(shares[kind])]})
        parts.append(both.assign(group="% of neurons (Figure 3b)", measure=_SHARE, item=kind))
    parts += [part.assign(measure="R") for part in _coupling_dots(run)]
    frame = pd.concat(parts, ignore_index=True)
    frame["source"] = ["ours" if m is None or m != m else f"paper: {m}" for m in frame["model"]]
    return frame.reindex(columns=wide)


def _coupling_dots(run: Run) -> list[pd.DataFrame]:
    """R by condition and topic (Tables 1, 4–6) and by γ (Tables 7–10), theirs and ours."""
    names = {"r": "value", "r_low": "low", "r_high": "high"}
    mean = _by_method(couplings(run, inhibit_conditions(run)))
    parts = []
    for method in ("fine-tune", "inhibitft", "inhibitft-random"):
        group = f"R: {METHODS[method]} (Tables 1, 4–6)"
        theirs = paper.inhibitft().query("method == @method")
        parts.append(
            theirs.assign(group=group, item=theirs["topic"], value=theirs["rmse"])[["group", "item", "value", "model"]]
        )
        own = mean[mean["kind"] == method].rename(columns={**names, "trained": "item"})
        parts.append(own.assign(group=group, model=None))
    topics = run.params.ablation_topics
    group = f"R: InhibitFT by γ in per cent, {on_topics(topics)} (Tables 7–10)"
    theirs = paper.ablated(topics).groupby(["model", "gamma_percent"], as_index=False)["rmse"].mean()
    theirs["item"] = theirs["gamma_percent"].map("{:g}".format)
    parts.append(theirs.assign(group=group, value=theirs["rmse"])[["group", "item", "value", "model"]])
    own = _averaged(gamma_ablation(run).query("condition == 'inhibitft'"), ["gamma"]).rename(columns=names)
    parts.append(own.assign(group=group, item=own["gamma"].map("{:g}".format), model=None))
    return parts


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """:func:`dots` as a wide table: group, item, ours with its interval as text, one column of numbers a paper's model.

    What the paper gives for all its models at once stands in each of their columns.
    """
    models = sorted(s for s in frame["source"].unique() if s not in (_OURS, _ALL))
    rows = []
    for (group, item), part in frame.groupby(["group", "item"], sort=False):
        own, given = part[part["source"] == _OURS], part.set_index("source")["value"]
        text = "–" if own.empty else _shown(own.iloc[0])
        values = {model: given.get(model, given.get(_ALL, np.nan)) for model in models}
        rows.append({"group": group, "item": item, "ours": text, **values})
    return pd.DataFrame(rows)


def _shown(row: pd.Series) -> str | Interval:
    known = not np.isnan([row["low"], row["high"]]).any()
    return intervals(row.to_frame().T, "value")[0] if known else number(row["value"], sign=False)
