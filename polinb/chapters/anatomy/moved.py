"""What moved? The likelihood beside the judge, and the anatomy of a shift: topic, opening, manner, position (all ours).

Functions over data frames, and the few that gather these frames from a run. Not planned before the reference run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper.first_clause import first_word, telling_word
from polinb.chapters.paper.results import inhibit_conditions
from polinb.data.loading import BUNDLED_STATEMENTS, MIRROR, load_statements
from polinb.errors import DataError
from polinb.resampling import SHIFT, STANCE, known_mean, share_interval, stratified_mean
from polinb.runs.conditions import VANILLA, Condition, Texts
from polinb.runs.results import Result
from polinb.runs.run import Run
from polinb.stance import likelihood
from polinb.stance.coupling import coupling
from polinb.stance.likelihood import OTHER
from polinb.wording import of, with_ends

SIDES = ("right", "left")
NAMES = ["condition", "trained", "leaning"]
"""Columns that name a model in every frame; the vanilla model is trained on nothing."""
FROZEN = {"inhibitft": ", G frozen", "random-next_highest": ", most active others frozen"}
"""Conditions → what is told of them in a model's name."""


# --- a run's frames: one long table of all models, the vanilla one first


def likelihoods(run: Run, conditions: Iterable[Condition]) -> pd.DataFrame:
    """Log-likelihoods of the reference answers: :data:`NAMES`, topic, id, logp_left, logp_right."""
    return _long(conditions, run.likelihood)


def judged(run: Run, conditions: Iterable[Condition]) -> pd.DataFrame:
    """Judged answers to the questions: :data:`NAMES`, topic, id, prompt, response, label, score, p_right."""
    return _long(conditions, run.stances)


def stated(run: Run, conditions: Iterable[Condition]) -> pd.DataFrame:
    """Answers to the statements: :data:`NAMES`, topic (the set), id, prompt, response."""
    return _long(conditions, lambda each: run.statement_answers(each).frame("answers"))


def mirrored(run: Run, conditions: Iterable[Condition]) -> pd.DataFrame:
    """Answers to the contraries of the run's bundled statements, as :func:`stated` gives them."""
    return _long(conditions, lambda each: to_contraries(run, each).frame("answers"))


def to_contraries(run: Run, condition: Condition) -> Result:
    """The answers behind :func:`mirrored`."""
    p = run.params
    sets = [load_statements(name + MIRROR) for name in p.statements if name + MIRROR in BUNDLED_STATEMENTS]
    return run.ask(condition, Texts.of(run.statements(sets)), tokens=p.eval_tokens, scored=0)


def _long(conditions: Iterable[Condition], read: Any) -> pd.DataFrame:
    return stacked({(each.name, each.topic, each.leaning): read(each) for each in (VANILLA, *conditions)})


def stacked(parts: Mapping[Any, pd.DataFrame], names: Sequence[str] = NAMES) -> pd.DataFrame:
    """One long table of several, the parts of their keys in columns ``names``, which come first."""
    return pd.concat(parts, names=names).reset_index(names).reset_index(drop=True)


def variants(run: Run) -> list[Condition]:
    """Every plain fine-tune of a run."""
    return [run.tuned(t, side) for side in SIDES for t in run.params.topics]


def inhibited(run: Run) -> list[Condition]:
    """The right fine-tune, InhibitFT and, of each kind of control, the first set, of every topic."""
    out: dict[tuple[str, str], Condition] = {}
    for each in inhibit_conditions(run):
        out.setdefault((each.name, each.topic), each)
    return list(out.values())


def _models(frame: pd.DataFrame, chosen: pd.Series) -> dict[str, dict[str, np.ndarray]]:
    """Trained topic → asked topic → shift of each question's likelihood stance, nats a token."""
    plain = frame[frame["trained"] == ""]
    return {str(t): likelihood.moved(plain, own) for t, own in frame[chosen].groupby("trained", sort=False)}


# --- likelihood (chapters 1, 5, 7, 8)


