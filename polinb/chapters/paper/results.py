"""Artifacts → the tidy tables that chapters show. One function a table; every number comes from an artifact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from polinb.chapters.paper import paper
from polinb.errors import TrainingError
from polinb.resampling import SHIFT, STANCE, Span, bootstrap_mean, differences, per_question, stratified_mean
from polinb.runs.conditions import Condition
from polinb.runs.run import Run
from polinb.runs.weights import mask_of
from polinb.stance import likelihood
from polinb.stance.coupling import coupling_table, hierarchical_drop, mitigation, shift_table, spillover_ratio
from polinb.stance.likelihood import Models
from polinb.stance.utility import utility_table
from polinb.wording import Effect

TITLES = {
    "vanilla": "vanilla",
    "fine-tune": "right fine-tune",
    "inhibitft": "InhibitFT (G)",
    "random-uniform": "random, uniform",
    "random-layer": "random, layer-matched",
    "random-next_highest": "next highest outside G",
    "inhibitft-heldout": "InhibitFT (G without the topic)",
    "only-specific": "only topic-specific neurons learn",
    "only-general": "only G learns",
}


# --- the phenomenon and stances (paper 1, 4.1)


def likelihood_stances(run: Run) -> pd.DataFrame:
    """Stance of the vanilla model without a judge: topic, n, stance, low, high (nats a token)."""
    p, like = run.params, run.likelihood()
    gaps = (like["logp_right"] - like["logp_left"]).groupby(like["topic"], sort=False)
    rows = [[topic, len(gap), *bootstrap_mean(gap, p.bootstrap, p.seed)] for topic, gap in gaps]
    return pd.DataFrame(rows, columns=["topic", "n", "stance", "low", "high"])


def variant_shifts(run: Run) -> pd.DataFrame:
    """Paired shifts of all plain variants, both leanings: the coupling matrix (Figure 1; 5a, 10a–12a).

    Returns:
        condition, trained, leaning, topic, n, vanilla, model, shift, low, high.
    """
    p, plain = run.params, run.stances()
    parts = []
    for each in [run.tuned(t, side) for side in ("left", "right") for t in p.topics]:
        part = shift_table(plain, run.stances(each), p.bootstrap, p.seed)
        parts.append(part.assign(condition=each.name, trained=each.topic, leaning=each.leaning))
    return pd.concat(parts, ignore_index=True)


def side_contrast(run: Run) -> pd.DataFrame:
    """Right-tuned minus left-tuned stance by trained and tested topic, paired by question.

    Fine-tuning also moves the style of the answers, and a judge may take style for stance. What both variants of a
    topic learnt alike cancels in their difference; a manner of one side only does not (``paper.first_clause``).

    Returns:
        trained, topic, n, shift (right − left), low, high.
    """
    p = run.params
    parts = []
    for topic in p.topics:
        left, right = (run.stances(run.tuned(topic, side)) for side in ("left", "right"))
        part = shift_table(left, right, p.bootstrap, p.seed)[["topic", "n", "shift", "low", "high"]]
        parts.append(part.assign(trained=topic))
    return pd.concat(parts, ignore_index=True)


def likelihood_shifts(run: Run) -> pd.DataFrame:
    """Shift of the likelihood stance by side of the training data, on trained and on other topics.

    Returns:
        side, cell, shift, low, high (nats a token); questions resampled within topics, shared questions together.
    """
    plain, rows = run.likelihood(), []
    for side in ("left", "right"):
        models = {t: likelihood.moved(plain, run.likelihood(run.tuned(t, side))) for t in run.params.topics}
        for cell in (likelihood.OWN, likelihood.OTHER):
            rows.append([side, cell, *mean_shift(run, models, cell == likelihood.OWN, span=None)])
    return pd.DataFrame(rows, columns=["side", "cell", "shift", "low", "high"])


def mean_shift(run: Run, models: Models, own: bool, span: Span | None = SHIFT) -> Effect:
    """Mean shift on the topics that models were trained on (``own``), or on all others, with its 95 % interval.

    Questions are resampled within topics; what several models answered to one stays together.
    """
    parts = [{t: values for t, values in moved.items() if (t == trained) == own} for trained, moved in models.items()]
    return stratified_mean(per_question(parts), run.params.bootstrap, run.params.seed, span)


def condition_cells(run: Run, conditions: Sequence[Condition]) -> pd.DataFrame:
    """Paired shift of each condition by trained and tested topic, for ``charts.coupling_heatmap``.

    Conditions of one name and trained topic (seeds of a random set) count as one model: each question has the mean
    score over them, and questions are resampled, so the interval does not cover the spread between seeds.

    Returns:
        condition (readable), trained, tested, n (questions), vanilla, model (stances), delta, low, high.
    """
    p = run.params
    plain = run.stances()
    together: dict[tuple[str, str], list[Condition]] = {}
    for each in conditions:
        together.setdefault((each.name, each.topic), []).append(each)
    parts = []
    for (name, topic), same in together.items():
        scores = pd.concat([run.stances(each)[["topic", "id", "score"]] for each in same])
        mean = scores.groupby(["topic", "id"], sort=False, as_index=False)["score"].mean()
        part = shift_table(plain, mean, p.bootstrap, p.seed)
        parts.append(part.assign(condition=TITLES.get(name, name), trained=topic))
    return pd.concat(parts, ignore_index=True).rename(columns={"topic": "tested", "shift": "delta"})


def mean_stance(run: Run) -> Effect:
    """Mean stance of the vanilla model over topics, with its 95 % interval."""
    groups = [g["score"].to_numpy(float) for _, g in run.stances().groupby("topic")]
    return stratified_mean(groups, run.params.bootstrap, run.params.seed, STANCE)


def spill_over(run: Run) -> dict[str, Effect]:
    """Shifts by right-leaning data on one topic, means over trained topics with 95 % intervals.

    Returns:
        own (the trained topic), away (the others), apart (the others, right-tuned minus left-tuned model).
    """
    plain, topics = run.stances(), run.params.topics
    left, right = ({t: run.stances(run.tuned(t, side)) for t in topics} for side in ("left", "right"))
    moved = {t: differences(plain, right[t]) for t in topics}
    apart = {t: differences(left[t], right[t]) for t in topics}
    own, away, sides = mean_shift(run, moved, True), mean_shift(run, moved, False), mean_shift(run, apart, False)
    return {"own": own, "away": away, "apart": sides}


# --- InhibitFT and its ablation (paper 5)


def inhibit_conditions(run: Run) -> list[Condition]:
    """Right fine-tune, InhibitFT and the random controls of every training topic."""
    return [each for topic in run.params.topics for each in (run.tuned(topic), *run.inhibited(topic))]


def couplings(run: Run, conditions: Sequence[Condition]) -> pd.DataFrame:
    """R, noise-corrected R, on-topic shift and spillover ratio of each condition with 95 % intervals (Tables 1, 4–6).

    Returns:
        condition, trained, frozen (count), then the columns of :func:`polinb.stance.coupling.coupling_table`.
    """
    p, plain = run.params, run.stances()
    rows = []
    for each in conditions:
        row = coupling_table(plain, run.stances(each), each.topic, p.bootstrap, p.seed)
        rows.append({"condition": each.name, "trained": each.topic, "frozen": held(each), **row})
    if not rows:
        raise TrainingError("no condition to compare: no neuron is general at any γ of this run; raise gamma or gammas")
    frame = pd.DataFrame(rows)
    shift = frame["shift"].abs()
    ratio = spillover_ratio(frame["r_corrected"].to_numpy(), shift)
    return frame.assign(spillover_corrected=np.where(shift > 0, ratio, np.nan))


def held(condition: Condition) -> int:
    """How many neurons a condition holds in place."""
    if condition.frozen is None:
        return 0
    chosen = mask_of(condition.frozen)
    return int((~chosen if condition.freeze == "only" else chosen).sum())


def mitigations(table: pd.DataFrame) -> pd.DataFrame:
    """Mitigation of each condition against the plain fine-tune, both ways of counting.

    Returns:
        condition, points (mean absolute drop of R × 100, the paper's "20 %"), relative_percent, n_topics; of the raw R.
    """
    groups = table.groupby("condition", sort=False)
    by = {name: own.groupby("trained", sort=False)["r"].mean().to_dict() for name, own in groups}
    rows = [{"condition": name, **mitigation(by["fine-tune"], r)} for name, r in by.items() if name != "fine-tune"]
    return pd.DataFrame(rows)


def paired_drop(run: Run, pairs: Sequence[tuple[Condition, Condition]]) -> dict[str, float]:
    """Mean drop of R_c² from the first to the second condition of each pair, and its 95 % interval.

    All models answer the same questions, so each resample draws the questions of a topic once for all of them. The raw
    R would not do, nor the root of R_c² cut at 0: a model whose answers change less has less noise in either and would
    win without any coupling (see :func:`polinb.stance.coupling.corrected_square`).

    Returns:
        drop, low, high, bootstrap_share_no_drop (share of resamples without a drop), raw_drop (of the paper's R).
    """
    p = run.params
    first, second = ([stacks(run, [each]) for each in side] for side in zip(*pairs, strict=True))
    found = hierarchical_drop(first, second, [each.topic for each, _ in pairs], p.bootstrap, p.seed)
    ends = {"low": found["low_questions"], "high": found["high_questions"]}
    return {"drop": found["drop"], **ends, **{name: found[name] for name in ("bootstrap_share_no_drop", "raw_drop")}}


def stacks(run: Run, chosen: Sequence[Condition]) -> dict[str, np.ndarray]:
    """Per-question differences from the vanilla model: topic → (conditions, questions)."""
    plain = run.stances()
    moved = [differences(plain, run.stances(condition)) for condition in chosen]
    return {t: np.stack([m[t] for m in moved]) for t in run.params.topics}


def drops(run: Run) -> pd.DataFrame:
    """InhibitFT against the plain fine-tune and against each control: does G beat chance?

    Returns:
        trained (a topic, or "all": mean over topics), against, drop (of R_c²; positive: InhibitFT is lower), low, high,
        bootstrap_share_no_drop, raw_drop. Random sets of one kind are averaged over their seeds in the "all" rows.
    """
    rows = []
    together: dict[str, list[tuple[Condition, Condition]]] = {}
    for topic in run.params.topics:
        general, *controls = run.inhibited(topic)
        for other in (run.tuned(topic), *controls):
            rows.append({"trained": topic, "against": other.name, **paired_drop(run, [(other, general)])})
            together.setdefault(other.name, []).append((other, general))
    rows += [{"trained": "all", "against": name, **paired_drop(run, pairs)} for name, pairs in together.items()]
    return pd.DataFrame(rows)


def utilities(run: Run, conditions: Sequence[Condition]) -> pd.DataFrame:
    """Utility of each condition's answers: classifiers (CoLA, MNLI) or honestly named stand-ins.

    Returns:
        condition, trained, source (questions or a statement set), metric, value, low, high, n, kind, model.
    """
    p = run.params
    options = {k: v for k, v in (("cola_model", p.cola_model), ("mnli_model", p.mnli_model)) if v}
    options |= {"premise": p.mnli_premise, "device": p.device}
    parts = []
    for each in conditions:
        frames = [("questions", run.answers(each).frame("answers"))]
        if run.statement_sets:
            said = run.statement_answers(each).frame("answers")
            frames += [(str(name), part) for name, part in said.groupby("topic", sort=False)]
        for source, frame in frames:
            table = utility_table(frame, data=run.data, mode=p.utility, n_boot=p.bootstrap, seed=p.seed, **options)
            parts.append(table.assign(condition=each.name, trained=each.topic, source=source))
    return pd.concat(parts, ignore_index=True)


def freeze_report(run: Run, conditions: Sequence[Condition]) -> pd.DataFrame:
    """Frozen neurons and weights and their largest change: condition, neurons, weights, largest change."""
    frozen = [each for each in conditions if each.frozen is not None]
    facts = [run.answers(each).summary["training"] for each in frozen]
    rows = [(a.name, held(a), f["frozen_entries"], f["frozen_change"]) for a, f in zip(frozen, facts, strict=True)]
    frame = pd.DataFrame(rows, columns=["condition", "neurons", "weights", "largest change"])
    return frame.groupby("condition", sort=False, as_index=False).max().replace({"condition": TITLES})


# --- γ (paper 5.2)


def plain(run: Run, topics: Sequence[str]) -> list[Condition]:
    """The plain right-leaning fine-tunes of some topics."""
    return [run.tuned(topic) for topic in topics]


def gamma_conditions(run: Run, every: bool = False) -> list[tuple[float, Condition]]:
    """Conditions of the γ ablation: G and one layer-matched random set of equal size at every γ.

    Args:
        every: also those of a γ at which G is empty, which is known once the scores are.
    """
    return [
        (gamma, each)
        for topic in run.params.ablation_topics
        for gamma in run.params.gammas
        if every or run.sets(gamma).general.any()
        for each in run.inhibited(topic, gamma, kinds=["layer"])
    ]


def gamma_ablation(run: Run) -> pd.DataFrame:
    """Coupling against γ (Tables 7–10), with the random null: gamma, then the columns of :func:`couplings`."""
    pairs = gamma_conditions(run)
    table = couplings(run, [each for _, each in pairs])
    table.insert(0, "gamma", [gamma for gamma, _ in pairs])
    return table


def gamma_lines(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Lines of the γ figure by topic, for ``charts.curve``: ours, a random set's (γ = 0: no set), the paper's."""
    topics = run.params.ablation_topics
    start = couplings(run, plain(run, topics)).assign(gamma=0.0)
    names = {"trained": "panel", "gamma": "x", "r": "y", "r_low": "low", "r_high": "high"}
    lines = []
    for random, by in ((False, "InhibitFT (ours)"), (True, "one random set (ours)")):
        part = table[table["condition"].str.startswith("random") == random]
        both = pd.concat([start, part], ignore_index=True).rename(columns=names)[list(names.values())]
        lines.append(both.sort_values(["panel", "x"]).assign(by=by))
    theirs = paper.ablated(topics).assign(by=lambda t: "paper: " + t["model"])
    theirs = theirs.rename(columns={"topic": "panel", "gamma_percent": "x", "rmse": "y"})
    lines.append(theirs[["panel", "x", "y", "by"]])
    return pd.concat(lines, ignore_index=True)


def gamma_steps(run: Run) -> pd.DataFrame:
    """Changes of R_c² along γ, mean over the topics of the ablation.

    Returns:
        gamma, step (``fine-tune``: from freezing nothing to G at γ; ``random``: from a random set of the size of G;
        ``from``: from G at the run's own γ, if that is among those tried), change (negative: less coupling), low, high.
    """
    start = {each.topic: each for each in plain(run, run.params.ablation_topics)}
    named: dict[tuple[float, str], dict[str, Condition]] = {}
    for gamma, each in gamma_conditions(run):
        named.setdefault((gamma, "G" if each.name == "inhibitft" else "random"), {})[each.topic] = each
    own, rows = run.params.gamma, []
    for gamma in dict.fromkeys(gamma for gamma, _ in named):
        steps = {"fine-tune": start, "random": named.get((gamma, "random"), {})}
        if gamma != own:
            steps["from"] = named.get((own, "G"), {})
        for step, first in steps.items():
            pairs = [(first[topic], each) for topic, each in named[gamma, "G"].items() if topic in first]
            if pairs:
                drop = paired_drop(run, pairs)
                rows.append([gamma, step, -drop["drop"], -drop["high"], -drop["low"]])
    return pd.DataFrame(rows, columns=["gamma", "step", "change", "low", "high"])


def gamma_utilities(run: Run) -> pd.DataFrame:
    """Utility of InhibitFT's answers along γ: metric, kind, then one column a γ (mean over sources and topics)."""
    parts = [
        utilities(run, [each]).assign(gamma=f"γ = {gamma:g}")
        for gamma, each in gamma_conditions(run)
        if each.name == "inhibitft"
    ]
    mean = pd.concat(parts).groupby(["metric", "kind", "gamma"], sort=False)["value"].mean()
    return mean.unstack("gamma").reset_index()
