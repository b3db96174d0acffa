"""The paper beside ours: its claims, its exhibits and its numbers next to this run's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper import paper
from polinb.chapters.paper.neuron_tables import overlaps, type_shares
from polinb.chapters.paper.patch_tables import LAYER, NEXT, patch_plan, patch_summary
from polinb.chapters.paper.results import (
    couplings,
    drops,
    gamma_ablation,
    inhibit_arms,
    stances,
    statement_stances,
)
from polinb.labels import SETS
from polinb.resampling import SHIFT, STANCE, differences, only_asked, per_question, stratified_mean
from polinb.runs.run import Run
from polinb.stance.coupling import mitigation
from polinb.wording import Interval, bounded, intervals, listed, number

METHODS = {"fine-tune": "right fine-tune", "inhibitft": "InhibitFT", "inhibitft-random": "random sets"}
_STATEMENTS = {"compass": "political_compass", "ideologies": "idrlabs_ideologies"}
_OURS, _ALL = "ours", "paper: all models"
_STANCE, _SHARE = "stance", "% of neurons"
PAPER_SHARES = {"general": 4.35, "topic-specific": 0.65}  # Figure 3b, for all models


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
    mean = _by_method(table)
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
    kind = table["arm"].where(~table["arm"].str.startswith("random"), "inhibitft-random")
    return _averaged(table.assign(kind=kind), ["kind", "trained"])


def _averaged(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means of R; a mean of several rows has no interval, one row keeps its own: r, r_low, r_high."""
    ends = ["r_low", "r_high"]
    groups = table.groupby(by, sort=False)
    mean = groups[["r", *ends]].mean()
    mean.loc[groups.size() > 1, ends] = np.nan
    return mean.reset_index()


def gamma_means() -> pd.DataFrame:
    """The paper's R by γ, mean over topics: gamma, then one column a model."""
    wide = paper.gamma_ablation().groupby(["gamma_percent", "model"])["rmse"].mean().unstack("model")
    return wide.rename_axis("gamma").reset_index()


def claims(run: Run) -> pd.DataFrame:
    """Claims of the paper with our effect and what this run allows to say.

    Returns:
        claim, measure, effect (with interval), verdict.
    """
    p = run.params
    spill = spill_over(run)
    patched = patch_summary(run).set_index("set")
    beats = paired_patch(run)
    frozen = drops(run)
    loud = overlaps(run).iloc[0]
    own, other = specific_shift(run)
    rows = [
        _claim(
            "Vanilla models lean left (Table 2)",
            "mean stance over topics",
            mean_stance(run),
            sign=-1,
        ),
        _claim(
            "Right-leaning data on one topic moves other topics right (Figure 1)",
            "mean shift on untrained topics",
            spill["away"],
        ),
        _claim(
            "… and not only in style (our control)",
            "right minus left tuned, untrained topics",
            spill["apart"],
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
        _claim(
            f"… more than {_RANDOM['next_highest']} ({100 * _loudness(run):.0f} % as loud as G; our control)",
            "difference of shifts",
            beats["next_highest"],
        ),
        _claim("Patching $S_t$ moves its own topic …", "mean shift on the own topic", own),
        _claim("… and leaves other topics alone", "mean shift on other topics (claim: none)", other, sign=0),
        _claim(
            "InhibitFT lowers coupling (Tables 1, 4–6)",
            "mean drop of $R_c^2$ against the plain fine-tune",
            _drop(frozen, "fine-tune"),
        ),
    ]
    for kind in (k for k in p.controls if k != "heldout"):
        title = f"… more than {_RANDOM[kind]}"
        rows.append(_claim(title + " (control)", "mean drop of $R_c^2$ against them", _drop(frozen, f"random-{kind}")))
    rows.append(
        {
            "claim": "PNLAC finds political neurons, not loud ones (our question)",
            "measure": f"share of G among the loudest neurons (by chance {float(loud['chance']):.2f})",
            "effect": number(float(loud["in_scale_top"]), sign=False),  # missing where G is empty
            "verdict": "see the overlap table",
        }
    )
    return pd.DataFrame(rows)


def mean_stance(run: Run) -> tuple[float, float, float]:
    """Mean stance of the vanilla model over topics, with its 95 % interval."""
    groups = [g["score"].to_numpy(float) for _, g in run.stances().groupby("topic")]
    return stratified_mean(groups, run.params.bootstrap, run.params.seed, STANCE)


def spill_over(run: Run) -> dict[str, tuple[float, float, float]]:
    """Shifts by right-leaning data on one topic, means over trained topics with 95 % intervals.

    Returns:
        own (the trained topic), away (the others), apart (the others, right-tuned minus left-tuned model).
    """
    p = run.params
    plain = run.stances()
    tuned = {side: {t: run.stances(run.tuned(t, side)) for t in p.topics} for side in ("left", "right")}
    moved = {t: differences(plain, tuned["right"][t]) for t in p.topics}
    parts: dict[str, list[dict[str, np.ndarray]]] = {
        "own": [{t: moved[t][t]} for t in p.topics],
        "away": [_elsewhere(t, moved[t]) for t in p.topics],
        "apart": [_elsewhere(t, differences(tuned["left"][t], tuned["right"][t])) for t in p.topics],
    }
    return {name: stratified_mean(per_question(part), p.bootstrap, p.seed, SHIFT) for name, part in parts.items()}


def _claim(claim: str, measure: str, effect: tuple[float, ...], sign: int = 1) -> dict[str, Any]:
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
        "effect": bounded((mean, low, high)),
        "verdict": verdict,
    }


