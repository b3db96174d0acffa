"""The paper beside ours: its claims, its exhibits and its numbers next to this run's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper import paper
from polinb.chapters.paper.neuron_tables import type_shares
from polinb.chapters.paper.patch_tables import LAYER, NEXT, patch_summary, specific_shift
from polinb.chapters.paper.results import (
    TITLES,
    couplings,
    gamma_ablation,
    inhibit_conditions,
    mitigations,
    spill_over,
)
from polinb.labels import SETS
from polinb.runs.run import Run
from polinb.stance.stance import stance_table
from polinb.wording import Effect, Interval, intervals, listed, told, typeset

METHODS = {"fine-tune": "right fine-tune", "inhibitft": "InhibitFT", "inhibitft-random": "random sets"}
_STATEMENTS = {"compass": "political_compass", "ideologies": "idrlabs_ideologies"}
_OURS, _ALL = "ours", "paper: all models"
_NAMES = {
    **dict.fromkeys(("topic", "trained", "statements", "gamma", "gamma_percent"), "item"),
    **dict.fromkeys(("stance", "r", "rmse"), "value"),
    "method": "kind",
    **{"r_low": "low", "r_high": "high"},
}
"""Columns of the paper's tables and of ours → those of the figures."""
PAPER_SHARES = {"general": 4.35, "topic-specific": 0.65}  # Figure 3b, for all models


def paper_mitigation() -> pd.DataFrame:
    """The paper's mitigation by model and method, counted both ways: condition, points, relative."""
    named = paper.inhibitft().rename(columns={"method": "condition", "topic": "trained", "rmse": "r"})
    named["condition"] = named["condition"].replace({"inhibitft": "InhibitFT", "inhibitft-random": "random"})
    found = named.groupby("model", sort=False)[["condition", "trained", "r"]].apply(mitigations).reset_index("model")
    found["condition"] = "paper: " + found.pop("model") + ", " + found["condition"]
    return found


def inhibit_lines(table: pd.DataFrame) -> pd.DataFrame:
    """R by topic and method for the figure: item, source, value, low, high, group."""
    titles = {"fine-tune": "right fine-tune", "inhibitft": "InhibitFT (G)", "inhibitft-random": "random"}
    own, theirs = _by_method(table).assign(source=_OURS), paper.inhibitft()
    theirs["source"] = "paper: " + theirs["model"]
    both = pd.concat([each.rename(columns=_NAMES) for each in (own, theirs)]).set_index("kind").loc[list(titles)]
    both["group"] = both.index.map(titles)
    return both[["item", "source", "value", "low", "high", "group"]].reset_index(drop=True)


def _by_method(table: pd.DataFrame) -> pd.DataFrame:
    """R by method and trained topic, random sets averaged as in the paper: kind, trained, r, r_low, r_high."""
    kind = table["condition"].where(~table["condition"].str.startswith("random"), "inhibitft-random")
    return _averaged(table.assign(kind=kind), ["kind", "trained"])


