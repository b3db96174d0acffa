"""What moved? The likelihood beside the judge, and the anatomy of a shift: topic, opening, manner, position (all ours).

Functions over data frames, and the few that gather these frames from a run. Not planned before the reference run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper.first_clause import first_word, telling_word
from polinb.data.statements import BUNDLED_STATEMENTS, MIRROR, load_statements
from polinb.errors import DataError
from polinb.resampling import SHIFT, STANCE, share_interval, stratified_mean
from polinb.runs.experiment import VANILLA, Arm, Experiment, finetuned
from polinb.stance import likelihood
from polinb.stance.likelihood import OTHER
from polinb.stance.topics import TopicReader as TopicReader
from polinb.wording import Answer, interval, of, percent, told

SIDES = ("right", "left")


# --- likelihood (chapters 1, 5, 7, 8)


def models(exp: Experiment, arms: Iterable[Arm]) -> dict[str, dict[str, np.ndarray]]:
    """Trained topic → asked topic → shift of each question's likelihood stance, nats a token."""
    plain = exp.answers(VANILLA).frame("likelihood")
    return {arm.topic: likelihood.moved(plain, exp.answers(arm).frame("likelihood")) for arm in arms}


def side_parts(exp: Experiment) -> pd.DataFrame:
    """:func:`polinb.stance.likelihood.part_table` of a run's right- and left-tuned variants."""
    right, left = (models(exp, [finetuned(t, side) for t in exp.params.topics]) for side in SIDES)
    return likelihood.part_table(right, left, exp.params.bootstrap, exp.params.seed)


def level(exp: Experiment) -> tuple[float, float, float]:
    """Likelihood stance of the vanilla model, mean over topics, with its interval over questions."""
    own = exp.answers(VANILLA).frame("likelihood")
    gaps = (own["logp_right"] - own["logp_left"]).groupby(own["topic"])
    return stratified_mean([g.to_numpy(float) for _, g in gaps], exp.params.bootstrap, exp.params.seed)


