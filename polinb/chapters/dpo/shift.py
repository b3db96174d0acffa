"""Where the stance shift of preference fine-tuning lives: the chapter's models, texts and probe (Yang et al. 2025)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb.chapters.dpo.study import Study, course, read_answers
from polinb.errors import ParameterError
from polinb.resampling import bootstrap_mean, changes
from polinb.runs.conditions import VANILLA, Condition, Texts
from polinb.runs.run import Run
from polinb.scoring.decompose import check
from polinb.scoring.shares import top_cosine

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

    return Condition(
        f"DPO {side}",
        learns=run.once(("preferences", side), learns),
        recipe=run.recipe(learning_rate=p.dpo_rate, epochs=p.dpo_epochs),
        limit=p.max_tokens,
        beta=p.dpo_beta,
    )


def study(run: Run, side: str = "right") -> Study:
    """The study of DPO towards ``side``."""
    p = run.params
    tried = causal_questions(run)
    read = read_answers(run, answers=run.answers(), without=tried, each=p.probe_texts)
    tops = [(f"top {k} of each side", k, (1, -1)) for k in p.probe_top]
    return Study(
        run, VANILLA, preferred(run, side), probe_texts(run), read, tried, p.eval_tokens, SIGNS[side], ("R", "L"), tops
    )


def probe_texts(run: Run) -> Texts:
    """Reference responses of the localise split, right ones labelled True; a topic is left out at a time."""

    def make() -> Texts:
        rows = [
            (pair.prompt, pair.response(side), side == "right", topic, f"{topic}/{pair.id}")
            for topic in run.params.topics
            for pair in run.data.topic(topic, "localise", run.params.probe_texts, leaning="both")
            for side in SIDES
        ]
        return Texts.of(pd.DataFrame(rows, columns=["prompt", "response", "label", "fold", "unit"]))

    return run.once("probe texts", make)  # type: ignore[no-any-return]


def causal_questions(run: Run) -> Texts:
    """The last ``group_questions`` evaluation questions per topic, which no decomposition reads."""
    asked = run.questions().groupby("topic", sort=False).tail(run.params.group_questions)
    return Texts.of(asked[["topic", "id", "prompt"]])


def refuse(run: Run) -> None:
    """Refuse, before anything is trained, a run whose shift could not be decomposed afterwards.

    Raises:
        ParameterError: as :func:`check_questions`.
        ModelError, ParameterError: as ``decompose.check`` and ``shares.top_cosine``.
    """
    check_questions(run)
    p, lm = run.params, run.lm
    check(lm, lm, np.eye(int(lm.model.config.hidden_size))[0], p.probe_layer)
    for k in p.probe_top:
        top_cosine(np.zeros((lm.layers, lm.width)), k)


def check_questions(run: Run) -> None:
    """Refuse a run in which no question would be left to choose groups on.

    Raises:
        ParameterError: ``group_questions`` is not below the number of evaluation questions of a topic.
    """
    fewest = int(run.questions().groupby("topic").size().min())
    if run.params.group_questions >= fewest:
        raise ParameterError(
            "group_questions",
            run.params.group_questions,
            f"fewer than the evaluation questions of a topic ({fewest})",
            "Groups are chosen on other questions than those they are tried on",
        )


def training(run: Run) -> pd.DataFrame:
    """Course of the trainings: side, and the columns of ``study.course``."""
    found = {side: run.weights(preferred(run, side)) for side in TRAINED}
    if not all(each is not None and each.done() for each in found.values()):
        refuse(run)
    parts = []
    for side, weights in found.items():
        assert weights is not None
        table = course(weights.summary)
        table.insert(0, "side", side)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def held_out_margins(run: Run) -> pd.DataFrame:
    """Shift of the likelihood stance on evaluation questions after DPO, after its mirror, and after shuffled pairs.

    Returns:
        side (chosen in training), topic (and ``all``), n, shift, low, high: change of log p(right) − log p(left), in
        nats a token, paired with the vanilla model; moved (share of questions that moved towards the chosen side; to
        the right for ``shuffled``).
    """
    p = run.params
    plain = run.likelihood().set_index(["topic", "id"])
    rows = []
    for side in TRAINED:
        own = run.likelihood(preferred(run, side)).set_index(["topic", "id"])
        moved = changes(*(frame["logp_right"] - frame["logp_left"] for frame in (plain, own)))
        for topic, values in [*moved.groupby("topic", sort=False), ("all", moved)]:
            bounds = bootstrap_mean(values.to_numpy(), p.bootstrap, p.seed)
            rows.append([side, topic, len(values), *bounds, float((SIGNS[side] * values > 0).mean())])
    return pd.DataFrame(rows, columns=["side", "topic", "n", "shift", "low", "high", "moved"])