def _averaged(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means of R; a mean of several rows has no interval, one row keeps its own: r, r_low, r_high."""
    groups = table.groupby(by, sort=False)[["r", "r_low", "r_high"]]
    mean = groups.mean()
    mean.loc[groups.size() > 1, ["r_low", "r_high"]] = np.nan
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
    p, topics = run.params, run.params.ablation_topics
    asked, stated = (stance_table(each, p.bootstrap, p.seed) for each in (run.stances(), run.statement_stances()))
    stated["topic"] = stated["topic"].replace(_STATEMENTS)
    parts = [
        _group("vanilla stance (Table 2)", "stance", paper.vanilla_stance(), asked),
        _group("stance on statements (Table 3)", "stance", paper.vanilla_transfer(), stated).replace({"item": SETS}),
    ]
    shares = type_shares(run.sets()).groupby("type", sort=False)["percent"].mean()
    for kind, value in PAPER_SHARES.items():
        both = pd.DataFrame({"item": kind, "model": ["all models", None], "value": [value, float(shares[kind])]})
        parts.append(_group("% of neurons (Figure 3b)", "% of neurons", both))
    mean, theirs = _by_method(couplings(run, inhibit_conditions(run))), paper.inhibitft()
    for method, title in METHODS.items():
        own = mean[mean["kind"] == method]
        parts.append(_group(f"R: {title} (Tables 1, 4–6)", "R", theirs[theirs["method"] == method], own))
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


# --- every figure and table of the paper with what answers it here


def exhibit_map(run: Run) -> pd.DataFrame:
    """Every figure and table of the paper: exhibit, about, paper (its numbers), ours, differs, here (links)."""
    frozen = _by_condition(couplings(run, inhibit_conditions(run)))
    found = {**_figures(run, frozen), **_tables(run, frozen)}
    # what differs in this run alone
    cut = "; CoLA and MNLI only with utility=classifier" if run.params.utility == "stand_in" else "; –"
    tried = f"γ of this run: {', '.join(f'{g:g}' for g in run.params.gammas)}; "
    rows = []
    for item in paper.exhibits().itertuples():
        differs = item.differs + (cut if item.numbers == "inhibitft" else "")
        differs = (tried if item.numbers == "gamma_ablation" else "") + differs
        links = ", ".join(f"{{numref}}`{label}`" for label in item.counterparts)
        title, about = f"{str(item.kind).capitalize()} {item.number}", f"{item.caption} (section {item.section})"
        rows.append((title, about, *map(typeset, found[item.id]), differs, links))
    return pd.DataFrame(rows, columns=["exhibit", "about", "paper", "ours", "differs", "here"])


def _figures(run: Run, frozen: str) -> dict[str, tuple[str, str]]:
    """Figure → what the paper says, what we found."""
    own, away, _ = (effect[0] for effect in spill_over(run).values())
    shares = type_shares(run.sets()).groupby("type", sort=False)["percent"].mean()
    patched = patch_summary(run).set_index("set")["shift"]
    specific, other = specific_shift(run)
    plots = "bars without printed values"
    where = (
        f"{PAPER_SHARES['general']} % general, {PAPER_SHARES['topic-specific']} % specific",
        f"{shares['general']:.2f} %, {shares['topic-specific']:.2f} %",
    )
    patch = (
        f"G {patched['G']:+.2f}, its controls {patched[LAYER]:+.2f} and {patched[NEXT]:+.2f}; "
        f"$S_t$ {specific[0]:+.2f} on its topic, {other[0]:+.2f} elsewhere"
    )
    return {
        "figure-1": ("a drawing", f"shift {own:+.2f} on the trained topic, {away:+.2f} elsewhere"),
        "figure-2": ("a diagram of the method", "chapters 3, 6 and 7"),
        **dict.fromkeys(("figure-3", "figure-6"), where),
        **dict.fromkeys((f"figure-{n}" for n in (4, 7, 8, 9)), (plots, patch)),
        **dict.fromkeys((f"figure-{n}" for n in (5, 10, 11, 12)), (plots, frozen)),
    }


def _tables(run: Run, frozen: str) -> dict[str, tuple[str, str]]:
    """Table → the paper's numbers in short, ours."""
    out = {}
    for name, theirs, rated, over in (
        ("table-2", paper.vanilla_stance(), run.stances(), " (mean over topics)"),
        ("table-3", paper.vanilla_transfer(), run.statement_stances(), ""),
    ):
        by = theirs.groupby("model", sort=False)["stance"].mean()
        said = ", ".join(f"{model} {value:+.2f}" for model, value in by.items())
        out[name] = (said, f"{rated.groupby('topic', sort=False)['score'].mean().mean():+.2f}{over}")
    for number, part in paper.inhibitft().rename(columns={"method": "condition", "rmse": "r"}).groupby("table"):
        out[f"table-{number}"] = (_by_condition(part), frozen)
    topics, table = run.params.ablation_topics, gamma_ablation(run)
    own = _lowest(table[table["condition"] == "inhibitft"].groupby("gamma")["r"].mean())
    for number, part in paper.ablated(topics).groupby("table"):
        lowest = _lowest(part.groupby("gamma_percent")["rmse"].mean())
        out[f"table-{number}"] = (f"{lowest} ({on_topics(topics)})", f"{own} ({on_topics(topics)})")
    return out


def _lowest(values: pd.Series) -> str:
    return f"lowest R {values.min():.2f} at γ = {values.idxmin():g} %"


def _by_condition(table: pd.DataFrame) -> str:
    values = table.replace({"condition": TITLES | METHODS}).groupby("condition", sort=False)["r"].mean()
    return "R: " + "; ".join(f"{name} {value:.2f}" for name, value in values.items())
