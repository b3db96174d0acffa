"""Every figure and table of the paper with what answers it here."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb.chapters.paper import paper
from polinb.chapters.paper.beside import METHODS, PAPER_SHARES, ablated, on_topics, specific_shift
from polinb.chapters.paper.neuron_tables import type_shares
from polinb.chapters.paper.patch_tables import LAYER, NEXT, patch_summary
from polinb.chapters.paper.results import (
    ARM_TITLES,
    couplings,
    gamma_ablation,
    inhibit_arms,
    stances,
    statement_stances,
)
from polinb.resampling import differences
from polinb.runs.run import Run
from polinb.wording import typeset


def exhibit_map(run: Run) -> pd.DataFrame:
    """Every figure and table of the paper: exhibit, about, paper (its numbers), ours, differs, here (links)."""
    arms = couplings(run, inhibit_arms(run)).groupby("arm", sort=False)["r"].mean()
    found = {**_figures(run, arms), **_tables(run, arms)}
    rows = []
    for item in paper.exhibits().itertuples():
        labels = ", ".join(f"{{numref}}`{label}`" for label in COUNTERPARTS[item.id])
        theirs, ours, differs = found[item.id]
        title = f"{str(item.kind).capitalize()} {item.number}"
        about = f"{item.caption} (section {item.section})"
        rows.append((title, about, typeset(theirs), typeset(ours), differs, labels))
    return pd.DataFrame(rows, columns=["exhibit", "about", "paper", "ours", "differs", "here"])


def _figures(run: Run, arms: pd.Series) -> dict[str, tuple[str, str, str]]:
    """Figure → what the paper says, what we found, what differs."""
    p = run.params
    plain = run.stances()
    tuned = {t: differences(plain, run.stances(run.tuned(t))) for t in p.topics}
    own = np.mean([tuned[t][t].mean() for t in p.topics])
    away = np.mean([v.mean() for t in p.topics for u, v in tuned[t].items() if u != t])
    shares = type_shares(run.sets()).groupby("type", sort=False)["percent"].mean()
    patched = patch_summary(run).set_index("set")
    specific, other = specific_shift(run)
    plots = "bars without printed values"
    theirs = f"{PAPER_SHARES['general']} % general, {PAPER_SHARES['topic-specific']} % specific"
    where = (theirs, f"{shares['general']:.2f} %, {shares['topic-specific']:.2f} %")
    patch = (
        plots,
        f"G {patched.loc['G', 'shift']:+.2f}, its random controls "
        f"{patched.loc[LAYER, 'shift']:+.2f} and {patched.loc[NEXT, 'shift']:+.2f}; "
        f"$S_t$ {specific[0]:+.2f} on its topic, {other[0]:+.2f} elsewhere",
        "no random control in the paper",
    )
    frozen = (plots, _by_arm(arms), "three kinds of controls possible, paper: one")
    out = {
        "figure-1": ("a drawing", f"shift {own:+.2f} on the trained topic, {away:+.2f} elsewhere", "measured here"),
        "figure-2": ("a diagram of the method", "chapters 3, 6 and 7", "–"),
        "figure-3": (*where, "paper: the same two numbers for all four models"),
        "figure-6": (*where, "one model a run here"),
        "figure-4": patch,
        "figure-5": frozen,
    }
    out |= dict.fromkeys(("figure-7", "figure-8", "figure-9"), patch)
    out |= dict.fromkeys(("figure-10", "figure-11", "figure-12"), frozen)
    return out


def _tables(run: Run, arms: pd.Series) -> dict[str, tuple[str, str, str]]:
    """Table → the paper's numbers in short, ours, what differs."""
    out: dict[str, tuple[str, str, str]] = {}
    ours = stances(run)["stance"].mean()
    theirs = paper.vanilla_stance().groupby("model", sort=False)["stance"].mean()
    models = "four models, 100 questions, GPT-4o-mini as judge in the paper"
    out["table-2"] = (_by(theirs), f"{ours:+.2f} (mean over topics)", models)
    theirs = paper.vanilla_transfer().groupby("model", sort=False)["stance"].mean()
    out["table-3"] = (
        _by(theirs),
        f"{statement_stances(run)['stance'].mean():+.2f}",
        "other statements of the same form",
    )
    rmse = paper.inhibitft().groupby(["table", "method"], sort=False)["rmse"].mean()
    utility = "CoLA and MNLI only with utility=classifier" if run.params.utility == "stand_in" else "–"
    for one in (1, 4, 5, 6):
        out[f"table-{one}"] = (_by_arm(rmse.loc[one]), _by_arm(arms), f"intervals and κ added; {utility}")
    topics = run.params.ablation_topics
    gammas = gamma_ablation(run)
    own = gammas[gammas["arm"] == "inhibitft"].groupby("gamma")["r"].mean()
    for one, part in ablated(topics).groupby("table"):
        out[f"table-{one}"] = (
            f"{_lowest(part.groupby('gamma_percent')['rmse'].mean())} ({on_topics(topics)})",
            f"{_lowest(own)} ({on_topics(topics)})",
            f"γ of this run: {', '.join(f'{g:g}' for g in own.index)}; a null beside it",
        )
    return out


def _lowest(values: pd.Series) -> str:
    return f"lowest R {values.min():.2f} at γ = {values.idxmin():g} %"


def _by(values: pd.Series) -> str:
    return ", ".join(f"{name} {value:+.2f}" for name, value in values.items())


def _by_arm(values: pd.Series) -> str:
    titles = {**ARM_TITLES, **METHODS}
    return "R: " + "; ".join(f"{titles.get(str(name), name)} {value:.2f}" for name, value in values.items())


# exhibit of the paper → labels of the figures and tables of this book that answer it
COUNTERPARTS: dict[str, tuple[str, ...]] = {
    "figure-1": ("fig-coupling-right", "fig-side-contrast"),
    "figure-2": ("fig-scores", "fig-patch-general", "tbl-frozen"),
    "figure-3": ("fig-layers", "fig-types"),
    "figure-4": ("fig-patch-general", "fig-patch-specific"),
    "figure-5": ("fig-inhibit",),
    "figure-6": ("fig-layers", "fig-types"),
    "figure-7": ("fig-patch-general", "fig-patch-specific"),
    "figure-8": ("fig-patch-general", "fig-patch-specific"),
    "figure-9": ("fig-patch-general", "fig-patch-specific"),
    "figure-10": ("fig-inhibit",),
    "figure-11": ("fig-inhibit",),
    "figure-12": ("fig-inhibit",),
    "table-1": ("tbl-inhibit", "tbl-utility"),
    "table-2": ("tbl-vanilla",),
    "table-3": ("tbl-transfer",),
    "table-4": ("tbl-inhibit", "tbl-utility"),
    "table-5": ("tbl-inhibit", "tbl-utility"),
    "table-6": ("tbl-inhibit", "tbl-utility"),
    "table-7": ("tbl-gamma", "tbl-gamma-utility"),
    "table-8": ("tbl-gamma", "tbl-gamma-utility"),
    "table-9": ("tbl-gamma", "tbl-gamma-utility"),
    "table-10": ("tbl-gamma", "tbl-gamma-utility"),
}