def changes(exp: Experiment) -> pd.DataFrame:
    """InhibitFT and its controls against the plain fine-tune, and InhibitFT against each control, by likelihood.

    Of several random sets of a kind the first is taken.

    Returns:
        condition, against, then the columns of :func:`polinb.stance.likelihood.change`.
    """
    p = exp.params
    found = {"fine-tune": models(exp, [finetuned(t, "right") for t in p.topics])}
    arms: dict[str, list[Arm]] = {}
    for arm in (each for topic in p.topics for each in exp.inhibit_arms(topic)):
        group = arms.setdefault(arm.name, [])
        if all(each.topic != arm.topic for each in group):
            group.append(arm)
    found |= {name: models(exp, group) for name, group in arms.items()}
    pairs = [(name, "fine-tune") for name in found if name != "fine-tune"]
    pairs += [("inhibitft", name) for name in found if name.startswith("random")]
    parts = []
    for name, against in pairs:
        part = likelihood.change(found[against], found[name], p.bootstrap, p.seed)
        part.insert(0, "against", against)
        part.insert(0, "condition", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def gamma_changes(exp: Experiment, arms: Sequence[tuple[float, Arm]]) -> pd.DataFrame:
    """Likelihood shifts and R against γ, each beside the plain fine-tune of its topic.

    Args:
        arms: γ and condition (:func:`polinb.chapters.paper.results.gamma_arms`).

    Returns:
        gamma, trained, condition, frozen (count), own, others, r, ratio (nats a token; γ = 0 is the plain fine-tune),
        and own_percent, r_percent, ratio_percent: change from it, each with ``_low`` and ``_high`` over questions.
    """
    p = exp.params
    plain = {arm.topic: finetuned(arm.topic, "right") for _, arm in arms}
    rows = []
    for gamma, arm in [*((0.0, arm) for arm in plain.values()), *arms]:
        one = models(exp, [arm])
        row = likelihood.spill(one).iloc[0].to_dict()
        row |= {"gamma": gamma, "condition": arm.name, "frozen": 0 if arm.frozen is None else int(arm.frozen.sum())}
        moved = likelihood.change(models(exp, [plain[arm.topic]]), one, p.bootstrap, p.seed).set_index("measure")
        for name in ("own", "r", "ratio"):
            ends = {f"{name}_percent{end}": moved.loc[name, f"{end[1:]}_questions"] for end in ("_low", "_high")}
            row |= {f"{name}_percent": moved.loc[name, "percent"], **ends}
        rows.append(row)
    names = [
        "own",
        "others",
        "r",
        "ratio",
        *(f"{n}_percent{e}" for n in ("own", "r", "ratio") for e in ("", "_low", "_high")),
    ]
    return pd.DataFrame(rows)[["gamma", "trained", "condition", "frozen", *names]]


# --- which topic is an answer about


def leakage(vanilla: pd.DataFrame, tuned: Mapping[tuple[str, str], pd.DataFrame], reader: Any) -> pd.DataFrame:
    """Answers to *other* topics that are about the topic a model was trained on.

    Args:
        vanilla: judged answers of the vanilla model: topic, id, response, score.
        tuned: (trained topic, leaning) → judged answers to the same questions.
        reader: has ``topics(texts)``.

    Returns:
        leaning, trained ("all": every trained topic together), n, leaked (share about the trained topic) with _low and
        _high, vanilla (share of the vanilla model's answers to the same questions), on_asked (share about the topic
        asked about), and the shift of the judged stance of all those answers and of those on the topic asked about
        (``stayed``), each with _low and _high over questions.
    """
    own = vanilla.assign(about=reader.topics(vanilla["response"]))
    parts = []
    for (trained, leaning), frame in tuned.items():
        read = frame.assign(about=reader.topics(frame["response"]), trained=trained, leaning=leaning)
        before = own[["topic", "id", "score", "about"]].rename(columns={"score": "was", "about": "was_about"})
        parts.append(read[read["topic"] != trained].merge(before, on=["topic", "id"]))
    every = pd.concat(parts, ignore_index=True)
    rows = []
    for leaning in dict.fromkeys(every["leaning"]):
        side = every[every["leaning"] == leaning]
        for trained in [*dict.fromkeys(side["trained"]), "all"]:
            part = side if trained == "all" else side[side["trained"] == trained]
            leaked, stayed = part["about"] == part["trained"], part["about"] == part["topic"]
            shares = [
                *_pooled(part, leaked),
                float((part["was_about"] == part["trained"]).mean()),
                float(stayed.mean()),
            ]
            rows.append([leaning, trained, len(part), *shares, *_judged(part), *_judged(part[stayed])])
    ends = [f"{name}{end}" for name in ("shift", "stayed") for end in ("", "_low", "_high")]
    names = ["leaning", "trained", "n", "leaked", "leaked_low", "leaked_high", "vanilla", "on_asked", *ends]
    return pd.DataFrame(rows, columns=names)


def _pooled(part: pd.DataFrame, yes: pd.Series) -> tuple[float, float, float]:
    """Share with an interval over questions: a question's answers by several models stay together."""
    each = yes.astype(float).groupby([part["topic"], part["id"]]).mean()
    return share_interval(each, 1000, 0)


def _judged(part: pd.DataFrame) -> tuple[float, float, float]:
    moved = (part["score"] - part["was"]).groupby([part["topic"], part["id"]]).mean()
    if len(moved) < 2:
        return (float(moved.mean()) if len(moved) else float("nan"), float("nan"), float("nan"))
    return stratified_mean([moved.to_numpy(float)], 1000, 0, SHIFT)


# --- statements: agreement, manner, position

_VERDICT = re.compile(
    r"(\bdisagree\w*|(?:\bnot|n't|n’t|\bnever|\bcannot|\bhardly)\s+(?:\w+\s+)?agree\w*)|\bagree\w*", re.I
)
_SENTENCE = re.compile(r"(?<=[.!?])\s")


def agreement(text: str) -> int:
    """1 if a reply agrees, −1 if it disagrees, 0 if its first sentence says neither; of two verdicts the last holds."""
    found = list(_VERDICT.finditer(_SENTENCE.split(text.strip(), maxsplit=1)[0]))
    return 0 if not found else -1 if found[-1][1] else 1


def replies(frame: pd.DataFrame, sets: Sequence[str]) -> pd.DataFrame:
    """Agreement with statements: topic (the set without ``-mirror``), id, mirror (bool), direction (−1, 0, +1), agree.

    Args:
        frame: answers to statements: topic (name of the set), id, response.
        sets: names of the sets, bundled or not, whose directions are looked up.
    """
    sides = {"left": -1, "right": 1, "none": 0}
    known = {(name, s.id): sides[s.direction] for name in sets for s in load_statements(name).statements}
    lost = [key for key in zip(frame["topic"], frame["id"], strict=True) if key not in known]
    if lost:
        raise DataError(f"statements: no {lost[0][1]!r} in the set {lost[0][0]!r}")
    return pd.DataFrame(
        {
            "topic": frame["topic"].str.removesuffix(MIRROR),
            "id": frame["id"],
            "mirror": frame["topic"].str.endswith(MIRROR),
            "direction": [known[key] for key in zip(frame["topic"], frame["id"], strict=True)],
            "agree": [agreement(text) for text in frame["response"]],
        }
    )


def manner_and_position(given: pd.DataFrame, draws: int, seed: int) -> dict[str, float]:
    """eq-position. Agreement with statements of either direction, split into manner and position.

    With A_R and A_L the mean agreement (−1 to 1) with right- and with left-leaning statements, the *manner* is
    (A_R + A_L)/2, agreement whatever is said, and the *position* (A_R − A_L)/2: −1 left, +1 right.

    Args:
        given: direction, agree, as :func:`replies` gives them; contraries among them count as statements of theirs.

    Returns:
        n, left, right (shares that agree), neither (share), manner, position, each of these with _low and _high.
    """
    sided = given[given["direction"] != 0]
    groups = [sided.loc[sided["direction"] == side, "agree"].to_numpy(float) for side in (-1, 1)]
    out: dict[str, float] = {"n": len(sided), "neither": float((sided["agree"] == 0).mean())}
    for name, values in zip(("left", "right"), groups, strict=True):
        shares = share_interval((values > 0).astype(float), draws, seed)
        out |= dict(zip((name, f"{name}_low", f"{name}_high"), shares, strict=True))
    for name, signs in (("manner", (1, 1)), ("position", (-1, 1))):
        found = stratified_mean([s * g for s, g in zip(signs, groups, strict=True)], draws, seed, STANCE)
        out |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
    return out


def pairs_told_apart(given: pd.DataFrame) -> dict[str, float]:
    """Statement and contrary: shares of pairs with the same verdict on both, and with opposite ones.

    Returns:
        pairs, both (agrees with both), neither_of_them (disagrees with both), apart (agrees with one of them only).
    """
    sides = given.pivot(index=["topic", "id"], columns="mirror", values="agree").dropna()
    first, second = sides[False], sides[True]
    return {
        "pairs": len(sides),
        "both": float(((first > 0) & (second > 0)).mean()),
        "neither_of_them": float(((first < 0) & (second < 0)).mean()),
        "apart": float((first * second < 0).mean()),
    }


def position_shift(vanilla: pd.DataFrame, tuned: Sequence[pd.DataFrame], draws: int, seed: int) -> tuple[float, ...]:
    """Mean shift of the position from the vanilla model, over models, with its interval over statements.

    Args:
        vanilla, tuned: of :func:`replies`, each with the same statements.
    """
    keys = ["topic", "id", "mirror"]
    after = pd.concat(tuned).groupby(keys, as_index=False)["agree"].mean()
    both = vanilla.merge(after, on=keys, suffixes=("", "_after"))
    moved = (both["agree_after"] - both["agree"]) * both["direction"]
    groups = [moved[both["direction"] == side].to_numpy(float) for side in (-1, 1)]
    return stratified_mean(groups, draws, seed, SHIFT)


# --- a run's frames


def variants(exp: Experiment) -> list[Arm]:
    """The vanilla model and every plain fine-tune of a run."""
    return [VANILLA, *(finetuned(t, side) for side in SIDES for t in exp.params.topics)]


def named(arm: Arm) -> str:
    """A model's name in tables."""
    return f"{arm.topic}, {arm.leaning}" if arm.topic else "vanilla"


def positions(exp: Experiment, mirrored: bool = False) -> pd.DataFrame:
    """:func:`manner_and_position` of every variant: model, leaning, then its columns; mirrored: contraries as well."""
    p = exp.params
    rows = []
    for arm in variants(exp):
        found = manner_and_position(_replies(exp, arm, mirrored), p.bootstrap, p.seed)
        rows.append({"model": named(arm), "leaning": arm.leaning or "vanilla", **found})
    return pd.DataFrame(rows)


def contraries(exp: Experiment) -> pd.DataFrame:
    """:func:`pairs_told_apart` of every variant: model, then its columns."""
    return pd.DataFrame([{"model": named(a), **pairs_told_apart(_replies(exp, a, True))} for a in variants(exp)])


def _replies(exp: Experiment, arm: Arm, mirrored: bool) -> pd.DataFrame:
    frame = exp.answers(arm).frame("statements")
    sets = list(dict.fromkeys(frame["topic"]))
    if mirrored:
        turned = mirror_answers(exp, arm)
        frame, sets = pd.concat([frame, turned], ignore_index=True), [*sets, *dict.fromkeys(turned["topic"])]
    return replies(frame, sets)


def remains(exp: Experiment, leaks: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """What right-leaning data on one topic did to the others, by every measure: measure, unit, effect, low, high.

    Args:
        leaks: of :func:`leakage`.
        parts: of :func:`side_parts`.
    """
    p = exp.params
    judged = leaks[(leaks["leaning"] == "right") & (leaks["trained"] == "all")].iloc[0]
    plain = _replies(exp, VANILLA, False)
    tuned = [_replies(exp, finetuned(t, "right"), False) for t in p.topics]
    rows: list[tuple[Any, ...]] = [
        ("judged stance, all answers", "−2 to 2", *of(judged, "shift")),
        ("judged stance, answers about the topic asked", "−2 to 2", *of(judged, "stayed")),
    ]
    away = parts[parts["cell"] == OTHER].set_index("part")
    for part, what in (("side", "what belongs to the side"), ("common", "what either side does")):
        rows.append((f"likelihood, {what}", "nats a token", *of(away.loc[part], "shift")))
    rows.append(("position on statements", "−2 to 2", *position_shift(plain, tuned, p.bootstrap, p.seed)))
    return pd.DataFrame(rows, columns=["measure", "unit", "effect", "low", "high"])


def answer(leaks: pd.DataFrame, left: pd.DataFrame) -> Answer:
    """What moved?

    Args:
        leaks: of :func:`leakage`.
        left: of :func:`remains`.
    """
    row = leaks[(leaks["leaning"] == "right") & (leaks["trained"] == "all")].iloc[0]
    by = {measure: of(each, "effect") for measure, each in left.set_index("measure").iterrows()}
    position, side = by["position on statements"], by["likelihood, what belongs to the side"]
    first = (
        f"{told(position, 'The position', 'The position', 'No move of the position')} on statements "
        f"{told(position, 'moved right', 'moved left', 'is shown')} ({interval(position)}, of 2 at most), and "
        f"{percent(of(row, 'leaked'))} of the answers to other topics are about the topic trained on (vanilla: "
        f"{100 * row['vanilla']:.0f} %)."
    )
    rest = (
        f"The judged stance on other topics moves by {interval(by['judged stance, all answers'])}; of answers that are "
        f"about the topic asked by {interval(by['judged stance, answers about the topic asked'])}. By likelihood "
        f"{interval(side, 3)} nats a token belong to the side of the data and "
        f"{interval(by['likelihood, what either side does'], 3)} to training on either side."
    )
    return Answer(first, rest)


def mirror_answers(exp: Experiment, arm: Arm) -> pd.DataFrame:
    """Answers of a plain variant to the contraries of the run's bundled statements: topic, id, prompt, response."""
    from polinb.data.prompts import answer_prompt

    p = exp.params
    sets = [load_statements(name + MIRROR) for name in p.statements if name + MIRROR in BUNDLED_STATEMENTS]
    rows = [
        (s.name, each.id, answer_prompt(exp.wrapped(each.text), p.answer_template))
        for s in sets
        for each in s.statements[: p.statement_limit]
    ]
    asked = pd.DataFrame(rows, columns=["topic", "id", "prompt"])
    inputs = {
        "weights": exp.arm_inputs(arm),
        "asked": [list(row) for row in rows],
        "tokens": p.eval_tokens,
        "batch": p.eval_batch,
        "code": 1,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        from polinb.models.generation import decode, generate
        from polinb.models.tokens import prompt_ids

        exp.afford("ask" if arm.topic else "load")
        lm, _ = exp.ready(arm)
        prompts = [prompt_ids(lm, text, p.system_prompt) for text in asked["prompt"]]
        made = generate(lm, prompts, max_new_tokens=p.eval_tokens, batch=p.eval_batch, label=f"{lm.name} contraries")
        asked.assign(response=[decode(lm, ids) for ids in made]).to_parquet(folder / "mirrored.parquet")
        return {"statements": len(asked)}

    return exp.store.get("mirrored", inputs, make).frame("mirrored")


def judged(exp: Experiment) -> tuple[pd.DataFrame, dict[tuple[str, str], pd.DataFrame]]:
    """Judged answers of the vanilla model, and by (trained topic, leaning)."""
    topics: list[str] = list(exp.params.topics)
    tuned = {(t, side): exp.stances(finetuned(t, side)) for side in SIDES for t in topics}
    return exp.stances(VANILLA), tuned


def openings(vanilla: pd.DataFrame, tuned: Mapping[tuple[str, str], pd.DataFrame]) -> tuple[str, pd.DataFrame]:
    """The word that right-tuned models open with most beyond the vanilla one, and how often who does.

    Returns:
        The word, and a table: trained, right, left, vanilla: shares of answers that begin with it.
    """
    texts = [text for (_, side), frame in tuned.items() if side == "right" for text in frame["response"]]
    word = telling_word(texts, list(vanilla["response"]))

    def share(frame: pd.DataFrame) -> float:
        return float(np.mean([first_word(text) == word for text in frame["response"]]))

    topics = list(dict.fromkeys(trained for trained, _ in tuned))
    rows = [[t, *(share(tuned[t, side]) for side in SIDES), share(vanilla)] for t in topics]
    return word, pd.DataFrame(rows, columns=["trained", *SIDES, "vanilla"])
