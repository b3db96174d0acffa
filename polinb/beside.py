"""The paper beside ours: its claims, its exhibits and its numbers next to this run's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb import paper
from polinb.experiment import VANILLA, Experiment, finetuned
from polinb.metrics import mitigation
from polinb.results import (
    couplings,
    differences,
    drops,
    mitigations,
    overlaps,
    patch_plan,
    patch_summary,
    per_question,
    plain_arms,
    stances,
    statement_stances,
    stratified_mean,
    type_shares,
)

_STATEMENTS = {"compass": "political_compass", "ideologies": "idrlabs_ideologies"}


def paper_mitigation() -> pd.DataFrame:
    """The paper's mitigation by model and method, counted both ways: arm, points, relative."""
    rows = []
    for model, own in paper.inhibitft().groupby("model", sort=False):
        by = {m: g.set_index("topic")["rmse"].to_dict() for m, g in own.groupby("method")}
        for method, title in (("inhibitft", "InhibitFT"), ("inhibitft-random", "random")):
            rows.append({"arm": f"paper: {model}, {title}", **mitigation(by["fine-tune"], by[method])})
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
    ours = table.assign(kind=table["arm"].where(~table["arm"].str.startswith("random"), "inhibitft-random"))
    mean = ours.groupby(["kind", "trained"], as_index=False, sort=False)[["r", "r_low", "r_high"]].mean()
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


def gamma_means() -> pd.DataFrame:
    """The paper's R by γ, mean over topics: gamma, then one column a model."""
    wide = paper.gamma_ablation().groupby(["gamma_percent", "model"])["rmse"].mean().unstack("model")
    return wide.rename_axis("gamma").reset_index()


def claims(exp: Experiment) -> pd.DataFrame:
    """Claims of the paper with our effect and what this run allows to say.

    Returns:
        claim, measure, effect (with interval), verdict.
    """
    p = exp.params
    plain = exp.stances(VANILLA)
    away = per_question([_elsewhere(t, plain, exp.stances(finetuned(t, "right"))) for t in p.topics])
    apart = per_question(
        [_elsewhere(t, *(exp.stances(finetuned(t, side)) for side in ("left", "right"))) for t in p.topics]
    )
    patched = patch_summary(exp).set_index("set")
    beats = _paired_patch(exp)
    frozen = drops(exp)
    loud = overlaps(exp).iloc[0]
    own, other = _specific(exp)
    rows = [
        _claim(
            "Vanilla models lean left (Table 2)",
            "mean stance over topics",
            stratified_mean([g["score"].to_numpy(float) for _, g in plain.groupby("topic")], p.bootstrap, p.seed),
            sign=-1,
        ),
        _claim(
            "Right-leaning data on one topic moves other topics right (Figure 1)",
            "mean shift on untrained topics",
            stratified_mean(away, p.bootstrap, p.seed),
        ),
        _claim(
            "… and not only in style (our control)",
            "right minus left tuned, untrained topics",
            stratified_mean(apart, p.bootstrap, p.seed),
        ),
        _claim(
            "Patching G moves every topic right (Figures 4, 7–9)",
            "mean shift over topics",
            tuple(patched.loc["G", ["shift", "low", "high"]]),
        ),
        _claim(
            "… more than random neurons of the same layers (our control)",
            "difference of shifts",
            beats["layer"],
        ),
        _claim("… more than random neurons as loud as G (our control)", "difference of shifts", beats["score"]),
        _claim("Patching S_t moves its own topic …", "mean shift on the own topic", own),
        _claim("… and leaves other topics alone", "mean shift on other topics (claim: none)", other, sign=0),
        _claim(
            "InhibitFT lowers coupling (Tables 1, 4–6)",
            "mean drop of R against the plain fine-tune",
            _drop(frozen, "fine-tune"),
        ),
    ]
    for kind in p.controls:
        title = f"… more than random sets, {kind}-matched" if kind != "uniform" else "… more than uniform random sets"
        rows.append(_claim(title + " (control)", "mean drop of R against them", _drop(frozen, f"random-{kind}")))
    share = 100 * float(loud["in_scale_top"])
    rows.append(
        {
            "claim": "PNLAC finds political neurons, not loud ones (our question)",
            "measure": "share of G among the loudest neurons",
            "effect": f"{share:.0f} % (chance {100 * float(loud['chance']):.0f} %)" if share == share else "G is empty",
            "verdict": "see the overlap table",
        }
    )
    return pd.DataFrame(rows)


def _claim(claim: str, measure: str, effect: tuple[float, ...], sign: int = 1) -> dict[str, str]:
    mean, low, high = (float(x) for x in effect)
    if sign == 0:
        verdict = "compatible" if low <= 0 <= high else "not so: the interval excludes 0"
    elif sign * low > 0 and sign * high > 0:
        verdict = "seen here"
    elif sign * low < 0 and sign * high < 0:
        verdict = "the opposite is seen"
    else:
        verdict = "not decided: the interval holds 0"
    return {
        "claim": claim,
        "measure": measure,
        "effect": f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]",
        "verdict": verdict,
    }


