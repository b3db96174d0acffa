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
from polinb.wording import Effect, Interval, intervals, listed, told

METHODS = {"fine-tune": "right fine-tune", "inhibitft": "InhibitFT", "inhibitft-random": "random sets"}
_STATEMENTS = {"compass": "political_compass", "ideologies": "idrlabs_ideologies"}
_OURS, _ALL = "ours", "paper: all models"
_STANCE = "stance"
_NAMES = {
    **dict.fromkeys(("topic", "trained", "statements", "gamma", "gamma_percent"), "item"),
    **dict.fromkeys(("stance", "r", "rmse"), "value"),
    **{"r_low": "low", "r_high": "high"},
}
"""Columns of the paper's tables and of ours → those of the figures."""
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
    theirs = theirs.assign(kind=theirs["method"], source="paper: " + theirs["model"])
    own = _by_method(table).query("kind in @titles").assign(source="ours")  # the paper has no other controls
    both = pd.concat([each.rename(columns=_NAMES) for each in (own, theirs)])
    by_kind = [part.assign(group=title) for kind, title in titles.items() for part in [both[both["kind"] == kind]]]
    return pd.concat(by_kind, ignore_index=True)[["item", "source", "value", "low", "high", "group"]]


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
    stated = statement_stances(run)
    stated["topic"] = stated["topic"].replace(_STATEMENTS)
    parts = [
        _group("vanilla stance (Table 2)", _STANCE, paper.vanilla_stance(), stances(run)),
        _group("stance on statements (Table 3)", _STANCE, paper.vanilla_transfer(), stated).replace({"item": SETS}),
    ]
    shares = type_shares(run.sets()).groupby("type", sort=False)["percent"].mean()
    for kind, value in PAPER_SHARES.items():
        both = pd.DataFrame({"item": kind, "model": ["all models", None], "value": [value, float(shares[kind])]})
        parts.append(_group("% of neurons (Figure 3b)", "% of neurons", both))
    mean, theirs = _by_method(couplings(run, inhibit_conditions(run))), paper.inhibitft()
    for method, title in METHODS.items():
        own = mean[mean["kind"] == method]
        parts.append(_group(f"R: {title} (Tables 1, 4–6)", "R", theirs[theirs["method"] == method], own))
    topics = run.params.ablation_topics
    theirs = paper.ablated(topics).groupby(["model", "gamma_percent"], as_index=False)["rmse"].mean()
    own = _averaged(gamma_ablation(run).query("condition == 'inhibitft'"), ["gamma"])
    by_gamma = _group(f"R: InhibitFT by γ in per cent, {on_topics(topics)} (Tables 7–10)", "R", theirs, own)
    parts.append(by_gamma.assign(item=by_gamma["item"].map("{:g}".format)))
    frame = pd.concat(parts, ignore_index=True)
    frame["source"] = ("paper: " + frame["model"]).fillna(_OURS)
    return frame[["group", "measure", "item", "source", "value", "low", "high"]]


def _group(title: str, measure: str, *tables: pd.DataFrame) -> pd.DataFrame:
    """Numbers of the paper and ours (without model) as :func:`dots` names them."""
    return pd.concat([each.rename(columns=_NAMES) for each in tables]).assign(group=title, measure=measure)


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """:func:`dots` as a wide table: group, item, ours with its interval as text, one column of numbers a paper's model.

    What the paper gives for all its models at once stands in each of their columns.
    """
    models = sorted(s for s in frame["source"].unique() if s not in (_OURS, _ALL))
    rows = []
    for (group, item), part in frame.groupby(["group", "item"], sort=False):
        own, given = part[part["source"] == _OURS], part.set_index("source")["value"]
        text = "–" if own.empty else intervals(own, "value")[0]
        values = {model: given.get(model, given.get(_ALL, np.nan)) for model in models}
        rows.append({"group": group, "item": item, "ours": text, **values})
    return pd.DataFrame(rows)
