"""Every figure and table of the paper with what answers it here."""

from __future__ import annotations

import pandas as pd

from polinb.chapters.paper import paper
from polinb.chapters.paper.beside import METHODS, PAPER_SHARES, on_topics
from polinb.chapters.paper.neuron_tables import type_shares
from polinb.chapters.paper.patch_tables import LAYER, NEXT, patch_summary, specific_shift
from polinb.chapters.paper.results import (
    TITLES,
    couplings,
    gamma_ablation,
    inhibit_conditions,
    spill_over,
    stances,
    statement_stances,
)
from polinb.runs.run import Run
from polinb.wording import typeset


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
    for name, theirs, ours, over in (
        ("table-2", paper.vanilla_stance(), stances(run), " (mean over topics)"),
        ("table-3", paper.vanilla_transfer(), statement_stances(run), ""),
    ):
        by = theirs.groupby("model", sort=False)["stance"].mean()
        said = ", ".join(f"{model} {value:+.2f}" for model, value in by.items())
        out[name] = (said, f"{ours['stance'].mean():+.2f}{over}")
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
