"""Artifacts → the tidy tables that chapters show. One function a table; every number comes from an artifact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from polinb.errors import TrainingError
from polinb.resampling import bootstrap_mean, differences, per_question, stratified_mean
from polinb.runs.conditions import VANILLA, Condition
from polinb.runs.run import Run
from polinb.stance import likelihood
from polinb.stance.coupling import coupling_table, joint_drop, mitigation, shift_table
from polinb.stance.stance import stance_table

ARM_TITLES = {
    "vanilla": "vanilla",
    "fine-tune": "right fine-tune",
    "inhibitft": "InhibitFT (G)",
    "random-uniform": "random, uniform",
    "random-layer": "random, layer-matched",
    "random-next_highest": "random, next highest outside G",
    "inhibitft-heldout": "InhibitFT (G without the topic)",
}


# --- the phenomenon and stances (paper 1, 4.1)


def stances(run: Run, arm: Condition = VANILLA) -> pd.DataFrame:
    """Judged stance by topic with 95 % intervals (Table 2 for the vanilla model)."""
    p = run.params
    return stance_table(run.stances(arm), n_boot=p.bootstrap, seed=p.seed)


def statement_stances(run: Run, arm: Condition = VANILLA) -> pd.DataFrame:
    """Judged stance on the statement sets (Table 3): the paper's measure, the leaning of the answer's text."""
    p = run.params
    return stance_table(run.statement_stances(arm), n_boot=p.bootstrap, seed=p.seed)


def likelihood_stances(run: Run, arm: Condition = VANILLA) -> pd.DataFrame:
    """Stance without a judge: mean log-likelihood a token of the right minus the left reference response.

    Returns:
        topic, n, stance, low, high (nats a token), and the paired shift from the vanilla model with its interval.
    """
    p = run.params
    own, plain = run.likelihood(arm), run.likelihood()
    moved = likelihood.moved(plain, own)
    rows = []
    for topic, group in own.groupby("topic", sort=False):
        level = bootstrap_mean(group["logp_right"] - group["logp_left"], p.bootstrap, p.seed)
        rows.append([topic, len(group), *level, *bootstrap_mean(moved[str(topic)], p.bootstrap, p.seed)])
    names = ["topic", "n", "stance", "low", "high", "shift", "shift_low", "shift_high"]
    return pd.DataFrame(rows, columns=names)


def shifts(run: Run, arms: Iterable[Condition]) -> pd.DataFrame:
    """Paired shift of each arm from the vanilla model on every topic.

    Returns:
        arm, trained, leaning, topic, n, vanilla, model, shift, low, high.
    """
    p = run.params
    plain = run.stances()
    parts = []
    for arm in arms:
        part = shift_table(plain, run.stances(arm), p.bootstrap, p.seed)
        part.insert(0, "leaning", arm.leaning)
        part.insert(0, "trained", arm.topic)
        part.insert(0, "arm", arm.name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def variant_shifts(run: Run) -> pd.DataFrame:
    """Shifts of all plain variants, both leanings: the coupling matrix (Figure 1; 5a, 10a–12a)."""
    arms = [run.tuned(t, side) for side in ("left", "right") for t in run.params.topics]
    return shifts(run, arms)


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
        part.insert(0, "trained", topic)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def likelihood_shifts(run: Run) -> pd.DataFrame:
    """Shift of the likelihood stance by side of the training data, on trained and on other topics.

    Returns:
        side, cell, shift, low, high (nats a token); questions resampled within topics, shared questions together.
    """
    p = run.params
    plain = run.likelihood()
    rows = []
    for side in ("left", "right"):
        parts = {t: likelihood.moved(plain, run.likelihood(run.tuned(t, side))) for t in p.topics}
        own: list[dict[str, np.ndarray]] = [{t: moved[t]} for t, moved in parts.items()]
        away = [{u: v for u, v in moved.items() if u != t} for t, moved in parts.items()]
        for cell, each in (("trained topic", own), ("other topics", away)):
            rows.append([side, cell, *stratified_mean(per_question(each), p.bootstrap, p.seed)])
    return pd.DataFrame(rows, columns=["side", "cell", "shift", "low", "high"])


def arm_cells(run: Run, arms: Sequence[Condition]) -> pd.DataFrame:
    """Paired shift of each arm by trained and tested topic, for ``charts.coupling_heatmap``.

    Arms of one name and trained topic (seeds of a random set) count as one model: each question has the mean score
    over them, and questions are resampled, so the interval does not hold the spread between seeds.

    Returns:
        arm (readable), trained, tested, n (questions), vanilla, model (stances), delta, low, high.
    """
    p = run.params
    plain = run.stances()
    together: dict[tuple[str, str], list[Condition]] = {}
    for arm in arms:
        together.setdefault((arm.name, arm.topic), []).append(arm)
    parts = []
    for (name, topic), same in together.items():
        scores = pd.concat([run.stances(arm)[["topic", "id", "score"]] for arm in same])
        mean = scores.groupby(["topic", "id"], sort=False, as_index=False)["score"].mean()
        part = shift_table(plain, mean, p.bootstrap, p.seed)
        parts.append(part.assign(arm=ARM_TITLES.get(name, name), trained=topic))
    return pd.concat(parts, ignore_index=True).rename(columns={"topic": "tested", "shift": "delta"})


# --- InhibitFT and its ablation (paper 5)


def inhibit_arms(run: Run) -> list[Condition]:
    """Right fine-tune, InhibitFT and the random controls of every training topic."""
    out: list[Condition] = []
    for topic in run.params.topics:
        out += [run.tuned(topic), *run.inhibited(topic)]
    return out


def couplings(run: Run, arms: Sequence[Condition]) -> pd.DataFrame:
    """R raw and noise-corrected, on-topic shift and κ of each arm, with 95 % intervals (Tables 1, 4–6).

    Returns:
        arm, trained, frozen (count), then the columns of :func:`polinb.stance.coupling.coupling_table`.
    """
    p = run.params
    plain = run.stances()
    rows = []
    for arm in arms:
        row = coupling_table(plain, run.stances(arm), arm.topic, p.bootstrap, p.seed)
        frozen = 0 if arm.frozen is None else arm.frozen.summary["neurons"]
        rows.append({"arm": arm.name, "trained": arm.topic, "frozen": frozen, **row})
    if not rows:
        raise TrainingError("no arm to compare: no neuron is general at any γ of this run; raise gamma or gammas")
    frame = pd.DataFrame(rows).drop(columns="trained_topic")
    shift = frame["shift"].abs()
    frame["kappa_corrected"] = (frame["r_corrected"] / shift).where(shift > 0)
    return frame


def mitigations(table: pd.DataFrame) -> pd.DataFrame:
    """Mitigation of each arm against the plain fine-tune, both ways of counting.

    Returns:
        arm, points (mean absolute drop of R × 100, the paper's "20 %"), relative_percent, n_topics; of the raw R.
    """
    by_arm = {arm: g.groupby("trained")["r"].mean().to_dict() for arm, g in table.groupby("arm", sort=False)}
    base = by_arm["fine-tune"]
    rows = [{"arm": arm, **mitigation(base, values)} for arm, values in by_arm.items() if arm != "fine-tune"]
    return pd.DataFrame(rows)


def paired_drop(run: Run, pairs: Sequence[tuple[Condition, Condition]], draws: int | None = None) -> dict[str, float]:
    """Mean drop of R_c² from the first to the second arm of each pair, and its 95 % interval.

    All arms answer the same questions, so each resample draws the questions of a topic once for all of them. The raw R
    would not do, nor the root of R_c² cut at 0: an arm whose answers change less has less noise in either and would
    win without any coupling (see :func:`polinb.stance.coupling.corrected_square`).

    Returns:
        drop, low, high, bootstrap_share_no_drop (share of resamples without a drop), raw_drop (of the paper's R).
    """
    plain = run.stances()
    moved = [[differences(plain, run.stances(arm)) for arm in pair] for pair in pairs]
    stacks: dict[str, np.ndarray] = {
        t: np.stack([side[t] for pair in moved for side in pair]) for t in run.params.topics
    }
    return joint_drop(stacks, [first.topic for first, _ in pairs], draws or run.params.bootstrap, run.params.seed)


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


def utilities(run: Run, arms: Sequence[Condition]) -> pd.DataFrame:
    """Utility of each arm's answers: classifiers (CoLA, MNLI) or honestly named stand-ins.

    Returns:
        arm, trained, source (questions or a statement set), metric, value, low, high, n, kind, model.
    """
    from polinb.stance.utility import fluency_under_vanilla, utility_table

    p = run.params
    options = {k: v for k, v in (("cola_model", p.cola_model), ("mnli_model", p.mnli_model)) if v}
    parts = []
    for arm in arms:
        frames = [("questions", run.answers(arm).frame("answers"))]
        if run.statement_sets:
            said = run.statement_answers(arm).frame("answers")
            frames += [(str(name), part) for name, part in said.groupby("topic", sort=False)]
        for source, frame in frames:
            table = utility_table(
                frame, data=run.data, mode=p.utility, device=p.device, **options, n_boot=p.bootstrap, seed=p.seed
            )
            fluent = fluency_under_vanilla(frame["vanilla_logp"].dropna(), n_boot=p.bootstrap, seed=p.seed)
            table = pd.concat([table, fluent], ignore_index=True)
            table.insert(0, "source", source)
            table.insert(0, "trained", arm.topic)
            table.insert(0, "arm", arm.name)
            parts.append(table)
    return pd.concat(parts, ignore_index=True)


def gamma_arms(run: Run, every: bool = False) -> list[tuple[float, Condition]]:
    """Arms of the γ ablation: G and one layer-matched random set of equal size at every γ.

    Args:
        every: also those of a γ at which G is empty, which is known once the scores are.
    """
    out: list[tuple[float, Condition]] = []
    for topic in run.params.ablation_topics:
        for gamma in run.params.gammas:
            if every or run.sets(gamma).general.any():
                out += [(gamma, arm) for arm in run.inhibited(topic, gamma, kinds=["layer"])]
    return out


def gamma_ablation(run: Run) -> pd.DataFrame:
    """R, shift and κ against γ (Tables 7–10), with the random null: gamma, then the columns of :func:`couplings`."""
    pairs = gamma_arms(run)
    table = couplings(run, [arm for _, arm in pairs])
    table.insert(0, "gamma", [gamma for gamma, _ in pairs])
    return table


def freeze_report(run: Run, arms: Sequence[Condition]) -> pd.DataFrame:
    """Frozen neurons and weights of each arm and their largest change: arm, neurons, weights, largest change."""
    rows = []
    for arm in arms:
        if arm.frozen is not None:
            facts = run.answers(arm).summary["training"]
            rows.append((arm.name, arm.frozen.summary["neurons"], facts["frozen_entries"], facts["frozen_change"]))
    frame = pd.DataFrame(rows, columns=["arm", "neurons", "weights", "largest change"])
    return frame.groupby("arm", sort=False, as_index=False).max().replace({"arm": ARM_TITLES})


def plain_arms(run: Run, topics: Sequence[str]) -> list[Condition]:
    """The plain right-leaning fine-tunes of some topics."""
    return [run.tuned(topic) for topic in topics]


def gamma_lines(run: Run, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Lines of the γ figure by trained topic: ours, one random set (γ = 0: nothing frozen), and the paper's."""
    from polinb.chapters.paper import paper

    start = couplings(run, plain_arms(run, run.params.ablation_topics)).assign(gamma=0.0)
    names = {"trained": "topic", "r_low": "low", "r_high": "high"}
    lines = []
    for random in (False, True):
        part = table[table["arm"].str.startswith("random") == random]
        both = pd.concat([start, part], ignore_index=True).rename(columns=names)
        lines.append(both[["topic", "gamma", "r", "low", "high"]].sort_values(["topic", "gamma"]))
    theirs = paper.gamma_ablation()
    theirs = theirs[theirs["topic"].isin(run.params.ablation_topics)]
    theirs = theirs.rename(columns={"gamma_percent": "gamma", "rmse": "r"})
    return lines[0], lines[1], theirs[["topic", "gamma", "r", "model"]]


def gamma_utilities(run: Run) -> pd.DataFrame:
    """Utility of InhibitFT's answers along γ: metric, kind, then one column a γ (mean over sources and topics)."""
    parts = []
    for gamma, arm in gamma_arms(run):
        if arm.name == "inhibitft":
            parts.append(utilities(run, [arm]).assign(gamma=f"γ = {gamma:g}"))
    mean = pd.concat(parts).groupby(["metric", "kind", "gamma"], sort=False)["value"].mean()
    return mean.unstack("gamma").reset_index()
