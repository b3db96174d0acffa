"""Where the stance shift lives: artifacts → the tidy tables of the chapter (Yang et al. 2025)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb.chapters.dpo import causal
from polinb.chapters.dpo.shift import SHUFFLED, SIDES, SIGNS, study
from polinb.runs.results import Result
from polinb.runs.run import Run
from polinb.scoring import shares


def top_sets(run: Run) -> dict[str, np.ndarray]:
    """Neurons closest to either end of the probe by cosine alone, for every ``probe_top``."""
    cosine = study(run).parts().cosine
    ends = [(k, side, SIGNS[side]) for k in run.params.probe_top for side in SIDES]
    return {f"top {k} {side}-aligned": shares.top_cosine(cosine, k, way) for k, side, way in ends}


def group_shares(run: Run) -> pd.DataFrame:
    """Shares of the four groups, of the top neurons by cosine and of all neurons (``polinb.scoring.shares.shares``)."""
    p, found = run.params, study(run).parts()
    named = study(run).groups()
    sets = {name: group.chosen for name, group in named.items()} | top_sets(run)
    sets[causal.EVERY] = np.ones_like(found.neurons, dtype=bool)
    frame = shares.shares(found, sets, 1, p.bootstrap, p.seed)
    titles = [named[name].title if name in named else name for name in frame["set"]]
    frame.insert(1, "title", titles)
    return frame


def held_out(run: Run) -> pd.DataFrame:
    """Shares of the groups on the texts they were chosen on and on others (``shares.held_out_shares``)."""
    return shares.held_out_shares(study(run).parts(), 1)


def crossing(run: Run) -> pd.DataFrame:
    """Share of the shift in G and in every S_t, beside what random neurons of the same layers would have.

    Returns:
        set, neurons, percent, share, low, high (over texts), random, random_low, random_high (same number in each
        layer), matched, matched_low, matched_high (and in each class of activation scale, see ``shares.null_share``).
    """
    p, found, sets = run.params, study(run).parts(), run.sets()
    named = {"G": sets.general} | {f"S ({topic})": chosen for topic, chosen in sets.specific.items()}
    frame = shares.shares(found, named, 1, p.bootstrap, p.seed)[["set", "neurons", "percent", "share", "low", "high"]]
    for name, scale in (("random", None), ("matched", run.scale())):
        null = [shares.null_share(found.neurons, chosen, 1, scale) for chosen in named.values()]
        frame[[name, f"{name}_low", f"{name}_high"]] = np.array(null)
    return frame


def robustness(run: Run) -> pd.DataFrame:
    """The main numbers under the other probe, for the mirror of the training, and for shuffled pairs.

    Each is oriented its trained way; that of shuffled pairs is the way in which they happened to move it.

    Returns:
        chosen, probe, change (of h·w), low, high, neurons, attention (per cent of the change), net_over_gross, half,
        half_percent (fewest neurons that hold half of the gross change), top (share of the largest ``probe_top`` on the
        side that training suppresses, counting only neurons that moved the trained way), and gap (sum of the parts
        minus the measured change).
    """
    p = run.params
    other = "mean_difference" if p.probe == "logistic" else "logistic"
    rows = []
    for side, kind in (("right", p.probe), ("right", other), ("left", p.probe), (SHUFFLED, p.probe)):
        found = study(run, side).parts(kind)
        sign = SIGNS[side] if side != SHUFFLED or found.total > 0 else -1
        table = shares.totals(found, sign, p.bootstrap, p.seed).set_index("part")
        top = {"top": shares.top_cosine(found.cosine, max(p.probe_top), -sign)}
        own = shares.shares(found, top | {"all": np.ones_like(found.neurons, dtype=bool)}, sign, 100, p.seed)
        half = shares.carriers(found.neurons, sign)
        change = [float(x) for x in table.loc["measured change", ["change", "low", "high"]]]
        percents = [float(table.loc[name, "percent"]) for name in ("neurons", "attention")]
        ratios = [float(own["net_over_gross"].iloc[1]), half, 100 * half / found.neurons.size]
        rows.append(
            [side, kind, *change, *percents, *ratios, float(own["gross_share"].iloc[0]), found.total - found.measured]
        )
    names = [
        "chosen",
        "probe",
        "change",
        "low",
        "high",
        "neurons",
        "attention",
        "net_over_gross",
        "half",
        "half_percent",
    ]
    return pd.DataFrame(rows, columns=[*names, "top", "gap"])


def beside_study(run: Run) -> pd.DataFrame:
    """The study's two numbers beside ours, in per cent of the gross change: quantity, study, ours.

    The study's numbers sum to 100, so its groups are taken to be what is left without its top neurons. Which number of
    top neurons they belong to is not known; they stand beside each of ours.
    """
    table, held = group_shares(run).set_index("set"), held_out(run).set_index("group")
    rows: list[tuple[str, float, float]] = []
    for k in run.params.probe_top:
        top = 100 * float(table.loc[f"top {k} left-aligned", "gross_share"])
        rows.append(
            (f"top {k} left-aligned neurons, where they moved the trained way", shares.STUDY["top neurons"], top)
        )
        rows.append((f"the four groups without these {k}", shares.STUDY["four groups"], 100 - top))
    other = 100 * float(held.loc["all four", "other_texts"])
    rows.append(("the four groups, chosen on one half of the texts and measured on the other", np.nan, other))
    return pd.DataFrame(rows, columns=["quantity", "study", "ours"])


# --- causal checks


def patched_groups(run: Run) -> pd.DataFrame:
    """What patching each set from the DPO model into the vanilla model does (``causal.outcome_table``)."""
    p = run.params
    sizes = {name: int(mask.sum()) for name, mask in study(run).plan().items()}
    said = pd.concat([_plain(run), _judged(run, study(run).patched())])
    return causal.outcome_table(said, p.bootstrap, p.seed, sizes)


def edited_groups(run: Run) -> pd.DataFrame:
    """What editing the groups' activations in the vanilla model does, with the unedited and the DPO model beside it.

    Returns:
        mode (mean, scale; empty for the models as they are), alpha, then the columns of ``causal.outcome_table``.
    """
    p = run.params
    edits = _judged(run, study(run).edited())
    both = pd.concat([_plain(run).assign(mode="", alpha=np.nan), edits], ignore_index=True)
    table = causal.outcome_table(both, p.bootstrap, p.seed)
    return both.groupby("set", sort=False)[["mode", "alpha"]].first().reset_index().merge(table, on="set")


def examples(run: Run) -> pd.DataFrame:
    """The first question as answered by the vanilla, the DPO and the edited models: set, prompt, response."""
    both = pd.concat([_plain(run), study(run).edited().frame("answers")], ignore_index=True)
    first = both.iloc[0]
    return both.loc[(both["topic"] == first["topic"]) & (both["id"] == first["id"]), ["set", "prompt", "response"]]


def _plain(run: Run) -> pd.DataFrame:
    """Judged answers of the vanilla and the DPO model to the questions that groups are tried on."""
    own = study(run)
    models = {causal.BEFORE: own.before, causal.AFTER: own.after}
    parts = []
    for name, model in models.items():
        part = _judged(run, run.ask(model, own.tried, tokens=own.tokens))
        part.insert(0, "set", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _judged(run: Run, answers: Result) -> pd.DataFrame:
    """Answers with the judge's score and, as the soft score, its P(right)."""
    labels = run.rated(answers)
    columns = {"score": labels["score"].to_numpy(float), "soft": labels["p_right"].to_numpy(float)}
    return answers.frame("answers").assign(**columns)