def _elsewhere(trained: str, moved: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {t: v for t, v in moved.items() if t != trained}


def specific_shift(run: Run) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Shift when S_t is patched in, on its own topic and on the others, each mean with its 95 % interval."""
    p = run.params
    plain = only_asked(run.stances(), run.questions(p.patch_questions))
    own, other = [], []
    for _, group, chosen, donors in patch_plan(run):
        if group == "topic-specific":
            trained = next(iter(donors.values()))  # S_t takes M_right^t everywhere
            moved = differences(plain, run.patched(chosen, donors))
            own.append({t: v for t, v in moved.items() if t == trained})
            other.append({t: v for t, v in moved.items() if t != trained})
    first, second = (stratified_mean(per_question(parts), p.bootstrap, p.seed, SHIFT) for parts in (own, other))
    return first, second


def _drop(table: pd.DataFrame, against: str) -> tuple[float, float, float]:
    row = table[(table["trained"] == "all") & (table["against"] == against)].iloc[0]
    return float(row["drop"]), float(row["low"]), float(row["high"])


_RANDOM = {
    "uniform": "uniform random sets",
    "layer": "random sets, layer-matched",
    "next_highest": "the neurons with the highest activation outside G",
}


def _loudness(run: Run) -> float:
    """Mean activation scale of the ``next_highest`` set over that of G; 1 would be a match."""
    scale = run.scale()
    return float(scale[run.control_set("next_highest", 0)].mean() / scale[run.general()].mean())


def paired_patch(run: Run) -> dict[str, tuple[float, float, float]]:
    """Shift by patching G minus that by its random controls (``layer``, ``next_highest``): paired, 95 % intervals."""
    p = run.params
    plan = {name: (chosen, donors) for name, _, chosen, donors in patch_plan(run)}
    general = run.patched(*plan["G"])
    out = {}
    for kind, name in (("layer", LAYER), ("next_highest", NEXT)):
        moved = differences(run.patched(*plan[name]), general)
        out[kind] = stratified_mean(list(moved.values()), p.bootstrap, p.seed, SHIFT)
    return out


def ablated(topics: Sequence[str]) -> pd.DataFrame:
    """The paper's γ ablation on the topics of ours: means over other topics would not be comparable."""
    theirs = paper.gamma_ablation()
    return theirs[theirs["topic"].isin(list(topics))]


def on_topics(topics: Sequence[str]) -> str:
    """Which topics a mean is over."""
    return topics[0] if len(topics) == 1 else f"mean over {listed(topics)}"


def paper_utility() -> pd.DataFrame:
    """The paper's utility columns (Tables 1, 4–6), mean over topics: model, method and the six columns."""
    columns = list(paper.UTILITY)
    return paper.inhibitft().groupby(["model", "method"], sort=False)[columns].mean().reset_index()


def paper_gamma_utility() -> pd.DataFrame:
    """The paper's utility columns by γ (Tables 7–10), mean over topics and models."""
    columns = list(paper.UTILITY)
    return paper.gamma_ablation().groupby("gamma_percent")[columns].mean().reset_index()


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
    """R by arm and topic (Tables 1, 4–6) and by γ (Tables 7–10), theirs and ours."""
    names = {"r": "value", "r_low": "low", "r_high": "high"}
    mean = _by_method(couplings(run, inhibit_arms(run)))
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
    theirs = ablated(topics).groupby(["model", "gamma_percent"], as_index=False)["rmse"].mean()
    theirs["item"] = theirs["gamma_percent"].map("{:g}".format)
    parts.append(theirs.assign(group=group, value=theirs["rmse"])[["group", "item", "value", "model"]])
    own = _averaged(gamma_ablation(run).query("arm == 'inhibitft'"), ["gamma"]).rename(columns=names)
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