def _elsewhere(trained: str, before: pd.DataFrame, after: pd.DataFrame) -> dict[str, np.ndarray]:
    return {t: v for t, v in differences(before, after).items() if t != trained}


def _specific(exp: Experiment) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    p = exp.params
    plain = exp.stances(VANILLA)
    own, other = [], []
    for name, group, chosen, donors in patch_plan(exp):
        if group == "topic-specific":
            trained = name.removeprefix("S (").removesuffix(")")
            moved = differences(plain, exp.patched(name, chosen, donors))
            own.append({t: v for t, v in moved.items() if t == trained})
            other.append({t: v for t, v in moved.items() if t != trained})
    first, second = (stratified_mean(per_question(parts), p.bootstrap, p.seed) for parts in (own, other))
    return first, second


def _drop(table: pd.DataFrame, against: str) -> tuple[float, float, float]:
    row = table[(table["trained"] == "all") & (table["against"] == against)].iloc[0]
    return float(row["drop"]), float(row["low"]), float(row["high"])


def _paired_patch(exp: Experiment) -> dict[str, tuple[float, float, float]]:
    p = exp.params
    plan = {name: (chosen, donors) for name, _, chosen, donors in patch_plan(exp)}
    general = exp.patched("G", *plan["G"])
    out = {}
    for kind, name in (("layer", "random, layer-matched"), ("score", "random, scale-matched")):
        moved = differences(exp.patched(name, *plan[name]), general)
        out[kind] = stratified_mean(list(moved.values()), p.bootstrap, p.seed)
    return out


def exhibit_map() -> pd.DataFrame:
    """Every figure and table of the paper with a link to its counterpart: exhibit, section, about, here."""
    rows = []
    for item in paper.exhibits().itertuples():
        labels = ", ".join(f"{{numref}}`{label}`" for label in COUNTERPARTS[item.id])
        title = f"{str(item.kind).capitalize()} {item.number}"
        rows.append({"exhibit": title, "section": item.section, "about": item.caption, "here": labels})
    return pd.DataFrame(rows)


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


def dots(exp: Experiment) -> pd.DataFrame:
    """The paper's numbers and ours for one figure: group, item, source, value, low, high."""
    wide = ["group", "item", "source", "value", "low", "high"]
    parts = []
    theirs = paper.vanilla_stance()
    parts.append(theirs.assign(group="vanilla stance (Table 2)", item=theirs["topic"], value=theirs["stance"]))
    ours = stances(exp)
    parts.append(ours.assign(group="vanilla stance (Table 2)", item=ours["topic"], value=ours["stance"], model=None))
    theirs = paper.vanilla_transfer()
    parts.append(theirs.assign(group="statements (Table 3)", item=theirs["statements"], value=theirs["stance"]))
    ours = statement_stances(exp)
    item = ours["topic"].map(_STATEMENTS).fillna(ours["topic"])
    parts.append(ours.assign(group="statements (Table 3)", item=item, value=ours["stance"], model=None))
    shares = type_shares(exp.sets()).groupby("type", sort=False)["percent"].mean()
    for kind, value in (("general", 4.35), ("topic-specific", 0.65)):
        both = pd.DataFrame({"model": ["all models", None], "value": [value, float(shares[kind])]})
        parts.append(both.assign(group="% of neurons (Figure 3b)", item=kind))
    table = couplings(exp, plain_arms(exp, exp.params.topics))
    theirs = paper.inhibitft()
    theirs = theirs[theirs["method"] == "fine-tune"]
    group = "R of the right fine-tune (Tables 1, 4–6)"
    parts.append(theirs.assign(group=group, item=theirs["topic"], value=theirs["rmse"]))
    own = table.rename(columns={"r": "value", "r_low": "low", "r_high": "high", "trained": "item"})
    parts.append(own.assign(group=group, model=None))
    frame = pd.concat(parts, ignore_index=True)
    frame["source"] = ["ours" if m is None or m != m else f"paper: {m}" for m in frame["model"]]
    return frame.reindex(columns=wide)


def table(exp: Experiment) -> pd.DataFrame:
    """:func:`dots` as a wide table: group, item, ours with interval, one column a model of the paper."""
    frame = dots(exp)
    text = [
        f"{r.value:.2f}" if r.low != r.low else f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in frame.itertuples()
    ]
    wide = frame.assign(text=text).pivot_table(
        index=["group", "item"], columns="source", values="text", aggfunc="first", sort=False
    )
    first = [c for c in ("ours", *sorted(c for c in wide.columns if c != "ours")) if c in wide.columns]
    return wide[first].fillna("").reset_index()


def mitigation_table(exp: Experiment, rows: pd.DataFrame) -> pd.DataFrame:
    """Our mitigation and the paper's, one under the other."""
    return pd.concat([mitigations(rows), paper_mitigation()], ignore_index=True)
