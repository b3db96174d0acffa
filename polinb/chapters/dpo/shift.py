"""Where the stance shift of preference fine-tuning lives: models, texts, probe and tables (Yang et al. 2025)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb.chapters.dpo import study as dpo
from polinb.chapters.dpo.study import PROBED, Study, read_answers, top_sets
from polinb.errors import ParameterError
from polinb.resampling import bootstrap_mean, changes
from polinb.runs.conditions import VANILLA, Condition, Texts
from polinb.runs.results import Result, missing
from polinb.runs.run import Run
from polinb.scoring import shares

SIDES = ("right", "left")
SHUFFLED = "shuffled"  # a coin chooses the side of each pair: what DPO does when there is nothing to learn
TRAINED = (*SIDES, SHUFFLED)
SIGNS = {"right": 1, "left": -1, SHUFFLED: 1}


def preferred(run: Run, side: str = "right") -> Condition:
    """The model after DPO with the responses of ``side`` chosen and the others rejected; ``left`` is the mirror.

    The ``dpo_pairs`` are spread evenly over the topics. ``shuffled``: right in half of them, drawn at random.
    """
    p = run.params

    def learns() -> Texts:
        every, more = divmod(p.dpo_pairs, len(p.topics))
        coins = iter(np.random.default_rng([p.seed, 11]).permutation(p.dpo_pairs) % 2)
        rows = []
        for number, topic in enumerate(p.topics):
            count = every + (number < more)
            for pair in run.data.topic(topic, "train", count, leaning="both") if count else []:
                chosen = SIDES[next(coins)] if side == SHUFFLED else side
                other = SIDES[chosen == "right"]
                rows.append((pair.prompt, pair.response(chosen), pair.response(other)))
        return Texts.of(pd.DataFrame(rows, columns=["prompt", "response", "rejected"]))

    texts, recipe = run.once(("preferences", side), learns), run.recipe(learning_rate=p.dpo_rate, epochs=p.dpo_epochs)
    return Condition(f"DPO {side}", learns=texts, recipe=recipe, limit=p.max_tokens, beta=p.dpo_beta)


def study(run: Run, side: str = "right") -> Study:
    """The study of DPO towards ``side``; groups are tried on the last ``group_questions`` of each topic."""
    p, asked = run.params, run.questions()[["topic", "id", "prompt"]]
    tried = Texts.of(asked.groupby("topic", sort=False).tail(p.group_questions))
    return Study(
        run,
        before=VANILLA,
        after=preferred(run, side),
        probed=probe_texts(run),
        read=read_answers(run, answers=run.answers(), without=tried, each=p.probe_texts),
        asked=tried,
        tried=tried,
        tokens=p.eval_tokens,
        rate=_judged,
        sign=SIGNS[side],
        letters=("R", "L"),
        tops=[(f"top {k} of each side", k, (1, -1)) for k in p.probe_top],
    )


def probe_texts(run: Run) -> Texts:
    """Reference responses of the localise split, right ones labelled True; a topic is left out at a time."""
    rows = [
        (pair.prompt, pair.response(side), side == "right", topic, f"{topic}/{pair.id}")
        for topic in run.params.topics
        for pair in run.data.topic(topic, "localise", run.params.probe_texts, leaning="both")
        for side in SIDES
    ]
    return Texts.of(pd.DataFrame(rows, columns=PROBED))


def refuse(run: Run) -> None:
    """Refuse what ``study.refuse`` does, and ``group_questions`` that leave none of a topic to choose groups on."""
    p = run.params
    fewest = int(run.questions().groupby("topic").size().min())
    if p.group_questions >= fewest:
        allowed = f"fewer than the evaluation questions of a topic ({fewest})"
        why = "Groups are chosen on other questions than those they are tried on"
        raise ParameterError("group_questions", p.group_questions, allowed, why)
    dpo.refuse(run)


# --- tables


def training(run: Run) -> pd.DataFrame:
    """Course of the trainings: the columns of ``Study.course``, and side."""
    studies = {side: study(run, side) for side in TRAINED}
    courses = [each.trained for each in studies.values()]
    if set(missing(courses)) - set(courses):  # something has to be trained: look at the model first
        refuse(run)
    return pd.concat([each.course().assign(side=side) for side, each in studies.items()], ignore_index=True)


def held_out_margins(run: Run) -> pd.DataFrame:
    """Shift of the likelihood stance on evaluation questions after DPO, after its mirror, and after shuffled pairs.

    Returns:
        side (chosen in training), topic (and ``all``), n, shift, low, high: change of log p(right) − log p(left), in
        nats a token, paired with the vanilla model; moved (share of questions that moved towards the chosen side; to
        the right for ``shuffled``).
    """
    p, rows = run.params, []

    def gaps(model: Condition) -> pd.Series:
        return run.likelihood(model).set_index(["topic", "id"]).eval("logp_right - logp_left")

    for side in TRAINED:
        moved = changes(gaps(VANILLA), gaps(preferred(run, side)))
        for topic, values in [*moved.groupby("topic", sort=False), ("all", moved)]:
            bounds = bootstrap_mean(values.to_numpy(), p.bootstrap, p.seed)
            rows.append([side, topic, len(values), *bounds, float((SIGNS[side] * values > 0).mean())])
    return pd.DataFrame(rows, columns=["side", "topic", "n", "shift", "low", "high", "moved"])


def group_shares(run: Run) -> pd.DataFrame:
    """Shares of the four groups, of the neurons closest to either end of the probe, and of all neurons.

    Returns:
        set, title, and the columns of :func:`polinb.scoring.shares.shares`.
    """
    own = study(run)
    tops = [(f"top {k} {side}-aligned", k, (SIGNS[side],)) for k in run.params.probe_top for side in SIDES]
    frame = own.shares(top_sets(own.parts(), tops))
    titles = {name: group.title for name, group in own.groups().items()}
    frame.insert(1, "title", frame["set"].replace(titles))
    return frame


def crossing(run: Run) -> pd.DataFrame:
    """Share of the shift in G and in every S_t, beside what random neurons would have (``shares.null_share``).

    Returns:
        set, neurons, percent, share, low, high (over texts); random and matched with _low and _high: as many neurons in
        each layer, and in each class of activation scale too.
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
        change, percent = table.loc["measured change", ["change", "low", "high"]], table["percent"]
        half, gap = shares.carriers(found.neurons, sign), found.total - found.measured
        few = own["net_over_gross"].iloc[1], half, 100 * half / found.neurons.size, own["gross_share"].iloc[0]
        rows.append([side, kind, *change, percent["neurons"], percent["attention"], *few, gap])
    names = ["chosen", "probe", "change", "low", "high", "neurons", "attention", "net_over_gross", "half"]
    return pd.DataFrame(rows, columns=[*names, "half_percent", "top", "gap"])


