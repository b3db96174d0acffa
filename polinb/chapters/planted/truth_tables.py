"""Tables and lines of the known-truth chapter, from the tables of ``polinb.chapters.planted.truth``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb.chapters.planted.localisation import METHODS
from polinb.chapters.planted.planted import STANCE, Design, build
from polinb.chapters.planted.truth import KNOBS, joined, over_models
from polinb.data.rows import TOPICS
from polinb.runs.run import Run
from polinb.wording import intervals

NAMES = {"G": "G", "N": "Nₜ", "S": "Sₜ"}
MARKUP = {"G": "$G$", "N": "$N_t$", "S": "$S_t$"}  # for tables
RATES = (0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)  # where ROC curves are drawn
SCORED = ("raw", "normalised", "floored", "gradient")
_KNOBS = {  # in a table, and in a sentence
    "loudness": (
        "activation of the strong distractors, times an ordinary one",
        "distractors of {:g} times the activation",
    ),
    "drift": ("drift of every activation, standard deviation", "a drift of {:g}"),
    "noise": ("noise in every weight, share of its matrix's size", "a noise of {:g}"),
    "effect": ("effect η on the planted neurons", "an effect of {:g}"),
    "steady": ("steady distractors", "{:g} steady distractors"),
    "readers": ("neurons that only read stance", "{:g} neurons that only read stance"),
    "idle": ("stance neurons that do not move", "{:g} idle stance neurons"),
    "shut": ("how deeply gates are shut off-topic", "gates shut to −{:g}"),
}


def told(knob: str, value: float) -> str:
    """A value of a knob in words."""
    return "base condition" if knob == "base" else _KNOBS[knob][1].format(value)


def inventory(design: Design) -> pd.DataFrame:
    """What a planted model holds: kind, neurons, fires on, writes, moves; and the median size of a value vector."""
    model = build(design)
    u = model.basis[:, STANCE]
    values = np.stack([block.mlp.down_proj.weight.detach().numpy().T @ u for block in model.lm.model.model.layers])
    special = model.everything | np.any(list(model.roles.values()), axis=0)
    kinds = [
        ("general", model.general, "every topic", "stance", "on every topic"),
        ("specific, each topic", model.specific[TOPICS[0]], "its topic", "stance", "on its topic"),
        ("strong distractors", model.roles["loud"], "anything", "nothing of stance", "drift only"),
        ("ordinary distractors", ~special, "anything", "nothing of stance", "drift only"),
    ]
    rows = [(kind, mask.sum(), *about, np.median(np.abs(values[mask]))) for kind, mask, *about in kinds]
    return pd.DataFrame(rows, columns=["kind", "neurons", "fires on", "writes", "moves", "along stance"])


def lines(run: Run, table: pd.DataFrame, knob: str, group: str = "G") -> pd.DataFrame:
    """Precision and recall of one set against one knob, for ``charts.curve``: x, y, by, low, high, panel.

    For N_t found at its true size both are the same number, and there is one line per method without panels.
    """
    part = table[(table["knob"] == knob) & (table["set"] == group)]
    measures = ["recall"] if group == "N" and knob != "gamma" else ["precision", "recall"]
    mean = over_models(run, part, ["method", "value"], measures)
    out = []
    for name in measures:
        line = mean.rename(columns={"value": "x", name: "y", f"{name}_low": "low", f"{name}_high": "high"})
        line = line.assign(by=line["method"].map(METHODS), panel=f"{name} of {NAMES[group]}")
        out.append(line[["x", "y", "low", "high", "by", "panel"]])
    joint = pd.concat(out, ignore_index=True)
    return joint.drop(columns="panel") if len(measures) == 1 else joint


def roc_panels(run: Run) -> pd.DataFrame:
    """ROC curves of G at the base condition and in three traps, means over models, for ``charts.curve``."""
    keys = ["knob", "value", "method", "fpr"]
    curves = joined(run, "detected", "roc").groupby(keys, sort=False, as_index=False)["tpr"].mean()
    curves = curves[curves["fpr"].round(3).isin(RATES)]
    panels = list(map(told, curves["knob"], curves["value"]))
    return curves.assign(by=curves["method"].map(METHODS), panel=panels).rename(columns={"fpr": "x", "tpr": "y"})


def base_table(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Each method's sets with precision, recall and area under the ROC curve as text with intervals."""
    mean = over_models(run, table, ["method", "set"], ["precision", "recall", "auc", "found"])
    shown = mean.assign(method=mean["method"].map(METHODS), set=mean["set"].map(MARKUP))
    texts = {name: intervals(mean, name) for name in ("precision", "recall", "auc")}
    return shown.assign(**texts)[["method", "set", "found", "precision", "recall", "auc"]]


def breaks(run: Run, table: pd.DataFrame, limit: float = 0.5) -> pd.DataFrame:
    """Where each method breaks: the first value of a knob at which less than ``limit`` of N_t is found.

    Columns: knob, method, base (share of N_t found at the base condition), last, last_low, last_high (at the hardest
    value), value (of the break), share, share_low, share_high (found there); NaN where no value tried breaks it.
    """
    part = table[(table["set"] == "N") & table["knob"].isin(list(KNOBS)) & table["method"].isin(SCORED)]
    mean = over_models(run, part, ["knob", "method", "value"], ["recall"]).set_index(["knob", "method"])
    rows = []
    for knob, values in KNOBS.items():
        for method in SCORED:
            line = mean.loc[(knob, method)].set_index("value").loc[list(values)]
            below = line[line["recall"] < limit].reset_index().reindex([0]).iloc[0]
            rows.append((knob, method, line["recall"].iloc[0], *line.iloc[-1], *below))
    names = ["knob", "method", "base", "last", "last_low", "last_high", "value", "share", "share_low", "share_high"]
    return pd.DataFrame(rows, columns=names)


def breaks_table(found: pd.DataFrame) -> pd.DataFrame:
    """Share of N_t found at the hardest value of each knob: a row per knob, a column per method; first the base row.

    The values tried stand in the knob's own text: a column more would not leave room for the reference run's beside.
    """
    shown = found.assign(text=intervals(found, "last"), method=found["method"].map(METHODS))
    columns = [METHODS[m] for m in SCORED]
    wide = shown.pivot(index="knob", columns="method", values="text").loc[list(KNOBS), columns].reset_index()
    tried = {knob: f"{_KNOBS[knob][0]}: {', '.join(f'{v:g}' for v in values)}" for knob, values in KNOBS.items()}
    first = found[found["knob"] == next(iter(KNOBS))].set_index("method")["base"]
    base = {"knob": "base condition", **{METHODS[m]: f"{first[m]:.2f}" for m in SCORED}}
    return pd.concat([pd.DataFrame([base]), wide.assign(knob=wide["knob"].map(tried))], ignore_index=True)


def breaking(found: pd.DataFrame, method: str) -> list[str]:
    """The values at which one method breaks, each with the share that is found there."""
    mine = found[(found["method"] == method) & found["value"].notna()]
    shares = intervals(mine, "share")
    return [f"{told(k, v)} ({s})" for k, v, s in zip(mine["knob"], mine["value"], shares, strict=True)]
