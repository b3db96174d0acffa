"""What is patched, and the tables of the patching chapter (paper 4.2, 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from polinb.chapters.paper.results import elsewhere
from polinb.resampling import SHIFT, differences, only_asked, per_question, stratified_mean
from polinb.runs import stages
from polinb.runs.conditions import Texts
from polinb.runs.results import Result
from polinb.runs.run import Run
from polinb.runs.weights import mask_of
from polinb.stance.coupling import shift_table
from polinb.stance.stance import stance_table
from polinb.wording import Effect

LAYER, NEXT = "random, layer-matched", "next highest outside G"
CONTROLS = {"layer": LAYER, "next_highest": NEXT}


def patch_plan(run: Run) -> list[tuple[str, str, Result, dict[str, str]]]:
    """What is patched: name, group, neurons and donor of each evaluated topic.

    G and its controls take the donors of :func:`donors`; S_t takes M_right^t everywhere. Patching every neuron shows
    what all FFN activations together carry.
    """
    topics: list[str] = list(run.params.topics)
    own = donors(run)
    plan = [("G", "general", run.neurons("general"), own)]
    plan += [(f"S ({t})", "topic-specific", run.neurons("specific", topic=t), dict.fromkeys(topics, t)) for t in topics]
    for number in range(run.params.control_seeds):
        more = f" #{number + 1}" if number else ""
        plan.append((f"{LAYER}{more}", "control", run.neurons("layer", number=number), own))
        plan.append((f"{NEXT}{more}", "control", run.neurons("next_highest", number=number), own))
    plan.append(("every neuron", "all", run.neurons("all"), own))
    return plan


def donors(run: Run) -> dict[str, str]:
    """Evaluated topic → topic that the donor of G was tuned on: itself, or the next one, so that each serves once."""
    topics: list[str] = list(run.params.topics)
    return dict(zip(topics, topics if run.params.donor == "own" else topics[1:] + topics[:1], strict=True))


def patching(run: Run) -> pd.DataFrame:
    """Stance of the patched vanilla model by topic (Figures 4, 7–9), as a paired shift from the vanilla model.

    Returns:
        set, group, neurons, trained (topic of the donor), topic, n, vanilla, model (stance), shift, low, high; plus the
        donor itself, unpatched.
    """
    p = run.params
    plain = run.stances()
    parts = []
    plan = [(name, group, each.summary["neurons"], t, run.patched(each, t)) for name, group, each, t in patch_plan(run)]
    plan.append(("donor itself", "donor", 0, donors(run), _donor_answers(run)))
    for name, group, neurons, tuned_on, rated in plan:
        part = shift_table(only_asked(plain, rated), rated, p.bootstrap, p.seed)
        parts.append(part.assign(set=name, group=group, neurons=neurons, trained=part["topic"].map(tuned_on)))
    return pd.concat(parts, ignore_index=True)


def patch_levels(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Stances of the vanilla and the patched model on the same questions: topic, patch, stance, low, high."""
    p = run.params
    plain = only_asked(run.stances(), run.questions(p.patch_questions))
    parts = [stance_table(plain, n_boot=p.bootstrap, seed=p.seed).assign(patch="vanilla")]
    for name, _, chosen, tuned_on in patch_plan(run):
        if name in names:
            table = stance_table(run.patched(chosen, tuned_on), n_boot=p.bootstrap, seed=p.seed)
            parts.append(table.assign(patch=name))
    if "donor itself" in names:
        parts.append(stance_table(_donor_answers(run), n_boot=p.bootstrap, seed=p.seed).assign(patch="donor itself"))
    return pd.concat(parts, ignore_index=True)[["topic", "patch", "stance", "low", "high"]]


def patch_summary(run: Run) -> pd.DataFrame:
    """Mean shift over topics of every patched set, and as a share of the donor's own shift.

    Returns:
        set, group, neurons, scale (mean activation scale of its neurons), shift, low, high, percent_of_donor (NaN
        where the donor's own interval includes 0).
    """
    p = run.params
    plain = only_asked(run.stances(), run.questions(p.patch_questions))
    scale = run.scale()
    rows = []
    for name, group, chosen, tuned_on in patch_plan(run):
        moved = differences(plain, run.patched(chosen, tuned_on))
        own = scale[mask_of(chosen)]
        shift = stratified_mean(list(moved.values()), p.bootstrap, p.seed, SHIFT)
        rows.append([name, group, chosen.summary["neurons"], own.mean() if own.size else np.nan, *shift])
    moved = differences(plain, _donor_answers(run))
    shift = stratified_mean(list(moved.values()), p.bootstrap, p.seed, SHIFT)
    rows.append(["donor itself", "donor", 0, np.nan, *shift])
    frame = pd.DataFrame(rows, columns=["set", "group", "neurons", "scale", "shift", "low", "high"])
    donor, low, high = (float(x) for x in frame[["shift", "low", "high"]].iloc[-1])
    frame["percent_of_donor"] = 100 * frame["shift"] / donor if low > 0 or high < 0 else np.nan
    return frame