def beside_study(run: Run) -> pd.DataFrame:
    """The study's two numbers beside ours, in per cent of the gross change: quantity, study, ours.

    The study's numbers sum to 100, so its groups are taken to be what is left without its top neurons. How many those
    are is not known: they stand beside each of ours.
    """
    table = group_shares(run).set_index("set")
    rows: list[tuple[str, float, float]] = []
    for k in run.params.probe_top:
        top = 100 * float(table.loc[f"top {k} left-aligned", "gross_share"])
        name = f"top {k} left-aligned neurons, where they moved the trained way"
        rows += [(name, shares.STUDY["top neurons"], top)]
        rows += [(f"the four groups without these {k}", shares.STUDY["four groups"], 100 - top)]
    held = shares.held_out_shares(study(run).parts(), 1).set_index("group")
    other = 100 * float(held.loc["all four", "other_texts"])
    rows += [("the four groups, chosen on one half of the texts and measured on the other", np.nan, other)]
    return pd.DataFrame(rows, columns=["quantity", "study", "ours"])


def examples(run: Run) -> pd.DataFrame:
    """The first question as answered by the vanilla, the DPO and the edited models: set, prompt, response."""
    both = pd.concat([study(run).plain(), study(run).edited().frame("answers")], ignore_index=True)
    first = both.iloc[0]
    return both.loc[(both["topic"] == first["topic"]) & (both["id"] == first["id"]), ["set", "prompt", "response"]]


def _judged(run: Run, answers: Result) -> pd.DataFrame:
    """Answers with the judge's score and, as the soft score, its P(right)."""
    labels = run.rated(answers)[["score", "p_right"]].astype(float)
    return answers.frame("answers").assign(score=labels["score"].to_numpy(), soft=labels["p_right"].to_numpy())