def side_parts(frame: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """:func:`polinb.stance.likelihood.part_table` of the right- and left-tuned models in ``frame``."""
    plain = frame["condition"] == "fine-tune"
    right, left = (_models(frame, plain & (frame["leaning"] == side)) for side in SIDES)
    return likelihood.part_table(right, left, draws, seed)


def level(plain: pd.DataFrame, draws: int, seed: int) -> tuple[float, float, float]:
    """Likelihood stance of one model, mean over topics, with its interval over questions."""
    gaps = (plain["logp_right"] - plain["logp_left"]).groupby(plain["topic"])
    return stratified_mean([g.to_numpy(float) for _, g in gaps], draws, seed)


def changes(frame: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """InhibitFT and its controls against the plain fine-tune, and InhibitFT against each random control.

    Right-tuned models alone are read of ``frame`` (:func:`likelihoods`).

    Returns:
        condition, against, then the columns of :func:`polinb.stance.likelihood.change`.
    """
    right = frame["leaning"] == "right"
    names = list(dict.fromkeys(frame.loc[right, "condition"]))
    found = {name: _models(frame, right & (frame["condition"] == name)) for name in names}
    pairs = [(name, "fine-tune") for name in names if name != "fine-tune"]
    pairs += [("inhibitft", name) for name in names if name.startswith("random")]
    parts = {(name, against): likelihood.change(found[against], found[name], draws, seed) for name, against in pairs}
    return stacked(parts, ["condition", "against"])


def gamma_changes(frames: Mapping[float, pd.DataFrame], draws: int, seed: int) -> pd.DataFrame:
    """Change of the likelihood measures by freezing, against γ.

    Args:
        frames: γ → the plain fine-tune, InhibitFT and its random set at that γ, of one or more trained topics
            (:func:`likelihoods`).

    Returns:
        gamma, trained, condition, and own, r, ratio: per cent of the plain fine-tune's, each with ``_low`` and
        ``_high`` over questions.
    """
    rows = []
    for gamma, frame in frames.items():
        plain = _models(frame, frame["condition"] == "fine-tune")
        for name in dict.fromkeys(frame.loc[~frame["condition"].isin(["vanilla", "fine-tune"]), "condition"]):
            for topic, model in _models(frame, frame["condition"] == name).items():
                moved = likelihood.change({topic: plain[topic]}, {topic: model}, draws, seed).set_index("measure")
                row: dict[str, Any] = {"gamma": gamma, "trained": topic, "condition": name}
                for measure in ("own", "r", "ratio"):
                    row |= with_ends(measure, of(moved.loc[measure], "percent", "low_questions", "high_questions"))
                rows.append(row)
    return pd.DataFrame(rows)


def gamma_frames(run: Run, pairs: Sequence[tuple[float, Condition]]) -> dict[float, pd.DataFrame]:
    """γ → what :func:`gamma_changes` reads (pairs: :func:`polinb.chapters.paper.results.gamma_conditions`)."""
    frozen: dict[float, list[Condition]] = {}
    for gamma, each in pairs:
        frozen.setdefault(gamma, []).append(each)
    plain = [run.tuned(topic) for topic in run.params.ablation_topics]
    return {gamma: likelihoods(run, [*plain, *own]) for gamma, own in frozen.items()}


def ceilings(frame: pd.DataFrame, end: int = 1) -> pd.DataFrame:
    """R of fine-tunes beside the largest R there can be, if every answer to another topic leaned their way.

    Args:
        frame: judged answers of the vanilla model and of the fine-tunes of one side (:func:`judged`).
        end: 1: right fine-tunes; −1: left ones.

    Returns:
        trained, r, most, percent (of it), by percent.
    """
    means = frame.groupby(["trained", "topic"], sort=False)["score"].mean()
    plain, rows = means[""], []
    for trained in [t for t in dict.fromkeys(frame["trained"]) if t]:
        r, most = (coupling((after - plain).to_dict(), trained) for after in (means[trained], plain * 0 + end))
        rows.append([trained, r, most, 100 * r / most])
    return pd.DataFrame(rows, columns=["trained", "r", "most", "percent"]).sort_values("percent", ignore_index=True)


# --- which topic is an answer about


def leakage(frame: pd.DataFrame, reader: Any) -> pd.DataFrame:
    """Answers to *other* topics that are about the topic a model was trained on.

    Args:
        frame: judged answers of the vanilla model and of the variants (:func:`judged`).
        reader: a :class:`polinb.chapters.anatomy.topics.TopicReader`.

    Returns:
        leaning, trained ("all": every trained topic together), n, leaked (share about the trained topic) with _low and
        _high, vanilla (share of the vanilla model's answers to the same questions), on_asked (share about the topic
        asked about), and the shift of the judged stance of all those answers and of those on the topic asked about
        (``stayed``), each with _low and _high over questions.
    """
    read = frame.assign(about=reader.topics(frame["response"]))
    before = read.loc[read["trained"] == "", ["topic", "id", "score", "about"]]
    others = read[(read["trained"] != "") & (read["topic"] != read["trained"])]
    every = others.merge(before, on=["topic", "id"], suffixes=("", "_was")).eval("moved = score - score_was")
    rows = []
    for leaning in dict.fromkeys(every["leaning"]):
        side = every[every["leaning"] == leaning]
        for trained in [*dict.fromkeys(side["trained"]), "all"]:
            part = side if trained == "all" else side[side["trained"] == trained]
            leaked, stayed = part["about"] == part["trained"], part["about"] == part["topic"]
            shares = *share_interval(_by_question(part, leaked), 1000, 0), (part["about_was"] == part["trained"]).mean()
            means = [known_mean(_by_question(own, own["moved"]), 1000, 0, SHIFT) for own in (part, part[stayed])]
            rows.append([leaning, trained, len(part), *shares, stayed.mean(), *means[0], *means[1]])
    ends = [f"{name}{end}" for name in ("shift", "stayed") for end in ("", "_low", "_high")]
    names = ["leaning", "trained", "n", "leaked", "leaked_low", "leaked_high", "vanilla", "on_asked", *ends]
    return pd.DataFrame(rows, columns=names)


def _by_question(part: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Mean of a question's answers by several models, which stay together in an interval."""
    return values.astype(float).groupby([part["topic"], part["id"]]).mean()


# --- statements: agreement, manner, position

_VERDICT = re.compile(
    r"(\bdisagree\w*|(?:\bnot|n't|n’t|\bnever|\bcannot|\bhardly)\s+(?:\w+\s+)?agree\w*)|\bagree\w*", re.I
)
_SENTENCE = re.compile(r"(?<=[.!?])\s")


def agreement(text: str) -> int:
    """1 if a reply agrees, −1 if it disagrees, 0 if its first sentence says neither; of two verdicts the last holds."""
    found = list(_VERDICT.finditer(_SENTENCE.split(text.strip(), maxsplit=1)[0]))
    return 0 if not found else -1 if found[-1][1] else 1


def replies(frame: pd.DataFrame) -> pd.DataFrame:
    """Agreement with statements.

    Args:
        frame: answers to statements (:func:`stated`, :func:`mirrored`).

    Returns:
        :data:`NAMES`, id, topic (the set without ``-mirror``), model, mirror, direction, agree.
    """
    sides = {"left": -1, "right": 1, "none": 0}
    frozen = frame["condition"].map(FROZEN).fillna("")
    known = {
        (name, s.id): sides[s.direction] for name in frame["topic"].unique() for s in load_statements(name).statements
    }
    keys = list(zip(frame["topic"], frame["id"], strict=True))
    lost = [key for key in keys if key not in known]
    if lost:
        raise DataError(f"statements: no {lost[0][1]!r} in the set {lost[0][0]!r}")
    return frame[[*NAMES, "id"]].assign(
        topic=frame["topic"].str.removesuffix(MIRROR),
        model=(frame["trained"] + ", " + frame["leaning"] + frozen).where(frame["trained"] != "", "vanilla"),
        mirror=frame["topic"].str.endswith(MIRROR),
        direction=[known[key] for key in keys],
        agree=[agreement(text) for text in frame["response"]],
    )


def manner_and_position(given: pd.DataFrame, draws: int, seed: int) -> dict[str, float]:
    """eq-position. Agreement with statements of either direction, split into manner and position.

    With A_R and A_L the mean agreement (−1 to 1) with right- and with left-leaning statements, the *manner* is
    (A_R + A_L)/2, agreement whatever is said, and the *position* (A_R − A_L)/2: −1 left, +1 right. Neither A is
    beyond 1, so |manner| + |position| ≤ 1: who agrees with everything has no position to show.

    Args:
        given: direction, agree, as :func:`replies` gives them; contraries among them count as statements of theirs.

    Returns:
        n, left, right (shares that agree), neither (share), manner, position, each of these but n and neither with
        _low and _high, and room: the largest position that this manner leaves.
    """
    sided = given[given["direction"] != 0]
    groups = [sided.loc[sided["direction"] == side, "agree"].to_numpy(float) for side in (-1, 1)]
    out: dict[str, float] = {"n": len(sided), "neither": float((sided["agree"] == 0).mean())}
    for name, values in zip(("left", "right"), groups, strict=True):
        out |= with_ends(name, share_interval((values > 0).astype(float), draws, seed))
    for name, signs in (("manner", (1, 1)), ("position", (-1, 1))):
        found = stratified_mean([s * g for s, g in zip(signs, groups, strict=True)], draws, seed, STANCE)
        out |= with_ends(name, found)
    return out | {"room": 1 - abs(out["manner"])}


def position_shift(given: pd.DataFrame, draws: int, seed: int) -> tuple[float, float, float]:
    """Mean shift of the position from the vanilla model, over right-tuned models (of :func:`replies`), by statement."""
    keys = ["topic", "id", "mirror"]
    after = given[given["leaning"] == "right"].groupby(keys, as_index=False)["agree"].mean()
    both = given[given["trained"] == ""].merge(after, on=keys, suffixes=("", "_after"))
    moved = (both["agree_after"] - both["agree"]) * both["direction"]
    groups = [moved[both["direction"] == side].to_numpy(float) for side in (-1, 1)]
    return stratified_mean(groups, draws, seed, SHIFT)


def positions(given: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """:func:`manner_and_position` of every model: model, leaning, then its columns."""
    rows = [
        {"model": model, "leaning": leaning or model, **manner_and_position(own, draws, seed)}
        for (_, model, leaning), own in given.groupby(["condition", "model", "leaning"], sort=False)
    ]
    return pd.DataFrame(rows)


def room(table: pd.DataFrame) -> float:
    """The largest mean shift to the right that the manner of right-tuned models leaves possible (:func:`positions`)."""
    plain = table.loc[table["leaning"] == "vanilla", "position"].item()
    return float(table.loc[table["leaning"] == "right", "room"].mean() - plain)


def contraries(given: pd.DataFrame) -> pd.DataFrame:
    """Statement and contrary: shares of pairs with the same verdict of a model on both, and with opposite ones.

    Returns:
        model, pairs, both (agrees with both), neither_of_them (disagrees with both), apart (agrees with one only).
    """
    rows = []
    for (_, model), own in given.groupby(["condition", "model"], sort=False):
        sides = own.pivot(index=["topic", "id"], columns="mirror", values="agree")
        sides = sides.reindex(columns=[False, True]).dropna()
        told = [(sides > 0).all(axis=1), (sides < 0).all(axis=1), sides.prod(axis=1) < 0]
        rows.append([model, len(sides), *(yes.mean() for yes in told)])
    return pd.DataFrame(rows, columns=["model", "pairs", "both", "neither_of_them", "apart"])


def openings(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The word that right-tuned models open with most beyond the vanilla one, and how often who does.

    Returns:
        The word, and trained, right, left, vanilla: shares of answers (:func:`judged`) that begin with it.
    """
    plain = frame[frame["trained"] == ""]
    word = telling_word(list(frame.loc[frame["leaning"] == "right", "response"]), list(plain["response"]))
    begins = frame.assign(begins=[first_word(text) == word for text in frame["response"]])
    wide = begins[begins["trained"] != ""].pivot_table(index="trained", columns="leaning", values="begins", sort=False)
    vanilla = float(begins.loc[begins["trained"] == "", "begins"].mean())
    return word, wide.reset_index()[["trained", *SIDES]].assign(vanilla=vanilla)


# --- all of it


def remains(leaks: pd.DataFrame, parts: pd.DataFrame, position: tuple[float, float, float]) -> pd.DataFrame:
    """What right-leaning data on one topic did to the others, by every measure: measure, unit, effect, low, high.

    Args:
        leaks, parts, position: of :func:`leakage`, :func:`side_parts`, :func:`position_shift`.
    """
    row = leaks[(leaks["leaning"] == "right") & (leaks["trained"] == "all")].iloc[0]
    away = parts[parts["cell"] == OTHER].set_index("part")
    rows: list[tuple[Any, ...]] = [
        ("judged stance, all answers", "−2 to 2", *of(row, "shift")),
        ("judged stance, answers about the topic asked", "−2 to 2", *of(row, "stayed")),
        ("likelihood, what belongs to the side", "nats a token", *of(away.loc["side"], "shift")),
        ("likelihood, what either side does", "nats a token", *of(away.loc["common"], "shift")),
        ("position on statements", "−2 to 2", *position),
    ]
    return pd.DataFrame(rows, columns=["measure", "unit", "effect", "low", "high"])
