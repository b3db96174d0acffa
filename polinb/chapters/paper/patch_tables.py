"""What is patched, and the tables of the patching chapter (paper 4.2, 4.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from polinb.chapters.paper.results import mean_shift
from polinb.resampling import SHIFT, differences, only_asked, stratified_mean
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
    p, plain, parts = run.params, _plain(run), []
    for name, group, chosen, tuned_on, rated in _patched(run):
        part = shift_table(plain, rated, p.bootstrap, p.seed)
        part = part.assign(set=name, group=group, neurons=int(chosen.sum()), trained=part["topic"].map(tuned_on))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _patched(run: Run) -> list[tuple[str, str, np.ndarray, dict[str, str], pd.DataFrame]]:
    """Sets of :func:`patch_plan` as (L, F) bool with the judged answers; the donor itself, unpatched, last."""
    plan = [(name, group, mask_of(chosen), by, run.patched(chosen, by)) for name, group, chosen, by in patch_plan(run)]
    return [*plan, ("donor itself", "donor", np.zeros((0, 0), bool), donors(run), _donor_answers(run))]


def patch_levels(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Stances of the vanilla and the patched model on the same questions: topic, patch, stance, low, high."""
    p = run.params
    rated = {"vanilla": _plain(run)} | {name: answers for name, *_, answers in _patched(run) if name in names}
    parts = [stance_table(each, n_boot=p.bootstrap, seed=p.seed).assign(patch=name) for name, each in rated.items()]
    return pd.concat(parts, ignore_index=True)[["topic", "patch", "stance", "low", "high"]]


def patch_summary(run: Run) -> pd.DataFrame:
    """Mean shift over topics of every patched set, and as a share of the donor's own shift.

    Returns:
        set, group, neurons, scale (mean activation scale of its neurons), shift, low, high, percent_of_donor (NaN
        where the donor's own interval includes 0).
    """
    p, plain, scale, rows = run.params, _plain(run), run.scale(), []
    for name, group, chosen, _, rated in _patched(run):
        shift = stratified_mean(list(differences(plain, rated).values()), p.bootstrap, p.seed, SHIFT)
        rows.append([name, group, int(chosen.sum()), scale[chosen].mean() if chosen.any() else np.nan, *shift])
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
    plain = _plain(run)
    models = {
        next(iter(by.values())): differences(plain, rated)  # S_t takes M_right^t everywhere
        for _, group, _, by, rated in _patched(run)
        if group == "topic-specific"
    }
    return mean_shift(run, models, own=True), mean_shift(run, models, own=False)


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
    return [  # sets that differ by topic or number only go by one name
        (re.split(r" [(#]", name)[0], to_statements(run, each, list(dict.fromkeys(by.values()))))
        for name, _, each, by in patch_plan(run)
    ]


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


def patched_examples(run: Run, topic: str, n: int) -> pd.DataFrame:
    """The first ``n`` questions of a topic: prompt, and the answers of vanilla, G patched in, and the donor."""
    general = run.patched(run.neurons("general"), donors(run))
    tables = {"vanilla": run.stances(), "G patched": general, "donor": _donor_answers(run)}
    out = run.questions(run.params.patch_questions, [topic]).set_index("id")[["prompt"]].head(n)
    for title, frame in tables.items():
        own = frame[frame["topic"] == topic].set_index("id")
        out[title] = own["label"].str.upper() + ": " + own["response"]
    return out.reset_index(drop=True)


def _plain(run: Run) -> pd.DataFrame:
    """Judged answers of the vanilla model to the questions that patched models are asked."""
    return only_asked(run.stances(), run.questions(run.params.patch_questions))


def _donor_answers(run: Run) -> pd.DataFrame:
    """Judged answers of the donors to the same questions, each to those of its topics."""
    asked = run.questions(run.params.patch_questions)
    own = [only_asked(run.stances(run.tuned(by)), asked[asked["topic"] == topic]) for topic, by in donors(run).items()]
    return pd.concat(own, ignore_index=True)
