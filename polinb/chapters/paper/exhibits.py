"""Every figure and table of the paper with what answers it here."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb.chapters.paper import paper
from polinb.chapters.paper.beside import METHODS, PAPER_SHARES, on_topics
from polinb.chapters.paper.neuron_tables import type_shares
from polinb.chapters.paper.patch_tables import LAYER, NEXT, patch_summary, specific_shift
from polinb.chapters.paper.results import (
    TITLES,
    couplings,
    elsewhere,
    gamma_ablation,
    inhibit_conditions,
    stances,
    statement_stances,
)
from polinb.resampling import differences
from polinb.runs.run import Run
from polinb.wording import typeset


def exhibit_map(run: Run) -> pd.DataFrame:
    """Every figure and table of the paper: exhibit, about, paper (its numbers), ours, differs, here (links)."""
    found = {**_figures(run), **_tables(run)}
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


def _figures(run: Run) -> dict[str, tuple[str, str]]:
    """Figure → what the paper says, what we found."""
    plain = run.stances()
    tuned = {t: differences(plain, run.stances(run.tuned(t))) for t in run.params.topics}
    own = np.mean([moved[t].mean() for t, moved in tuned.items()])
    away = np.mean([v.mean() for t, moved in tuned.items() for v in elsewhere(t, moved).values()])
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
    frozen = _by_condition(couplings(run, inhibit_conditions(run)).groupby("condition", sort=False)["r"].mean())
    return {
        "figure-1": ("a drawing", f"shift {own:+.2f} on the trained topic, {away:+.2f} elsewhere"),
        "figure-2": ("a diagram of the method", "chapters 3, 6 and 7"),
        **dict.fromkeys(("figure-3", "figure-6"), where),
        **dict.fromkeys((f"figure-{n}" for n in (4, 7, 8, 9)), (plots, patch)),
        **dict.fromkeys((f"figure-{n}" for n in (5, 10, 11, 12)), (plots, frozen)),
    }


def _tables(run: Run) -> dict[str, tuple[str, str]]:
    """Table → the paper's numbers in short, ours."""
    stance, transfer = (
        _by(table.groupby("model", sort=False)["stance"].mean())
        for table in (paper.vanilla_stance(), paper.vanilla_transfer())
    )
    out = {
        "table-2": (stance, f"{stances(run)['stance'].mean():+.2f} (mean over topics)"),
        "table-3": (transfer, f"{statement_stances(run)['stance'].mean():+.2f}"),
    }
    ours = _by_condition(couplings(run, inhibit_conditions(run)).groupby("condition", sort=False)["r"].mean())
    theirs = paper.inhibitft().groupby(["table", "method"], sort=False)["rmse"].mean()
    out |= {f"table-{one}": (_by_condition(theirs.loc[one]), ours) for one in (1, 4, 5, 6)}
    topics, table = run.params.ablation_topics, gamma_ablation(run)
    own = _lowest(table[table["condition"] == "inhibitft"].groupby("gamma")["r"].mean())
    for one, part in paper.ablated(topics).groupby("table"):
        lowest = _lowest(part.groupby("gamma_percent")["rmse"].mean())
        out[f"table-{one}"] = (f"{lowest} ({on_topics(topics)})", f"{own} ({on_topics(topics)})")
    return out


def _lowest(values: pd.Series) -> str:
    return f"lowest R {values.min():.2f} at γ = {values.idxmin():g} %"


def _by(values: pd.Series) -> str:
    return ", ".join(f"{name} {value:+.2f}" for name, value in values.items())


def _by_condition(values: pd.Series) -> str:
    titles = {**TITLES, **METHODS}
    return "R: " + "; ".join(f"{titles.get(str(name), name)} {value:.2f}" for name, value in values.items())
