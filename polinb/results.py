"""Artifacts → the tidy tables that chapters show. One function a table; every number comes from an artifact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from polinb.errors import TrainingError
from polinb.experiment import VANILLA, Arm, Experiment, finetuned
from polinb.metrics import bootstrap_mean, coupling_table, mitigation, shift_table, small_sample
from polinb.pnlac import NeuronSets, overlap
from polinb.stance import stance_table

LAYER, LOUD = "random, layer-matched", "random, loudest outside G"
ARM_TITLES = {
    "vanilla": "vanilla",
    "fine-tune": "right fine-tune",
    "inhibitft": "InhibitFT (G)",
    "random-uniform": "random, uniform",
    "random-layer": "random, layer-matched",
    "random-score": "random, loudest outside G",
    "inhibitft-heldout": "InhibitFT (G without the topic)",
}


# --- the phenomenon and stances (paper 1, 4.1)


def stances(exp: Experiment, arm: Arm = VANILLA) -> pd.DataFrame:
    """Judged stance by topic with 95 % intervals (Table 2 for the vanilla model)."""
    p = exp.params
    return stance_table(exp.stances(arm), n_boot=p.bootstrap, seed=p.seed)


def statement_stances(exp: Experiment, arm: Arm = VANILLA) -> pd.DataFrame:
    """Judged stance on the statement sets (Table 3): the paper's measure, the leaning of the answer's text."""
    p = exp.params
    return stance_table(exp.rated(exp.answers(arm).frame("statements")), n_boot=p.bootstrap, seed=p.seed)


def likelihood_stances(exp: Experiment, arm: Arm = VANILLA) -> pd.DataFrame:
    """Stance without a judge: mean log-likelihood a token of the right minus the left reference response.

    Returns:
        topic, n, stance, low, high (nats a token), and the paired shift from the vanilla model with its interval.
    """
    p = exp.params
    own = exp.answers(arm).frame("likelihood")
    plain = exp.answers(VANILLA).frame("likelihood")
    merged = own.merge(plain, on=["topic", "id"], suffixes=("", "_vanilla"))
    merged["gap"] = merged["logp_right"] - merged["logp_left"]
    merged["moved"] = merged["gap"] - (merged["logp_right_vanilla"] - merged["logp_left_vanilla"])
    rows = []
    for topic, group in merged.groupby("topic", sort=False):
        level = bootstrap_mean(group["gap"], p.bootstrap, p.seed)
        shift = bootstrap_mean(group["moved"], p.bootstrap, p.seed)
        rows.append([topic, len(group), *level, *shift])
    names = ["topic", "n", "stance", "low", "high", "shift", "shift_low", "shift_high"]
    return pd.DataFrame(rows, columns=names)


def shifts(exp: Experiment, arms: Iterable[Arm]) -> pd.DataFrame:
    """Paired shift of each arm from the vanilla model on every topic.

    Returns:
        arm, trained, leaning, topic, n, vanilla, model, shift, low, high.
    """
    p = exp.params
    plain = exp.stances(VANILLA)
    parts = []
    for arm in arms:
        part = shift_table(plain, exp.stances(arm), p.bootstrap, p.seed)
        part.insert(0, "leaning", arm.leaning)
        part.insert(0, "trained", arm.topic)
        part.insert(0, "arm", arm.name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def variant_shifts(exp: Experiment) -> pd.DataFrame:
    """Shifts of all plain variants, both leanings: the coupling matrix (Figure 1; 5a, 10a–12a)."""
    arms = [finetuned(t, side) for side in ("left", "right") for t in exp.params.topics]
    return shifts(exp, arms)


def side_contrast(exp: Experiment) -> pd.DataFrame:
    """Right-tuned minus left-tuned stance by trained and tested topic, paired by question.

    Fine-tuning also moves the style of the answers, and a judge may take style for stance. Both variants of a topic
    share that style, so their difference is what the side of the data did.

    Returns:
        trained, topic, n, shift (right − left), low, high.
    """
    p = exp.params
    parts = []
    for topic in p.topics:
        left, right = (exp.stances(finetuned(topic, side)) for side in ("left", "right"))
        part = shift_table(left, right, p.bootstrap, p.seed)[["topic", "n", "shift", "low", "high"]]
        part.insert(0, "trained", topic)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


# --- neurons (paper 3.2, 3.3)


def layer_counts(sets: NeuronSets) -> pd.DataFrame:
    """Neurons per layer by type (Figures 3a, 6): layer, type, topic, count, share of the layer in per cent."""
    width = sets.general.shape[1]
    rows = [(layer, "general", "all", int(row.sum())) for layer, row in enumerate(sets.general)]
    for topic, chosen in sets.specific.items():
        rows += [(layer, "topic-specific", topic, int(row.sum())) for layer, row in enumerate(chosen)]
    frame = pd.DataFrame(rows, columns=["layer", "type", "topic", "count"])
    frame["percent"] = 100 * frame["count"] / width
    return frame


def type_shares(sets: NeuronSets) -> pd.DataFrame:
    """Share of all neurons that are general, topic-specific and strictly specific, in per cent (Figures 3b, 6)."""
    total = sets.general.size
    rows = [("general", "all", int(sets.general.sum()))]
    rows += [("topic-specific", t, int(s.sum())) for t, s in sets.specific.items()]
    rows += [("strictly topic-specific", t, int(s.sum())) for t, s in sets.strict.items()]
    frame = pd.DataFrame(rows, columns=["type", "topic", "count"])
    frame["percent"] = 100 * frame["count"] / total
    return frame


def overlaps(exp: Experiment, gamma: float | None = None) -> pd.DataFrame:
    """How much of G is plain activation scale, and what changes when scores are normalised.

    Returns:
        set, neurons, percent (of the model), in_scale_top (share that is also in the top γ % by activation scale),
        chance (that share for a random set), in_raw_g (share that is also in the raw G).
    """
    p = exp.params
    gamma = p.gamma if gamma is None else gamma
    scale = exp.scale_set(gamma)
    raw = exp.sets(gamma, "none")
    rows = []
    for kind, title in (("none", "G, raw score"), ("vanilla_std", "G, normalised score")):
        rows.append(_overlap_row(title, exp.sets(gamma, kind).general, scale, raw.general))
    rows.append(_overlap_row(f"top {gamma:g} % by activation scale", scale, scale, raw.general))
    for topic in p.topics:
        held = raw.general_without(topic)
        rows.append(_overlap_row(f"G found without {topic}", held, scale, raw.general))
    names = ["set", "neurons", "percent", "in_scale_top", "chance", "in_raw_g"]
    return pd.DataFrame(rows, columns=names)


def _overlap_row(title: str, chosen: np.ndarray, scale: np.ndarray, raw: np.ndarray) -> list[object]:
    percent = 100 * float(chosen.mean())
    return [
        title,
        int(chosen.sum()),
        percent,
        overlap(chosen, scale),
        float(scale.mean()),
        overlap(chosen, raw),
    ]


def top_neurons(exp: Experiment, n: int = 10) -> pd.DataFrame:
    """The general neurons with the highest mean raw score: layer, neuron, mean score, activation scale."""
    general = exp.general()
    mean = np.mean([exp.score_sums(t).score for t in exp.params.topics], axis=0)
    order = np.argsort(-np.where(general, mean, -np.inf), axis=None, kind="stable")[: min(n, int(general.sum()))]
    layer, neuron = np.unravel_index(order, mean.shape)
    columns = {"layer": layer, "neuron": neuron, "mean score": mean[layer, neuron]}
    return pd.DataFrame({**columns, "activation scale": exp.scale()[layer, neuron]})


def likelihood_shifts(exp: Experiment) -> pd.DataFrame:
    """Shift of the likelihood stance by side of the training data, on trained and on other topics.

    Returns:
        side, cell, shift, low, high (nats a token); questions resampled within topics, shared questions together.
    """
    p = exp.params
    plain = exp.answers(VANILLA).frame("likelihood")
    rows = []
    for side in ("left", "right"):
        parts = {t: _likelihood_gaps(plain, exp.answers(finetuned(t, side)).frame("likelihood")) for t in p.topics}
        own: list[dict[str, np.ndarray]] = [{t: moved[t]} for t, moved in parts.items()]
        away = [{u: v for u, v in moved.items() if u != t} for t, moved in parts.items()]
        for cell, each in (("trained topic", own), ("other topics", away)):
            rows.append([side, cell, *stratified_mean(per_question(each), p.bootstrap, p.seed)])
    return pd.DataFrame(rows, columns=["side", "cell", "shift", "low", "high"])


def _likelihood_gaps(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, np.ndarray]:
    tables = [f.assign(score=f["logp_right"] - f["logp_left"])[["topic", "id", "score"]] for f in (before, after)]
    return differences(*tables)


def topic_agreement(sets: NeuronSets) -> pd.DataFrame:
    """Jaccard overlap of N_t between topics: first, second, jaccard."""
    rows = []
    for a, first in sets.political.items():
        for b, second in sets.political.items():
            union = int((first | second).sum())
            rows.append((a, b, float((first & second).sum() / union) if union else float("nan")))
    return pd.DataFrame(rows, columns=["first", "second", "jaccard"])


# --- patching (paper 4.2, 4.3)


def patch_plan(exp: Experiment) -> list[tuple[str, str, np.ndarray, dict[str, str]]]:
    """What is patched: name, group, neurons and donor of each evaluated topic.

    G and its controls take the donor tuned on the evaluated topic; S_t takes M_right^t everywhere. Patching every
    neuron shows what all FFN activations together carry.
    """
    topics: list[str] = list(exp.params.topics)
    sets, general = exp.sets(), exp.general()
    own = {t: t for t in topics}
    plan = [("G", "general", general, own)]
    plan += [(f"S ({t})", "topic-specific", sets.specific[t], dict.fromkeys(topics, t)) for t in topics]
    for number in range(exp.params.control_seeds):
        more = f" #{number + 1}" if number else ""
        plan.append((f"{LAYER}{more}", "control", exp.control_set("layer", number), own))
        plan.append((f"{LOUD}{more}", "control", exp.control_set("score", number), own))
    plan.append(("every neuron", "all", np.ones_like(general), own))
    return plan


def patching(exp: Experiment) -> pd.DataFrame:
    """Stance of the patched vanilla model by topic (Figures 4, 7–9), as a paired shift from the vanilla model.

    Returns:
        set, group, neurons, topic, n, vanilla, model (stance), shift, low, high; plus the donor itself, unpatched.
    """
    p = exp.params
    plain = exp.stances(VANILLA)
    parts = []
    for name, group, chosen, donors in patch_plan(exp):
        rated = exp.patched(name, chosen, donors)
        same = plain.merge(rated[["topic", "id"]], on=["topic", "id"])
        part = shift_table(same, rated, p.bootstrap, p.seed)
        part.insert(0, "neurons", int(chosen.sum()))
        part.insert(0, "group", group)
        part.insert(0, "set", name)
        parts.append(part)
    return pd.concat([*parts, _donors(exp, plain)], ignore_index=True)


def _donors(exp: Experiment, plain: pd.DataFrame) -> pd.DataFrame:
    p = exp.params
    rated = _donor_answers(exp)
    part = shift_table(plain.merge(rated[["topic", "id"]], on=["topic", "id"]), rated, p.bootstrap, p.seed)
    part.insert(0, "neurons", 0)
    part.insert(0, "group", "donor")
    part.insert(0, "set", "donor itself")
    return part


# --- InhibitFT and its ablation (paper 5)


def inhibit_arms(exp: Experiment) -> list[Arm]:
    """Right fine-tune, InhibitFT and the random controls of every training topic."""
    out: list[Arm] = []
    for topic in exp.params.topics:
        out += [finetuned(topic, "right"), *exp.inhibit_arms(topic)]
    return out


def couplings(exp: Experiment, arms: Sequence[Arm]) -> pd.DataFrame:
    """R raw and noise-corrected, on-topic shift and κ of each arm, with 95 % intervals (Tables 1, 4–6).

    Returns:
        arm, trained, frozen (count), then the columns of :func:`polinb.metrics.coupling_table`.
    """
    p = exp.params
    plain = exp.stances(VANILLA)
    rows = []
    for arm in arms:
        row = coupling_table(plain, exp.stances(arm), arm.topic, p.bootstrap, p.seed)
        frozen = 0 if arm.frozen is None else int(arm.frozen.sum())
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


def paired_drop(exp: Experiment, pairs: Sequence[tuple[Arm, Arm]], draws: int | None = None) -> dict[str, float]:
    """Mean drop of the noise-corrected R from the first to the second arm of each pair, and its 95 % interval.

    All arms answer the same questions, so each resample draws the questions of a topic once for all of them. The raw R
    would not do: an arm whose answers change less has less noise in R and would win without any coupling. So the noise
    is taken off, once in the estimate and twice in each resample (see :func:`polinb.metrics.coupling_table`).

    Returns:
        drop, low, high, p_no_drop (share of resamples without a drop), raw_drop (of the paper's R).
    """
    plain = exp.stances(VANILLA)
    moved = [[differences(plain, exp.stances(arm)) for arm in pair] for pair in pairs]
    stacks: dict[str, np.ndarray] = {
        t: np.stack([side[t] for pair in moved for side in pair]) for t in exp.params.topics
    }
    return joint_drop(stacks, [first.topic for first, _ in pairs], draws or exp.params.bootstrap, exp.params.seed)


def joint_drop(stacks: dict[str, np.ndarray], trained: Sequence[str], draws: int, seed: int) -> dict[str, float]:
    """:func:`paired_drop` on arrays: topic → (2 × pairs, questions) differences from the vanilla model."""
    rng = np.random.default_rng(seed)
    exact = {t: _moments(v[:, None, :]) for t, v in stacks.items()}
    drawn = {t: _moments(v[:, _resample(rng, v.shape[1], draws)]) for t, v in stacks.items()}
    resampled = _mean_drop(drawn, trained, 2)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {
        "drop": float(_mean_drop(exact, trained, 1)[0]),
        "low": float(low),
        "high": float(high),
        "p_no_drop": float((resampled <= 0).mean()),
        "raw_drop": float(_mean_drop(exact, trained, 0)[0]),
    }


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and squared standard errors over the last axis."""
    n = values.shape[-1]
    return values.mean(-1), values.var(-1, ddof=1) / n if n > 1 else np.zeros(values.shape[:-1])


def _resample(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    return rng.integers(0, size, (n, size))


def _mean_drop(moments: dict[str, tuple[np.ndarray, np.ndarray]], trained: Sequence[str], times: int) -> np.ndarray:
    """Mean over pairs of R(first) − R(second), with ``times`` the noise taken off each squared R."""
    total = []
    for k, own in enumerate(trained):
        rows = slice(2 * k, 2 * k + 2)
        squares = [m[rows] ** 2 - times * noise[rows] for t, (m, noise) in moments.items() if t != own]
        r = np.sqrt(np.maximum(np.mean(squares, axis=0), 0.0))
        total.append(r[0] - r[1])
    return np.asarray(np.mean(total, axis=0))


def drops(exp: Experiment) -> pd.DataFrame:
    """InhibitFT against the plain fine-tune and against each control: does G beat chance?

    Returns:
        trained (a topic, or "all": mean over topics), against, drop (of noise-corrected R; positive: InhibitFT is
        lower), low, high, p_no_drop, raw_drop. Random sets of one kind are averaged over their seeds in the "all" rows.
    """
    rows = []
    together: dict[str, list[tuple[Arm, Arm]]] = {}
    for topic in exp.params.topics:
        general, *controls = exp.inhibit_arms(topic)
        for other in (finetuned(topic, "right"), *controls):
            rows.append({"trained": topic, "against": other.name, **paired_drop(exp, [(other, general)])})
            together.setdefault(other.name, []).append((other, general))
    rows += [{"trained": "all", "against": name, **paired_drop(exp, pairs)} for name, pairs in together.items()]
    return pd.DataFrame(rows)


def utilities(exp: Experiment, arms: Sequence[Arm]) -> pd.DataFrame:
    """Utility of each arm's answers: classifiers (CoLA, MNLI) or honestly named stand-ins.

    Returns:
        arm, trained, source (questions or a statement set), metric, value, low, high, n, kind, model.
    """
    from polinb.utility import fluency_under_vanilla, utility_table

    p = exp.params
    options = {k: v for k, v in (("cola_model", p.cola_model), ("mnli_model", p.mnli_model)) if v}
    parts = []
    for arm in arms:
        artifact = exp.answers(arm)
        frames = [("questions", artifact.frame("answers"))]
        if exp.statement_sets:
            frames += [(str(name), part) for name, part in artifact.frame("statements").groupby("topic", sort=False)]
        for source, frame in frames:
            table = utility_table(
                frame, data=exp.data, mode=p.utility, options=options, n_boot=p.bootstrap, seed=p.seed
            )
            fluent = fluency_under_vanilla(frame["vanilla_logp"].dropna(), n_boot=p.bootstrap, seed=p.seed)
            table = pd.concat([table, fluent], ignore_index=True)
            table.insert(0, "source", source)
            table.insert(0, "trained", arm.topic)
            table.insert(0, "arm", arm.name)
            parts.append(table)
    return pd.concat(parts, ignore_index=True)


def gamma_arms(exp: Experiment) -> list[tuple[float, Arm]]:
    """Arms of the γ ablation: G and one layer-matched random set of equal size at every γ."""
    out: list[tuple[float, Arm]] = []
    for topic in exp.params.ablation_topics:
        for gamma in exp.params.gammas:
            if exp.sets(gamma).general.any():
                out += [(gamma, arm) for arm in exp.inhibit_arms(topic, gamma, kinds=["layer"])]
    return out


def gamma_ablation(exp: Experiment) -> pd.DataFrame:
    """R, shift and κ against γ (Tables 7–10), with the random null: gamma, then the columns of :func:`couplings`."""
    pairs = gamma_arms(exp)
    table = couplings(exp, [arm for _, arm in pairs])
    table.insert(0, "gamma", [gamma for gamma, _ in pairs])
    return table


def stratified_mean(groups: Sequence[np.ndarray], draws: int, seed: int) -> tuple[float, float, float]:
    """Mean of group means with a 95 % interval from resampling within each group (questions within topics)."""
    rng = np.random.default_rng(seed)
    drawn = np.mean([g[rng.integers(0, len(g), (draws, len(g)))].mean(1) for g in groups], axis=0)
    low, high = np.percentile(drawn, [2.5, 97.5])
    mean = float(np.mean([g.mean() for g in groups]))
    sizes = [len(g) for g in groups]
    if min(sizes) < 2:
        return mean, float("nan"), float("nan")
    stretch = small_sample(sum(sizes) - len(sizes), round(np.mean(sizes)))
    return mean, mean - stretch * (mean - float(low)), mean + stretch * (float(high) - mean)


def per_question(parts: Sequence[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """Mean over models of each question's difference, by topic: resampling these keeps shared questions together."""
    topics = dict.fromkeys(t for part in parts for t in part)
    return [np.mean([part[t] for part in parts if t in part], axis=0) for t in topics]


def differences(vanilla: pd.DataFrame, model: pd.DataFrame) -> dict[str, np.ndarray]:
    """Per-question score differences by topic, model minus vanilla, on the questions both answered."""
    both = model.merge(vanilla, on=["topic", "id"], suffixes=("", "_vanilla"))
    both["moved"] = both["score"] - both["score_vanilla"]
    both = both.sort_values(["topic", "id"], kind="stable")
    return {str(t): g["moved"].to_numpy(float) for t, g in both.groupby("topic", sort=False)}


def patch_levels(exp: Experiment, names: Sequence[str]) -> pd.DataFrame:
    """Stances of the vanilla and the patched model on the same questions: topic, patch, stance, low, high."""
    p = exp.params
    plain = exp.stances(VANILLA).merge(exp.questions(p.patch_questions)[["topic", "id"]], on=["topic", "id"])
    parts = [stance_table(plain, n_boot=p.bootstrap, seed=p.seed).assign(patch="vanilla")]
    for name, _, chosen, donors in patch_plan(exp):
        if name in names:
            table = stance_table(exp.patched(name, chosen, donors), n_boot=p.bootstrap, seed=p.seed)
            parts.append(table.assign(patch=name))
    if "donor itself" in names:
        parts.append(stance_table(_donor_answers(exp), n_boot=p.bootstrap, seed=p.seed).assign(patch="donor itself"))
    return pd.concat(parts, ignore_index=True)[["topic", "patch", "stance", "low", "high"]]


def patch_summary(exp: Experiment) -> pd.DataFrame:
    """Mean shift over topics of every patched set, and as a share of the donor's own shift.

    Returns:
        set, group, neurons, scale (mean activation scale of its neurons), shift, low, high, percent_of_donor (NaN
        where the donor's own interval holds 0).
    """
    p = exp.params
    plain = exp.stances(VANILLA)
    scale = exp.scale()
    rows = []
    for name, group, chosen, donors in patch_plan(exp):
        moved = differences(plain, exp.patched(name, chosen, donors))
        loud = float(scale[chosen].mean()) if chosen.any() else float("nan")
        rows.append([name, group, int(chosen.sum()), loud, *stratified_mean(list(moved.values()), p.bootstrap, p.seed)])
    moved = differences(plain, _donor_answers(exp))
    rows.append(["donor itself", "donor", 0, float("nan"), *stratified_mean(list(moved.values()), p.bootstrap, p.seed)])
    frame = pd.DataFrame(rows, columns=["set", "group", "neurons", "scale", "shift", "low", "high"])
    donor, low, high = (float(x) for x in frame[["shift", "low", "high"]].iloc[-1])
    frame["percent_of_donor"] = 100 * frame["shift"] / donor if low > 0 or high < 0 else float("nan")
    return frame


def patched_examples(exp: Experiment, topic: str, n: int) -> pd.DataFrame:
    """The first ``n`` questions of a topic: prompt, and the answers of vanilla, G patched in, and the donor."""
    name, _, chosen, donors = patch_plan(exp)[0]
    tables = {"vanilla": exp.stances(VANILLA), f"{name} patched": exp.patched(name, chosen, donors)}
    tables["donor"] = _donor_answers(exp)
    out = exp.questions(exp.params.patch_questions, [topic])[["id", "prompt"]].head(n)
    for title, frame in tables.items():
        own = frame.assign(**{title: frame["label"].str.upper() + ": " + frame["response"]})
        out = out.merge(own.loc[own["topic"] == topic, ["id", title]], on="id", how="left")
    return out.drop(columns="id")


def freeze_report(exp: Experiment, arms: Sequence[Arm]) -> pd.DataFrame:
    """Frozen neurons and weights of each arm and their largest change: arm, neurons, weights, largest change."""
    rows = []
    for arm in arms:
        if arm.frozen is not None:
            facts = exp.answers(arm).summary["training"]
            rows.append((arm.name, int(arm.frozen.sum()), facts["frozen_entries"], facts["frozen_change"]))
    frame = pd.DataFrame(rows, columns=["arm", "neurons", "weights", "largest change"])
    return frame.groupby("arm", sort=False, as_index=False).max().replace({"arm": ARM_TITLES})


def arm_shifts(exp: Experiment, arms: Sequence[Arm]) -> pd.DataFrame:
    """Shifts of each arm (as :func:`shifts`), averaged over seeds, with readable arm names."""
    frame = shifts(exp, arms)
    mean = frame.groupby(["arm", "trained", "topic"], sort=False, as_index=False)["shift"].mean()
    return mean.replace({"arm": ARM_TITLES})


def plain_arms(exp: Experiment, topics: Sequence[str]) -> list[Arm]:
    """The plain right-leaning fine-tunes of some topics."""
    return [finetuned(topic, "right") for topic in topics]


def gamma_lines(exp: Experiment, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Lines of the γ figure by trained topic: ours, one random set (γ = 0: nothing frozen), and the paper's."""
    from polinb import paper

    start = couplings(exp, plain_arms(exp, exp.params.ablation_topics)).assign(gamma=0.0)
    names = {"trained": "topic", "r_low": "low", "r_high": "high"}
    lines = []
    for random in (False, True):
        part = table[table["arm"].str.startswith("random") == random]
        both = pd.concat([start, part], ignore_index=True).rename(columns=names)
        lines.append(both[["topic", "gamma", "r", "low", "high"]].sort_values(["topic", "gamma"]))
    theirs = paper.gamma_ablation()
    theirs = theirs[theirs["topic"].isin(exp.params.ablation_topics)]
    theirs = theirs.rename(columns={"gamma_percent": "gamma", "rmse": "r"})
    return lines[0], lines[1], theirs[["topic", "gamma", "r", "model"]]


def gamma_utilities(exp: Experiment) -> pd.DataFrame:
    """Utility of InhibitFT's answers along γ: metric, kind, then one column a γ (mean over sources and topics)."""
    parts = []
    for gamma, arm in gamma_arms(exp):
        if arm.name == "inhibitft":
            parts.append(utilities(exp, [arm]).assign(gamma=f"γ = {gamma:g}"))
    mean = pd.concat(parts).groupby(["metric", "kind", "gamma"], sort=False)["value"].mean()
    return mean.unstack("gamma").reset_index()


def _donor_answers(exp: Experiment) -> pd.DataFrame:
    asked = exp.questions(exp.params.patch_questions)[["topic", "id"]]
    parts = []
    for topic in exp.params.topics:
        own = exp.stances(finetuned(topic, "right"))
        parts.append(own[own["topic"] == topic])
    return pd.concat(parts, ignore_index=True).merge(asked, on=["topic", "id"])