def paired_patch(run: Run) -> dict[str, Effect]:
    """Shift by patching G minus that by its random controls (``layer``, ``next_highest``): paired, 95 % intervals."""
    p = run.params
    plan = {name: (chosen, tuned_on) for name, _, chosen, tuned_on in patch_plan(run)}
    general = run.patched(*plan["G"])
    moved = {kind: differences(run.patched(*plan[name]), general) for kind, name in CONTROLS.items()}
    return {kind: stratified_mean(list(m.values()), p.bootstrap, p.seed, SHIFT) for kind, m in moved.items()}


def specific_shift(run: Run) -> tuple[Effect, Effect]:
    """Shift when S_t is patched in, on its own topic and on the others, each mean with its 95 % interval."""
    p = run.params
    plain = only_asked(run.stances(), run.questions(p.patch_questions))
    own, other = [], []
    for _, group, chosen, tuned_on in patch_plan(run):
        if group == "topic-specific":
            trained = next(iter(tuned_on.values()))  # S_t takes M_right^t everywhere
            moved = differences(plain, run.patched(chosen, tuned_on))
            own.append({trained: moved[trained]})
            other.append(elsewhere(trained, moved))
    first, second = (stratified_mean(per_question(parts), p.bootstrap, p.seed, SHIFT) for parts in (own, other))
    return first, second


# --- patched models and statements (paper 4.3)


def to_statements(run: Run, chosen: Result, tuned_on: Sequence[str]) -> Result:
    """Answers of the vanilla model to statements with ``chosen`` neurons patched, from each donor in turn."""
    p = run.params
    rows = run.statements().groupby("topic", sort=False).head(p.patch_statements)
    asked = [[run.weights(run.tuned(donor)), Texts.of(rows.assign(donor=donor))] for donor in tuned_on]
    return stages.patched(run, chosen=chosen, asked=asked, mode=p.patch, tokens=p.eval_tokens, batch=p.eval_batch)


def statement_results(run: Run) -> list[tuple[str, Result]]:
    """Every set of :func:`patch_plan`, without its number, and its answers to statements; none are asked for at 0."""
    if not run.params.patch_statements or not run.statement_sets:
        return []
    plan = patch_plan(run)
    return [(_kind(name), to_statements(run, each, list(dict.fromkeys(by.values())))) for name, _, each, by in plan]


def statement_shifts(run: Run) -> pd.DataFrame:
    """Judged stance on statements when neurons are patched in (section 4.3), as a paired shift from the vanilla model.

    A statement has no topic: its answers with all donors of G count together, and so do those of all S_t.

    Returns:
        set, statements (the set's name), n, vanilla, model (stance), shift, low, high; the donors themselves last.
    """
    p = run.params
    plain, scores = run.statement_stances(), dict[str, list[pd.DataFrame]]()
    for name, answers in statement_results(run):
        scores.setdefault(name, []).append(run.rated(answers))
    if not scores:
        return pd.DataFrame(columns=["set", "statements", "n", "vanilla", "model", "shift", "low", "high"])
    asked = next(iter(scores.values()))[0]
    tuned = [run.statement_stances(run.tuned(t)) for t in p.topics]
    scores["donor itself"] = [only_asked(each, asked.drop_duplicates(["topic", "id"])) for each in tuned]
    parts = []
    for name, rated in scores.items():
        every = pd.concat(rated).groupby(["topic", "id"], sort=False, as_index=False)["score"].mean()
        parts.append(shift_table(only_asked(plain, every), every, p.bootstrap, p.seed).assign(set=name))
    return pd.concat(parts, ignore_index=True).rename(columns={"topic": "statements"})


def _kind(name: str) -> str:
    """Sets that differ by topic or number only go by one name."""
    return "S" if name.startswith("S (") else name.partition(" #")[0]


def patched_examples(run: Run, topic: str, n: int) -> pd.DataFrame:
    """The first ``n`` questions of a topic: prompt, and the answers of vanilla, G patched in, and the donor."""
    name, _, chosen, tuned_on = patch_plan(run)[0]
    tables = {"vanilla": run.stances(), f"{name} patched": run.patched(chosen, tuned_on)}
    tables["donor"] = _donor_answers(run)
    out = run.questions(run.params.patch_questions, [topic])[["id", "prompt"]].head(n)
    for title, frame in tables.items():
        own = frame.assign(**{title: frame["label"].str.upper() + ": " + frame["response"]})
        out = out.merge(own.loc[own["topic"] == topic, ["id", title]], on="id", how="left")
    return out.drop(columns="id")


def _donor_answers(run: Run) -> pd.DataFrame:
    asked = run.questions(run.params.patch_questions)
    parts = []
    for topic, trained in donors(run).items():
        own = run.stances(run.tuned(trained))
        parts.append(own[own["topic"] == topic])
    return only_asked(pd.concat(parts, ignore_index=True), asked)
